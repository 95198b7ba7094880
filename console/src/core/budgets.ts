/** Budgets down the delegation tree: which hop has how much left, and which one stops whoever is below it first. */

import type { AccountState } from "../api/types";
import { micros } from "./money";

export interface BudgetRow {
  readonly account: AccountState;
  readonly depth: number;
  readonly ceiling: bigint | undefined;
  readonly spent: bigint;
  readonly held: bigint;
  /** What its own ceiling leaves; below nothing where a ceiling was lowered under what is spent. */
  readonly left: bigint | undefined;
  /** What it may still spend: the least that any hop from the tenant to here leaves. */
  readonly room: bigint | undefined;
  /** Whose ceiling that is; itself, or a hop above. */
  readonly limit: AccountState | undefined;
  /** Whether it is the hop that stops whoever stands at the end of a chain first. */
  readonly stops: boolean;
  readonly children: number;
  /** Children that are not shown. */
  readonly more: number;
}

/** Most children of one hop that are shown unless all are asked for. */
export const CHILDREN_SHOWN = 8;

interface Node {
  row: Omit<BudgetRow, "stops" | "more">;
  children: Node[];
}

/** Rows in the order of the tree, with what leaves least first among siblings. `unfolded` are the accounts whose children are all shown. */
export function budgetRows(accounts: readonly AccountState[], folded: ReadonlySet<string> = new Set(), unfolded: ReadonlySet<string> = new Set()): BudgetRow[] {
  const known = new Set(accounts.map((account) => account.account));
  const below = new Map<string | undefined, AccountState[]>();
  for (const account of accounts) {
    // What was opened before anybody said from whom it was delegated stands beside the others.
    const parent = account.parent != null && known.has(account.parent) && account.parent !== account.account ? account.parent : undefined;
    below.set(parent, [...(below.get(parent) ?? []), account]);
  }
  const limits = new Set<string>();
  const tree = (parent: string | undefined, depth: number, room: bigint | undefined, limit: AccountState | undefined): Node[] =>
    (below.get(parent) ?? []).map((account) => {
      const [ceiling, spent, held] = [micros(account.ceiling), micros(account.spent) ?? 0n, micros(account.held) ?? 0n];
      const left = ceiling === undefined ? undefined : ceiling - spent - held;
      // Of two that leave the same, the outer one stops first: it is asked first.
      const own = left !== undefined && (room === undefined || left < room);
      const [here, whose] = own ? [left, account] : [room, limit];
      if (whose && !below.has(account.account)) limits.add(whose.account);
      const children = tree(account.account, depth + 1, here, whose);
      return { row: { account, depth, ceiling, spent, held, left, room: here, limit: whose, children: children.length }, children };
    });
  const flat = (nodes: Node[], parent: string | undefined): BudgetRow[] => {
    const ordered = [...nodes].sort(tightest);
    const all = parent === undefined || unfolded.has(parent);
    return ordered.slice(0, all ? undefined : CHILDREN_SHOWN).flatMap(({ row, children }) => {
      const name = row.account.account;
      const hidden = folded.has(name) || unfolded.has(name) ? 0 : Math.max(0, children.length - CHILDREN_SHOWN);
      return [{ ...row, stops: limits.has(name), more: hidden }, ...(folded.has(name) ? [] : flat(children, name))];
    });
  };
  return flat(tree(undefined, 0, undefined, undefined), undefined);
}

/** What leaves least first, those without a ceiling last; then by name. */
function tightest(a: Node, b: Node): number {
  const [left, right] = [a.row.left, b.row.left];
  if (left !== right) {
    if (left === undefined) return 1;
    if (right === undefined) return -1;
    return left < right ? -1 : 1;
  }
  const [first, second] = [a.row, b.row].map(({ spent }) => spent) as [bigint, bigint];
  if (first !== second) return first > second ? -1 : 1;
  return a.row.account.account < b.row.account.account ? -1 : 1;
}

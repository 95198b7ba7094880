/** The delegation tree of costs, flattened to rows. */

import type { CostNode } from "../api/types";
import { micros } from "./money";

export interface CostRow {
  /** The identities from the root to here: what is unfolded is remembered by it. */
  readonly path: string;
  readonly identity: string;
  readonly depth: number;
  readonly direct: bigint;
  /** Spent by those it delegated to, and theirs. */
  readonly below: bigint;
  readonly total: bigint;
  readonly children: number;
}

/** Rows in the order of the tree, dearest first among siblings, without what is below a folded row. */
export function costRows(forest: readonly CostNode[], folded: ReadonlySet<string>, above = "", depth = 0): CostRow[] {
  const rows = forest.map((node) => {
    const [direct, total] = [micros(node.direct) ?? 0n, micros(node.total) ?? 0n];
    const path = `${above} ${node.identity}`;
    return { node, row: { path, identity: node.identity, depth, direct, below: total - direct, total, children: node.children.length } };
  });
  rows.sort((a, b) => (a.row.total > b.row.total ? -1 : a.row.total < b.row.total ? 1 : 0));
  return rows.flatMap(({ node, row }) => [row, ...(folded.has(row.path) ? [] : costRows(node.children, folded, row.path, depth + 1))]);
}

import { describe, expect, it } from "vitest";
import type { AccountState, QuotaState } from "../../src/api/types";
import { CHILDREN_SHOWN, budgetRows } from "../../src/core/budgets";
import { gauges } from "../../src/core/quotas";

const account = (name: string, parent: string | null, ceiling: string | null, spent = "0", held = "0"): AccountState =>
  ({ account: name, identity: `spiffe://t/tenant/default/agent/${name}`, ceiling, spent, held, parent });

const brief = (accounts: AccountState[], folded?: Set<string>) =>
  budgetRows(accounts, folded).map((row) => [row.account.account, row.depth, row.left, row.room, row.limit?.account, row.stops]);

describe("budgets", () => {
  it("stand below whom they were delegated from, each with what the tightest hop leaves", () => {
    const accounts = [
      account("researcher", "planner", "9", "1"), account("tenant", null, "100", "4"), account("alice", "tenant", null, "4"),
      account("planner", "alice", "5", "3", "0.5"), account("writer", "planner", "0.25", "0"),
    ];
    expect(brief(accounts)).toEqual([
      ["tenant", 0, 96_000_000n, 96_000_000n, "tenant", false],
      ["alice", 1, undefined, 96_000_000n, "tenant", false],
      ["planner", 2, 1_500_000n, 1_500_000n, "planner", true],
      ["writer", 3, 250_000n, 250_000n, "writer", true],
      ["researcher", 3, 8_000_000n, 1_500_000n, "planner", false],
    ]);
    expect(brief(accounts, new Set(["planner"])).map(([name]) => name)).toEqual(["tenant", "alice", "planner"]);
  });

  it("without any ceiling have no limit, and one lowered below what is spent leaves less than nothing", () => {
    expect(brief([account("tenant", null, null), account("bob", "tenant", null)])).toEqual([
      ["tenant", 0, undefined, undefined, undefined, false], ["bob", 1, undefined, undefined, undefined, false],
    ]);
    expect(budgetRows([account("tenant", null, "1", "2")])[0]?.left).toBe(-1_000_000n);
  });

  it("whose parent nobody knows stand beside the others", () => {
    const rows = budgetRows([account("tenant", null, null), account("old", "gone", "1"), account("self", "self", null)]);
    expect(rows.map((row) => [row.account.account, row.depth])).toEqual([["old", 0], ["self", 0], ["tenant", 0]]);
  });

  it("of many children show the tightest, and all when asked", () => {
    const many = Array.from({ length: 20 }, (_, at) => account(`run${at}`, "tenant", `${at + 1}`));
    const accounts = [account("tenant", null, null), ...many];
    const rows = budgetRows(accounts);
    expect([rows.length, rows[0]?.more, rows[1]?.account.account]).toEqual([1 + CHILDREN_SHOWN, 20 - CHILDREN_SHOWN, "run0"]);
    const all = budgetRows(accounts, new Set(), new Set(["tenant"]));
    expect([all.length, all[0]?.more]).toEqual([21, 0]);
  });
});

describe("quotas", () => {
  const state = (quota: object, subjects: object[] = []) =>
    ({ quota: { code: "q", metric: "actions", scope: "agent", window: "daily", timezone: "UTC", limit: "1000", at_limit: "block", ...quota }, subjects }) as unknown as QuotaState;

  it("are a gauge for each subject, what is leased apart", () => {
    const [gauge] = gauges(state({}, [{ subject: "agent/planner", counted: "120", leased: "20", left: "880", window_end: "2026-11-29T00:00:00Z" }]));
    expect(gauge).toMatchObject({ whose: "planner", used: 100_000_000n, leased: 20_000_000n, text: "100 of 1\u202f000 actions", window: "daily, until 2026-11-29", mode: "block" });
  });

  it("are there before anybody used any", () => {
    expect(gauges(state({ subject: "planner", metric: "spend", limit: "2.5", shadow: true })).map((one) => [one.whose, one.text, one.mode])).toEqual([["planner", "0.00 of 2.50 spent", "shadow"]]);
    expect(gauges(state({ window: "rate", window_secs: 60, at_limit: "notify" })).map((one) => [one.whose, one.window, one.mode])).toEqual([["each agent", "in any 1 min", "only told"]]);
    expect(gauges(state({ window: "sliding", window_secs: 7200, scope: "tenant" })).map((one) => [one.whose, one.window])).toEqual([["the tenant", "in the last 2 h"]]);
  });
});

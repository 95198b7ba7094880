import { describe, expect, it } from "vitest";
import type { OversightRequest } from "../../src/api/types";
import { isOf } from "../../src/core/behind";
import { costRows } from "../../src/core/costs";
import { identity } from "../../src/core/identity";
import { inbox, neighbour, stateAt } from "../../src/core/inbox";
import { column, fromMicros, micros, money, percent } from "../../src/core/money";
import { href, parseRoute } from "../../src/core/route";
import { ago, clock, countdown, duration } from "../../src/core/time";

const at = (secs: number) => new Date(Date.UTC(2026, 0, 1) + secs * 1000).toISOString();
const now = Date.UTC(2026, 0, 1);

describe("countdown", () => {
  it.each([
    [at(0), at(86_400 * 2 + 3600 * 4), "2d 4h left", "calm"],
    [at(0), at(3600 * 3 + 300), "3h 05m left", "calm"],
    [at(0), at(249), "4m 09s left", "calm"],
    [at(-10_000), at(249), "4m 09s left", "soon"],
    [at(0), at(119), "1m 59s left", "soon"],
    [at(0), at(0.2), "1s left", "soon"],
    [at(-5), at(0), "deadline passed", "over"],
    [at(-5), at(-1), "deadline passed", "over"],
    [at(0), "nonsense", "no deadline", "calm"],
  ])("from %s to %s is %s, %s", (opened, deadline, text, level) => {
    const found = countdown(opened, deadline, now);
    expect([found.text, found.level]).toEqual([text, level]);
  });

  it("runs from the whole to nothing", () => {
    expect(countdown(at(0), at(100), now).share).toBe(1);
    expect(countdown(at(-75), at(25), now).share).toBe(0.25);
    expect(countdown(at(-100), at(0), now).share).toBe(0);
    expect(countdown(at(50), at(100), now).share).toBe(1);
  });

  it("says durations by their two largest units", () => {
    expect([0.4, 12, 1400, 14_000, 200_000].map(duration)).toEqual(["<1 ms", "12 ms", "1.4 s", "14 s", "3m 20s"]);
    expect([59_999, 60_000, 3_600_000].map(clock)).toEqual(["1m 00s", "1m 00s", "1h 00m"]);
    expect([0, -30, -240, -7300, -200_000].map((secs) => ago(at(secs), now))).toEqual(["just now", "30 s ago", "4 min ago", "2 h ago", "2 d ago"]);
  });
});

describe("money", () => {
  it("reads and writes exact amounts", () => {
    for (const [text, value] of [["0", 0n], ["1.00", 1_000_000n], ["0.000001", 1n], ["-2.5", -2_500_000n], ["9007199254740993.000001", 9_007_199_254_740_993_000_001n]] as const) {
      expect(micros(text)).toBe(value);
      expect(micros(fromMicros(value))).toBe(value);
    }
    for (const bad of ["", "1e3", "1.0000001", "x", "1,5", null]) expect(micros(bad)).toBeUndefined();
  });

  it("shows at least two places, all that count, and groups of three", () => {
    expect(["1", "1.5", "0.000120", "1234567.000000", "-1000"].map(money)).toEqual(["1.00", "1.50", "0.00012", "1\u202f234\u202f567.00", "-1\u202f000.00"]);
  });

  it("stands in columns with the same places", () => {
    const shown = column(["1.5", "0.25003", "7", null]);
    expect(["1.5", "0.25003", "1007", null].map(shown)).toEqual(["1.50000", "0.25003", "1\u202f007.00000", ""]);
    expect(column([])("3")).toBe("3.00");
  });

  it("keeps shares between nothing and all", () => {
    expect([percent(1n, 3n), percent(5n, 4n), percent(1n, 0n), percent(undefined, 4n), percent(-1n, 4n)]).toEqual([33.33, 100, 0, 0, 0]);
  });
});

describe("costs", () => {
  const forest = [
    { identity: "h", direct: "1", total: "6", children: [
      { identity: "a", direct: "2", total: "2", children: [] },
      { identity: "b", direct: "1", total: "3", children: [{ identity: "a", direct: "2", total: "2", children: [] }] },
    ] },
    { identity: "i", direct: "7", total: "7", children: [] },
  ];

  it("lists the tree, dearest first, with what is below apart", () => {
    expect(costRows(forest, new Set()).map((row) => [row.depth, row.identity, fromMicros(row.direct), fromMicros(row.below)])).toEqual([
      [0, "i", "7.000000", "0.000000"],
      [0, "h", "1.000000", "5.000000"],
      [1, "b", "1.000000", "2.000000"],
      [2, "a", "2.000000", "0.000000"],
      [1, "a", "2.000000", "0.000000"],
    ]);
  });

  it("folds one place of an identity that stands in several", () => {
    const rows = costRows(forest, new Set([" h b"]));
    expect(rows.map((row) => row.identity)).toEqual(["i", "h", "b", "a"]);
  });
});

describe("inbox", () => {
  const request = (id: string, state: OversightRequest["state"], deadline: number, decided?: number) => ({
    id, state, deadline: at(deadline), opened_at: at(0), digest: id, action: "{}", rule: "r", hops: [], decided_at: decided === undefined ? null : at(decided),
  }) as unknown as OversightRequest;
  const all = [request("late", "pending", 90), request("old", "denied", 50, 10), request("soon", "pending", 20), request("new", "executed", 99, 30), request("gone", "timed_out", 15)];

  it("puts the nearest deadline first, and the newest decision first", () => {
    expect(inbox(all, now).waiting.map((r) => r.id)).toEqual(["soon", "late"]);
    expect(inbox(all, now).past.map((r) => r.id)).toEqual(["new", "gone", "old"]);
  });

  it("counts a request as timed out from its deadline on, whatever the server has written down", () => {
    const soon = all[2] as OversightRequest;
    expect([19_999, 20_000].map((ms) => stateAt(soon, now + ms))).toEqual(["pending", "timed_out"]);
    expect(stateAt(all[1] as OversightRequest, now + 90_000)).toBe("denied");
    expect(inbox(all, now + 20_000).waiting.map((r) => r.id)).toEqual(["late"]);
    expect(inbox(all, now + 20_000).past.map((r) => r.id)).toContain("soon");
  });

  it("moves to neighbours and holds at the ends", () => {
    expect([neighbour(all, "old", 1)?.id, neighbour(all, "late", -1)?.id, neighbour(all, "gone", 1)?.id]).toEqual(["soon", "late", "gone"]);
    expect([neighbour(all, undefined, 1)?.id, neighbour(all, "unknown", -1)?.id, neighbour([], "x", 1)]).toEqual(["late", "late", undefined]);
  });
});

describe("routes", () => {
  it.each([
    ["", { page: "inbox" }],
    ["#/", { page: "inbox" }],
    ["#/inbox/req_1", { page: "inbox", request: "req_1" }],
    ["#/runs", { page: "runs" }],
    ["#/runs/a%2Fb", { page: "run", run: "a/b" }],
    ["#/audit", { page: "audit" }],
    ["#/audit/from=50", { page: "audit", from: 50 }],
    ["#/audit/leaf_1", { page: "entry", leaf: "leaf_1" }],
    ["#/costs", { page: "costs" }],
    ["#/budgets", { page: "budgets" }],
    ["#/nowhere", { page: "lost", path: "nowhere" }],
    ["#/runs/%zz", { page: "run", run: "%zz" }],
  ])("%s", (hash, route) => expect(parseRoute(hash)).toEqual(route));

  it("addresses lead back to their pages", () => {
    for (const route of [{ page: "inbox" }, { page: "inbox", request: "a b/c" }, { page: "run", run: "x/y" }, { page: "entry", leaf: "l" }, { page: "audit", from: 7 }] as const) {
      expect(parseRoute(href(route))).toEqual(route);
    }
  });
});

describe("identities", () => {
  it("are read in their form, and shown whole in any other", () => {
    expect(identity("spiffe://creto.local/tenant/default/agent/bot")).toEqual({ kind: "agent", name: "bot", tenant: "default" });
    for (const other of ["bot", "spiffe://x/tenant/t/agent/a/b", "spiffe://x/tenant/t/robot/a"]) expect(identity(other)).toEqual({ kind: "other", name: other, tenant: "" });
  });
});

describe("the events behind a line", () => {
  it("are those of its group, by the texts that groups compare", () => {
    const group = { region: "eu", size: "3", agent: null };
    expect(isOf(group, { region: "eu", size: 3, other: 1 })).toBe(true);
    expect(isOf(group, { region: "eu", size: "3", agent: ["a"] })).toBe(true);
    expect([{ region: "us", size: "3" }, { region: "eu" }, { region: "eu", size: "3", agent: "a" }].map((properties) => isOf(group, properties))).toEqual([false, false, false]);
    expect(isOf({}, { anything: 1 })).toBe(true);
  });
});

import { describe, expect, it } from "vitest";
import { plusDays, stepName, stepTitle, windowOf } from "../../src/core/days";
import { type Series, type Used, addDecimals, folded, niceStep, said, stacked } from "../../src/core/series";

const now = Date.UTC(2026, 10, 28, 15);
const used = (cost: string, events = 1, units: string | null = "1"): Used => ({ cost, events, units });
const series = (key: string | null, ...costs: string[]): Series => ({ key, total: used(addDecimals(costs) ?? "", costs.length), points: costs.map((cost) => used(cost)) });

describe("windows", () => {
  it("are so many days of which today is the last, and leave today to the server", () => {
    expect(windowOf("7d", now)).toEqual({ from: "2026-11-22", step: "day" });
    expect(windowOf("30d", now)).toEqual({ from: "2026-10-30", step: "day" });
    expect(windowOf("90d", now)).toEqual({ from: "2026-08-31", step: "week" });
    expect(windowOf("12m", now)).toEqual({ from: "2025-12-01", step: "month" });
  });

  it("of one's own are two days in their order, in steps that give some tens of columns", () => {
    const of = (from: string, to: string) => windowOf("custom", now, { from, to });
    expect(of("2026-11-01", "2026-11-01")).toEqual({ from: "2026-11-01", to: "2026-11-01", step: "day" });
    expect(of("2026-01-01", "2026-03-03")?.step).toBe("day");
    expect(of("2026-01-01", "2026-03-04")?.step).toBe("week");
    expect(of("2024-01-01", "2026-03-04")?.step).toBe("month");
    for (const [from, to] of [["2026-11-02", "2026-11-01"], ["2026-02-30", "2026-03-01"], ["", "2026-11-01"], ["11/01/2026", "2026-11-02"]] as const) {
      expect(of(from, to)).toBeUndefined();
    }
  });

  it("name their steps", () => {
    expect([stepName("2026-11-03", "day"), stepName("2026-11-01", "month")]).toEqual(["3 Nov", "Nov 2026"]);
    expect([stepTitle("2026-11-03", "day"), stepTitle("2026-11-02", "week")]).toEqual(["3 Nov 2026", "week of 2 Nov 2026"]);
    expect(plusDays("2024-02-28", 2)).toBe("2024-03-01");
  });
});

describe("series", () => {
  it("beyond the colours are one that adds up", () => {
    const many = Array.from({ length: 12 }, (_, at) => series(`k${at}`, `${at}.5`, "0.25"));
    const shown = folded([...many, series(null, "1", "1")], "cost");
    expect(shown.map((one) => one.key)).toEqual(["k11", "k10", "k9", "k8", "k7", "k6", "k5", null]);
    const cost = (all: readonly Series[], at: number) => addDecimals(all.map((one) => one.points[at]?.cost));
    expect(cost(shown, 0)).toBe(cost([...many, series(null, "1", "1")], 0));
    expect(shown.at(-1)?.total.cost).toBe("15.750000");
  });

  it("are ordered by what is shown, what is all the others last", () => {
    const few = [series(null, "9"), series("a", "1"), series("b", "2")];
    expect(folded(few, "cost").map((one) => one.key)).toEqual(["b", "a", null]);
  });

  it("stack from nothing to a round number, in their order", () => {
    const stack = stacked([series("a", "1", "0"), series("b", "2.5", "-3")], 2, "cost");
    expect(stack.columns[0]?.parts).toEqual([{ series: 0, from: 0, to: 0.25 }, { series: 1, from: 0.25, to: 0.875 }]);
    expect(stack.columns[1]?.parts, "what was taken back draws no column").toEqual([]);
    expect(stack.ticks.map((tick) => tick.text)).toEqual(["0", "1", "2", "3", "4"]);
  });

  it("of nothing are an empty chart", () => {
    const stack = stacked([series("a", "0", "0")], 2, "events");
    expect([stack.isEmpty, stacked([], 3, "cost").isEmpty, stacked([], 3, "cost").columns.length]).toEqual([false, true, 3]);
  });

  it("have ticks that say amounts of any size in a few characters", () => {
    const texts = (most: string) => stacked([series("a", most)], 1, "cost").ticks.at(-1)?.text;
    expect(["0.000004", "0.0031", "0.9", "7", "180", "2600", "7000000", "91000000000"].map(texts)).toEqual(
      ["0.000004", "0.004", "1.00", "8", "200", "3k", "8M", "100G"],
    );
    expect([1n, 3n, 5n, 6n, 11n, 999n].map(niceStep)).toEqual([1n, 5n, 5n, 10n, 20n, 1000n]);
  });

  it("are said without losing a digit", () => {
    expect(said(used("1234.5", 12_345, "0.1234567890123456789"), "units")).toBe("0.1234567890123456789");
    expect(said(used("1234.5", 12_345, null), "units")).toBe("–");
    expect([said(used("1234.5"), "cost"), said(used("1", 12_345), "events")]).toEqual(["1\u202f234.50", "12\u202f345"]);
    expect(addDecimals(["0.1", "0.2", "-0.30", "12345678901234567890"])).toBe("12345678901234567890");
    expect(addDecimals(["1", "1/3"])).toBeUndefined();
  });
});

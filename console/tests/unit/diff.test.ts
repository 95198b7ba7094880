import { describe, expect, it } from "vitest";
import { changes } from "../../src/core/diff";

describe("changes", () => {
  it("names every place that differs and no other", () => {
    const before = JSON.stringify({ arguments: { to: ["bob", "eve"], amount: "5", same: { a: null } }, action: "pay" });
    const after = JSON.stringify({ arguments: { to: ["bob"], amount: 5, same: { a: null }, note: {} }, action: "pay" });
    expect(changes(before, after)).toEqual([
      { path: "arguments.amount", before: '"5"', after: "5" },
      { path: "arguments.note", before: undefined, after: "{}" },
      { path: "arguments.to[1]", before: '"eve"', after: undefined },
    ]);
  });

  it("shows a text that is no JSON as a whole", () => {
    expect(changes("{", "{}")).toEqual([{ path: "", before: "{", after: "{}" }]);
  });
});

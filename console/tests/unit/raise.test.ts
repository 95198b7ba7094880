import { expect, test } from "vitest";
import { raiseOf } from "../../src/core/raise";

const action = (name: string, more: Record<string, string> = {}) =>
  JSON.stringify({
    action: name,
    arguments: {
      account: "link:l", whose: "spiffe://a/tenant/t/agent/planner", ceiling: "1.000001", missing: "0.25", asked: "5", raise: "2.5",
      for_action: "tool.call", for_resource: "tool:pay", ...more,
    },
  });

test("a raise says the ceiling now, what this revision gives, and the ceiling after, exactly", () => {
  const raise = raiseOf(action("metering.raise_budget"));
  expect([raise?.account, raise?.ceiling, raise?.raise, raise?.after, raise?.wants]).toEqual(["link:l", "1.000001", "2.5", "3.500001", "tool.call tool:pay"]);
});

test("another action, or one without amounts, is no raise", () => {
  expect(raiseOf(action("tool.call"))).toBeUndefined();
  expect(raiseOf(action("metering.raise_budget", { raise: "much" }))).toBeUndefined();
  for (const text of ["", "null", "{}", "[]"]) expect(raiseOf(text)).toBeUndefined();
});

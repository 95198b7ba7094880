import { describe, expect, it } from "vitest";
import type { Action, OversightRequest } from "../../src/api/types";
import { bars, spanOf } from "../../src/core/span";
import { command, kindOf, named, remarks, timeline } from "../../src/core/timeline";

const at = (secs: number) => new Date(Date.UTC(2026, 0, 1) + secs * 1000).toISOString();
const now = Date.UTC(2026, 0, 1) + 100_000;

const action = (name: string, changes: Partial<Action>): Action => ({
  admission: name, agent: "a", action: "tool.call", resource: `tool:${name}`, digest: name, state: "done",
  opened_at: at(0), closed_at: at(1), opened_leaf: `${name}-intent`, closed_leaf: `${name}-outcome`, ...changes,
});
const request = (name: string, changes: Partial<OversightRequest>) => ({
  id: name, digest: name, action: JSON.stringify({ action: "tool.call_with_approval", resource: `tool:${name}` }), rule: "r", hops: [],
  state: "executed", opened_at: at(0), deadline: at(1000), ...changes,
}) as unknown as OversightRequest;

describe("timeline", () => {
  it("orders moments by when they began, which is when a human was asked", () => {
    const line = timeline(
      [action("late", { opened_at: at(50) }), action("asked", { opened_at: at(60), approval: "r1" }), action("early", { opened_at: at(10) })],
      [request("r1", { opened_at: at(20), decided_at: at(58) })],
    );
    expect(line.map((moment) => moment.key)).toEqual(["early", "asked", "late"]);
  });

  it("joins a request with the action it allowed, and measures the wait and the work", () => {
    const [moment, ...rest] = timeline(
      [action("pay", { approval: "r1", opened_at: at(30), closed_at: at(32), cost: "0.25" })],
      [request("r1", { opened_at: at(0), decided_at: at(29) })],
    );
    expect(rest).toEqual([]);
    expect([moment?.waitedMs, moment?.tookMs, moment?.cost, moment?.leaf, moment?.request?.id]).toEqual([29_000, 2000, "0.25", "pay-outcome", "r1"]);
  });

  it("finds the request by its digest where the action does not name it, once", () => {
    const line = timeline([action("pay", {}), action("pay", { admission: "again", opened_at: at(5) })], [request("pay", { decided_at: at(1) })]);
    expect(line.map((moment) => moment.request?.id)).toEqual(["pay", undefined]);
  });

  it("shows requests that led to no action", () => {
    const [moment] = timeline([], [request("wipe", { state: "denied", decided_at: at(4) })]);
    expect([moment?.state, moment?.resource, moment?.waitedMs, moment?.leaf]).toEqual(["denied", "tool:wipe", 4000, undefined]);
  });

  it("leads to the intent's leaf while there is no outcome", () => {
    const [moment] = timeline([action("pay", { state: "in_doubt", closed_at: null, closed_leaf: null })], []);
    expect([moment?.leaf, moment?.tookMs]).toEqual(["pay-intent", undefined]);
  });

  it.each([
    ["runtime.exec", "sandbox:x", "run"],
    ["runtime.connect", "host:example.com:443", "egress"],
    ["tool.call", "tool:x", "tool"],
    ["messaging.deliver", "agent:b", "message"],
    ["metering.ingest", "metric:tokens", "usage"],
    ["memory.write", "memory:x", "memory"],
    ["authz.publish", "policy:x", "other"],
  ])("%s on %s is of kind %s", (name, resource, kind) => expect(kindOf(name, resource)).toBe(kind));

  it("shows an unreadable action as it is", () => {
    expect(named("{")).toEqual({ action: "{", resource: "" });
    expect(named("7")).toEqual({ action: "7", resource: "" });
  });
});

describe("words of a run", () => {
  it("writes its command as it would be typed", () => {
    expect(command('{"argv":["python","-c","print(\'a b\')","--x=1"]}')).toBe("python -c 'print('\\''a b'\\'')' --x=1");
    expect(command("[1]")).toBe("[1]");
  });

  it("writes a note's names and quantities", () => {
    expect(remarks('{"exit_code":1,"code":"runtime.killed"}')).toBe("exit code: 1 · code: runtime.killed");
    expect(remarks("plain")).toBe("plain");
  });
});

describe("bars", () => {
  it("place the wait and the work on the run's line", () => {
    const line = timeline(
      [action("pay", { approval: "r1", opened_at: at(60), closed_at: at(80) }), action("end", { opened_at: at(100), closed_at: at(100) })],
      [request("r1", { opened_at: at(0), decided_at: at(50) })],
    );
    const span = spanOf(line, now);
    expect(span.toMs - span.fromMs).toBe(100_000);
    expect(line[0] && bars(line[0], span, now)).toEqual([
      { kind: "wait", left: 0, width: 50 },
      { kind: "work", left: 60, width: 20 },
    ]);
  });

  it("reach to now for what is under way", () => {
    const line = timeline([action("pay", { state: "intent", closed_at: null, closed_leaf: null })], [request("r2", { state: "pending", opened_at: at(50) })]);
    const span = spanOf(line, now);
    expect(span.toMs).toBe(now);
    expect(line.map((moment) => bars(moment, span, now))).toEqual([
      [{ kind: "work", left: 0, width: 100 }],
      [{ kind: "wait", left: 50, width: 50 }],
    ]);
  });

  it("an empty run has a span that can be divided by", () => {
    const span = spanOf([], now);
    expect(span.toMs - span.fromMs).toBeGreaterThan(0);
  });
});

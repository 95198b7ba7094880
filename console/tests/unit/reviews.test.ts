import { describe, expect, it } from "vitest";
import type { OversightRequest } from "../../src/api/types";
import { isOverdue, reviews } from "../../src/core/reviews";
import { href, parseRoute } from "../../src/core/route";

const broken = (id: string, at: string, reviewed_at?: string) =>
  ({ id, decided_at: at, glass: { by: "olga", reason: "it burns", review_by: at, ...(reviewed_at ? { reviewed_at, reviewed_by: "bob" } : {}) } }) as OversightRequest;

describe("reviews of broken glasses", () => {
  it("begin with what waits longest, and with what was looked at last", () => {
    const waiting = [broken("a", "2026-01-02T00:00:00Z"), broken("b", "2026-01-01T00:00:00Z")];
    const made = [broken("c", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"), broken("d", "2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z")];
    const { waiting: first, made: then } = reviews(waiting, made);
    expect([first.map(({ id }) => id), then.map(({ id }) => id)]).toEqual([["b", "a"], ["d", "c"]]);
  });

  it("are overdue a day after the breaking, however often somebody was asked again", () => {
    const day = Date.parse("2026-01-02T00:00:00Z");
    const one = { ...broken("a", "2026-01-01T00:00:00Z"), due_at: "2026-01-05T00:00:00Z" };
    expect([isOverdue(one, day - 1), isOverdue(one, day)]).toEqual([false, true]);
    expect(isOverdue(broken("a", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"), day)).toBe(false);
  });

  it("have addresses of their own", () => {
    for (const route of [{ page: "reviews" }, { page: "reviews", request: "req_1" }] as const) expect(parseRoute(href(route))).toEqual(route);
  });
});

/** A question about a budget, read from the text its digest covers: which ceiling, what stands, what is asked for, what comes after. */

import { fromMicros, micros } from "./money";

export interface Raise {
  readonly account: string;
  readonly whose: string;
  /** The ceiling now. */
  readonly ceiling: string;
  /** What the waiting action lacks. */
  readonly missing: string;
  /** What the agent's side asked for. */
  readonly asked: string;
  /** What this revision gives: an approver may have lowered it. */
  readonly raise: string;
  /** The ceiling after. */
  readonly after: string;
  /** What waits for it. */
  readonly wants: string;
}

/** The raise an action is; `undefined` where it is another action, or says no amounts. */
export function raiseOf(action: string): Raise | undefined {
  let read: unknown;
  try {
    read = JSON.parse(action);
  } catch {
    return undefined;
  }
  const { action: name, arguments: given } = (read ?? {}) as { action?: unknown; arguments?: Record<string, unknown> };
  if (name !== "metering.raise_budget" || !given) return undefined;
  const text = (field: string) => (typeof given[field] === "string" ? given[field] : "");
  const [ceiling, raise] = [micros(text("ceiling")), micros(text("raise"))];
  if (ceiling === undefined || raise === undefined) return undefined;
  return {
    account: text("account"),
    whose: text("whose"),
    ceiling: text("ceiling"),
    missing: text("missing"),
    asked: text("asked"),
    raise: text("raise"),
    after: fromMicros(ceiling + raise),
    wants: `${text("for_action")} ${text("for_resource")}`,
  };
}

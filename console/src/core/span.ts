/** Where moments lie on a run's line of time. */

import { millis } from "./time";
import type { Moment } from "./timeline";

export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** From the first moment to the last; what is still under way reaches to `end`: the run's, or now. */
export function spanOf(line: readonly Moment[], end: number): Span {
  const starts = line.flatMap((moment) => [millis(moment.request?.opened_at), millis(moment.at)]).filter((at) => at !== undefined);
  const ends = line.map((moment) => endOf(moment, end)).filter((at) => at !== undefined);
  const fromMs = starts.length === 0 ? end : Math.min(...starts);
  return { fromMs, toMs: Math.max(fromMs + 1, ...ends) };
}

function endOf(moment: Moment, end: number): number | undefined {
  const at = millis(moment.at);
  if (moment.state === "pending" || moment.state === "intent") return end;
  return at === undefined ? undefined : at + (moment.tookMs ?? 0) + (moment.leaf === undefined ? (moment.waitedMs ?? 0) : 0);
}

/** A bar: its start and its width, in percent of the span. */
export interface Bar {
  readonly kind: "wait" | "work";
  readonly left: number;
  readonly width: number;
}

/** The bars of one moment: the wait for a human, then the work. */
export function bars(moment: Moment, span: Span, end: number): Bar[] {
  const whole = span.toMs - span.fromMs;
  const bar = (kind: Bar["kind"], from: number, to: number): Bar => ({
    kind,
    left: (100 * (from - span.fromMs)) / whole,
    width: (100 * Math.max(0, to - from)) / whole,
  });
  const found: Bar[] = [];
  const asked = millis(moment.request?.opened_at);
  if (asked !== undefined && moment.request) found.push(bar("wait", asked, millis(moment.request.decided_at) ?? (moment.state === "pending" ? end : asked)));
  const at = millis(moment.at);
  if (at !== undefined && moment.leaf !== undefined) {
    found.push(bar("work", at, moment.state === "intent" ? end : at + (moment.tookMs ?? 0)));
  }
  return found;
}

/** Quotas as gauges: how much of each is used, by whom, and until when. */

import type { QuotaState } from "../api/types";
import { fromMicros, micros, money } from "./money";
import { grouped } from "./series";

export interface Gauge {
  readonly key: string;
  readonly code: string;
  /** Whose: `the tenant`, `planner`; who might be, where nobody used any yet. */
  readonly whose: string;
  readonly used: bigint;
  /** Counted already, and not used yet: a server's lease. */
  readonly leased: bigint;
  readonly limit: bigint;
  /** `3.20 of 5.00 spent`, `120 of 1 000 actions`. */
  readonly text: string;
  /** `daily`, `in 60 s`, `daily, until 2026-11-29`. */
  readonly window: string;
  /** What happens at the limit. */
  readonly mode: "block" | "only told" | "may pass" | "shadow";
}

const MODES: Readonly<Record<string, Gauge["mode"]>> = { block: "block", allow_with_overage: "may pass", notify: "only told" };

/** A gauge for each subject that used some of a quota, or one for all where none did. */
export function gauges(state: QuotaState): Gauge[] {
  const { quota, subjects } = state;
  const code = quota.code ?? "";
  const limit = micros(quota.limit) ?? 0n;
  const mode = quota.shadow ? "shadow" : (MODES[quota.at_limit ?? "block"] ?? "block");
  const gauge = (whose: string, used: bigint, leased: bigint, end: string | null | undefined): Gauge => ({
    key: `${code} ${whose}`, code, whose, used, leased, limit, text: text(quota.metric, used, limit), window: window(quota, end), mode,
  });
  if (subjects.length === 0) return [gauge(whom(quota), 0n, 0n, undefined)];
  return subjects.map((subject) => {
    const [counted, leased] = [micros(subject.counted) ?? 0n, micros(subject.leased) ?? 0n];
    return gauge(subject.subject === "tenant" ? "the tenant" : subject.subject.replace(/^\w+\//, ""), counted - leased, leased, subject.window_end);
  });
}

function whom(quota: QuotaState["quota"]): string {
  if (quota.subject != null) return quota.subject;
  return quota.scope === "tenant" ? "the tenant" : quota.scope === "root" ? "each root of a chain" : "each agent";
}

function text(metric: string, used: bigint, limit: bigint): string {
  if (metric === "spend") return `${money(fromMicros(used))} of ${money(fromMicros(limit))} spent`;
  return `${units(used)} of ${units(limit)} ${metric}`;
}

function units(value: bigint): string {
  return grouped(fromMicros(value).replace(/\.?0+$/, ""));
}

function window(quota: QuotaState["quota"], end: string | null | undefined): string {
  if (quota.window === "rate") return `in any ${seconds(quota.window_secs ?? 1)}`;
  if (quota.window === "sliding") return `in the last ${seconds(quota.window_secs ?? 60)}`;
  const midnight = end?.slice(11, 16) === "00:00";
  const until = end == null ? "" : `, until ${midnight ? end.slice(0, 10) : `${end.slice(0, 16).replace("T", " ")} UTC`}`;
  return `${quota.window === "total" ? "for ever" : quota.window}${until}`;
}

function seconds(secs: number): string {
  if (secs % 86_400 === 0) return `${secs / 86_400} d`;
  if (secs % 3600 === 0) return `${secs / 3600} h`;
  return secs % 60 === 0 ? `${secs / 60} min` : `${secs} s`;
}

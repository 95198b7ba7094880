/** The order of the inbox. */

import type { OversightRequest } from "../api/types";
import { millis } from "./time";

export interface Inbox {
  /** Waiting for a human, the nearest deadline first. */
  readonly waiting: readonly OversightRequest[];
  /** Decided, expired or withdrawn, the newest first. */
  readonly past: readonly OversightRequest[];
}

/** Where a request stands. At its deadline a pending one has timed out, whether or not the server has written that down yet. */
export function stateAt(request: OversightRequest, now: number): OversightRequest["state"] {
  return request.state === "pending" && (millis(request.deadline) ?? Number.POSITIVE_INFINITY) <= now ? "timed_out" : request.state;
}

export function inbox(requests: readonly OversightRequest[], now: number): Inbox {
  const newest = (request: OversightRequest) => request.decided_at ?? request.deadline;
  const by = (key: (request: OversightRequest) => string) => (a: OversightRequest, b: OversightRequest) =>
    key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a.id < b.id ? -1 : 1;
  const waiting = requests.filter((request) => stateAt(request, now) === "pending").sort(by((request) => request.deadline));
  const past = requests.filter((request) => stateAt(request, now) !== "pending").sort(by(newest)).reverse();
  return { waiting, past };
}

/** The neighbour of `id`, `by` places on; the first where `id` is not there. The ends hold. */
export function neighbour(all: readonly OversightRequest[], id: string | undefined, by: number): OversightRequest | undefined {
  const at = all.findIndex((request) => request.id === id);
  return at < 0 ? all[0] : all[Math.min(all.length - 1, Math.max(0, at + by))];
}

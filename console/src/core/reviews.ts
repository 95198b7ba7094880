/** Broken glasses: which wait to be looked at, and which somebody looked at. */

import type { OversightRequest } from "../api/types";
import { millis } from "./time";

/** How long others have to look, as the server has it. */
const REVIEW_WITHIN_MS = 86_400_000;

export interface Reviews {
  /** Nobody looked yet, the longest waiting first. */
  readonly waiting: readonly OversightRequest[];
  /** Somebody looked, the latest first. */
  readonly made: readonly OversightRequest[];
}

/** The order of both lists; the server's is by when the requests were opened. */
export function reviews(waiting: readonly OversightRequest[], made: readonly OversightRequest[]): Reviews {
  const by = (key: (request: OversightRequest) => string) => (a: OversightRequest, b: OversightRequest) =>
    key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a.id < b.id ? -1 : 1;
  return {
    waiting: [...waiting].sort(by((request) => request.decided_at ?? "")),
    made: [...made].sort(by((request) => request.glass?.reviewed_at ?? "")).reverse(),
  };
}

/** Whether nobody looked within the day. The server puts `review_by` off each time it asks again, so that it does not tell. */
export function isOverdue(request: OversightRequest, now: number): boolean {
  const broken = millis(request.decided_at);
  return !request.glass?.reviewed_by && broken !== undefined && now - broken >= REVIEW_WITHIN_MS;
}

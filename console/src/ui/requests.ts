/** All requests, and those with a broken glass, kept current. */

import { useEffect, useState } from "react";
import { type Liveness, follow } from "../api/changes";
import { api } from "../api/client";
import type { OversightRequest } from "../api/types";
import { type Reviews, reviews } from "../core/reviews";
import { type Loaded, useLoad } from "./load";

export interface Requests extends Loaded<OversightRequest[]> {
  readonly liveness: Liveness;
}

export type Glasses = Loaded<Reviews>;

/** Most broken glasses that are shown waiting. */
const WAITING_MAX = 200;
/** Older reviews are in the audit log. */
const MADE_MAX = 50;

async function glassesOf(signal: AbortSignal): Promise<Reviews> {
  const [waiting, made] = await Promise.all([api.glasses("review", WAITING_MAX, signal), api.glasses("reviewed", MADE_MAX, signal)]);
  // Read at once, one in both was looked at in between.
  return reviews(waiting.filter((one) => !made.some((other) => other.id === one.id)), made);
}

/** Requests and broken glasses as approvers see them; nothing for who is none. */
export function useRequests(approver: boolean): { requests: Requests; glasses: Glasses } {
  const requests = useLoad(`requests ${approver}`, (signal) => (approver ? api.requests(signal) : Promise.resolve([])));
  const glasses = useLoad(`glasses ${approver}`, (signal) => (approver ? glassesOf(signal) : Promise.resolve(reviews([], []))));
  const [liveness, setLiveness] = useState<Liveness>("connecting");
  const [again, look] = [requests.reload, glasses.reload];
  useEffect(() => {
    const changed = () => {
      again();
      look();
    };
    return approver ? follow("/v1/oversight/changes", changed, setLiveness) : undefined;
  }, [approver, again, look]);
  return { requests: { ...requests, liveness }, glasses };
}

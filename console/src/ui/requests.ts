/** All requests, kept current. */

import { useEffect, useState } from "react";
import { type Liveness, follow } from "../api/changes";
import { api } from "../api/client";
import type { OversightRequest } from "../api/types";
import { type Loaded, useLoad } from "./load";

export interface Requests extends Loaded<OversightRequest[]> {
  readonly liveness: Liveness;
}

/** Requests as approvers see them; nothing for who is none. */
export function useRequests(approver: boolean): Requests {
  const loaded = useLoad(`requests ${approver}`, (signal) => (approver ? api.requests(signal) : Promise.resolve([])));
  const [liveness, setLiveness] = useState<Liveness>("connecting");
  const { reload } = loaded;
  useEffect(() => (approver ? follow("/v1/oversight/changes", reload, setLiveness) : undefined), [approver, reload]);
  return { ...loaded, liveness };
}

/** Lists of requests by keyboard. */

import { useEffect } from "react";
import type { OversightRequest } from "../api/types";
import { neighbour } from "../core/inbox";
import { href } from "../core/route";
import { useKeys } from "./keys";

/** Opens what is next, what is before, or the first; closes what is open, and keeps it in sight. */
export function useWalk(page: "inbox" | "reviews", all: readonly OversightRequest[], selected: string | undefined): void {
  const go = (request: OversightRequest | undefined) => {
    if (request) location.hash = href({ page, request: request.id });
  };
  const [next, previous] = [() => go(neighbour(all, selected, 1)), () => go(neighbour(all, selected, -1))];
  useKeys({
    j: next,
    k: previous,
    ArrowDown: next,
    ArrowUp: previous,
    Enter: () => (selected === undefined ? go(all[0]) : undefined),
    Escape: () => {
      location.hash = href({ page });
    },
  });
  useEffect(() => {
    document.querySelector(".inbox-list [aria-current=true]")?.scrollIntoView({ block: "nearest" });
  }, [selected]);
}

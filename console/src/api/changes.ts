/** Live updates: server-sent events that say that something changed, never what. */

export type Liveness = "live" | "connecting";

const RETRY_MS = [500, 1000, 2000, 5000, 10_000] as const;
/** How often to look while no stream is open. */
const POLL_MS = 15_000;

/** Calls `changed` after every change, and after every reconnection, since changes in between went unseen. Returns how to stop. */
export function follow(path: string, changed: () => void, liveness: (now: Liveness) => void): () => void {
  let source: EventSource | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let stopped = false;

  const open = () => {
    source = new EventSource(path);
    source.addEventListener("open", () => {
      failures = 0;
      liveness("live");
      changed();
    });
    source.addEventListener("changed", changed);
    // The browser's own retry gives up on an HTTP error, such as a proxy's 502 while the server restarts: we never do.
    source.addEventListener("error", () => {
      source?.close();
      if (stopped) return;
      liveness("connecting");
      const wait = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] ?? 10_000;
      failures += 1;
      clearTimeout(retry);
      retry = setTimeout(open, wait);
    });
  };

  const poll = setInterval(() => {
    if (source?.readyState !== EventSource.OPEN) changed();
  }, POLL_MS);

  liveness("connecting");
  open();
  return () => {
    stopped = true;
    source?.close();
    clearTimeout(retry);
    clearInterval(poll);
  };
}

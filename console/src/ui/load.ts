/** Loading from the server, with what every page shows of it: nothing yet, a problem, or a value. */

import { useCallback, useEffect, useRef, useState } from "react";
import { Problem, serverNow } from "../api/client";

export interface Loaded<T> {
  readonly value: T | undefined;
  readonly problem: Problem | undefined;
  readonly loading: boolean;
  readonly reload: () => void;
}

/** Loads when `key` changes and on `reload`. A value stays while it is reloaded; a late answer to an earlier question is dropped. */
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [shown, setShown] = useState<{ key: string; value?: T; problem?: Problem }>({ key });
  const [count, setCount] = useState(0);
  const latest = useRef(load);
  latest.current = load;

  useEffect(() => {
    const abort = new AbortController();
    latest.current(abort.signal).then(
      (value) => {
        if (!abort.signal.aborted) setShown({ key, value });
      },
      (cause: unknown) => {
        if (abort.signal.aborted) return;
        const problem = Problem.of(cause);
        setShown((before) => (before.key === key && before.value !== undefined ? { key, value: before.value, problem } : { key, problem }));
      },
    );
    return () => abort.abort();
  }, [key, count]);

  const reload = useCallback(() => setCount((n) => n + 1), []);
  const current = shown.key === key ? shown : undefined;
  const value = current?.value;
  return { value, problem: current?.problem, loading: value === undefined && current?.problem === undefined, reload };
}

/** Reloads every `everyMs` while `active`: for what the server has no events for. */
export function usePoll(active: boolean, reload: () => void, everyMs: number): void {
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(reload, everyMs);
    return () => clearInterval(timer);
  }, [active, reload, everyMs]);
}

/** The server's time, again every `everyMs`. */
export function useNow(everyMs = 1000): number {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    const timer = setInterval(() => setNow(serverNow()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

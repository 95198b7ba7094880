/** Times and durations, for people. */

/** Milliseconds since the epoch; `undefined` where the text is no time. */
export function millis(time: string | null | undefined): number | undefined {
  if (!time) return undefined;
  const at = Date.parse(time);
  return Number.isNaN(at) ? undefined : at;
}

/** How long until a deadline, and how urgent that is. */
export interface Countdown {
  readonly text: string;
  /** `soon` below a fifth of the whole time, or below two minutes. */
  readonly level: "calm" | "soon" | "over";
  /** What is left of the whole time, 0 to 1. */
  readonly share: number;
}

export function countdown(openedAt: string, deadline: string, now: number): Countdown {
  const [from, to] = [millis(openedAt), millis(deadline)];
  if (to === undefined) return { text: "no deadline", level: "calm", share: 1 };
  const left = to - now;
  if (left <= 0) return { text: "deadline passed", level: "over", share: 0 };
  const whole = Math.max(1, to - (from ?? now));
  const share = Math.min(1, left / whole);
  return { text: `${clock(left)} left`, level: left < 120_000 || share < 0.2 ? "soon" : "calm", share };
}

/** `2d 4h`, `3h 05m`, `4m 09s`, `12s`: the two largest units; rounded up, so that zero means over. */
export function clock(ms: number): string {
  const secs = Math.ceil(ms / 1000);
  const [days, hours, minutes, seconds] = [Math.floor(secs / 86_400), Math.floor(secs / 3600) % 24, Math.floor(secs / 60) % 60, secs % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  if (days > 0) return `${days}d ${hours}h`;
  if (hours > 0) return `${hours}h ${two(minutes)}m`;
  if (minutes > 0) return `${minutes}m ${two(seconds)}s`;
  return `${seconds}s`;
}

/** A measured duration: `<1 ms`, `12 ms`, `1.4 s`, `3m 20s`. */
export function duration(ms: number): string {
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  return clock(ms);
}

/** `just now`, `4 min ago`, `3 h ago`, `2 d ago`. */
export function ago(time: string, now: number): string {
  const at = millis(time);
  if (at === undefined) return time;
  const secs = Math.round((now - at) / 1000);
  if (secs < 10) return "just now";
  if (secs < 60) return `${secs} s ago`;
  if (secs < 3600) return `${Math.floor(secs / 60)} min ago`;
  if (secs < 86_400) return `${Math.floor(secs / 3600)} h ago`;
  return `${Math.floor(secs / 86_400)} d ago`;
}

/** Local date and time to the second. */
export function moment(time: string): string {
  const at = millis(time);
  return at === undefined ? time : new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** Local time of day to the second. */
export function timeOfDay(time: string): string {
  const at = millis(time);
  return at === undefined ? time : new Date(at).toLocaleTimeString(undefined, { hour12: false });
}

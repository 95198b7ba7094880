/** Windows of days. A day is a text, `2026-11-28`; the server knows whose days they are. */

export type Step = "day" | "week" | "month";
export type Preset = "7d" | "30d" | "90d" | "12m" | "all" | "custom";

/** What a page shows: the days from one to another, both included. `to` is left out where it is today, whatever today is in any zone. */
export interface Window {
  readonly from: string;
  readonly to?: string;
  readonly step: Step;
}

const DAY_MS = 86_400_000;

function parsed(day: string): number | undefined {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(day)) return undefined;
  const at = Date.parse(`${day}T00:00:00Z`);
  // A browser makes the third of March of the thirtieth of February.
  return Number.isNaN(at) || text(at) !== day ? undefined : at;
}

function text(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

/** The day in UTC. */
export function today(now: number): string {
  return text(now);
}

/** So many days later. */
export function plusDays(day: string, days: number): string {
  return text((parsed(day) ?? 0) + days * DAY_MS);
}

/** The step that gives a window some tens of columns. */
function stepOf(days: number): Step {
  return days <= 62 ? "day" : days <= 370 ? "week" : "month";
}

/** The window of a choice; `undefined` where it is none: a day that is none, or an end before its beginning. */
export function windowOf(preset: Preset, now: number, custom: { from: string; to: string } = { from: "", to: "" }): Window | undefined {
  const day = today(now);
  switch (preset) {
    case "7d":
      return { from: plusDays(day, -6), step: "day" };
    case "30d":
      return { from: plusDays(day, -29), step: "day" };
    case "90d":
      return { from: plusDays(day, -89), step: "week" };
    case "12m": {
      const date = new Date(now);
      return { from: text(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() - 11, 1)), step: "month" };
    }
    case "all":
      return { from: "0001-01-01", step: "month" };
    case "custom": {
      const [from, to] = [parsed(custom.from), parsed(custom.to)];
      if (from === undefined || to === undefined || from > to) return undefined;
      return { from: custom.from, to: custom.to, step: stepOf((to - from) / DAY_MS + 1) };
    }
  }
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** How a step is called under a chart: `28 Nov`, `Nov 2026`. */
export function stepName(first: string, step: Step): string {
  const [year = "", month = "", day = ""] = first.split("-");
  const name = MONTHS[Number(month) - 1] ?? month;
  return step === "month" ? `${name} ${year}` : `${Number(day)} ${name}`;
}

/** How a step is called where there is room: `28 Nov 2026`, `week of 23 Nov 2026`, `Nov 2026`. */
export function stepTitle(first: string, step: Step): string {
  if (step === "month") return stepName(first, step);
  return `${step === "week" ? "week of " : ""}${stepName(first, step)} ${first.slice(0, 4)}`;
}

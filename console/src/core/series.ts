/** Usage over time as something to draw: what is stacked, how high, and in which words. */

import { column, fromMicros, micros, money } from "./money";

export type Measure = "cost" | "events" | "units";

/** What was used, as the server says it. */
export interface Used {
  readonly events: number;
  readonly units?: string | null;
  readonly cost: string;
}

export interface Series {
  /** Which; none of all the others together. */
  readonly key?: string | null;
  readonly total: Used;
  readonly points: readonly Used[];
}

/** Most series that have a colour of their own; the rest is one grey one. */
export const COLOURS = 7;

/** Exact amounts as integers of millionths: units beyond six places are cut for drawing, never for reading. */
function amount(used: Used, measure: Measure): bigint {
  switch (measure) {
    case "cost":
      return micros(used.cost) ?? 0n;
    case "events":
      return BigInt(used.events) * 1_000_000n;
    case "units":
      return micros(/^-?\d+(?:\.\d{1,6})?/.exec(used.units ?? "0")?.[0]) ?? 0n;
  }
}

/** How much of a measure, to compare shares by. */
export function share(used: Used, measure: Measure): bigint {
  return amount(used, measure);
}

/** A sum of exact decimal texts of any length; `undefined` where one is no decimal. */
export function addDecimals(texts: readonly (string | null | undefined)[]): string | undefined {
  let [sum, places] = [0n, 0];
  for (const text of texts) {
    const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text ?? "");
    if (!match) return undefined;
    const fraction = match[3] ?? "";
    const more = BigInt((match[1] ?? "") + (match[2] ?? "0") + fraction);
    const wider = Math.max(places, fraction.length);
    sum = sum * 10n ** BigInt(wider - places) + more * 10n ** BigInt(wider - fraction.length);
    places = wider;
  }
  const digits = (sum < 0n ? -sum : sum).toString().padStart(places + 1, "0");
  const [whole, fraction] = [digits.slice(0, digits.length - places), digits.slice(digits.length - places).replace(/0+$/, "")];
  return `${sum < 0n ? "-" : ""}${whole}${fraction === "" ? "" : `.${fraction}`}`;
}

function together(all: readonly Used[]): Used {
  const cost = all.reduce((sum, used) => sum + (micros(used.cost) ?? 0n), 0n);
  return { events: all.reduce((sum, used) => sum + used.events, 0), units: addDecimals(all.map((used) => used.units)) ?? null, cost: fromMicros(cost) };
}

/** The most of a measure first; what comes after the last colour is one series without a key. */
export function folded(series: readonly Series[], measure: Measure, most = COLOURS): Series[] {
  const size = (one: Series) => amount(one.total, measure);
  const ordered = [...series].sort((a, b) => Number(a.key == null) - Number(b.key == null) || (size(a) > size(b) ? -1 : size(a) < size(b) ? 1 : 0));
  if (ordered.length <= most + 1 && ordered.slice(most).every((one) => one.key == null)) return ordered;
  const rest = ordered.slice(most);
  const points = (rest[0]?.points ?? []).map((_, at) => together(rest.map((one) => one.points[at] ?? { events: 0, units: "0", cost: "0" })));
  return [...ordered.slice(0, most), { key: null, total: together(rest.map((one) => one.total)), points }];
}

/** One column: the parts of it from below, as shares of the chart's height. */
export interface Column {
  readonly parts: readonly { readonly series: number; readonly from: number; readonly to: number }[];
}

export interface Stack {
  readonly columns: readonly Column[];
  /** From nothing upwards, as shares of the height, with their words. */
  readonly ticks: readonly { readonly at: number; readonly text: string }[];
  readonly isEmpty: boolean;
}

/** The next of 1, 2, 5, 10, 20 … at or above. */
export function niceStep(least: bigint): bigint {
  let unit = 1n;
  while (unit * 10n < least) unit *= 10n;
  for (const times of [1n, 2n, 5n]) if (unit * times >= least) return unit * times;
  return unit * 10n;
}

/** Columns of what is above nothing: usage that was taken back draws no column. */
export function stacked(series: readonly Series[], steps: number, measure: Measure): Stack {
  const heights = Array.from({ length: steps }, (_, at) => series.map((one) => {
    const height = one.points[at] ? amount(one.points[at], measure) : 0n;
    return height > 0n ? height : 0n;
  }));
  const tallest = heights.reduce((most, parts) => {
    const whole = parts.reduce((sum, part) => sum + part, 0n);
    return whole > most ? whole : most;
  }, 0n);
  const least = measure === "events" ? 1_000_000n : 1n;
  const step = niceStep(tallest / 4n > least ? (tallest + 3n) / 4n : least);
  const count = tallest === 0n ? 1n : (tallest + step - 1n) / step;
  const top = step * count;
  const share = (value: bigint) => Number((value * 1_000_000n) / top) / 1_000_000;
  const columns = heights.map((parts) => {
    let below = 0n;
    return {
      parts: parts.flatMap((part, at) => {
        const from = below;
        below += part;
        return part === 0n ? [] : [{ series: at, from: share(from), to: share(below) }];
      }),
    };
  });
  const values = Array.from({ length: Number(count) + 1 }, (_, at) => step * BigInt(at));
  const amounts = column(values.slice(1).map(fromMicros));
  const ticks = values.map((value, at) => {
    // Parts of a unit all have the same places; nothing needs none.
    const text = measure === "cost" && step % 1_000_000n !== 0n && value > 0n ? amounts(fromMicros(value)) : short(value);
    return { at: at / Number(count), text };
  });
  return { columns, ticks, isEmpty: tallest === 0n };
}

const SUFFIXES = [[1_000_000_000_000n, "T"], [1_000_000_000n, "G"], [1_000_000n, "M"], [1_000n, "k"]] as const;

/** A tick: `0`, `0.25`, `12`, `1.5k`, `20M`. Ticks are round, so that few digits say all. */
function short(value: bigint): string {
  const whole = value / 1_000_000n;
  for (const [size, suffix] of SUFFIXES) {
    if (whole >= size * 10n || (whole >= size && whole % size === 0n)) return `${trimmed(fromMicros(value / size))}${suffix}`;
  }
  return trimmed(fromMicros(value));
}

function trimmed(text: string): string {
  return text.replace(/\.?0+$/, "");
}

/** A whole or decimal number with groups of three. */
export function grouped(text: string): string {
  const match = /^(-?\d+)(\.\d+)?$/.exec(text);
  return match ? `${(match[1] ?? "").replace(/\B(?=(\d{3})+$)/g, "\u202f")}${match[2] ?? ""}` : text;
}

/** What was used, in words that lose nothing; a dash where units do not add up. */
export function said(used: Used, measure: Measure): string {
  switch (measure) {
    case "cost":
      return money(used.cost);
    case "events":
      return grouped(String(used.events));
    case "units":
      return used.units == null ? "–" : grouped(used.units);
  }
}

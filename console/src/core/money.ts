/** Amounts are exact decimal texts with up to six places. They are compared and divided as integers of micros, never as floats. */

/** Micros of an amount; `undefined` where the text is none. */
export function micros(amount: string | null | undefined): bigint | undefined {
  const match = /^(-?)(\d+)(?:\.(\d{1,6}))?$/.exec(amount ?? "");
  if (!match) return undefined;
  const value = BigInt(match[2] ?? "0") * 1_000_000n + BigInt((match[3] ?? "").padEnd(6, "0"));
  return match[1] === "-" ? -value : value;
}

/** An amount with at least two places and no needless zeros after them. */
export function money(amount: string | null | undefined): string {
  const match = /^(-?\d+)(?:\.(\d+))?$/.exec(amount ?? "");
  if (!match) return amount ?? "";
  const places = (match[2] ?? "").replace(/0+$/, "").padEnd(2, "0");
  return `${(match[1] ?? "").replace(/\B(?=(\d{3})+$)/g, "\u202f")}.${places}`;
}

/** How amounts of one column are written: all with the places of the one that has most, so that their points stand below each other. */
export function column(amounts: readonly (string | null | undefined)[]): (amount: string | null | undefined) => string {
  const places = (shown: string) => shown.length - shown.indexOf(".") - 1;
  const most = amounts.reduce((wide, amount) => (micros(amount) === undefined ? wide : Math.max(wide, places(money(amount)))), 2);
  return (amount) => {
    const shown = money(amount);
    return micros(amount) === undefined ? shown : shown + "0".repeat(Math.max(0, most - places(shown)));
  };
}

/** `part` of `whole` in percent, 0 to 100. */
export function percent(part: bigint | undefined, whole: bigint | undefined): number {
  if (part === undefined || whole === undefined || whole <= 0n || part <= 0n) return 0;
  return part >= whole ? 100 : Number((part * 10_000n) / whole) / 100;
}

/** The text of an amount in micros. */
export function fromMicros(value: bigint): string {
  const sign = value < 0n ? "-" : "";
  const digits = (value < 0n ? -value : value).toString().padStart(7, "0");
  return `${sign}${digits.slice(0, -6)}.${digits.slice(-6)}`;
}

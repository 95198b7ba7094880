/** The events behind a line of an invoice: those of its metric, in its group. */

/** A property as groups compare it: a string itself, numbers and truth values as JSON writes them; none for anything else. */
function text(value: unknown): string | null {
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "boolean" ? JSON.stringify(value) : null;
}

/** Whether an event is in the group of a line, by the line's own keys. */
export function isOf(group: Readonly<Record<string, string | null>>, properties: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(group).every(([key, value]) => text(properties[key]) === value);
}

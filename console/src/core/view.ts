/** What an approver is shown who may not see every argument: the text of `{action, digest, hidden}`. */

export interface View {
  readonly digest: string;
  readonly hidden: readonly string[];
}

/** The digest of the whole action and the names of what is hidden; undefined where the text is no view. */
export function viewed(text: string): View | undefined {
  try {
    const read = JSON.parse(text) as { digest?: unknown; hidden?: unknown };
    if (typeof read.digest !== "string" || !Array.isArray(read.hidden)) return undefined;
    return { digest: read.digest, hidden: read.hidden.filter((name): name is string => typeof name === "string") };
  } catch {
    return undefined;
  }
}

/** What differs between two JSON texts, member by member. */

export interface Change {
  /** Where, such as `arguments.to[0]`. */
  readonly path: string;
  /** JSON text; absent where there was nothing. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** Every place whose value differs, in the order of the paths. A text that is no JSON differs as a whole. */
export function changes(before: string, after: string): Change[] {
  const [old, now] = [leaves(before), leaves(after)];
  const paths = [...new Set([...old.keys(), ...now.keys()])].sort();
  return paths.map((path) => ({ path, before: old.get(path), after: now.get(path) })).filter((change) => change.before !== change.after);
}

function leaves(text: string): Map<string, string> {
  const found = new Map<string, string>();
  const walk = (value: unknown, path: string) => {
    const members: [string, unknown][] = Array.isArray(value)
      ? value.map((item, at) => [`${path}[${at}]`, item])
      : typeof value === "object" && value !== null
        ? Object.entries(value).map(([name, item]) => [path === "" ? name : `${path}.${name}`, item])
        : [];
    if (members.length === 0) found.set(path, JSON.stringify(value));
    for (const [at, item] of members) walk(item, at);
  };
  try {
    walk(JSON.parse(text), "");
  } catch {
    found.set("", text);
  }
  return found;
}

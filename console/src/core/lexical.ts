/**
 * Lays out JSON text for reading without parsing it.
 *
 * Parsing and printing again would round numbers and drop repeated keys: an approver would read something else than the bytes that the
 * digest covers. Here the text is only cut into tokens; line breaks are put between tokens, and every token is a slice of the text.
 */

export type TokenKind = "key" | "string" | "number" | "word" | "punctuation" | "space" | "other";

export interface Token {
  readonly kind: TokenKind;
  /** The exact characters, strings with their quotes and escapes. */
  readonly text: string;
}

/** A line of the layout: how deep it is indented, and its tokens. */
export interface Line {
  readonly depth: number;
  readonly tokens: readonly Token[];
}

/** `other` takes any single character, so that every text is covered to its end. */
const TOKEN = /("(?:[^"\\]|\\[\s\S])*")|(-?\d[\d.eE+-]*)|([a-z]+)|([{}[\],:])|([ \t\r\n]+)|([\s\S])/gy;

/** Cuts the text into tokens. Joined again they are the text, whatever it is. */
export function tokens(text: string): Token[] {
  const found: Token[] = [];
  for (const match of text.matchAll(TOKEN)) {
    const [all, string, number, word, punctuation, space] = match;
    const kind: TokenKind =
      string !== undefined ? "string" : number !== undefined ? "number" : word !== undefined ? "word"
      : punctuation !== undefined ? "punctuation" : space !== undefined ? "space" : "other";
    found.push({ kind, text: all });
  }
  return found.map((token, at) => (token.kind === "string" && followedByColon(found, at) ? { ...token, kind: "key" } : token));
}

function followedByColon(all: readonly Token[], at: number): boolean {
  const next = all[at + 1]?.kind === "space" ? all[at + 2] : all[at + 1];
  return next?.text === ":";
}

/** Puts line breaks between tokens: one member or element on each line, empty containers on one. */
export function lines(text: string): Line[] {
  const all = tokens(text);
  const done: Line[] = [];
  let line: Token[] = [];
  let depth = 0;
  const end = (next: number) => {
    if (line.length > 0) done.push({ depth, tokens: line });
    line = [];
    depth = Math.max(0, next);
  };
  all.forEach((token, at) => {
    const opens = token.text === "{" || token.text === "[";
    const closes = token.kind === "punctuation" && (token.text === "}" || token.text === "]");
    const before = all[at - 1]?.text;
    const empty = closes && (before === "{" || before === "[");
    if (closes && !empty) end(depth - 1);
    line.push(token);
    if (token.kind === "punctuation" && opens && !isClosing(all[at + 1])) end(depth + 1);
    if (token.kind === "punctuation" && token.text === ",") end(depth);
  });
  end(depth);
  return done;
}

function isClosing(token: Token | undefined): boolean {
  return token?.kind === "punctuation" && (token.text === "}" || token.text === "]");
}

/** The parts of a string token: what stands between escapes, and the escapes, each as it is written. */
export function escapes(text: string): { readonly text: string; readonly escape: boolean }[] {
  return [...text.matchAll(/(\\u[0-9a-fA-F]{4}|\\[\s\S])|([^\\]+|\\$)/g)].map((match) => ({
    text: match[0],
    escape: match[1] !== undefined && match[0] !== '\\"' && match[0] !== "\\\\",
  }));
}

/** How many escapes of a JSON text stand for control characters other than line feed and tab. */
export function controlEscapes(text: string): number {
  const strings = tokens(text).filter((token) => token.kind === "string" || token.kind === "key");
  return strings.flatMap((token) => escapes(token.text)).filter((piece) => piece.escape && !isLayout(piece.text)).length;
}

/** Whether an escape is a line feed or a tab, which texts have for good reasons. */
export function isLayout(escape: string): boolean {
  return escape === "\\n" || escape === "\\t";
}

/**
 * Makes every character of a text visible.
 *
 * What an approver reads must be what the digest covers. Characters that draw nothing, reorder their neighbours or look like a plain
 * space are split off and named; nothing is removed, so the pieces joined again are the text.
 */

/** A piece of a text. */
export type Piece =
  /** Characters that look like what they are. */
  | { readonly kind: "plain"; readonly text: string }
  /** One character that does not: `label` is what to draw in its place, `name` what to say about it. */
  | { readonly kind: "mark"; readonly text: string; readonly label: string; readonly name: string; readonly danger: boolean }
  /** A word that mixes letters of scripts that look alike, such as a Cyrillic `а` in a Latin word. */
  | { readonly kind: "mixed"; readonly text: string; readonly scripts: string };

/** Names of the characters seen most often in attacks; all others are named by their number. */
const NAMES: ReadonlyMap<number, readonly [label: string, name: string]> = new Map([
  [0x00, ["NUL", "null"]],
  [0x08, ["BS", "backspace"]],
  [0x09, ["TAB", "tab"]],
  [0x0a, ["LF", "line feed"]],
  [0x0d, ["CR", "carriage return"]],
  [0x1b, ["ESC", "escape: begins terminal commands"]],
  [0x7f, ["DEL", "delete"]],
  [0xa0, ["NBSP", "no-break space"]],
  [0xad, ["SHY", "soft hyphen: usually invisible"]],
  [0x034f, ["CGJ", "combining grapheme joiner: invisible"]],
  [0x061c, ["ALM", "Arabic letter mark: changes text direction"]],
  [0x115f, ["HCF", "Hangul choseong filler: invisible"]],
  [0x1160, ["HJF", "Hangul jungseong filler: invisible"]],
  [0x180e, ["MVS", "Mongolian vowel separator: invisible"]],
  [0x200b, ["ZWSP", "zero width space"]],
  [0x200c, ["ZWNJ", "zero width non-joiner"]],
  [0x200d, ["ZWJ", "zero width joiner"]],
  [0x200e, ["LRM", "left-to-right mark"]],
  [0x200f, ["RLM", "right-to-left mark"]],
  [0x2028, ["LSEP", "line separator"]],
  [0x2029, ["PSEP", "paragraph separator"]],
  [0x202a, ["LRE", "left-to-right embedding"]],
  [0x202b, ["RLE", "right-to-left embedding"]],
  [0x202c, ["PDF", "pop directional formatting"]],
  [0x202d, ["LRO", "left-to-right override"]],
  [0x202e, ["RLO", "right-to-left override: shows what follows backwards"]],
  [0x2060, ["WJ", "word joiner: invisible"]],
  [0x2066, ["LRI", "left-to-right isolate"]],
  [0x2067, ["RLI", "right-to-left isolate"]],
  [0x2068, ["FSI", "first strong isolate"]],
  [0x2069, ["PDI", "pop directional isolate"]],
  [0x2800, ["BLANK", "Braille blank: looks like a space"]],
  [0x3000, ["IDSP", "ideographic space"]],
  [0x3164, ["HF", "Hangul filler: invisible"]],
  [0xfe0f, ["VS16", "variation selector: invisible"]],
  [0xfeff, ["BOM", "byte order mark: invisible"]],
  [0xfffd, ["REPL", "replacement character: the original is not text"]],
]);

/** Draws nothing, moves its neighbours, or looks like a plain space without being one. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800\ufffd]|(?! )\p{Zs}/u;
const COMBINING = /\p{M}/u;
/** More marks than this on one letter can paint over the lines around it. */
const COMBINING_MAX = 2;

const WORD = /[\p{L}\p{M}\p{N}_]+/gu;
const LOOKALIKE_SCRIPTS = [
  ["Latin", /\p{Script=Latin}/u],
  ["Cyrillic", /\p{Script=Cyrillic}/u],
  ["Greek", /\p{Script=Greek}/u],
  ["Armenian", /\p{Script=Armenian}/u],
  ["Cherokee", /\p{Script=Cherokee}/u],
] as const;

/** The character's number as Unicode writes it. */
export function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function mark(character: string): Piece {
  const code = character.codePointAt(0) ?? 0;
  const number = codePoint(character);
  const known = NAMES.get(code);
  // Tags U+E0020…U+E007E are invisible copies of ASCII: what they spell matters.
  const tag = code >= 0xe0020 && code <= 0xe007e ? String.fromCodePoint(code - 0xe0000) : undefined;
  const label = known?.[0] ?? (tag === undefined ? number : `TAG ${tag}`);
  const name = known?.[1] ?? (tag === undefined ? describe(character) : `invisible tag character for “${tag}”`);
  return { kind: "mark", text: character, label, name: `${number} ${name}`, danger: !(code === 0x0a || code === 0x09) };
}

function describe(character: string): string {
  if (/\p{Cc}/u.test(character)) return "control character";
  if (/\p{Zs}/u.test(character)) return "a space that is not the plain one";
  if (/\p{Co}/u.test(character)) return "private use: its look depends on the font";
  if (/\p{Cs}/u.test(character)) return "half of a character";
  if (/\p{Cn}/u.test(character)) return "not a character";
  if (COMBINING.test(character)) return "stacked combining mark";
  return "invisible character";
}

/** Splits a text into what can be shown as it is and what must be named. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let plain = "";
  let marks = 0;
  const flush = () => {
    if (plain !== "") found.push(...words(plain));
    plain = "";
  };
  for (const character of text) {
    marks = COMBINING.test(character) ? marks + 1 : 0;
    if (HIDDEN.test(character) || marks > COMBINING_MAX) {
      flush();
      found.push(mark(character));
    } else {
      plain += character;
    }
  }
  flush();
  return found;
}

function words(text: string): Piece[] {
  const found: Piece[] = [];
  let from = 0;
  for (const match of text.matchAll(WORD)) {
    const scripts = LOOKALIKE_SCRIPTS.filter(([, script]) => script.test(match[0])).map(([name]) => name);
    if (scripts.length < 2) continue;
    if (match.index > from) found.push({ kind: "plain", text: text.slice(from, match.index) });
    found.push({ kind: "mixed", text: match[0], scripts: scripts.join(" and ") });
    from = match.index + match[0].length;
  }
  if (from < text.length) found.push({ kind: "plain", text: text.slice(from) });
  return found;
}

/** How many pieces of a text deserve a warning. */
export function warnings(found: readonly Piece[]): number {
  return found.filter((piece) => piece.kind === "mixed" || (piece.kind === "mark" && piece.danger)).length;
}

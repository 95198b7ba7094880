import { describe, expect, it } from "vitest";
import { type Piece, pieces, warnings } from "../../src/core/visible";

const drawn = (text: string) => pieces(text).map((piece) => (piece.kind === "mark" ? `<${piece.label}>` : piece.text)).join("");
const joined = (found: readonly Piece[]) => found.map((piece) => piece.text).join("");

describe("visible characters", () => {
  it("leaves ordinary text of any script as it is", () => {
    for (const text of ["pay_invoice", "naïve café", "Zażółć gęślą jaźń", "支払い 100 €", "שלום", "привет мир", "🙂"]) {
      expect(pieces(text)).toEqual([{ kind: "plain", text }]);
    }
  });

  it.each([
    ["right-to-left override", "invoice\u202efdp.exe", "invoice<RLO>fdp.exe"],
    ["isolates", "a\u2066b\u2069", "a<LRI>b<PDI>"],
    ["zero width space", "api\u200b.example.com", "api<ZWSP>.example.com"],
    ["zero width joiner", "a\u200db", "a<ZWJ>b"],
    ["soft hyphen", "pay\u00adpal", "pay<SHY>pal"],
    ["no-break space", "rm\u00a0-rf", "rm<NBSP>-rf"],
    ["ideographic space", "a\u3000b", "a<IDSP>b"],
    ["Hangul filler, a letter by its category", "a\u3164b", "a<HF>b"],
    ["Braille blank, a symbol by its category", "a\u2800b", "a<BLANK>b"],
    ["byte order mark", "\ufeffa", "<BOM>a"],
    ["escape", "\u001b[2J", "<ESC>[2J"],
    ["delete", "a\u007f", "a<DEL>"],
    ["a C1 control", "a\u0085b", "a<U+0085>b"],
    ["carriage return", "safe\rrm", "safe<CR>rm"],
    ["line separator", "a\u2028b", "a<LSEP>b"],
    ["private use", "a\ue000", "a<U+E000>"],
    ["half of a surrogate pair", "a\ud800b", "a<U+D800>b"],
    ["variation selector", "a\ufe0f", "a<VS16>"],
    ["tags, which spell invisible ASCII", "\u{e0068}\u{e0069}", "<TAG h><TAG i>"],
    ["replacement character", "a\ufffd", "a<REPL>"],
  ])("names a %s", (_, text, expected) => {
    expect(drawn(text)).toBe(expected);
    expect(warnings(pieces(text))).toBeGreaterThan(0);
  });

  it("draws accents, and names the marks that would paint over other lines", () => {
    expect(drawn("e\u0301")).toBe("e\u0301");
    expect(drawn("e\u0301\u0302\u0303\u0304")).toBe("e\u0301\u0302<U+0303><U+0304>");
  });

  it("flags a word that mixes scripts which look alike, and no other word", () => {
    expect(pieces("to pаypal now")).toEqual([
      { kind: "plain", text: "to " },
      { kind: "mixed", text: "pаypal", scripts: "Latin and Cyrillic" },
      { kind: "plain", text: " now" },
    ]);
    expect(warnings(pieces("hello мир"))).toBe(0);
  });

  it("takes line feeds and tabs for what they are, without a warning", () => {
    expect(drawn("a\n\tb")).toBe("a<LF><TAB>b");
    expect(warnings(pieces("a\n\tb"))).toBe(0);
  });

  it("loses nothing: the pieces joined are the text", () => {
    // Every code point up to the end of the Basic Multilingual Plane, then a sample of the rest.
    for (let from = 0; from < 0x110000; from += from < 0x10000 ? 0x100 : 0x1337) {
      let text = "x";
      for (let code = from; code < Math.min(from + 0x100, 0x110000); code += 1) text += String.fromCodePoint(code);
      expect(joined(pieces(text)) === text, `from U+${from.toString(16)}`).toBe(true);
    }
  });
});

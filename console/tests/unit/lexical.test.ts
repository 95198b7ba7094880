import { describe, expect, it } from "vitest";
import { controlEscapes, escapes, lines, tokens } from "../../src/core/lexical";

const joined = (text: string) => lines(text).flatMap((line) => line.tokens).map((token) => token.text).join("");
const laidOut = (text: string) => lines(text).map((line) => "  ".repeat(line.depth) + line.tokens.map((token) => token.text).join("")).join("\n");

describe("layout of canonical JSON", () => {
  it("puts each member on its line", () => {
    expect(laidOut('{"a":[1,{"b":null}],"c":{},"d":[]}')).toBe(
      ["{", '  "a":[', "    1,", "    {", '      "b":null', "    }", "  ],", '  "c":{},', '  "d":[]', "}"].join("\n"),
    );
  });

  it("tells keys from strings", () => {
    expect(tokens('{"a":"b"}').map((token) => token.kind)).toEqual(["punctuation", "key", "punctuation", "string", "punctuation"]);
  });

  it("keeps what parsing would lose: repeated names and digits past a float", () => {
    const text = '{"amount":1,"amount":12345678901234567890.123}';
    expect(joined(text)).toBe(text);
    expect(laidOut(text)).toContain("12345678901234567890.123");
  });

  it("shows every character of any text, JSON or not", () => {
    for (const text of ['{"a":"}{[]\\",:"}', '"unterminated', "}}}]", "{", "", '{"a" : 1 }', "\u202e{}", '{"a":"\\', "ABC<>"]) {
      expect(joined(text)).toBe(text);
    }
  });

  it("does not take brackets in strings for structure", () => {
    expect(lines('{"a":"{[,]}"}')).toHaveLength(3);
  });

  it("separates escapes from text, and leaves escaped quotes and backslashes in it", () => {
    expect(escapes('"a\\nb\\u001b\\"\\\\n"').filter((piece) => piece.escape).map((piece) => piece.text)).toEqual(["\\n", "\\u001b"]);
    expect(escapes('"a\\nb\\u001b\\"\\\\n"').map((piece) => piece.text).join("")).toBe('"a\\nb\\u001b\\"\\\\n"');
  });

  it("counts control characters, not line feeds, nor text that only looks like an escape", () => {
    expect(controlEscapes('{"a":"x\\u001b[2J\\r\\n\\t"}')).toBe(2);
    expect(controlEscapes('{"a":"\\\\u001b"}')).toBe(0);
  });
});

import { expect, test } from "vitest";
import { cents } from "../../src/core/cents";

test("amounts are shown with the decimals of their currency", () => {
  const space = "\u202f";
  expect(cents(123_456, "EUR")).toBe(`1${space}234.56 EUR`);
  expect(cents(5, "EUR")).toBe("0.05 EUR");
  expect(cents(-1_234_567, "JPY")).toBe(`-1${space}234${space}567 JPY`);
  expect(cents(1_500, "KWD")).toBe("1.500 KWD");
});

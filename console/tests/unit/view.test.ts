import { expect, test } from "vitest";
import { viewed } from "../../src/core/view";

test("a view says what is hidden and names the digest of the whole", () => {
  expect(viewed('{"action":{},"digest":"ab","hidden":["card"]}')).toEqual({ digest: "ab", hidden: ["card"] });
  for (const bad of ["", "[]", "null", '{"digest":1,"hidden":[]}', '{"digest":"ab"}', '{"digest":"ab","hidden":"card"}']) {
    expect(viewed(bad), bad).toBeUndefined();
  }
});

import { describe, expect, it } from "vitest";
import { type Bytes, canHash, fromHex, toHex, utf8 } from "../../src/core/bytes";
import { parseCheckpoint } from "../../src/core/checkpoint";
import { leafHash, nodeHash, proves, walk } from "../../src/core/merkle";

/** The reference tree of Certificate Transparency (google/certificate-transparency, merkletree tests): inputs, and roots of sizes 1 to 8. */
const INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS = [
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
/** The reference proofs of the same tests: leaf, size, path. */
const PATHS: readonly (readonly [leaf: number, size: number, path: readonly string[]])[] = [
  [0, 1, []],
  [0, 8, [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
  ]],
  [5, 8, [
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  ]],
  [2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]],
  [1, 5, [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
  ]],
];

const hex = (text: string): Bytes => {
  const bytes = fromHex(text);
  if (!bytes) throw new Error(`not hex: ${text}`);
  return bytes;
};

/** RFC 6962 section 2.1, word by word. */
async function root(leaves: readonly Bytes[]): Promise<Bytes> {
  const [only] = leaves;
  if (leaves.length === 1 && only) return only;
  const k = split(leaves.length);
  return nodeHash(await root(leaves.slice(0, k)), await root(leaves.slice(k)));
}
/** RFC 6962 section 2.1.1, word by word. */
async function path(at: number, leaves: readonly Bytes[]): Promise<Bytes[]> {
  if (leaves.length === 1) return [];
  const k = split(leaves.length);
  return at < k
    ? [...(await path(at, leaves.slice(0, k))), await root(leaves.slice(k))]
    : [...(await path(at - k, leaves.slice(k))), await root(leaves.slice(0, k))];
}
function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

describe("inclusion proofs", () => {
  it("can hash here", () => expect(canHash()).toBe(true));

  it("hashes leaves and nodes to the reference roots", async () => {
    const leaves = await Promise.all(INPUTS.map((input) => leafHash(hex(input))));
    for (const [at, expected] of ROOTS.entries()) expect(toHex(await root(leaves.slice(0, at + 1)))).toBe(expected);
  });

  it.each(PATHS)("accepts the reference proof of leaf %i in %i", async (leaf, size, proof) => {
    const walked = await walk(await leafHash(hex(INPUTS[leaf] ?? "")), leaf, size, proof.map(hex));
    expect(walked.steps).toHaveLength(proof.length);
    expect(proves(walked, hex(ROOTS[size - 1] ?? ""))).toBe(true);
  });

  it("accepts every proof of every small tree, and none that is changed", async () => {
    const leaves = await Promise.all(Array.from({ length: 20 }, (_, at) => leafHash(utf8(`entry ${at}`))));
    const other = await leafHash(utf8("other"));
    for (let size = 1; size <= leaves.length; size += 1) {
      const tree = leaves.slice(0, size);
      const top = await root(tree);
      for (const [at, leaf] of tree.entries()) {
        const proof = await path(at, tree);
        const name = `${at} in ${size}`;
        expect(proves(await walk(leaf, at, size, proof), top), name).toBe(true);
        expect(proves(await walk(other, at, size, proof), top), name).toBe(false);
        expect(proves(await walk(leaf, at, size, [...proof, top]), top), name).toBe(false);
        expect(proves(await walk(leaf, size, size, proof), top), name).toBe(false);
        if (proof.length > 0) {
          expect(proves(await walk(leaf, at, size, proof.slice(1)), top), name).toBe(false);
          expect(proves(await walk(leaf, at, size, proof.with(-1, other)), top), name).toBe(false);
        }
      }
    }
  });

  it("refuses a proof that ends below the root, even at a hash that was named as one", async () => {
    const [a, b] = [await leafHash(utf8("a")), await leafHash(utf8("b"))];
    const subtree = await nodeHash(a, b);
    expect(proves(await walk(a, 0, 2, [b]), subtree)).toBe(true);
    expect(proves(await walk(a, 0, 4, [b]), subtree)).toBe(false);
    expect(proves(await walk(a, 0, 2, []), a)).toBe(false);
  });

  it("refuses a hash of another length, and indices that are no numbers of a tree", async () => {
    const leaf = await leafHash(utf8("a"));
    const top = await nodeHash(leaf, leaf);
    expect((await walk(leaf, 0, 2, [leaf.slice(1)])).root).toBeUndefined();
    for (const [index, size] of [[-1, 2], [0.5, 2], [Number.NaN, 2], [0, 0], [0, Number.POSITIVE_INFINITY]] as const) {
      expect(proves(await walk(leaf, index, size, [leaf]), top)).toBe(false);
    }
  });

  it("keeps counting past 32 bits", async () => {
    const leaf = await leafHash(utf8("a"));
    const walked = await walk(leaf, 2 ** 40, 2 ** 40 + 1, [leaf]);
    expect(walked.steps.map((step) => step.side)).toEqual(["left"]);
    expect(proves(walked, await nodeHash(leaf, leaf))).toBe(true);
  });
});

describe("checkpoints", () => {
  const NOTE = `creto.local/log/default\n8\n${btoa(String.fromCharCode(...hex(ROOTS[7] ?? "")))}\n\n— creto.local/log/default AAAA\n— creto.local/log/default BBBB\n`;

  it("reads origin, size, root and who signed", () => {
    const checkpoint = parseCheckpoint(NOTE);
    expect([checkpoint?.origin, checkpoint?.size, toHex(checkpoint?.root ?? new Uint8Array())]).toEqual(["creto.local/log/default", 8, ROOTS[7]]);
    expect(checkpoint?.signers).toHaveLength(2);
  });

  it.each([["", "empty"], ["log\n08\nAAAA\n\n", "size"], ["log\n-1\nAAAA\n\n", "sign"], ["log\n1\nAAAA\n\n", "short root"], ["log\n1\n!!\n\n", "base64"]])(
    "refuses %j (%s)",
    (note) => expect(parseCheckpoint(note)).toBeUndefined(),
  );
});

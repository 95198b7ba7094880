/** Merkle inclusion proofs (RFC 6962 section 2.1; the walk is RFC 9162 section 2.1.3.2), kept step by step so that they can be shown. */

import { type Bytes, concat, equal, sha256 } from "./bytes";

/** One hash of the way from the leaf to the root. */
export interface Step {
  /** The neighbour's hash, from the proof. */
  readonly sibling: Bytes;
  /** On which side the neighbour stands. */
  readonly side: "left" | "right";
  /** What both give. */
  readonly hash: Bytes;
}

export interface Walk {
  readonly leaf: Bytes;
  readonly steps: readonly Step[];
  /** The root that the proof leads to; `undefined` where the proof's length does not fit the tree. */
  readonly root: Bytes | undefined;
}

/** `SHA-256(0x00 ‖ entry)`. */
export function leafHash(entry: Bytes): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(0), entry));
}

/** `SHA-256(0x01 ‖ left ‖ right)`. */
export function nodeHash(left: Bytes, right: Bytes): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(1), left, right));
}

/** Walks from leaf `index` of a tree of `size` leaves to its root. */
export async function walk(leaf: Bytes, index: number, size: number, proof: readonly Bytes[]): Promise<Walk> {
  const astray = (steps: readonly Step[]): Walk => ({ leaf, steps, root: undefined });
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) return astray([]);
  // Numbers are halved, not shifted: bit operations of this language end at 32 bits.
  let [node, last, hash] = [index, size - 1, leaf];
  const steps: Step[] = [];
  for (const sibling of proof) {
    if (last === 0 || sibling.length !== 32) return astray(steps);
    if (node % 2 === 1 || node === last) {
      hash = await nodeHash(sibling, hash);
      steps.push({ sibling, side: "left", hash });
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, Math.floor(last / 2)];
    } else {
      hash = await nodeHash(hash, sibling);
      steps.push({ sibling, side: "right", hash });
    }
    [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  }
  return { leaf, steps, root: last === 0 ? hash : undefined };
}

/** Whether a walk ends at this root. */
export function proves(walked: Walk, root: Uint8Array): boolean {
  return walked.root !== undefined && equal(walked.root, root);
}

/** Checkpoints (C2SP tlog-checkpoint): the text of a signed note whose first three lines are origin, size and root. */

import { type Bytes, fromBase64 } from "./bytes";

export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Bytes;
  /** Names of the keys whose signatures follow. The console shows them and leaves checking them to `creto audit verify`. */
  readonly signers: readonly string[];
}

/** Reads a checkpoint; `undefined` where the text is none. */
export function parseCheckpoint(note: string): Checkpoint | undefined {
  const [text, signatures] = note.split("\n\n", 2);
  const [origin, size, root64] = (text ?? "").split("\n");
  if (!origin || size === undefined || !/^(0|[1-9]\d{0,15})$/.test(size) || root64 === undefined) return undefined;
  const root = fromBase64(root64);
  if (root?.length !== 32) return undefined;
  const signers = (signatures ?? "").split("\n").filter((line) => line.startsWith("— ")).map((line) => line.split(" ")[1] ?? "");
  return { origin, size: Number(size), root, signers };
}

/** One entry of the log and the proof that it is in there, recomputed here. */

import { type ReactNode, useEffect, useState } from "react";
import { api } from "../api/client";
import type { ProvenLeaf } from "../api/types";
import { type Bytes, canHash, fromHex, toHex, utf8 } from "../core/bytes";
import { type Checkpoint, parseCheckpoint } from "../core/checkpoint";
import { type Walk, leafHash, proves, walk } from "../core/merkle";
import { href } from "../core/route";
import { moment } from "../core/time";
import { Canonical } from "../ui/canonical";
import { Icon } from "../ui/icons";
import { useLoad } from "../ui/load";
import { Await, Hash, Head, Skeleton, State, Visible, Who } from "../ui/parts";

export function Entry({ leaf }: { leaf: string }): ReactNode {
  const loaded = useLoad(`leaf ${leaf}`, (signal) => api.leaf(leaf, signal));
  return (
    <>
      <a className="back" href={href({ page: "audit" })}><Icon name="back" /> audit log</a>
      <Await loaded={loaded} rows={8}>{(proven) => <Proven proven={proven} />}</Await>
    </>
  );
}

function Proven({ proven }: { proven: ProvenLeaf }): ReactNode {
  const { entry: record, entry_text: text } = proven;
  return (
    <>
      <Head title={<>Entry #{proven.index}</>}>{record && <State state={record.decision} />}</Head>
      {record && (
        <dl className="facts">
          <div><dt>When</dt><dd>{moment(record.time)}</dd></div>
          <div><dt>Who</dt><dd><Who id={record.actor} /></dd></div>
          <div><dt>Did</dt><dd><code><Visible text={record.action} /></code></dd></div>
          <div><dt>To</dt><dd><Visible text={record.resource} /></dd></div>
          {record.phase && <div><dt>Phase</dt><dd>{record.phase.kind}</dd></div>}
        </dl>
      )}
      <Proof proven={proven} text={text} />
      <h2>The record</h2>
      <Canonical text={text} />
      <h2>Checkpoint</h2>
      <pre className="bytes checkpoint" tabIndex={0} aria-label="checkpoint"><Visible text={proven.checkpoint} /></pre>
      <p className="soft">
        Here its hashes are recomputed; its signatures, Ed25519 and ML-DSA-44, are checked by <code>creto audit verify</code>, on any machine.
      </p>
    </>
  );
}

interface Recomputed {
  readonly walked: Walk;
  readonly checkpoint: Checkpoint | undefined;
  /** Each condition of the proof in words, and whether it holds. */
  readonly conditions: readonly (readonly [text: string, holds: boolean])[];
}

async function recompute(proven: ProvenLeaf, text: string): Promise<Recomputed> {
  const checkpoint = parseCheckpoint(proven.checkpoint);
  const leaf = await leafHash(utf8(text));
  const hashes = proven.proof.map(fromHex);
  const whole = hashes.every((hash): hash is Bytes => hash !== undefined);
  // The tree's size is the signed one: what stands beside the proof could be anything.
  const walked = await walk(leaf, proven.index, checkpoint?.size ?? 0, whole ? (hashes as Bytes[]) : []);
  return {
    walked,
    checkpoint,
    conditions: [
      ["the record's hash is the leaf's", toHex(leaf) === proven.leaf_hash.toLowerCase()],
      ["the checkpoint can be read", checkpoint !== undefined],
      [`the proof fits entry ${proven.index} of ${checkpoint?.size ?? "?"}`, whole && walked.root !== undefined],
      ["it leads to the checkpoint's root", checkpoint !== undefined && proves(walked, checkpoint.root)],
    ],
  };
}

function Proof({ proven, text }: { proven: ProvenLeaf; text: string }): ReactNode {
  const [found, setFound] = useState<Recomputed>();
  useEffect(() => {
    let current = true;
    setFound(undefined);
    if (canHash()) void recompute(proven, text).then((done) => current && setFound(done));
    return () => {
      current = false;
    };
  }, [proven, text]);

  if (!canHash()) {
    return (
      <section className="verdict muted">
        <h2>Not recomputed</h2>
        <p>Browsers only hash on https: or on this machine. Use <code>creto audit verify</code>.</p>
      </section>
    );
  }
  if (!found) return <Skeleton rows={3} />;
  const holds = found.conditions.every(([, holds]) => holds);
  const { walked, checkpoint } = found;
  return (
    <>
      <section className={`verdict ${holds ? "good" : "bad"}`} role="status">
        <h2>
          <Icon name={holds ? "check" : "cross"} />
          {holds ? "This entry is in the log" : "The proof does not hold"}
        </h2>
        <p className="soft">Recomputed in this browser with SHA-256, not taken from the server.</p>
        <ul className="conditions">
          {found.conditions.map(([text, holds]) => (
            <li key={text} className={holds ? "good" : "bad"}>
              <Icon name={holds ? "check" : "cross"} /> {text}
            </li>
          ))}
        </ul>
      </section>
      <h2>The proof, step by step</h2>
      <ol className="proof">
        <li className="proof-leaf">
          <span className="proof-rule">SHA-256(00 ‖ record)</span>
          <Hash hex={toHex(walked.leaf)} />
        </li>
        {walked.steps.map((step, at) => (
          <li key={at}>
            <span className="proof-rule">
              SHA-256(01 ‖ {step.side === "left" ? <><b>sibling</b> ‖ above</> : <>above ‖ <b>sibling</b></>})
            </span>
            <span className="proof-sibling"><span className="soft">{step.side} sibling</span> <Hash hex={toHex(step.sibling)} /></span>
            <Hash hex={toHex(step.hash)} />
          </li>
        ))}
        <li className={holds ? "proof-root good" : "proof-root bad"}>
          <span className="proof-rule">root of {checkpoint?.size ?? "?"} entries in the checkpoint of {checkpoint?.origin ?? "an unknown log"}</span>
          {checkpoint && <Hash hex={toHex(checkpoint.root)} />}
          <span className="proof-verdict"><Icon name={holds ? "check" : "cross"} /> {holds ? "the same" : "not the same"}</span>
        </li>
      </ol>
    </>
  );
}

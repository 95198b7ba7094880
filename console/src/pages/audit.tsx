import { type ReactNode, useState } from "react";
import { Problem, api } from "../api/client";
import type { Leaf, LogReport } from "../api/types";
import { href } from "../core/route";
import { ago, moment } from "../core/time";
import { Icon } from "../ui/icons";
import { useLoad, useNow } from "../ui/load";
import { Await, Empty, Hash, Head, ProblemBox, State, Visible, Who } from "../ui/parts";

/** Entries on one page. */
const PAGE = 50;

/** The log: the newest entries first, in pages. */
export function Audit({ from, operator }: { from: number | undefined; operator: boolean }): ReactNode {
  const now = useNow(5000);
  const loaded = useLoad(`entries ${from ?? "newest"}`, async (signal) => {
    if (from !== undefined) return { from, ...(await api.entries(from, PAGE, signal)) };
    // How long the log is, is known only from an answer.
    const { size } = await api.entries(0, 1, signal);
    const start = Math.max(0, size - PAGE);
    return { from: start, ...(await api.entries(start, PAGE, signal)) };
  });
  return (
    <>
      <Head title="Audit log">
        {operator && <Verify />}
      </Head>
      <p className="soft lead">Every change leaves an entry in a Merkle tree. Open one to see its proof, recomputed in this browser.</p>
      <Await loaded={loaded} rows={10}>
        {({ size, entries, from: start }) =>
          size === 0 ? (
            <Empty title="The log is empty">The first change will be its first entry.</Empty>
          ) : (
            <>
              <div className="table-wrap">
                <table className="table audit">
                  <thead>
                    <tr><th className="num">#</th><th>When</th><th>Who</th><th>Did</th><th>To</th><th>Decision</th></tr>
                  </thead>
                  <tbody>
                    {[...entries].reverse().map(({ index, entry }) => <Row key={index} index={index} entry={entry} now={now} />)}
                  </tbody>
                </table>
              </div>
              <nav className="pager" aria-label="pages of the log">
                {start + entries.length < size ? <a href={href({ page: "audit", from: Math.min(start + PAGE, size - 1) })}>newer</a> : <span />}
                <span className="soft">{start + 1}–{start + entries.length} of {size}</span>
                {start > 0 ? <a href={href({ page: "audit", from: Math.max(0, start - PAGE) })}>older</a> : <span />}
              </nav>
            </>
          )
        }
      </Await>
    </>
  );
}

function Row({ index, entry, now }: { index: number; entry: Leaf | null; now: number }): ReactNode {
  if (!entry) return <tr><td className="num">{index}</td><td colSpan={5}>not a record of this version</td></tr>;
  return (
    <tr className="linked">
      <td className="num audit-index"><a href={href({ page: "entry", leaf: entry.id })}>{index}</a></td>
      <td title={moment(entry.time)} className="nowrap audit-when">{ago(entry.time, now)}</td>
      <td className="audit-who"><Who id={entry.actor} /></td>
      <td className="audit-did"><code><Visible text={entry.action} /></code></td>
      <td className="cell-id audit-to"><Visible text={entry.resource} /></td>
      <td className="audit-decision"><State state={entry.decision} />{entry.phase && entry.phase.kind !== "event" && <span className="soft"> {entry.phase.kind}</span>}</td>
    </tr>
  );
}

/** Has the server read and check every file of the log. */
function Verify(): ReactNode {
  const [state, setState] = useState<"idle" | "busy" | LogReport | Problem>("idle");
  const verify = () => {
    setState("busy");
    api.verifyLog().then(setState, (cause: unknown) => setState(Problem.of(cause)));
  };
  return (
    <>
      <button type="button" onClick={verify} disabled={state === "busy"}>
        <Icon name="shield" /> {state === "busy" ? "Reading every file…" : "Verify the whole log"}
      </button>
      {state instanceof Problem && <ProblemBox problem={state} />}
      {typeof state === "object" && !(state instanceof Problem) && <Whole log={state} />}
    </>
  );
}

function Whole({ log }: { log: LogReport }): ReactNode {
  return (
    <section className="verdict good" role="status">
      <h2><Icon name="check" /> The log of {log.tenant} is whole</h2>
      <p>{log.size} entries in {log.files} files, signed with both keys on {moment(new Date(log.signed_at_s * 1000).toISOString())}.</p>
      <Hash hex={log.root} />
      {log.in_doubt.length > 0 && (
        <p className="note-warn">
          {log.in_doubt.length} begun without an outcome on record:{" "}
          {log.in_doubt.map((doubt) => <a key={doubt.leaf} href={href({ page: "entry", leaf: doubt.leaf })}>#{doubt.index} {doubt.action} </a>)}
        </p>
      )}
    </section>
  );
}

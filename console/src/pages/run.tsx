import type { ReactNode } from "react";
import { api } from "../api/client";
import type { Action, RunDetail } from "../api/types";
import { micros, money } from "../core/money";
import { href } from "../core/route";
import { type Span, bars, spanOf } from "../core/span";
import { duration, millis, moment as dateOf, timeOfDay } from "../core/time";
import { type Kind, type Moment, command, remarks, timeline } from "../core/timeline";
import { Icon } from "../ui/icons";
import { useLoad, useNow, usePoll } from "../ui/load";
import { Await, Empty, Head, Path, State, Visible, Who } from "../ui/parts";

const KIND_WORDS: Readonly<Record<Kind, string>> = {
  run: "run", egress: "network", tool: "tool", message: "message", usage: "usage", memory: "memory", other: "action",
};

/** One run as a line of time. */
export function RunPage({ run }: { run: string }): ReactNode {
  const loaded = useLoad(`run ${run}`, (signal) => api.run(run, signal));
  usePoll(whole(loaded.value?.actions ?? [])?.state === "intent", loaded.reload, 3000);
  return (
    <>
      <a className="back" href={href({ page: "runs" })}><Icon name="back" /> runs</a>
      <Await loaded={loaded} rows={8}>{(detail) => <Line id={run} detail={detail} reload={loaded.reload} />}</Await>
    </>
  );
}

/** The action that is the run itself. */
function whole(actions: readonly Action[]): Action | undefined {
  return actions.find((action) => action.action === "runtime.exec");
}

function Line({ id, detail, reload }: { id: string; detail: RunDetail; reload: () => void }): ReactNode {
  const now = useNow(1000);
  const run = whole(detail.actions);
  const line = timeline(detail.actions, detail.requests);
  // What a run has not told when it ends it never will: its line ends there.
  const end = millis(run?.closed_at) ?? now;
  const span = spanOf(line, end);
  const agent = run?.agent ?? detail.actions[0]?.agent;
  const waited = line.reduce((total, moment) => total + (moment.waitedMs ?? 0), 0);
  const hops = detail.requests[0]?.hops;
  return (
    <>
      <Head title={<>Run <code className="title-id"><Visible text={id} /></code></>}>
        {run && <State state={run.state} />}
        <button type="button" className="quiet" onClick={reload}>refresh</button>
      </Head>
      <dl className="facts">
        {agent && <div><dt>Agent</dt><dd><Who id={agent} /></dd></div>}
        {line[0] && <div><dt>Began</dt><dd>{dateOf(run?.opened_at ?? line[0].at)}</dd></div>}
        <div><dt>Took</dt><dd>{duration(span.toMs - span.fromMs)}</dd></div>
        <div><dt>Waited for humans</dt><dd>{waited === 0 ? "not at all" : duration(waited)}</dd></div>
        <div><dt>Cost</dt><dd>{money(detail.cost)}</dd></div>
        <div><dt>Moments</dt><dd>{line.length}</dd></div>
      </dl>
      {run?.arguments && <pre className="command" tabIndex={0} aria-label="command"><Visible text={command(run.arguments)} /></pre>}
      {hops && <Path hops={hops} />}
      {line.length === 0 ? (
        <Empty title="Nothing happened in this run">It was admitted, and ended before it did anything that is recorded.</Empty>
      ) : (
        <ol className="timeline">
          {line.map((moment) => <Entry key={moment.key} moment={moment} span={span} end={end} ended={run?.closed_at != null} />)}
        </ol>
      )}
    </>
  );
}

function Entry({ moment, span, end, ended }: { moment: Moment; span: Span; end: number; ended: boolean }): ReactNode {
  const target = moment.leaf !== undefined ? href({ page: "entry", leaf: moment.leaf })
    : moment.request ? href({ page: "inbox", request: moment.request.id }) : undefined;
  const body = (
    <>
      <time dateTime={moment.at} title={dateOf(moment.at)}>{timeOfDay(moment.at)}</time>
      <span className={`node ${moment.kind}`} title={KIND_WORDS[moment.kind]}><Icon name={moment.kind} /></span>
      <span className="what">
        <span className="what-resource"><Visible text={moment.resource || moment.action} /></span>
        <span className="what-action"><Visible text={moment.action} /></span>
      </span>
      <span className="chips">
        <State state={ended && moment.state === "intent" ? "no_outcome" : moment.state} />
        {moment.request && <Human moment={moment} />}
        {moment.tookMs !== undefined && <span className="chip" title="from its intent to its outcome">{duration(moment.tookMs)}</span>}
        {moment.cost !== undefined && (micros(moment.cost) ?? 0n) !== 0n && <span className="chip cost" title="cost">{money(moment.cost)}</span>}
      </span>
      <span className="gantt" aria-hidden="true">
        {bars(moment, span, end).map((bar) => (
          <span key={bar.kind} className={bar.kind} style={{ left: `${bar.left}%`, width: `${bar.width}%` }} />
        ))}
      </span>
      {moment.note && <span className="note"><Visible text={remarks(moment.note)} /></span>}
    </>
  );
  return <li className={`moment ${moment.state}`}>{target ? <a href={target}>{body}</a> : <div>{body}</div>}</li>;
}

/** Who was asked, and how long that took. */
function Human({ moment }: { moment: Moment }): ReactNode {
  const by = moment.request?.decided_by;
  const waited = moment.waitedMs === undefined ? "" : duration(moment.waitedMs);
  return (
    <span className="chip human" title="waited for a human">
      <Icon name="clock" />
      {by ? <>{waited} for <Who id={by} /></> : moment.state === "pending" ? "waits for a human" : "nobody answered"}
    </span>
  );
}

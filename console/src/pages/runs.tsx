import type { ReactNode } from "react";
import { api } from "../api/client";
import { column } from "../core/money";
import { href } from "../core/route";
import { ago, duration, millis, moment } from "../core/time";
import { command } from "../core/timeline";
import { useLoad, useNow, usePoll } from "../ui/load";
import { Await, Empty, Head, State, Visible, Who } from "../ui/parts";

/** All runs, the newest first. */
export function Runs(): ReactNode {
  const now = useNow(5000);
  const loaded = useLoad("runs", api.runs);
  const money = column(loaded.value?.map((run) => run.cost) ?? []);
  usePoll(loaded.value?.some((run) => run.state === "intent") ?? false, loaded.reload, 3000);
  return (
    <>
      <Head title="Runs">
        <button type="button" className="quiet" onClick={loaded.reload}>refresh</button>
      </Head>
      <Await loaded={loaded} rows={6}>
        {(runs) =>
          runs.length === 0 ? (
            <Empty title="No run yet">Start one: <code>creto run -- echo hello</code></Empty>
          ) : (
            <div className="table-wrap">
              <table className="table runs">
                <thead>
                  <tr>
                    <th>Command</th>
                    <th className="runs-agent">Agent</th>
                    <th>State</th>
                    <th className="num">Started</th>
                    <th className="num runs-took">Took</th>
                    <th className="num">Cost</th>
                  </tr>
                </thead>
                <tbody>
                  {[...runs].sort((a, b) => (a.started_at < b.started_at ? 1 : -1)).map((run) => {
                    const [from, to] = [millis(run.started_at), millis(run.ended_at)];
                    return (
                      <tr key={run.run} className="linked">
                        <td className="cell-command">
                          <a href={href({ page: "run", run: run.run })} title={run.run}><Visible text={command(run.arguments)} /></a>
                        </td>
                        <td className="runs-agent"><Who id={run.agent} /></td>
                        <td><State state={run.state} /></td>
                        <td className="num" title={moment(run.started_at)}>{ago(run.started_at, now)}</td>
                        <td className="num runs-took">{from === undefined ? "" : to === undefined ? "…" : duration(to - from)}</td>
                        <td className="num">{money(run.cost)}</td>
                      </tr>
                    );
                  })}
                </tbody>
              </table>
            </div>
          )
        }
      </Await>
    </>
  );
}

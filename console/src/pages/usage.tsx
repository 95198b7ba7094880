import { type ReactNode, useState } from "react";
import { api } from "../api/client";
import type { OverTime } from "../api/types";
import { stepTitle } from "../core/days";
import { identity } from "../core/identity";
import { column, percent } from "../core/money";
import { type Measure, type Series, folded, said, share } from "../core/series";
import { Chart, colour } from "../ui/chart";
import { useLoad, usePoll } from "../ui/load";
import { Await, Empty, Head, Switch, Visible } from "../ui/parts";
import { useWindow } from "../ui/window";

export type By = "metric" | "agent" | "model" | "subscription";

const BYS = [["metric", "metric", "Metric"], ["agent", "agent", "Agent"], ["model", "model", "Model"], ["subscription", "subscription", "Subscription"]] as const;
const MEASURES: readonly (readonly [Measure, string])[] = [["cost", "cost"], ["events", "events"], ["units", "units"]];
/** How often the page looks again: what was acknowledged is there within this time. */
const LOOK_MS = 4_000;
/** Of all metrics. */
const ALL = "";

/** What was used over time, by metric, agent, model or subscription. */
export function Usage(): ReactNode {
  const { window, picker } = useWindow("30d");
  const [by, setBy] = useState<By>("metric");
  const [measure, setMeasure] = useState<Measure>("cost");
  const [code, setCode] = useState(ALL);
  const asked = JSON.stringify([window, by, code]);
  const loaded = useLoad(`usage ${asked}`, (signal) => (window ? api.overTime({ ...window, by, code }, signal) : Promise.resolve(undefined)));
  // Every metric of the window can be chosen, also while one is.
  const codes = useLoad(`codes ${JSON.stringify(window)}`, (signal) => (window ? api.overTime({ ...window, by: "metric", code: ALL }, signal) : Promise.resolve(undefined)));
  usePoll(window !== undefined && window.to === undefined, loaded.reload, LOOK_MS);
  const known = [...new Set([...(codes.value?.series.flatMap((one) => one.key ?? []) ?? []), ...(code === ALL ? [] : [code])])].sort();
  return (
    <>
      <Head title="Usage">
        <button type="button" className="quiet" onClick={() => { loaded.reload(); codes.reload(); }}>refresh</button>
      </Head>
      <div className="controls">
        {picker}
        <div className="picker">
          <span className="control"><span className="soft">by</span><Switch label="told apart by" options={BYS.map(([one, name]) => [one, name] as const)} chosen={by} choose={setBy} /></span>
          <span className="control"><span className="soft">show</span><Switch label="what is shown" options={MEASURES} chosen={measure} choose={setMeasure} /></span>
          <label className="control">
            <span className="soft">metric</span>
            <select aria-label="metric" value={code} onChange={(event) => setCode(event.target.value)}>
              <option value={ALL}>all</option>
              {known.map((one) => <option key={one} value={one}>{one}</option>)}
            </select>
          </label>
        </div>
      </div>
      <Await loaded={loaded} rows={8}>{(answer) => answer && <Shown answer={answer} by={by} measure={measure} />}</Await>
    </>
  );
}

function Shown({ answer, by, measure }: { answer: OverTime; by: By; measure: Measure }): ReactNode {
  if (answer.series.length === 0) {
    return (
      <Empty title="Nothing was used in this time">
        Usage is here as soon as an event is acknowledged: <code>POST /v1/metering/events</code>, <code>creto meter track</code>, or anything an agent does
        that has a price.
      </Empty>
    );
  }
  if (measure === "units" && answer.total.total.units == null) {
    return <Empty title="Units of several metrics do not add up">Choose one metric whose units are counted or summed, or show cost or events instead.</Empty>;
  }
  const series = folded(answer.series, measure).map((one) => (one.key == null && answer.total.total.units == null ? withoutUnits(one) : one));
  const costs = column([answer.total.total.cost, ...series.map((one) => one.total.cost)]);
  const hasUnits = series.some((one) => one.total.units != null);
  const name = (one: Series) => nameOf(one, by);
  const label = `${measure} over time by ${by}`;
  return (
    <>
      <Chart label={label} steps={answer.steps} step={answer.step} series={series} total={answer.total} measure={measure} name={name} />
      <div className="table-wrap">
        <table className="table totals" aria-label={`${label}: totals`}>
          <thead>
            <tr><th>{BYS.find(([one]) => one === by)?.[2]}</th><th className="bar-cell" aria-label="share" /><th className="num part">Events</th>{hasUnits && <th className="num part">Units</th>}<th className="num">Cost</th></tr>
          </thead>
          <tbody>
            {series.map((one, place) => {
              const part = percent(share(one.total, measure), share(answer.total.total, measure));
              return (
                <tr key={one.key ?? "\u0000"}>
                  <td><span className="entry"><span className={`swatch ${colour(series, place)}`} /><span><Visible text={name(one)} /></span></span></td>
                  <td className="bar-cell">
                    <span className="bar" role="img" aria-label={`${part.toFixed(0)} % of all`}><span className={colour(series, place)} style={{ width: `${part}%` }} /></span>
                  </td>
                  <td className="num part">{said(one.total, "events")}</td>
                  {hasUnits && <td className="num part">{said(one.total, "units")}</td>}
                  <td className="num strong">{costs(one.total.cost)}</td>
                </tr>
              );
            })}
          </tbody>
          <tfoot>
            <tr>
              <td>all</td><td className="bar-cell" />
              <td className="num part">{said(answer.total.total, "events")}</td>
              {hasUnits && <td className="num part">{said(answer.total.total, "units")}</td>}
              <td className="num strong">{costs(answer.total.total.cost)}</td>
            </tr>
          </tfoot>
        </table>
      </div>
      <details className="as-table">
        <summary>The chart as a table</summary>
        <div className="table-wrap">
          <table className="table" aria-label={label}>
            <thead>
              <tr><th>{answer.step === "day" ? "Day" : answer.step === "week" ? "Week" : "Month"}</th>{series.map((one) => <th key={one.key ?? "\u0000"} className="num"><Visible text={name(one)} /></th>)}<th className="num">all</th></tr>
            </thead>
            <tbody>
              {answer.steps.map((first, at) => (
                <tr key={first}>
                  <th scope="row">{stepTitle(first, answer.step)}</th>
                  {series.map((one) => <td key={one.key ?? "\u0000"} className="num">{one.points[at] ? said(one.points[at], measure) : ""}</td>)}
                  <td className="num strong">{answer.total.points[at] ? said(answer.total.points[at], measure) : ""}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
      <p className="soft footnote">A day is the local one of the subscription that used it. Cancelled and amended events are taken out of their day.</p>
    </>
  );
}

/** Of several metrics together. */
function withoutUnits(series: Series): Series {
  return { ...series, total: { ...series.total, units: null }, points: series.points.map((point) => ({ ...point, units: null })) };
}

/** What a series is called. An agent is named as elsewhere; what events do not name is said so. */
function nameOf(series: Series, by: By): string {
  if (series.key == null) return "all others";
  if (series.key === "") return `no ${by} named`;
  return by === "agent" ? identity(series.key).name : series.key;
}

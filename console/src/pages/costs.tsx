import { type ReactNode, useState } from "react";
import { api } from "../api/client";
import { type CostRow, costRows } from "../core/costs";
import { column, fromMicros, percent } from "../core/money";
import { useLoad } from "../ui/load";
import { Await, Empty, Head, Who } from "../ui/parts";
import { useWindow } from "../ui/window";

/** Who spent what in a time, along the lines of delegation, over all products. */
export function Costs(): ReactNode {
  const { window, picker } = useWindow("30d", { allTime: true });
  const loaded = useLoad(`costs ${JSON.stringify(window)}`, (signal) => (window ? api.costs(window, signal) : Promise.resolve([])));
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const toggle = (path: string) => setFolded((before) => {
    const after = new Set(before);
    if (!after.delete(path)) after.add(path);
    return after;
  });
  return (
    <>
      <Head title="Costs">
        <span className="legend"><span className="swatch direct" /> own actions <span className="swatch below" /> by those it delegated to</span>
        <button type="button" className="quiet" onClick={loaded.reload}>refresh</button>
      </Head>
      <div className="controls">{picker}</div>
      <Await loaded={loaded} rows={6}>
        {(forest) => {
          const rows = costRows(forest, folded);
          const money = column(rows.flatMap((row) => [row.direct, row.below, row.total].map(fromMicros)));
          const most = rows.reduce((max, row) => (row.total > max ? row.total : max), 0n);
          return rows.length === 0 ? (
            <Empty title="Nothing was spent in this time">Costs appear when an agent's usage has a price: see <code>PUT /v1/metering/metrics</code>.</Empty>
          ) : (
            <div className="table-wrap">
              <table className="table costs">
                <thead>
                  <tr><th>Who</th><th className="bar-cell" aria-label="share" /><th className="num part">Own</th><th className="num part">Below</th><th className="num">Total</th></tr>
                </thead>
                <tbody>{rows.map((row) => <Row key={row.path} row={row} money={money} most={most} open={!folded.has(row.path)} toggle={() => toggle(row.path)} />)}</tbody>
              </table>
            </div>
          );
        }}
      </Await>
    </>
  );
}

interface RowProps {
  row: CostRow;
  money: (amount: string) => string;
  most: bigint;
  open: boolean;
  toggle: () => void;
}

function Row({ row, money, most, open, toggle }: RowProps): ReactNode {
  return (
    <tr>
      <td>
        <span className="tree" style={{ paddingInlineStart: `${row.depth * 1.1}rem` }}>
          {row.children > 0 ? (
            <button type="button" className="fold" aria-expanded={open} aria-label={open ? "fold" : "unfold"} onClick={toggle}>{open ? "▾" : "▸"}</button>
          ) : (
            <span className="fold" />
          )}
          <Who id={row.identity} />
        </span>
      </td>
      <td className="bar-cell">
        <span className="bar" role="img" aria-label={`own ${percent(row.direct, row.total).toFixed(0)} % of its total`}>
          <span className="direct" style={{ width: `${percent(row.direct, most)}%` }} />
          <span className="below" style={{ width: `${percent(row.below, most)}%` }} />
        </span>
      </td>
      <td className="num part">{row.direct === 0n ? <span className="soft">–</span> : money(fromMicros(row.direct))}</td>
      <td className="num soft part">{row.below === 0n ? "–" : money(fromMicros(row.below))}</td>
      <td className="num strong">{money(fromMicros(row.total))}</td>
    </tr>
  );
}

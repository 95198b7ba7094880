import { type ReactNode, useState } from "react";
import { api } from "../api/client";
import type { AccountState, QuotaState } from "../api/types";
import { type BudgetRow, budgetRows } from "../core/budgets";
import { identity } from "../core/identity";
import { column, fromMicros, money, percent } from "../core/money";
import { type Gauge, gauges } from "../core/quotas";
import { useLoad } from "../ui/load";
import { Await, Empty, Head, Visible, Who } from "../ui/parts";

/** Ceilings down the delegation tree, and quotas: which hop stops an agent first. */
export function Budgets(): ReactNode {
  const loaded = useLoad("accounts", api.accounts);
  const quotas = useLoad("quotas", api.quotas);
  return (
    <>
      <Head title="Budgets">
        <span className="legend"><span className="swatch direct" /> spent <span className="swatch held" /> held for actions under way</span>
        <button type="button" className="quiet" onClick={() => { loaded.reload(); quotas.reload(); }}>refresh</button>
      </Head>
      <Await loaded={loaded} rows={6}>
        {(accounts) =>
          accounts.length === 0 ? (
            <Empty title="No budget yet">A delegation with a budget opens an account; so does the first action that costs something.</Empty>
          ) : (
            <Tree accounts={accounts} />
          )
        }
      </Await>
      <Await loaded={quotas} rows={2}>{(all) => (all.quotas.length === 0 ? null : <Quotas all={all.quotas} more={all.more} />)}</Await>
    </>
  );
}

type Names = ReadonlySet<string>;

const toggled = (names: Names, name: string): Names => {
  const after = new Set(names);
  if (!after.delete(name)) after.add(name);
  return after;
};

function Tree({ accounts }: { accounts: readonly AccountState[] }): ReactNode {
  const [folded, setFolded] = useState<Names>(new Set());
  const [unfolded, setUnfolded] = useState<Names>(new Set());
  const rows = budgetRows(accounts, folded, unfolded);
  const amounts = column(rows.flatMap((row) => [row.held, row.left ?? 0n, row.room ?? 0n].map(fromMicros)));
  return (
    <div className="table-wrap">
      <table className="table gauges">
        <thead>
          <tr><th>Who</th><th className="bar-cell">Used of its ceiling</th><th className="num part">Held</th><th className="num part">Left</th><th className="num">May still spend</th></tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <Hop
              key={row.account.account}
              row={row}
              amounts={amounts}
              open={!folded.has(row.account.account)}
              toggle={() => setFolded((before) => toggled(before, row.account.account))}
              showAll={() => setUnfolded((before) => toggled(before, row.account.account))}
            />
          ))}
        </tbody>
      </table>
    </div>
  );
}

const nameOf = (account: AccountState) => (account.account === "tenant" ? "the tenant" : identity(account.identity).name);

interface HopProps {
  row: BudgetRow;
  amounts: (amount: string) => string;
  open: boolean;
  toggle: () => void;
  showAll: () => void;
}

function Hop({ row, amounts, open, toggle, showAll }: HopProps): ReactNode {
  const { account, ceiling, spent, held, left, room, limit } = row;
  const used = percent(spent + held, ceiling);
  return (
    <>
      <tr>
        <td className="gauge-who">
          <span className="tree" style={{ paddingInlineStart: `${row.depth * 1.1}rem` }}>
            {row.children > 0 ? (
              <button type="button" className="fold" aria-expanded={open} aria-label={`${open ? "fold" : "unfold"} ${nameOf(account)}`} onClick={toggle}>{open ? "▾" : "▸"}</button>
            ) : (
              <span className="fold" />
            )}
            <span className="hop" title={account.account}>
              {account.account === "tenant" ? <strong>The whole tenant</strong> : <Who id={account.identity} />}
              {row.stops && <span className="state warn">stops first</span>}
            </span>
          </span>
        </td>
        <td className="bar-cell">
          {ceiling === undefined ? (
            <span className="soft">{money(account.spent)} spent, no ceiling</span>
          ) : (
            <>
              <span className={used >= 90 ? "bar tight" : "bar"} role="meter" aria-label={`used of the ceiling of ${nameOf(account)}`} aria-valuemin={0} aria-valuemax={100} aria-valuenow={used}>
                <span className="direct" style={{ width: `${percent(spent, ceiling)}%` }} />
                <span className="held" style={{ width: `${percent(held, ceiling)}%` }} />
              </span>
              <span className="soft">{money(account.spent)} of {money(account.ceiling)}</span>
            </>
          )}
        </td>
        <td className="num soft part">{held === 0n ? "–" : amounts(account.held)}</td>
        <td className="num part">{left === undefined ? <span className="soft">–</span> : amounts(fromMicros(left))}</td>
        <td className="num gauge-room">
          {room === undefined ? (
            <span className="soft">no limit</span>
          ) : (
            <>
              <strong className={room <= 0n ? "note-bad" : undefined}>{amounts(fromMicros(room > 0n ? room : 0n))}</strong>
              {limit && limit !== account && <span className="soft by-whom">by <Visible text={nameOf(limit)} /></span>}
            </>
          )}
        </td>
      </tr>
      {row.more > 0 && open && (
        <tr>
          <td colSpan={5}>
            <span className="tree" style={{ paddingInlineStart: `${(row.depth + 1) * 1.1}rem` }}>
              <span className="fold" />
              <button type="button" className="link" onClick={showAll}>show all {row.children} below {nameOf(account)}; {row.more} are not shown</button>
            </span>
          </td>
        </tr>
      )}
    </>
  );
}

function Quotas({ all, more }: { all: readonly QuotaState[]; more: number }): ReactNode {
  return (
    <section aria-label="quotas">
      <h2>Quotas</h2>
      <ul className="budgets">{all.flatMap(gauges).map((gauge) => <QuotaGauge key={gauge.key} gauge={gauge} />)}</ul>
      {more > 0 && <p className="soft">{more} more: <code>creto quota list</code>.</p>}
    </section>
  );
}

function QuotaGauge({ gauge }: { gauge: Gauge }): ReactNode {
  const used = percent(gauge.used, gauge.limit);
  return (
    <li className="budget">
      <div className="budget-head">
        <span><strong><Visible text={gauge.code} /></strong> <span className="soft"><Visible text={gauge.whose} /></span></span>
        {gauge.mode !== "block" && <span className="state muted">{gauge.mode}</span>}
      </div>
      <span className={used >= 90 ? "bar tight" : "bar"} role="meter" aria-label={`used of ${gauge.code} by ${gauge.whose}`} aria-valuemin={0} aria-valuemax={100} aria-valuenow={used}>
        <span className="direct" style={{ width: `${used}%` }} />
        <span className="held" style={{ width: `${percent(gauge.leased, gauge.limit)}%` }} />
      </span>
      <p className="soft budget-foot">
        <span className="num">{gauge.text}</span>
        <span>{gauge.window}</span>
      </p>
    </li>
  );
}

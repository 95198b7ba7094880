import type { ReactNode } from "react";
import { api } from "../api/client";
import type { AccountState } from "../api/types";
import { fromMicros, micros, money, percent } from "../core/money";
import { useLoad } from "../ui/load";
import { Await, Empty, Head, Visible, Who } from "../ui/parts";

/** Accounts with their ceilings: spent, held, and what is left. */
export function Budgets(): ReactNode {
  const loaded = useLoad("accounts", api.accounts);
  return (
    <>
      <Head title="Budgets">
        <span className="legend"><span className="swatch direct" /> spent <span className="swatch held" /> held for actions under way</span>
        <button type="button" className="quiet" onClick={loaded.reload}>refresh</button>
      </Head>
      <Await loaded={loaded} rows={6}>
        {(accounts) =>
          accounts.length === 0 ? (
            <Empty title="No budget yet">A delegation with a budget opens an account; so does the first action that costs something.</Empty>
          ) : (
            <ul className="budgets">{[...accounts].sort(tightest).map((account) => <Account key={account.account} account={account} />)}</ul>
          )
        }
      </Await>
    </>
  );
}

function used(account: AccountState): bigint {
  return (micros(account.spent) ?? 0n) + (micros(account.held) ?? 0n);
}

/** The nearest to its ceiling first; those without one last, by name. */
function tightest(a: AccountState, b: AccountState): number {
  const share = (account: AccountState) => (account.ceiling == null ? -1 : percent(used(account), micros(account.ceiling)));
  return share(b) - share(a) || (a.account < b.account ? -1 : 1);
}

function Account({ account }: { account: AccountState }): ReactNode {
  const ceiling = micros(account.ceiling);
  const [spent, held] = [micros(account.spent), micros(account.held)];
  const share = percent(used(account), ceiling);
  return (
    <li className="budget">
      <div className="budget-head">
        {account.account === "tenant" ? <strong>The whole tenant</strong> : <Who id={account.identity} />}
        <span className="num">
          <strong>{money(account.spent)}</strong>
          {ceiling === undefined ? <span className="soft"> spent, no ceiling</span> : <span className="soft"> of {money(account.ceiling)}</span>}
        </span>
      </div>
      {ceiling !== undefined && (
        <span className={share >= 90 ? "bar tight" : "bar"} role="meter" aria-label="used of the ceiling" aria-valuemin={0} aria-valuemax={100} aria-valuenow={share}>
          <span className="direct" style={{ width: `${percent(spent, ceiling)}%` }} />
          <span className="held" style={{ width: `${percent(held, ceiling)}%` }} />
        </span>
      )}
      <p className="soft budget-foot">
        <code><Visible text={account.account} /></code>
        <span className="num">
          {(held ?? 0n) !== 0n && <>{money(account.held)} held </>}
          {ceiling !== undefined && <>{money(fromMicros(ceiling - used(account)))} left</>}
        </span>
      </p>
    </li>
  );
}

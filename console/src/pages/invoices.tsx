import type { ReactNode } from "react";
import { api } from "../api/client";
import type { InvoiceRow, WalletRow } from "../api/types";
import { cents } from "../core/cents";
import { money } from "../core/money";
import { href } from "../core/route";
import { useLoad } from "../ui/load";
import { Await, Empty, Head, State, Visible } from "../ui/parts";

/** Invoices, and the wallets that pay them. */
export function Invoices(): ReactNode {
  const invoices = useLoad("invoices", api.invoices);
  const wallets = useLoad("wallets", api.wallets);
  return (
    <>
      <Head title="Invoices">
        <button type="button" className="quiet" onClick={() => { invoices.reload(); wallets.reload(); }}>refresh</button>
      </Head>
      <Await loaded={invoices} rows={6}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty title="No invoice yet">A subscription is billed when its period is over; <code>creto invoice run</code> bills what is due now.</Empty>
          ) : (
            <div className="table-wrap">
              <table className="table invoices">
                <thead>
                  <tr><th>Number</th><th>Customer</th><th>State</th><th className="part">Issued</th><th className="part">Due</th><th className="num">To be paid</th></tr>
                </thead>
                <tbody>{rows.map((row) => <Row key={row.id} row={row} />)}</tbody>
              </table>
            </div>
          )
        }
      </Await>
      <Await loaded={wallets} rows={2}>{(rows) => (rows.length === 0 ? null : <Wallets rows={rows} />)}</Await>
    </>
  );
}

function Row({ row }: { row: InvoiceRow }): ReactNode {
  return (
    <tr>
      <td className="nowrap"><a href={href({ page: "invoice", invoice: row.id })}>{row.number === "" ? "draft" : row.number}</a>{row.test && <span className="soft"> test</span>}</td>
      <td><Visible text={row.external_customer_id} /></td>
      <td><span className="line-of"><State state={row.status} />{row.status === "finalized" && row.payment_status !== "pending" && <State state={row.payment_status} />}</span></td>
      <td className="part nowrap">{row.issuing_date}</td>
      <td className="part nowrap">{row.payment_due_date}</td>
      <td className="num">{cents(row.sums.total_cents, row.currency)}</td>
    </tr>
  );
}

function Wallets({ rows }: { rows: readonly WalletRow[] }): ReactNode {
  return (
    <section aria-label="wallets">
      <h2>Wallets</h2>
      <div className="table-wrap">
        <table className="table wallets">
          <thead>
            <tr><th>Customer</th><th>Name</th><th>State</th><th className="num part">Spent</th><th className="num part">Bought, not paid</th><th className="num">Balance</th></tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.id}>
                <td><Visible text={row.external_customer_id} /></td>
                <td><Visible text={row.wallet.name === "" ? row.code : row.wallet.name} /></td>
                <td><State state={row.status} /></td>
                <td className="num part">{money(row.consumed)}</td>
                <td className="num part">{money(row.pending)}</td>
                <td className="num">{money(row.balance)} {row.wallet.currency}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

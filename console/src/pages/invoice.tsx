import { type ReactNode, useState } from "react";
import { api } from "../api/client";
import type { EventProof, InvoiceFee, MeteredEvent } from "../api/types";
import { isOf } from "../core/behind";
import { fromHex } from "../core/bytes";
import { cents } from "../core/cents";
import { leafHash, proves, walk } from "../core/merkle";
import { href } from "../core/route";
import { grouped } from "../core/series";
import { Icon } from "../ui/icons";
import { useLoad } from "../ui/load";
import { Await, Head, State, Visible, Who } from "../ui/parts";

/** An invoice: its lines, what is taken off, and behind each line of usage the events and their proofs. */
export function InvoicePage({ invoice }: { invoice: string }): ReactNode {
  const loaded = useLoad(`invoice ${invoice}`, (signal) => api.invoice(invoice, signal));
  const address = `/v1/metering/invoices/${encodeURIComponent(invoice)}`;
  return (
    <>
      <a className="back" href={href({ page: "invoices" })}><Icon name="back" /> invoices</a>
      <Head title={<>Invoice {loaded.value && <span className="title-id">{loaded.value.number === "" ? "(draft)" : loaded.value.number}</span>}</>}>
        <a className="quiet" href={`${address}/page`} target="_blank" rel="noreferrer">as a page</a>
        <a className="quiet" href={`${address}/pdf`} target="_blank" rel="noreferrer">as PDF</a>
      </Head>
      <Await loaded={loaded} rows={8}>
        {(it) => (
          <>
            <dl className="facts">
              <div><dt>Customer</dt><dd><Visible text={it.external_customer_id} /></dd></div>
              <div><dt>State</dt><dd><State state={it.status} /></dd></div>
              <div><dt>Payment</dt><dd><State state={it.payment_status} /></dd></div>
              <div><dt>Issued</dt><dd>{it.issuing_date}</dd></div>
              <div><dt>Due</dt><dd>{it.payment_due_date}</dd></div>
            </dl>
            <div className="table-wrap">
              <table className="table invoice">
                <thead>
                  <tr><th>What</th><th className="num">Units</th><th className="num part">Tax</th><th className="num">Amount</th></tr>
                </thead>
                <tbody>{it.fees.map((fee) => <Line key={fee.id} fee={fee} currency={it.currency} />)}</tbody>
                <tfoot>
                  <Sum name="Lines" amount={it.sums.fees_cents} currency={it.currency} />
                  {it.credits.filter((credit) => credit.before_taxes).map((credit) => (
                    <Sum key={credit.id} name={credit.name} amount={-credit.amount_cents} currency={it.currency} />
                  ))}
                  <Sum name="Tax" amount={it.sums.taxes_cents} currency={it.currency} />
                  {it.credits.filter((credit) => !credit.before_taxes).map((credit) => (
                    <Sum key={credit.id} name={credit.kind === "wallet" ? "Prepaid credits" : `Credit note ${credit.name}`} amount={-credit.amount_cents} currency={it.currency} />
                  ))}
                  <Sum name="To be paid" amount={it.sums.total_cents} currency={it.currency} strong />
                </tfoot>
              </table>
            </div>
            {it.leaf && <p className="soft footnote">Sealed in the audit log by <a href={href({ page: "entry", leaf: it.leaf })}><code>{it.leaf}</code></a>.</p>}
          </>
        )}
      </Await>
    </>
  );
}

function Sum({ name, amount, currency, strong }: { name: string; amount: number; currency: string; strong?: boolean }): ReactNode {
  const shown = <>{cents(amount, currency)}</>;
  return (
    <tr>
      <td colSpan={2} className="num">{strong ? <strong>{name}</strong> : <Visible text={name} />}</td>
      <td className="part" />
      <td className="num">{strong ? <strong>{shown}</strong> : shown}</td>
    </tr>
  );
}

function Line({ fee, currency }: { fee: InvoiceFee; currency: string }): ReactNode {
  const [open, setOpen] = useState(false);
  const day = (at: string | null | undefined) => at?.slice(0, 10);
  const groups = Object.entries(fee.group).map(([key, value]) => `${key} ${value ?? "-"}`).join(", ");
  return (
    <>
      <tr>
        <td>
          <Visible text={fee.name} />
          <p className="soft line-of">
            {groups !== "" && <span><Visible text={groups} /></span>}
            {fee.from && <span>{day(fee.from)} until before {day(fee.to)}</span>}
            {fee.proof && (
              <button type="button" className="link" aria-expanded={open} onClick={() => setOpen(!open)}>
                {fee.events} {fee.events === 1 ? "event" : "events"} behind it
              </button>
            )}
          </p>
        </td>
        <td className="num">{grouped(fee.units)}</td>
        <td className="num part">{cents(fee.taxes_amount_cents, currency)}</td>
        <td className="num">{cents(fee.amount_cents, currency)}</td>
      </tr>
      {open && fee.proof && <tr><td colSpan={4}><Behind fee={fee} roots={fee.proof.roots} /></td></tr>}
    </>
  );
}

/** Most events that the server lists at once. */
const EVENTS_LISTED = 1000;

/** The events behind a line. Each is proven here: from its digest to a root that the line names. */
function Behind({ fee, roots }: { fee: InvoiceFee; roots: readonly string[] }): ReactNode {
  const loaded = useLoad(`events ${fee.id}`, (signal) => api.eventsBehind(fee, signal));
  return (
    <Await loaded={loaded} rows={3}>
      {(all) => {
        const events = all.filter((event) => isOf(fee.group, event.properties));
        const standing = events.filter((event) => !event.cancelled_at).length;
        return (
          <>
            <table className="table events" aria-label={`events of ${fee.name}`}>
              <thead><tr><th>Event</th><th>When (UTC)</th><th className="part">Agent</th><th>Proof</th></tr></thead>
              <tbody>{events.map((event) => <Event key={event.seq} event={event} roots={roots} />)}</tbody>
            </table>
            {all.length >= EVENTS_LISTED ? (
              <p className="soft footnote">Of the first {EVENTS_LISTED} events of this metric in this time; the line counts {fee.events}.</p>
            ) : (
              standing !== fee.events && <p className="soft footnote">These are all events of this metric and group in this time; a filter of the plan prices {fee.events} of them on this line.</p>
            )}
          </>
        );
      }}
    </Await>
  );
}

function Event({ event, roots }: { event: MeteredEvent; roots: readonly string[] }): ReactNode {
  const key = `proof ${event.external_subscription_id} ${event.transaction_id}`;
  const loaded = useLoad(key, async (signal) => verdict(event, await api.eventProof(event, signal), roots));
  return (
    <tr>
      <td><Visible text={event.transaction_id} />{event.cancelled_at && <span className="soft"> cancelled</span>}</td>
      <td>{event.timestamp.slice(0, 19).replace("T", " ")}</td>
      <td className="part"><Who id={event.agent} /></td>
      <td>{loaded.problem ? <span className="note-bad">{loaded.problem.detail}</span> : loaded.value ? <span className={loaded.value.startsWith("proven") ? "note-good" : "note-bad"}>{loaded.value}</span> : "…"}</td>
    </tr>
  );
}

async function verdict(event: MeteredEvent, proof: EventProof, roots: readonly string[]): Promise<string> {
  const [digest, root] = [fromHex(event.digest), fromHex(proof.root)];
  const way = proof.proof.map(fromHex);
  if (!digest || !root || way.some((hash) => hash === undefined)) return "not a proof";
  const walked = await walk(await leafHash(digest), proof.index, proof.size, way.filter((hash) => hash !== undefined));
  if (!proves(walked, root)) return "refuted";
  return roots.includes(proof.root) ? "proven by this line's root" : "proven by its batch's root";
}

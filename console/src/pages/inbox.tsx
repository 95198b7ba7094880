/** The approval inbox: what waits for a human on the left, one request on the right. */

import type { ReactNode } from "react";
import type { OversightRequest } from "../api/types";
import { identity } from "../core/identity";
import { inbox, stateAt } from "../core/inbox";
import { href } from "../core/route";
import { countdown, ago } from "../core/time";
import { named } from "../core/timeline";
import { useNow } from "../ui/load";
import { Empty, ProblemBox, Skeleton, State, Visible } from "../ui/parts";
import type { Requests } from "../ui/requests";
import { useWalk } from "../ui/walk";
import { RequestDetail } from "./request";

/** Older ones are in the audit log. */
const PAST_MAX = 50;

interface Props {
  requests: Requests;
  selected: string | undefined;
  approver: boolean;
  operator: boolean;
  /** Who is signed in. */
  me: string;
  /** The secret of the mail this page was opened from. */
  mail?: string;
}

export function Inbox({ requests, selected, approver, operator, me, mail }: Props): ReactNode {
  const now = useNow();
  const { waiting, past } = inbox(requests.value ?? [], now);
  const all = [...waiting, ...past.slice(0, PAST_MAX)];
  const current = (requests.value ?? []).find((request) => request.id === selected);
  useWalk("inbox", all, selected);

  return (
    <div className={selected === undefined ? "inbox" : "inbox inbox-open"}>
      <section className="inbox-list" aria-label="requests">
        <h1>
          Inbox <span className="soft">{requests.value && (waiting.length === 0 ? "nothing waits" : `${waiting.length} waiting`)}</span>
        </h1>
        {requests.problem && <ProblemBox problem={requests.problem} retry={requests.reload} />}
        {requests.loading && <Skeleton rows={6} />}
        <ul>{waiting.map((request) => <Row key={request.id} request={request} current={request.id === selected} now={now} />)}</ul>
        {requests.value && waiting.length === 0 && (
          <Empty title="All clear" done>No agent waits for a human. New requests appear here by themselves.</Empty>
        )}
        {past.length > 0 && <h2>Decided and past</h2>}
        <ul>{past.slice(0, PAST_MAX).map((request) => <Row key={request.id} request={request} current={request.id === selected} now={now} />)}</ul>
        {past.length > PAST_MAX && <p className="soft">{past.length - PAST_MAX} older ones are in the audit log.</p>}
      </section>
      <section className="inbox-detail" aria-label="request" aria-live="polite">
        {selected === undefined ? (
          <div className="hint">
            <p>Choose a request, or press <kbd>j</kbd>.</p>
            <p className="soft"><kbd>?</kbd> shows all keys.</p>
          </div>
        ) : (
          <RequestDetail
            key={selected}
            id={selected}
            listed={current}
            others={requests.value ?? []}
            changed={requests.reload}
            approver={approver}
            operator={operator}
            me={me}
            now={now}
            mail={mail}
          />
        )}
      </section>
    </div>
  );
}

function Row({ request, current, now }: { request: OversightRequest; current: boolean; now: number }): ReactNode {
  const { action, resource } = named(request.action);
  const left = countdown(request.opened_at, request.deadline, now);
  const state = stateAt(request, now);
  return (
    <li>
      <a className="row" href={href({ page: "inbox", request: request.id })} aria-current={current}>
        <span className="row-title"><Visible text={resource || action} /></span>
        <span className="row-side">
          {state === "pending" ? <span className={`left ${left.level}`}>{left.text}</span> : <State state={state} />}
        </span>
        <span className="row-sub">
          <Visible text={identity(request.hops.at(-1) ?? "").name} /> · <Visible text={action} />
        </span>
        <span className="row-age">{ago(state === "pending" ? request.opened_at : (request.decided_at ?? request.deadline), now)}</span>
      </a>
    </li>
  );
}

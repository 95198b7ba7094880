/** Broken glasses: what waits to be looked at on the left, with what was; one of them on the right. */

import type { ReactNode } from "react";
import type { OversightRequest } from "../api/types";
import { identity } from "../core/identity";
import { isOverdue } from "../core/reviews";
import { href } from "../core/route";
import { ago, countdown } from "../core/time";
import { named } from "../core/timeline";
import { useNow } from "../ui/load";
import { Empty, ProblemBox, Skeleton, State, Visible } from "../ui/parts";
import type { Glasses, Requests } from "../ui/requests";
import { useWalk } from "../ui/walk";
import { RequestDetail } from "./request";

interface Props {
  glasses: Glasses;
  requests: Requests;
  selected: string | undefined;
  me: string;
}

export function Reviews({ glasses, requests, selected, me }: Props): ReactNode {
  const now = useNow();
  const { waiting, made } = glasses.value ?? { waiting: [], made: [] };
  const all = [...waiting, ...made];
  useWalk("reviews", all, selected);

  const rows = (some: readonly OversightRequest[]) => (
    <ul>{some.map((request) => <Row key={request.id} request={request} current={request.id === selected} now={now} />)}</ul>
  );
  return (
    <div className={selected === undefined ? "inbox" : "inbox inbox-open"}>
      <section className="inbox-list" aria-label="broken glasses">
        <h1>
          Reviews <span className="soft">{glasses.value && (waiting.length === 0 ? "nothing waits" : `${waiting.length} waiting`)}</span>
        </h1>
        {glasses.problem && <ProblemBox problem={glasses.problem} retry={glasses.reload} />}
        {glasses.loading && <Skeleton rows={4} />}
        {rows(waiting)}
        {glasses.value && waiting.length === 0 && (
          <Empty title="All looked at" done>No broken glass waits for somebody to look at it. New ones appear here by themselves.</Empty>
        )}
        {made.length > 0 && <h2>Looked at</h2>}
        {rows(made)}
      </section>
      <section className="inbox-detail" aria-label="broken glass and its request" aria-live="polite">
        {selected === undefined ? (
          <div className="hint">
            <p>Choose a broken glass, or press <kbd>j</kbd>.</p>
            <p className="soft"><kbd>?</kbd> shows all keys.</p>
          </div>
        ) : (
          <RequestDetail
            key={selected}
            id={selected}
            listed={all.find((request) => request.id === selected)}
            others={requests.value ?? []}
            changed={() => {
              glasses.reload();
              requests.reload();
            }}
            approver
            operator={false}
            me={me}
            now={now}
            back="reviews"
          />
        )}
      </section>
    </div>
  );
}

function Row({ request, current, now }: { request: OversightRequest; current: boolean; now: number }): ReactNode {
  const { action, resource } = named(request.action);
  const { glass } = request;
  if (!glass) return null;
  const left = countdown(request.decided_at ?? glass.review_by, glass.review_by, now);
  const reviewer = glass.reviewed_by;
  return (
    <li>
      <a className="row" href={href({ page: "reviews", request: request.id })} aria-current={current}>
        <span className="row-title"><Visible text={resource || action} /></span>
        <span className="row-side">
          {reviewer ? (
            <State state={glass.justified ? "justified" : "not_justified"} />
          ) : isOverdue(request, now) ? (
            <span className="left over">overdue</span>
          ) : (
            <span className={`left ${left.level}`}>{left.text}</span>
          )}
        </span>
        <span className="row-sub">
          broken by <Visible text={identity(glass.by).name} />
          {reviewer && <>, looked at by <Visible text={identity(reviewer).name} /></>}
        </span>
        <span className="row-age">{ago(glass.reviewed_at ?? request.decided_at ?? glass.review_by, now)}</span>
      </a>
    </li>
  );
}

/** One request: everything the decision is about, and the decision. */

import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { Problem, api } from "../api/client";
import type { OversightRequest } from "../api/types";
import { canHash, sha256, toHex, utf8 } from "../core/bytes";
import { stateAt } from "../core/inbox";
import { href } from "../core/route";
import { countdown, duration, millis, moment } from "../core/time";
import { named } from "../core/timeline";
import { Canonical } from "../ui/canonical";
import { Icon } from "../ui/icons";
import { useKeys } from "../ui/keys";
import { useLoad, usePoll } from "../ui/load";
import { Hash, Path, ProblemBox, Skeleton, State, Visible, Who } from "../ui/parts";

/** The server's limit, in bytes. */
const COMMENT_BYTES_MAX = 4096;

interface Props {
  id: string;
  /** What the list knows; the list may not reach back far enough. */
  listed: OversightRequest | undefined;
  changed: () => void;
  approver: boolean;
  now: number;
}

export function RequestDetail({ id, listed, changed, approver, now }: Props): ReactNode {
  const stamp = listed ? `${listed.state} ${listed.decided_at ?? ""}` : "";
  const loaded = useLoad(`${id} ${stamp}`, (signal) => (listed ? Promise.resolve(listed) : api.request(id, signal)));
  const request = loaded.value ?? listed;
  if (!request) return loaded.problem ? <ProblemBox problem={loaded.problem} retry={loaded.reload} /> : <Skeleton rows={8} />;
  return <Detail request={request} changed={changed} approver={approver} now={now} />;
}

/** What hashing the shown bytes in this browser gave. */
type Check = { readonly is: "computing" } | { readonly is: "cannot" } | { readonly is: "done"; readonly hex: string; readonly same: boolean };

function useDigest(request: OversightRequest): Check {
  const [check, setCheck] = useState<Check>({ is: canHash() ? "computing" : "cannot" });
  useEffect(() => {
    if (!canHash()) return;
    let current = true;
    void sha256(utf8(request.action)).then((hash) => {
      const hex = toHex(hash);
      if (current) setCheck({ is: "done", hex, same: hex === request.digest.toLowerCase() });
    });
    return () => {
      current = false;
    };
  }, [request.action, request.digest]);
  return check;
}

function Detail({ request, changed, approver, now }: Omit<Props, "id" | "listed"> & { request: OversightRequest }): ReactNode {
  const { action, resource } = named(request.action);
  const check = useDigest(request);
  const [lost, setLost] = useState<Problem>();
  const left = countdown(request.opened_at, request.deadline, now);
  const state = stateAt(request, now);
  const pending = state === "pending";

  // The server tells of decisions at once, and not of what the agent makes of them.
  usePoll(request.state === "approved" || request.state === "consumed", changed, 2000);

  return (
    <article className="request">
      <a className="back" href={href({ page: "inbox" })}>
        <Icon name="back" /> inbox
      </a>
      <header>
        <h1><Visible text={resource || action} /></h1>
        <p className="request-meta">
          <State state={state} />
          <code><Visible text={action} /></code>
          <span title={moment(request.opened_at)}>asked {moment(request.opened_at)}</span>
          <span>rule <code><Visible text={request.rule} /></code></span>
          {request.run && <a href={href({ page: "run", run: request.run })}>run</a>}
        </p>
      </header>
      {pending && (
        <div className={`deadline ${left.level}`} role="timer" aria-label={left.text}>
          <span>{left.text}</span>
          <span className="deadline-bar"><span style={{ width: `${left.share * 100}%` }} /></span>
          <span className="soft">until {moment(request.deadline)}, then it is refused</span>
        </div>
      )}
      {lost && (
        <div className="lost" role="alert">
          <p><strong>Your decision did not count.</strong> What stands is below.</p>
          <ProblemBox problem={lost} />
        </div>
      )}
      {!pending && <Decided request={request} state={state} />}

      <h2>On whose authority</h2>
      <Path hops={request.hops} />

      {request.reason && (
        <>
          <h2>What the agent says</h2>
          <aside className="untrusted" aria-label="the agent's reason, untrusted">
            <p className="untrusted-label"><Icon name="alert" /> untrusted: written by the agent, not part of what you approve</p>
            <blockquote><Visible text={request.reason} /></blockquote>
          </aside>
        </>
      )}

      <h2>{pending ? "What exactly will happen" : "What exactly was asked"}</h2>
      <Canonical text={request.action} />
      <p className={check.is === "done" && !check.same ? "digest bad" : "digest"}>
        <span className="soft">SHA-256</span>
        <Hash hex={check.is === "done" ? check.hex : request.digest} />
        <DigestNote check={check} />
      </p>
      {check.is === "done" && !check.same && (
        <ProblemBox problem={new Problem(0, `the server names another digest: ${request.digest}`, "console.digest_mismatch", "do not approve: report this to whoever runs the server")} />
      )}

      {pending && approver && (
        <Decision
          request={request}
          digest={check.is === "done" ? check.hex : request.digest}
          may={check.is === "cannot" || (check.is === "done" && check.same)}
          changed={changed}
          tooLate={setLost}
        />
      )}
    </article>
  );
}

function DigestNote({ check }: { check: Check }): ReactNode {
  if (check.is === "computing") return <span className="soft">computing…</span>;
  if (check.is === "cannot") return <span className="note-warn">not checked: browsers only hash on https: or on this machine</span>;
  return check.same ? <span className="note-good"><Icon name="check" /> computed here from the text above</span> : <span className="note-bad"><Icon name="cross" /> not the digest of this text</span>;
}

function Decided({ request, state }: { request: OversightRequest; state: OversightRequest["state"] }): ReactNode {
  const waited = (millis(request.decided_at) ?? 0) - (millis(request.opened_at) ?? 0);
  const yes = ["approved", "consumed", "executed", "failed"].includes(state);
  return (
    <section className={`decided ${yes ? "good" : state === "denied" ? "bad" : "muted"}`} aria-label="decision">
      <p>
        {request.decided_by ? (
          <>
            <strong>{yes ? "Approved" : state === "denied" ? "Denied" : "Closed"}</strong> by <Who id={request.decided_by} />
            {request.decided_at && <> on {moment(request.decided_at)}, after {duration(waited)}</>}
            {request.how && <span className="how">proved by {request.how.replaceAll("_", " ")}</span>}
          </>
        ) : (
          <>
            <strong>{state === "timed_out" ? "Nobody decided in time." : "Closed without a decision."}</strong> <span>The action was refused.</span>
          </>
        )}
      </p>
      {request.comment && <blockquote><Visible text={request.comment} /></blockquote>}
      {state === "approved" && <p className="soft">The agent has not used the approval yet.</p>}
      {state === "consumed" && <p className="soft">The agent is doing it now; its outcome is not known yet.</p>}
      {state === "failed" && <p className="soft">The action was tried and failed.</p>}
    </section>
  );
}

interface DecisionProps {
  request: OversightRequest;
  digest: string;
  /** Whether approving is offered: not while the digest is computed, and never when it is another. */
  may: boolean;
  changed: () => void;
  tooLate: (problem: Problem) => void;
}

function Decision({ request, digest, may, changed, tooLate }: DecisionProps): ReactNode {
  const [asking, setAsking] = useState<"approve" | "deny">();
  const [comment, setComment] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const field = useRef<HTMLTextAreaElement>(null);
  const tooLong = utf8(comment).length > COMMENT_BYTES_MAX;

  useEffect(() => {
    if (asking) field.current?.focus();
  }, [asking]);
  const confirm = () => {
    if (!asking || busy || tooLong || (asking === "approve" && !may)) return;
    setBusy(true);
    setProblem(undefined);
    const decided = asking === "approve" ? api.approve(request.id, digest, comment.trim()) : api.deny(request.id, comment.trim());
    decided
      .then(
        () => setAsking(undefined),
        (cause: unknown) => {
          const failed = Problem.of(cause);
          if (failed.status === 409) tooLate(failed);
          else setProblem(failed);
        },
      )
      .finally(() => {
        setBusy(false);
        // Also after a conflict: the list then shows who was faster.
        changed();
      });
  };
  useKeys(
    {
      ...(may ? { a: () => setAsking("approve") } : {}),
      d: () => setAsking("deny"),
      ...(asking ? { Escape: () => setAsking(undefined), Enter: confirm } : {}),
    },
    "front",
  );
  const typed = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      confirm();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      setAsking(undefined);
    }
  };

  return (
    <div className={`decision ${asking ?? ""}`} role="group" aria-label="your decision">
      {problem && <ProblemBox problem={problem} />}
      {asking === undefined ? (
        <div className="decision-buttons">
          <button type="button" className="approve" disabled={!may} onClick={() => setAsking("approve")}>
            Approve <kbd>a</kbd>
          </button>
          <button type="button" className="deny" onClick={() => setAsking("deny")}>
            Deny <kbd>d</kbd>
          </button>
          <span className="soft">You approve exactly <code>{digest.slice(0, 8)}…{digest.slice(-8)}</code>, once.</span>
        </div>
      ) : (
        <div className="decision-ask">
          <label>
            {asking === "approve" ? "Approve this action, once." : "Deny this action."} <span className="soft">A comment, if you like: the agent reads it.</span>
            <textarea ref={field} rows={2} value={comment} onChange={(event) => setComment(event.target.value)} onKeyDown={typed} aria-invalid={tooLong} />
          </label>
          {tooLong && <p className="note-bad">The comment is longer than {COMMENT_BYTES_MAX} bytes.</p>}
          <div className="decision-buttons">
            <button type="button" className={asking} disabled={busy || tooLong} onClick={confirm}>
              {busy ? "Sending…" : asking === "approve" ? "Confirm approval" : "Confirm denial"} <kbd>Enter</kbd>
            </button>
            <button type="button" className="quiet" onClick={() => setAsking(undefined)}>
              Cancel <kbd>Esc</kbd>
            </button>
          </div>
        </div>
      )}
    </div>
  );
}

/** One request: everything the decision is about, and the decision. */

import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { Problem, type Seen, api } from "../api/client";
import type { OversightRequest } from "../api/types";
import { canHash, sha256, toHex, utf8 } from "../core/bytes";
import { stateAt } from "../core/inbox";
import { money } from "../core/money";
import { raiseOf } from "../core/raise";
import { href } from "../core/route";
import { countdown, duration, millis, moment } from "../core/time";
import { named } from "../core/timeline";
import { viewed } from "../core/view";
import { unavailable } from "../core/passkey";
import { Canonical } from "../ui/canonical";
import { Edits, MoreWays } from "../ui/change";
import { BreakGlass, BrokenGlass, ReviewForm, isOwn } from "../ui/glass";
import { Icon } from "../ui/icons";
import { useKeys } from "../ui/keys";
import { useLoad, usePoll } from "../ui/load";
import { failed } from "./you";
import { Hash, Path, ProblemBox, Skeleton, State, Visible, Who } from "../ui/parts";

/** The server's limit, in bytes. */
const COMMENT_BYTES_MAX = 4096;

interface Props {
  id: string;
  /** What the list knows; the list may not reach back far enough. */
  listed: OversightRequest | undefined;
  /** Every request the list knows, for what was decided before. */
  others: readonly OversightRequest[];
  changed: () => void;
  approver: boolean;
  operator: boolean;
  /** Who is signed in. */
  me: string;
  now: number;
  /** The list it stands beside. */
  back?: "inbox" | "reviews";
  /** The secret of the mail this page was opened from. */
  mail?: string | undefined;
}

export function RequestDetail({ id, listed, ...props }: Props): ReactNode {
  const stamp = listed ? `${listed.state} ${listed.decided_at ?? ""} ${listed.seq}` : "";
  const loaded = useLoad(`${id} ${stamp}`, (signal) => (listed ? Promise.resolve(listed) : api.request(id, signal)));
  const request = loaded.value ?? listed;
  if (!request) return loaded.problem ? <ProblemBox problem={loaded.problem} retry={loaded.reload} /> : <Skeleton rows={8} />;
  return <Detail request={request} {...props} />;
}

/** What hashing the shown bytes in this browser gave; `same` where they name this very action. */
type Check = { readonly is: "computing" } | { readonly is: "cannot" } | { readonly is: "done"; readonly hex: string; readonly same: boolean };

function useDigest(request: OversightRequest): Check {
  const [check, setCheck] = useState<Check>({ is: canHash() ? "computing" : "cannot" });
  const { action, digest, view } = request;
  useEffect(() => {
    if (!canHash()) return;
    let current = true;
    void sha256(utf8(view ?? action)).then((hash) => {
      const hex = toHex(hash);
      if (current) setCheck({ is: "done", hex, same: view ? viewed(view)?.digest === digest : hex === digest.toLowerCase() });
    });
    return () => {
      current = false;
    };
  }, [action, digest, view]);
  return check;
}

function Detail({ request, others, changed, approver, operator, me, now, back = "inbox", mail }: Omit<Props, "id" | "listed"> & { request: OversightRequest }): ReactNode {
  const { action, resource } = named(request.action);
  // Where something is hidden the view is what is read and approved; it names the digest of the whole action.
  const partly = request.view ? viewed(request.view) : undefined;
  const check = useDigest(request);
  const [lost, setLost] = useState<Problem>();
  const left = countdown(request.opened_at, request.deadline, now);
  const state = stateAt(request, now);
  const pending = state === "pending";

  // The server tells of decisions at once, and not of what the agent makes of them.
  usePoll(request.state === "approved" || request.state === "consumed", changed, 2000);

  return (
    <article className="request">
      <a className="back" href={href({ page: back })}>
        <Icon name="back" /> {back}
      </a>
      <header>
        <h1><Visible text={resource || action} /></h1>
        <p className="request-meta">
          <State state={state} />
          <code><Visible text={action} /></code>
          <span title={moment(request.opened_at)}>asked {moment(request.opened_at)}</span>
          <span>rule <code><Visible text={request.rule} /></code></span>
          <span className={`risk risk-${request.risk}`}>risk {request.risk}</span>
          {request.revision > 1 && <span>revision {request.revision}: edited since it was asked</span>}
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
      {request.glass ? <BrokenGlass request={request} now={now} /> : !pending && <Decided request={request} state={state} />}

      <h2>On whose authority</h2>
      <Path hops={request.hops} />
      {request.run && <RunCost run={request.run} />}
      <Votes request={request} />

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
      {request.test && <p className="note-warn">This installation is for tests: what is decided here binds nobody.</p>}
      {partly && (
        <p className="note-warn">
          Hidden from you: {partly.hidden.map((name) => <code key={name}><Visible text={name} /> </code>)}
          The digest in the text below covers it, and your approval names what you were shown.
        </p>
      )}
      <RaiseShown request={request} />
      <Canonical text={request.view ?? request.action} />
      <p className={check.is === "done" && !check.same ? "digest bad" : "digest"}>
        <span className="soft">SHA-256</span>
        <Hash hex={check.is === "done" ? check.hex : request.digest} />
        <DigestNote check={check} />
      </p>
      {check.is === "done" && !check.same && (
        <ProblemBox problem={new Problem(0, `the server names another digest: ${request.digest}`, "console.digest_mismatch", "do not approve: report this to whoever runs the server")} />
      )}

      {request.revision > 1 && <Edits request={request} />}
      {pending && <Before request={request} others={others} />}

      {pending && approver && (
        <Decision
          request={request}
          seen={request.view && check.is === "done" ? { digest: request.digest, shown: check.hex } : { digest: check.is === "done" ? check.hex : request.digest }}
          may={(check.is === "cannot" && !request.view) || (check.is === "done" && check.same)}
          changed={changed}
          tooLate={setLost}
          mail={mail}
        />
      )}
      {pending && approver && mail === undefined && <MoreWays request={request} changed={changed} />}
      {pending && approver && operator && mail === undefined && request.kind === "approval" && !isOwn(request, me) && check.is === "done" && check.same && (
        <BreakGlass request={request} digest={check.hex} changed={changed} />
      )}
      {approver && <ReviewForm request={request} me={me} changed={changed} />}
    </article>
  );
}

/** A question about a budget in amounts: what stands, what is given, what comes after. The bytes below say the same. */
function RaiseShown({ request }: { request: OversightRequest }): ReactNode {
  const raise = raiseOf(request.action);
  if (!raise) return null;
  return (
    <dl className="raise" aria-label="the raise">
      <div><dt>budget of</dt><dd><Who id={raise.whose} /> <code><Visible text={raise.account} /></code></dd></div>
      <div><dt>ceiling now</dt><dd className="num">{money(raise.ceiling)}</dd></div>
      <div>
        <dt>{request.state === "pending" ? "asked to raise it by" : "raise"}</dt>
        <dd className="num">+{money(raise.raise)}{raise.raise !== raise.asked && <span className="soft"> of {money(raise.asked)} that were asked for</span>}</dd>
      </div>
      <div><dt>ceiling after</dt><dd className="num"><strong>{money(raise.after)}</strong></dd></div>
      <div><dt>missing now</dt><dd className="num">{money(raise.missing)} <span className="soft">for <code><Visible text={raise.wants} /></code></span></dd></div>
    </dl>
  );
}

/** What the run has cost until now. */
function RunCost({ run }: { run: string }): ReactNode {
  const loaded = useLoad(`cost ${run}`, (signal) => api.run(run, signal));
  if (!loaded.value) return null;
  return <p className="soft">The run has cost {money(loaded.value.cost)} so far.</p>;
}

/** Who voted on this revision, and what was said between approver and agent. */
function Votes({ request }: { request: OversightRequest }): ReactNode {
  const mail = request.mail ?? [];
  if (request.votes.length + request.thread.length + mail.length === 0) return null;
  return (
    <section aria-label="votes and words">
      <h2>What people said</h2>
      <ul className="votes">
        {request.votes.map((vote) => (
          <li key={`${vote.by} ${vote.at}`}>
            <strong>{vote.choice === "approve" ? "yes" : "no"}</strong> <Who id={vote.by} /> <span className="soft">{moment(vote.at)}, proved by {vote.proof.method.replaceAll("_", " ")}</span>
            {vote.comment && <blockquote><Visible text={vote.comment} /></blockquote>}
          </li>
        ))}
        {request.thread.map((said) => (
          <li key={said.at}>
            <Who id={said.by} /> <span className="soft">{moment(said.at)}{said.by.includes("/agent/") && ", untrusted: written by the agent"}</span>
            <blockquote><Visible text={said.text} /></blockquote>
          </li>
        ))}
        {mail.map((answer, index) => (
          <li key={`mail ${answer.at} ${index}`} aria-label="by mail">
            <Who id={answer.from} /> <span className="soft">{moment(answer.at)}, by mail, untrusted: {sender(answer.sender)}; it decides nothing{leftOut(answer)}</span>
            <blockquote><Visible text={answer.text} /></blockquote>
          </li>
        ))}
      </ul>
    </section>
  );
}

type Mail = NonNullable<OversightRequest["mail"]>[number];

/** What shows who sent a mail. */
function sender(shown: Mail["sender"]): string {
  if (shown === "dkim") return "signed by the sender's domain";
  if (shown === "dmarc") return "vouched for by the sender's domain";
  return "nothing shows who sent it";
}

function leftOut(mail: Mail): string {
  const quoted = mail.left_out > 0 ? `; ${mail.left_out} quoted lines left out` : "";
  return mail.attachments > 0 ? `${quoted}; ${mail.attachments} attachments left out` : quoted;
}

/** How the same agent's requests for the same thing were decided. */
function Before({ request, others }: { request: OversightRequest; others: readonly OversightRequest[] }): ReactNode {
  const wanted = named(request.action);
  const same = others.filter((other) => {
    const { action, resource } = named(other.action);
    return other.id !== request.id && other.decided_at && action === wanted.action && resource === wanted.resource && other.hops.at(-1) === request.hops.at(-1);
  });
  if (same.length === 0) return null;
  return (
    <section aria-label="similar past decisions">
      <h2>Decided before, for the same agent and tool</h2>
      <ul className="votes">
        {same.slice(0, 5).map((other) => (
          <li key={other.id}>
            <State state={other.state} /> <a href={href({ page: "inbox", request: other.id })}>{moment(other.decided_at ?? other.opened_at)}</a>
            {other.comment && <> “<Visible text={other.comment} />”</>}
          </li>
        ))}
      </ul>
    </section>
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
  seen: Seen;
  /** Whether approving is offered: not while the digest is computed, and never when it is another. */
  may: boolean;
  changed: () => void;
  tooLate: (problem: Problem) => void;
  mail?: string | undefined;
}

/** Sends the decision the way it was taken: with a mail's secret, by passkey, or by a click. */
function decide(id: string, how: "approve" | "passkey" | "deny", seen: Seen, comment: string, mail: string | undefined) {
  if (mail !== undefined && how !== "passkey") return api.decideByMail(id, mail, how, seen, comment);
  if (how === "passkey") return api.approveByPasskey(id, seen, comment);
  return how === "approve" ? api.approve(id, seen, comment) : api.deny(id, comment);
}

function Decision({ request, seen, may, changed, tooLate, mail }: DecisionProps): ReactNode {
  const [asking, setAsking] = useState<"approve" | "passkey" | "deny">();
  const [comment, setComment] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const field = useRef<HTMLTextAreaElement>(null);
  // What is at stake here needs a key that the human alone holds; elsewhere it is a choice.
  const strong = request.risk === "critical";
  const passkeys = unavailable() === undefined && mail === undefined;
  const tooLong = utf8(comment).length > COMMENT_BYTES_MAX;

  useEffect(() => {
    if (asking) field.current?.focus();
  }, [asking]);
  const confirm = () => {
    if (!asking || busy || tooLong || (asking !== "deny" && !may)) return;
    setBusy(true);
    setProblem(undefined);
    const decided = decide(request.id, asking, seen, comment.trim(), mail);
    decided
      .then(
        () => setAsking(undefined),
        (cause: unknown) => {
          const problem = failed(cause);
          if (problem.status === 409) tooLate(problem);
          else setProblem(problem);
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
      ...(may && !strong ? { a: () => setAsking("approve") } : {}),
      ...(may && passkeys ? { p: () => setAsking("passkey") } : {}),
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
          {!strong && (
            <button type="button" className="approve" disabled={!may} onClick={() => setAsking("approve")}>
              Approve <kbd>a</kbd>
            </button>
          )}
          {passkeys && (
            <button type="button" className={strong ? "approve" : "quiet"} disabled={!may} onClick={() => setAsking("passkey")}>
              {strong ? "Approve with a passkey" : "with a passkey"} <kbd>p</kbd>
            </button>
          )}
          {strong && !passkeys && <span className="note-warn">Approving this needs a passkey: {unavailable() ?? "open it in the inbox"}</span>}
          <button type="button" className="deny" onClick={() => setAsking("deny")}>
            Deny <kbd>d</kbd>
          </button>
          <span className="soft">You approve exactly <code>{seen.digest.slice(0, 8)}…{seen.digest.slice(-8)}</code>, once.</span>
        </div>
      ) : (
        <div className="decision-ask">
          <label>
            {asking === "deny" ? "Deny this action." : "Approve this action, once."} <span className="soft">A comment, if you like: the agent reads it.</span>
            <textarea ref={field} rows={2} value={comment} onChange={(event) => setComment(event.target.value)} onKeyDown={typed} aria-invalid={tooLong} />
          </label>
          {tooLong && <p className="note-bad">The comment is longer than {COMMENT_BYTES_MAX} bytes.</p>}
          <div className="decision-buttons">
            <button type="button" className={asking === "deny" ? "deny" : "approve"} disabled={busy || tooLong} onClick={confirm}>
              {busy ? "Sending…" : asking === "approve" ? "Confirm approval" : asking === "passkey" ? "Sign with your passkey" : "Confirm denial"} <kbd>Enter</kbd>
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

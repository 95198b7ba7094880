/** Broken glasses: who approved around everybody else, and why; who looked at it afterwards; and both to be done. */

import { type ReactNode, useState } from "react";
import { Problem, api } from "../api/client";
import type { OversightRequest } from "../api/types";
import { utf8 } from "../core/bytes";
import { unavailable } from "../core/passkey";
import { isOverdue } from "../core/reviews";
import { moment } from "../core/time";
import { failed } from "../pages/you";
import { Icon } from "./icons";
import { ProblemBox, Visible, Who } from "./parts";

/** The server's limit, in bytes. */
const WORDS_BYTES_MAX = 4096;

/** Whether a request is this person's own: they are in its chain. The server knows of editors too. */
export function isOwn(request: OversightRequest, me: string): boolean {
  return request.hops.includes(me);
}

/** Who broke the glass, why, and who looked at it. */
export function BrokenGlass({ request, now }: { request: OversightRequest; now: number }): ReactNode {
  const glass = request.glass;
  if (!glass) return null;
  return (
    <section className="decided warn" aria-label="broken glass">
      <p>
        <Icon name="glass" /> <strong>The glass was broken</strong> by <Who id={glass.by} />
        {request.decided_at && <> on {moment(request.decided_at)}</>}
        {glass.proof && <span className="how">proved by {glass.proof.method.replaceAll("_", " ")}</span>}
      </p>
      <p className="soft">It was approved at once, around everybody whose agreement it needed.</p>
      <blockquote><Visible text={glass.reason} /></blockquote>
      {request.comment && request.comment !== glass.reason && <p>Later: <Visible text={request.comment} /></p>}
      {glass.reviewed_by ? (
        <>
          <p>
            <span className={glass.justified ? "note-good" : "note-bad"}>
              <Icon name={glass.justified ? "check" : "cross"} /> {glass.justified ? "Justified" : "Not justified"}
            </span>{" "}
            says <Who id={glass.reviewed_by} />
            {glass.reviewed_at && <> on {moment(glass.reviewed_at)}</>}
          </p>
          {glass.review && <blockquote><Visible text={glass.review} /></blockquote>}
        </>
      ) : (
        <p className={isOverdue(request, now) ? "note-bad" : "note-warn"}>
          Nobody has looked at it yet{isOverdue(request, now) ? ", and the day for that is over." : `: somebody else must, until ${moment(glass.review_by)}.`}
        </p>
      )}
    </section>
  );
}

/** What was found, in words. Who may not look is told why. */
export function ReviewForm({ request, me, changed }: { request: OversightRequest; me: string; changed: () => void }): ReactNode {
  const [comment, setComment] = useState("");
  const { busy, problem, send } = useSending(changed);
  const glass = request.glass;
  if (!glass || glass.reviewed_by) return null;
  if (glass.by === me || isOwn(request, me)) {
    return <p className="decision soft">{glass.by === me ? "You broke this glass" : "You are in this request's chain"}: somebody else looks at it.</p>;
  }
  const tooLong = utf8(comment).length > WORDS_BYTES_MAX;
  const empty = comment.trim() === "";
  const say = (justified: boolean) => send(api.review(request.id, justified, comment.trim()));
  return (
    <form className="decision" aria-label="your review" onSubmit={(event) => event.preventDefault()}>
      {problem && <ProblemBox problem={problem} />}
      <div className="decision-ask">
        <label>
          What did you find? <span className="soft">Required; whoever broke it reads it, and it stays with the request.</span>
          <textarea required rows={2} value={comment} onChange={(event) => setComment(event.target.value)} aria-invalid={tooLong} />
        </label>
        {tooLong && <p className="note-bad">The comment is longer than {WORDS_BYTES_MAX} bytes.</p>}
        <div className="decision-buttons">
          <button type="button" className="approve" disabled={busy || empty || tooLong} onClick={() => say(true)}>{busy ? "Sending…" : "It was justified"}</button>
          <button type="button" className="deny" disabled={busy || empty || tooLong} onClick={() => say(false)}>It was not justified</button>
        </div>
      </div>
    </form>
  );
}

interface BreakProps {
  request: OversightRequest;
  /** As it was computed here. */
  digest: string;
  changed: () => void;
}

/** The way around everybody else, for who runs the installation. */
export function BreakGlass({ request, digest, changed }: BreakProps): ReactNode {
  const [open, setOpen] = useState(false);
  const [reason, setReason] = useState("");
  const { busy, problem, send } = useSending(changed);
  const passkey = request.risk === "critical";
  const cannot = passkey ? unavailable() : undefined;
  const tooLong = utf8(reason).length > WORDS_BYTES_MAX;
  const sends = () => send(passkey ? api.breakGlassByPasskey(request.id, digest, reason.trim()) : api.breakGlass(request.id, digest, reason.trim()));
  return (
    <div className="more-ways">
      {problem && <ProblemBox problem={problem} />}
      {!open ? (
        <button type="button" className="quiet" onClick={() => setOpen(true)}>Break the glass</button>
      ) : (
        <div className="decision-ask">
          <label>
            Why can this wait for nobody? <span className="soft">It is approved at once, around everybody else. Another person looks at it within a day.</span>
            <textarea required rows={2} value={reason} onChange={(event) => setReason(event.target.value)} aria-invalid={tooLong} />
          </label>
          {tooLong && <p className="note-bad">The reason is longer than {WORDS_BYTES_MAX} bytes.</p>}
          {cannot && <p className="note-warn">This needs a passkey: {cannot}</p>}
          <div className="decision-buttons">
            <button type="button" className="deny" disabled={busy || tooLong || reason.trim() === "" || cannot !== undefined} onClick={sends}>
              {busy ? "Sending…" : passkey ? "Break it with your passkey" : "Break it now"}
            </button>
            <button type="button" className="quiet" onClick={() => setOpen(false)}>Cancel</button>
          </div>
        </div>
      )}
    </div>
  );
}

function useSending(changed: () => void) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const send = (sent: Promise<unknown>) => {
    setBusy(true);
    setProblem(undefined);
    sent
      .catch((cause: unknown) => setProblem(failed(cause)))
      .finally(() => {
        setBusy(false);
        // Also after a refusal: the list then shows who was faster.
        changed();
      });
  };
  return { busy, problem, send };
}

/** Words and changes beside a yes or no: asking the agent back, editing the arguments, and what earlier edits changed. */

import { type ReactNode, useState } from "react";
import { Problem, api } from "../api/client";
import type { OversightRequest } from "../api/types";
import { type Change, changes } from "../core/diff";
import { moment } from "../core/time";
import { useLoad } from "./load";
import { ProblemBox, Visible, Who } from "./parts";

/** What each edit changed, the newest first. */
export function Edits({ request }: { request: OversightRequest }): ReactNode {
  const loaded = useLoad(`revisions ${request.id} ${request.revision}`, (signal) => api.revisions(request.id, signal));
  const all = loaded.value ?? [];
  const pairs = all.slice(1).map((after, at) => ({ before: all[at], after }));
  if (loaded.problem) return <ProblemBox problem={loaded.problem} retry={loaded.reload} />;
  return (
    <section aria-label="edits">
      <h2>What was edited since the agent asked</h2>
      {pairs.reverse().map(({ before, after }) => (
        <div key={after.revision} className="edit">
          <p>
            revision {after.revision} {after.editor && <>by <Who id={after.editor} /></>} <span className="soft">{moment(after.at)}</span>
          </p>
          <ul className="diff">{changes(before?.action ?? "{}", after.action).map((change) => <Line key={change.path} change={change} />)}</ul>
        </div>
      ))}
    </section>
  );
}

function Line({ change }: { change: Change }): ReactNode {
  return (
    <li>
      <code><Visible text={change.path} /></code>
      {change.before !== undefined && <del><Visible text={change.before} /></del>}
      {change.after !== undefined && <ins><Visible text={change.after} /></ins>}
    </li>
  );
}

/** Two more ways to answer: a question to the agent, and other arguments. */
export function MoreWays({ request, changed }: { request: OversightRequest; changed: () => void }): ReactNode {
  const [open, setOpen] = useState<"ask" | "edit">();
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const start = (what: "ask" | "edit") => {
    setProblem(undefined);
    setText(what === "edit" ? argumentsOf(request.action) : "");
    setOpen(what);
  };
  const send = () => {
    let sent: Promise<unknown>;
    try {
      sent = open === "edit" ? api.edit(request.id, request.revision, JSON.parse(text)) : api.askBack(request.id, text.trim());
    } catch (cause) {
      setProblem(new Problem(0, `the arguments are no JSON: ${String(cause)}`, "console.bad_json", "correct them, then send again"));
      return;
    }
    setBusy(true);
    setProblem(undefined);
    sent
      .then(
        () => {
          setOpen(undefined);
          changed();
        },
        (cause: unknown) => setProblem(Problem.of(cause)),
      )
      .finally(() => setBusy(false));
  };
  return (
    <div className="more-ways">
      {problem && <ProblemBox problem={problem} />}
      {open === undefined ? (
        <div className="decision-buttons">
          <button type="button" className="quiet" onClick={() => start("ask")}>Ask the agent</button>
          {request.editable && <button type="button" className="quiet" onClick={() => start("edit")}>Edit the arguments</button>}
        </div>
      ) : (
        <div className="decision-ask">
          <label>
            {open === "ask" ? "Your question; the request keeps waiting." : "The arguments as they should be. Votes so far no longer count, and you cannot approve your own edit where duties are separated."}
            <textarea rows={open === "ask" ? 2 : 8} value={text} spellCheck={false} onChange={(event) => setText(event.target.value)} />
          </label>
          <div className="decision-buttons">
            <button type="button" className="primary" disabled={busy || text.trim() === ""} onClick={send}>{busy ? "Sending…" : open === "ask" ? "Ask" : "Save the edit"}</button>
            <button type="button" className="quiet" onClick={() => setOpen(undefined)}>Cancel</button>
          </div>
        </div>
      )}
    </div>
  );
}

function argumentsOf(action: string): string {
  try {
    return JSON.stringify((JSON.parse(action) as { arguments?: unknown }).arguments ?? {}, null, 2);
  } catch {
    return "{}";
  }
}

/** Small parts that every page is made of. */

import { Fragment, type ReactNode } from "react";
import type { Problem } from "../api/client";
import { identity } from "../core/identity";
import { pieces } from "../core/visible";
import { Icon } from "./icons";
import type { Loaded } from "./load";

/** A text in which every character can be seen. Use it for everything that comes from outside. */
export function Visible({ text }: { text: string }): ReactNode {
  return pieces(text).map((piece, at) => {
    if (piece.kind === "plain") return <span key={at}>{piece.text}</span>;
    if (piece.kind === "mixed")
      return (
        <span key={at} className="mixed" title={`mixes ${piece.scripts} letters, which look alike`}>
          {piece.text}
          <span className="mark danger" role="img" aria-label={`the word before mixes ${piece.scripts} letters`}>
            {piece.scripts.replace(" and ", "+")}
          </span>
        </span>
      );
    return (
      <Fragment key={at}>
        <span className={piece.danger ? "mark danger" : "mark"} role="img" aria-label={piece.name} title={piece.name}>
          {piece.label}
        </span>
        {/* The line feed itself, after its name: where lines are kept, what follows begins a new one. */}
        {piece.text === "\n" && "\n"}
      </Fragment>
    );
  });
}

/** A problem: what happened, what to do, and its code. */
export function ProblemBox({ problem, retry }: { problem: Problem; retry?: (() => void) | undefined }): ReactNode {
  return (
    <div className="problem" role="alert">
      <Icon name="alert" />
      <div>
        <p className="problem-detail">
          <Visible text={problem.detail} />
        </p>
        {problem.hint && (
          <p className="problem-hint">
            <Visible text={problem.hint} />
          </p>
        )}
        <p className="problem-code">
          <code>{problem.code}</code>
          {retry && (
            <button type="button" className="link" onClick={retry}>
              try again
            </button>
          )}
        </p>
      </div>
    </div>
  );
}

/** Nothing here, and why that may be; `done` where that is good news. */
export function Empty({ title, done = false, children }: { title: string; done?: boolean; children?: ReactNode }): ReactNode {
  return (
    <div className={done ? "empty done" : "empty"}>
      <Icon name={done ? "check" : "empty"} />
      <h2>{title}</h2>
      {children && <p>{children}</p>}
    </div>
  );
}

/** Grey lines where something will be. */
export function Skeleton({ rows = 4 }: { rows?: number }): ReactNode {
  return (
    <div className="skeleton" role="status" aria-label="loading">
      {Array.from({ length: rows }, (_, at) => (
        <div key={at} />
      ))}
    </div>
  );
}

/** What is loaded, or what stands in its place. A problem while reloading is shown above what was loaded before. */
export function Await<T>({ loaded, rows, children }: { loaded: Loaded<T>; rows?: number; children: (value: T) => ReactNode }): ReactNode {
  return (
    <>
      {loaded.problem && <ProblemBox problem={loaded.problem} retry={loaded.reload} />}
      {loaded.loading && <Skeleton rows={rows ?? 4} />}
      {loaded.value !== undefined && children(loaded.value)}
    </>
  );
}

/** Who: the name, with the whole ID on hover. */
export function Who({ id }: { id: string }): ReactNode {
  const who = identity(id);
  return (
    <span className={`who ${who.kind}`} title={id}>
      <Icon name={who.kind === "other" ? "service" : who.kind} />
      <span>
        <Visible text={who.name} />
      </span>
    </span>
  );
}

/** A delegation chain as a path, root first. */
export function Path({ hops }: { hops: readonly string[] }): ReactNode {
  return (
    <ol className="path" aria-label="delegation chain, root first">
      {hops.map((hop, at) => (
        <li key={at}>
          <Who id={hop} />
        </li>
      ))}
    </ol>
  );
}

const WORDS: Readonly<Record<string, string>> = {
  timed_out: "timed out",
  in_doubt: "in doubt",
  intent: "under way",
  consumed: "in use",
  requires_oversight: "asks a human",
};
const TONES: Readonly<Record<string, string>> = {
  pending: "wait", intent: "wait", running: "wait", consumed: "wait", requires_oversight: "wait",
  approved: "good", executed: "good", done: "good", allow: "good", finished: "good", ok: "good", finalized: "good", succeeded: "good", active: "good",
  justified: "good", not_justified: "bad",
  denied: "bad", failed: "bad", deny: "bad", refused: "bad", voided: "muted", draft: "wait",
  in_doubt: "warn", no_outcome: "warn", timed_out: "warn", cancelled: "muted",
};

/** A state as a coloured word. */
export function State({ state }: { state: string }): ReactNode {
  return <span className={`state ${TONES[state] ?? "muted"}`}>{WORDS[state] ?? state.replaceAll("_", " ")}</span>;
}

/** A hash, whole, in groups of eight that can be compared by eye. */
export function Hash({ hex }: { hex: string }): ReactNode {
  const groups = hex.match(/.{1,8}/g) ?? [];
  return (
    <code className="hash">
      {groups.map((group, at) => (
        <span key={at}>{group}</span>
      ))}
    </code>
  );
}

/** A page's head. */
export function Head({ title, children }: { title: ReactNode; children?: ReactNode }): ReactNode {
  return (
    <header className="head">
      <h1>{title}</h1>
      {children}
    </header>
  );
}

/** One of a few, as buttons side by side. */
export function Switch<T extends string>({ label, options, chosen, choose }: {
  label: string;
  options: readonly (readonly [T, string])[];
  chosen: T;
  choose: (option: T) => void;
}): ReactNode {
  return (
    <span className="switch" role="group" aria-label={label}>
      {options.map(([option, name]) => (
        <button key={option} type="button" aria-pressed={option === chosen} onClick={() => choose(option)}>{name}</button>
      ))}
    </span>
  );
}

/** An action's canonical bytes, all of them, laid out for reading. */

import { type ReactNode, useMemo, useState } from "react";
import { utf8 } from "../core/bytes";
import { type Token, controlEscapes, escapes, isLayout, lines } from "../core/lexical";
import { pieces, warnings } from "../core/visible";
import { Visible } from "./parts";

/** How an escape is said in words. */
const SAID: Readonly<Record<string, string>> = {
  "\\n": "line feed", "\\r": "carriage return", "\\t": "tab", "\\b": "backspace", "\\f": "form feed", "\\u001b": "escape: begins terminal commands",
};

export function Canonical({ text }: { text: string }): ReactNode {
  const [raw, setRaw] = useState(false);
  const layout = useMemo(() => lines(text), [text]);
  const strange = useMemo(() => warnings(pieces(text)) + controlEscapes(text), [text]);
  const size = useMemo(() => utf8(text).length, [text]);
  return (
    <figure className="canonical">
      <figcaption>
        <span>
          {size.toLocaleString()} bytes, all shown
          {strange > 0 && <strong className="strange"> · {strange} hidden or deceptive {strange === 1 ? "character" : "characters"}</strong>}
        </span>
        <span className="switch" role="group" aria-label="layout">
          <button type="button" aria-pressed={!raw} onClick={() => setRaw(false)}>
            laid out
          </button>
          <button type="button" aria-pressed={raw} onClick={() => setRaw(true)}>
            exact bytes
          </button>
        </span>
      </figcaption>
      {raw ? (
        <pre className="bytes" dir="ltr" tabIndex={0} aria-label="the action's exact text">
          <Visible text={text} />
        </pre>
      ) : (
        <div className="bytes laid-out" dir="ltr" role="group" tabIndex={0} aria-label="the action, laid out">
          {layout.map((line, at) => (
            <div key={at} className="line" style={{ paddingInlineStart: `${line.depth * 1.25 + 1}rem` }}>
              {line.tokens.map((token, index) => (
                <Shown key={index} token={token} />
              ))}
            </div>
          ))}
        </div>
      )}
    </figure>
  );
}

function Shown({ token }: { token: Token }): ReactNode {
  if (token.kind === "string" || token.kind === "key") {
    return (
      <span className={`t-${token.kind}`}>
        {escapes(token.text).map((piece, at) =>
          piece.escape ? <Escape key={at} text={piece.text} /> : <Visible key={at} text={piece.text} />,
        )}
      </span>
    );
  }
  return (
    <span className={`t-${token.kind}`}>
      <Visible text={token.text} />
      {token.text === ":" && " "}
    </span>
  );
}

/** An escape stays as it is written. A line feed also begins a new line, so that longer texts can be read. */
function Escape({ text }: { text: string }): ReactNode {
  const said = SAID[text.toLowerCase()] ?? "control character";
    return (
    <>
      <span className={isLayout(text) ? "mark" : "mark danger"} role="img" aria-label={said} title={said}>
        {text}
      </span>
      {text === "\\n" && <br />}
    </>
  );
}

import { type ReactNode, useEffect, useRef } from "react";
import { KEYS, useKeys } from "./keys";

/** What the keys do. */
export function Help({ close }: { close: () => void }): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  useKeys({ "?": close }, "dialog");
  return (
    <dialog ref={dialog} className="help" onClose={close} aria-label="keyboard" onClick={(event) => event.target === dialog.current && close()}>
      <h2>Keyboard</h2>
      <dl>
        {KEYS.map(([keys, meaning]) => (
          <div key={meaning}>
            <dt>
              {keys.map((key) => (
                <span key={key} className="chord">
                  {key.split(" ").map((one, at) => (
                    <kbd key={at}>{one}</kbd>
                  ))}
                </span>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <button type="submit">close</button>
      </form>
    </dialog>
  );
}

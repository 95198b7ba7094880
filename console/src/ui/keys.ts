/** The keyboard. */

import { useEffect, useRef } from "react";

export type Bindings = Readonly<Record<string, (event: KeyboardEvent) => void>>;

/** What the keys do, for the help. */
export const KEYS: readonly (readonly [keys: readonly string[], meaning: string])[] = [
  [["j", "k"], "next, previous"],
  [["Enter"], "open; confirm a decision"],
  [["a"], "approve, after a confirmation"],
  [["d"], "deny, after a confirmation"],
  [["Esc"], "back; close"],
  [["g i"], "inbox"],
  [["g e"], "reviews of broken glasses"],
  [["g r"], "runs"],
  [["g a"], "audit log"],
  [["g u"], "usage"],
  [["g c"], "costs"],
  [["g b"], "budgets"],
  [["g v"], "invoices"],
  [["?"], "this help"],
];

/** How long after `g` a second key still belongs to it. */
const CHORD_MS = 1200;

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}

/** Who is asked first: an open dialog alone, then what stands in front of the page, then the page. */
export type Layer = "dialog" | "front" | "page";

/** Keys pressed outside of fields; `g i` is one after the other. */
export function useKeys(bindings: Bindings, layer: Layer = "page"): void {
  const latest = useRef(bindings);
  latest.current = bindings;
  useEffect(() => {
    let first: { key: string; at: number } | undefined;
    const pressed = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing(event.target)) return;
      if (layer !== "dialog" && document.querySelector("dialog[open]")) return;
      const chord = first && event.timeStamp - first.at < CHORD_MS ? `${first.key} ${event.key}` : undefined;
      const action = (chord && latest.current[chord]) ?? latest.current[event.key];
      first = chord ? undefined : { key: event.key, at: event.timeStamp };
      if (!action) return;
      // A link or button in focus keeps its own Enter.
      if (event.key === "Enter" && event.target instanceof HTMLElement && ["A", "BUTTON", "SUMMARY"].includes(event.target.tagName)) return;
      event.preventDefault();
      action(event);
    };
    const capture = layer !== "page";
    window.addEventListener("keydown", pressed, capture);
    return () => window.removeEventListener("keydown", pressed, capture);
  }, [layer]);
}

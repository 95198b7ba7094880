/** A picker of a window of days. */

import { type ReactNode, useState } from "react";
import { serverNow } from "../api/client";
import { type Preset, type Window, plusDays, today, windowOf } from "../core/days";
import { Switch } from "./parts";

export interface Picked {
  readonly window: Window | undefined;
  readonly picker: ReactNode;
}

const NAMES: readonly (readonly [Preset, string])[] = [["7d", "7 days"], ["30d", "30 days"], ["90d", "90 days"], ["12m", "a year"], ["all", "all"], ["custom", "custom"]];

/** The window that is picked, and what it is picked with. All time is offered where a page can show it. */
export function useWindow(first: Preset, { allTime = false } = {}): Picked {
  const [preset, setPreset] = useState<Preset>(first);
  const [custom, setCustom] = useState(() => ({ from: plusDays(today(serverNow()), -29), to: today(serverNow()) }));
  const window = windowOf(preset, serverNow(), custom);
  const field = (which: "from" | "to") => (
    <label>
      <span>{which}</span>
      <input type="date" value={custom[which]} onChange={(event) => setCustom({ ...custom, [which]: event.target.value })} aria-invalid={window === undefined} />
    </label>
  );
  const picker = (
    <div className="picker">
      <Switch label="window" options={NAMES.filter(([name]) => allTime || name !== "all")} chosen={preset} choose={setPreset} />
      {preset === "custom" && <span className="dates">{field("from")}{field("to")}</span>}
      {window === undefined && <span className="note-bad" role="alert">The first day is after the last one.</span>}
    </div>
  );
  return { window, picker };
}

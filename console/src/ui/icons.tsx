/** Line icons, drawn on 24 units. They repeat what a word beside them says, so that readers of the screen skip them. */

import type { ReactNode } from "react";

const PATHS = {
  inbox: "M4 13h4l1.5 3h5L16 13h4M4 13 6.5 5h11L20 13v6H4z",
  glass: "M6 3.5h12l-1.6 17H7.6zM12 3.5l-2.5 6 4 3-3 8",
  runs: "M5 6h14M5 12h9M5 18h5M18 12l3 3-3 3",
  audit: "M12 3v6M6 15v-3h12v3M6 15h0M12 9v3M3 15h6v6H3zM15 15h6v6h-6z",
  costs: "M5 20V10M12 20V4M19 20v-7",
  budgets: "M12 4a8 8 0 1 0 8 8h-8zM15 3.5A8 8 0 0 1 20.5 9H15z",
  invoices: "M6 3.5h12v17l-3-2-3 2-3-2-3 2zM9.5 8h5M9.5 12h5",
  human: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.5c1-4 4-5.5 7.5-5.5s6.5 1.5 7.5 5.5",
  agent: "M6 9h12v9H6zM12 9V5M9.5 13v1.5M14.5 13v1.5M3.5 12v3M20.5 12v3M12 5h0",
  service: "M4 5h16v6H4zM4 13h16v6H4zM7.5 8h0M7.5 16h0",
  run: "M4 5h16v14H4zM7.5 9.5l3 2.5-3 2.5M13 15h4",
  egress: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM3 12h18M12 3c3.5 3.5 3.5 14.5 0 18M12 3c-3.5 3.5-3.5 14.5 0 18",
  tool: "M14.5 6a4.5 4.5 0 0 0-5.8 5.8L3.5 17l3.5 3.5 5.2-5.2A4.5 4.5 0 0 0 18 9.5l-2.8 2.8-2.5-.5-.5-2.5z",
  message: "M4 5.5h16v11H10l-4 3.5v-3.5H4z",
  usage: "M4 18a8 8 0 1 1 16 0M12 18l4-6",
  memory: "M12 4c5 0 8 1.3 8 3v10c0 1.7-3 3-8 3s-8-1.3-8-3V7c0-1.7 3-3 8-3zM4 7c0 1.7 3 3 8 3s8-1.3 8-3M4 12c0 1.7 3 3 8 3s8-1.3 8-3",
  other: "M12 12h0M6 12h0M18 12h0",
  alert: "M12 4 2.5 20h19zM12 10v4.5M12 17.3h0",
  empty: "M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16zM9 12h6",
  check: "M4 12.5l5 5L20 6.5",
  cross: "M6 6l12 12M18 6 6 18",
  back: "M14.5 5.5 8 12l6.5 6.5",
  shield: "M12 3l7.5 3v5.5c0 4.5-3 8-7.5 9.5-4.5-1.5-7.5-5-7.5-9.5V6z",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5.5l3.5 2",
  out: "M10 4H5v16h5M15 8l4 4-4 4M19 12H9.5",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }): ReactNode {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

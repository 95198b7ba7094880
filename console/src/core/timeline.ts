/** A run's actions and requests, woven into one line of time. */

import type { Action, OversightRequest } from "../api/types";
import { millis } from "./time";

export type Kind = "run" | "egress" | "tool" | "message" | "usage" | "memory" | "other";

/** One event of the line. */
export interface Moment {
  readonly key: string;
  readonly kind: Kind;
  readonly at: string;
  readonly action: string;
  readonly resource: string;
  /** `done`, `failed`, `refused`, `in_doubt`, `intent` of an action; `pending`, `denied`, `timed_out`, … of a request that led to none. */
  readonly state: string;
  readonly cost: string | undefined;
  /** From its intent to its outcome; absent while it runs, and for what never ran. */
  readonly tookMs: number | undefined;
  /** How long a human was waited for. */
  readonly waitedMs: number | undefined;
  readonly request: OversightRequest | undefined;
  /** The leaf to open: the outcome's, else the intent's. */
  readonly leaf: string | undefined;
  readonly note: string | undefined;
}

const KINDS: Readonly<Record<string, Kind>> = {
  runtime: "run",
  egress: "egress",
  network: "egress",
  tool: "tool",
  messaging: "message",
  metering: "usage",
  memory: "memory",
};

/** What an action is about, by its product, and by its resource where that says more. */
export function kindOf(action: string, resource: string): Kind {
  if (resource.startsWith("host:")) return "egress";
  return KINDS[action.split(".")[0] ?? ""] ?? "other";
}

/** The line, oldest first. A request stands with the action it allowed; one that allowed none stands alone. */
export function timeline(actions: readonly Action[], requests: readonly OversightRequest[]): Moment[] {
  const used = new Set<string>();
  const line = actions.map((action) => {
    const request = requests.find((r) => (action.approval ? r.id === action.approval : r.digest === action.digest && !used.has(r.id)));
    if (request) used.add(request.id);
    return ofAction(action, request);
  });
  line.push(...requests.filter((request) => !used.has(request.id)).map(ofRequest));
  return line.sort((a, b) => (startOf(a) < startOf(b) ? -1 : startOf(a) > startOf(b) ? 1 : 0));
}

/** A human is asked before the action is admitted: the moment begins there. */
function startOf(moment: Moment): string {
  return moment.request && moment.request.opened_at < moment.at ? moment.request.opened_at : moment.at;
}

function ofAction(action: Action, request: OversightRequest | undefined): Moment {
  return {
    key: action.admission,
    kind: kindOf(action.action, action.resource),
    at: action.opened_at,
    action: action.action,
    resource: action.resource,
    state: action.state,
    cost: action.cost ?? undefined,
    tookMs: between(action.opened_at, action.closed_at),
    waitedMs: request && between(request.opened_at, request.decided_at),
    request,
    leaf: action.closed_leaf ?? action.opened_leaf ?? undefined,
    note: action.note ?? undefined,
  };
}

function ofRequest(request: OversightRequest): Moment {
  const { action, resource } = named(request.action);
  return {
    key: request.id,
    kind: kindOf(action, resource),
    at: request.opened_at,
    action,
    resource,
    state: request.state,
    cost: undefined,
    tookMs: undefined,
    waitedMs: between(request.opened_at, request.decided_at),
    request,
    leaf: undefined,
    note: undefined,
  };
}

/** Name and resource of an action's canonical text; the text itself where it cannot be read. */
export function named(text: string): { readonly action: string; readonly resource: string } {
  const { action, resource } = parsed(text) ?? {};
  return typeof action === "string" && typeof resource === "string" ? { action, resource } : { action: text, resource: "" };
}

/** The command of a run's arguments, as it would be typed; the arguments themselves where they have another form. */
export function command(text: string): string {
  const argv = parsed(text)?.["argv"];
  if (!Array.isArray(argv)) return text;
  return argv.map((word) => (/^[\w@%+=:,./-]+$/.test(String(word)) ? String(word) : `'${String(word).replaceAll("'", "'\\''")}'`)).join(" ");
}

/** A note's names and quantities, `name: quantity`; the note itself where it has another form. */
export function remarks(note: string): string {
  const members = parsed(note);
  if (!members) return note;
  return Object.entries(members).map(([name, value]) => `${name.replaceAll("_", " ")}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join(" · ");
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function between(from: string, to: string | null | undefined): number | undefined {
  const [a, b] = [millis(from), millis(to)];
  return a === undefined || b === undefined ? undefined : Math.max(0, b - a);
}

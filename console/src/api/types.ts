/** What the server's API speaks, as far as the console uses it. Times are RFC 3339 texts, money is a decimal text. */

export type RequestState = "pending" | "approved" | "denied" | "timed_out" | "cancelled" | "consumed" | "executed" | "failed";

export interface OversightRequest {
  id: string;
  /** SHA-256 over `action`, in hex: what a decision must name. */
  digest: string;
  /** The complete action as RFC 8785 text: the very bytes the digest covers. */
  action: string;
  rule: string;
  run?: string | null;
  /** The delegation chain, root first. */
  hops: string[];
  /** The agent's own words. Untrusted. */
  reason?: string | null;
  state: RequestState;
  opened_at: string;
  deadline: string;
  decided_by?: string | null;
  decided_at?: string | null;
  /** How the decider had proved who they are. */
  how?: string | null;
  comment?: string | null;
}

export type ActionState = "intent" | "done" | "failed" | "refused" | "in_doubt";

export interface Action {
  admission: string;
  run?: string | null;
  agent: string;
  action: string;
  resource: string;
  /** JSON text. */
  arguments?: string | null;
  digest: string;
  state: ActionState;
  opened_at: string;
  closed_at?: string | null;
  opened_leaf?: string | null;
  closed_leaf?: string | null;
  hold?: string | null;
  /** The request that allowed it. */
  approval?: string | null;
  cost?: string | null;
  note?: string | null;
}

export interface Run {
  run: string;
  agent: string;
  started_at: string;
  ended_at?: string | null;
  actions: number;
  cost: string;
  state: string;
}

/** `run` is the run's identifier, or what the list says about it. */
export interface RunDetail {
  run: string | Run;
  actions: Action[];
  requests: OversightRequest[];
}

export interface Session {
  identity: string;
  roles: string[];
  /** Sent back with every call that changes something. */
  csrf: string;
  not_after: string;
}

/** One record of the log, as `creto_kernel::Leaf` writes it. */
export interface Leaf {
  id: string;
  time: string;
  actor: string;
  action: string;
  resource: string;
  decision: string;
  phase?: { kind: string; admission?: string };
  digests?: Record<string, string>;
  facts?: Record<string, string>;
  chain?: string;
}

export interface ProvenLeaf {
  index: number;
  size: number;
  /** The record, or its exact text. */
  entry: Leaf | string;
  /** Hex. */
  leaf_hash: string;
  /** Hex, leaf side first. */
  proof: string[];
  /** The signed note. */
  checkpoint: string;
  /** What the server found. The console finds out for itself. */
  verified: boolean;
}

export interface LogEntries {
  size: number;
  entries: { index: number; entry: Leaf | string }[];
}

export interface LogReport {
  tenant: string;
  size: number;
  root: string;
  signed_at_s: number;
  files: number;
  in_doubt: { index: number; leaf: string; time: string; action: string; resource: string }[];
  outcomes_without_intent: number[];
}

export interface CostNode {
  identity: string;
  direct: string;
  total: string;
  children: CostNode[];
}

export interface AccountState {
  account: string;
  identity: string;
  ceiling?: string | null;
  spent: string;
  held: string;
}

/** RFC 9457. */
export interface ProblemBody {
  title?: string;
  status?: number;
  detail?: string;
  code?: string;
  hint?: string;
}

/**
 * What the server's API speaks, as far as the console uses it. Times are RFC 3339 texts, money is a decimal text.
 *
 * Types with a schema in /openapi.json are generated (`npm run generate`); the rest is written here as the server's handlers answer it.
 */

import type { components } from "./schema";

type Schemas = components["schemas"];

/** A request, as approvers see it. */
export type OversightRequest = Schemas["Request"];
export type Session = Schemas["Session"];
export type CostNode = Schemas["CostNode"];
export type AccountState = Schemas["AccountState"];
export type OverTime = Schemas["UsageOverTime"];
export type QuotaState = Schemas["QuotaState"];


export interface Passkey {
  /** base64url. */
  credential: string;
  label: string;
  created_at: string;
  used_at?: string | null;
}

/** One state of a request's action; the first is what the agent asked. */
export interface Revision {
  revision: number;
  digest: string;
  action: string;
  editor?: string | null;
  at: string;
}

/** How somebody is told of requests. */
export interface Me {
  preferences: { email?: string | null; mute?: string[] };
  links: { channel: string; subject: string; at: string }[];
  /** The channels this server has. */
  channels: string[];
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
  /** The command's arguments, as JSON text. */
  arguments: string;
  cost: string;
  state: ActionState;
}

export interface RunDetail {
  run: string;
  /** Of all its actions, also of those that are too many to be listed. */
  cost: string;
  actions: Action[];
  requests: OversightRequest[];
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
  entry: Leaf | null;
  /** The record's exact text: what is hashed. */
  entry_text: string;
  /** Hex. */
  leaf_hash: string;
  /** Hex, leaf side first. */
  proof: string[];
  /** The signed note. */
  checkpoint: string;
}

export interface LogEntries {
  size: number;
  /** `null` where an entry is no record of this version. */
  entries: { index: number; entry: Leaf | null }[];
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

/** RFC 9457. */
export interface ProblemBody {
  title?: string;
  status?: number;
  detail?: string;
  code?: string;
  hint?: string;
}

/** An invoice in a list. Amounts are minor units of its currency. */
export interface InvoiceRow {
  id: string;
  number: string;
  status: string;
  payment_status: string;
  external_customer_id: string;
  currency: string;
  issuing_date: string;
  payment_due_date: string;
  test: boolean;
  sums: { fees_cents: number; taxes_cents: number; total_cents: number };
}

export interface InvoiceFee {
  id: string;
  kind: string;
  name: string;
  external_subscription_id?: string | null;
  billable_metric_code?: string | null;
  group: Record<string, string | null>;
  units: string;
  events: number;
  amount_cents: number;
  taxes_amount_cents: number;
  from?: string | null;
  to?: string | null;
  proof?: { batches: number; roots: string[] } | null;
}

export interface InvoiceDetail extends InvoiceRow {
  fees: InvoiceFee[];
  credits: { kind: string; id: string; name: string; amount_cents: number; before_taxes: boolean }[];
  leaf?: string | null;
}

/** A wallet. Amounts are decimal texts in units of its currency. */
export interface WalletRow {
  id: string;
  code: string;
  external_customer_id: string;
  status: string;
  wallet: { name: string; currency: string };
  balance: string;
  consumed: string;
  pending: string;
}

export interface MeteredEvent {
  seq: number;
  transaction_id: string;
  external_subscription_id: string;
  timestamp: string;
  properties: Record<string, unknown>;
  agent: string;
  digest: string;
  cancelled_at?: string | null;
}

export interface EventProof {
  index: number;
  size: number;
  proof: string[];
  root: string;
}

/** The server's API. Every failure, also of the network, is a {@link Problem}. */

import type {
  AccountState, CostNode, EventProof, InvoiceDetail, InvoiceFee, InvoiceRow, LogEntries, LogReport, Me,
  MeteredEvent, OverTime, OversightRequest, Passkey, ProblemBody, ProvenLeaf, QuotaState, Revision, Run, RunDetail, Session, WalletRow,
} from "./types";
import type { Window } from "../core/days";
import { type Assertion, type NewPasskey, type Question, use } from "../core/passkey";

/** What an approval names: the action's digest, and the digest of the view where some of it is hidden. Both computed here. */
export interface Seen {
  digest: string;
  shown?: string;
}

/** A failed call: what happened, its stable code, and what to do. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly code: string,
    readonly hint: string | undefined,
  ) {
    super(detail);
  }

  static of(cause: unknown): Problem {
    return cause instanceof Problem ? cause : new Problem(0, String(cause), "console.unexpected", "reload the page");
  }
}

let csrf = "";
let skewMs = 0;
let signedOut: () => void = () => undefined;

/** Milliseconds to add to this machine's clock for the server's: deadlines are the server's. */
export function serverNow(): number {
  return Date.now() + skewMs;
}

/** Called when the server no longer knows our session. */
export function onSignedOut(then: () => void): void {
  signedOut = then;
}

async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (method !== "GET") headers["x-csrf-token"] = csrf;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      cache: "no-store",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new Problem(0, "the server cannot be reached", "console.unreachable", "check that `creto serve` runs, then try again");
  }
  noteServerClock(response);
  const text = await response.text();
  if (!response.ok) throw problem(response, text, path);
  if (text === "") return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new Problem(response.status, "the answer is not JSON", "console.bad_answer", "is there a proxy in between?");
  }
}

/** The `Date` header has whole seconds: smaller differences say nothing. */
function noteServerClock(response: Response): void {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(date)) return;
  const skew = date - Date.now();
  skewMs = Math.abs(skew) < 2000 ? 0 : skew;
}

function problem(response: Response, text: string, path: string): Problem {
  let body: ProblemBody = {};
  try {
    body = JSON.parse(text) as ProblemBody;
  } catch {
    // Not from us, such as a proxy's page: the status line is what we know.
  }
  if (response.status === 401 && !path.startsWith("/v1/session") && path !== "/v1/invites") signedOut();
  const detail = body.detail ?? body.title ?? `the server answered ${response.status} ${response.statusText}`;
  return new Problem(response.status, detail, body.code ?? `http.${response.status}`, body.hint);
}

const part = encodeURIComponent;

async function remember(session: Promise<Session>): Promise<Session> {
  const opened = await session;
  csrf = opened.csrf;
  return opened;
}

/** Most quotas that are read one by one. */
const QUOTAS_SHOWN = 40;
/** Most pages of what waits; of 200 requests each. */
const PAGES_MAX = 50;

export const api = {
  session: () => remember(call<Session>("GET", "/v1/session")),
  signIn: (name: string, password: string) => remember(call<Session>("POST", "/v1/session", { name, password })),
  signOut: () => call<void>("DELETE", "/v1/session"),

  signInByPasskey: async () => {
    const question = await call<Question>("POST", "/v1/session/passkey/options", {});
    return remember(call<Session>("POST", "/v1/session/passkey", await use(question)));
  },
  signInMethods: () => call<{ oidc: boolean }>("GET", "/v1/session/methods"),
  redeemInvite: (token: string, password: string) => call<void>("POST", "/v1/invites", { token, password }),
  passkeys: async (signal?: AbortSignal) => (await call<{ passkeys: Passkey[] }>("GET", "/v1/passkeys", undefined, signal)).passkeys,
  passkeyOptions: () => call<Question>("POST", "/v1/passkeys/options", {}),
  registerPasskey: (made: NewPasskey & { label: string; proof?: Assertion }) => call<Passkey>("POST", "/v1/passkeys", made),
  async removePasskey(credential: string): Promise<void> {
    const question = await call<Question>("POST", "/v1/passkeys/options", {});
    await call<void>("DELETE", `/v1/passkeys/${part(credential)}`, { proof: await use(question) });
  },

  /** Pending ones, and the newest of all: an old request may still wait when many newer ones are decided. */
  async requests(signal?: AbortSignal): Promise<OversightRequest[]> {
    type Page = { requests: OversightRequest[]; next?: string | null };
    const page = (query: string) => call<Page>("GET", `/v1/oversight/requests${query}`, undefined, signal);
    // Everything that waits, page by page: nothing that needs a human is out of sight.
    const list = async (query: string, pages: number): Promise<Page> => {
      const first = await page(query);
      const requests = [...first.requests];
      for (let next = first.next, read = 1; next && read < pages; read += 1) {
        const more = await page(`${query}&before=${part(next)}`);
        requests.push(...more.requests);
        next = more.next;
      }
      return { requests };
    };
    const [pending, newest] = await Promise.all([list("?state=pending", PAGES_MAX), list("", 1)]);
    // Read second, a request in both may have been decided in between: the newer reading wins.
    return [...new Map([...pending.requests, ...newest.requests].map((request) => [request.id, request])).values()];
  },
  request: (id: string, signal?: AbortSignal) => call<OversightRequest>("GET", `/v1/oversight/requests/${part(id)}`, undefined, signal),
  approve: (id: string, seen: Seen, comment: string) =>
    call<OversightRequest>("POST", `/v1/oversight/requests/${part(id)}/approve`, comment === "" ? seen : { ...seen, comment }),
  deny: (id: string, comment: string) =>
    call<OversightRequest>("POST", `/v1/oversight/requests/${part(id)}/deny`, comment === "" ? {} : { comment }),

  /** The newest with a broken glass: those that wait to be looked at, or those that somebody looked at. */
  glasses: async (which: "review" | "reviewed", limit: number, signal?: AbortSignal) =>
    (await call<{ requests: OversightRequest[] }>("GET", `/v1/oversight/requests?${which}=true&limit=${limit}`, undefined, signal)).requests,
  review: (id: string, justified: boolean, comment: string) =>
    call<OversightRequest>("POST", `/v1/oversight/requests/${part(id)}/review`, { justified, comment }),
  breakGlass: (id: string, digest: string, reason: string) =>
    call<OversightRequest>("POST", `/v1/oversight/requests/${part(id)}/break-glass`, { digest, reason }),
  async breakGlassByPasskey(id: string, digest: string, reason: string): Promise<OversightRequest> {
    const question = await call<Question>("POST", `/v1/oversight/requests/${part(id)}/passkey/options`, { digest, signs: "glass" });
    return call<OversightRequest>("POST", `/v1/oversight/requests/${part(id)}/break-glass/passkey`, { digest, reason, ...(await use(question)) });
  },

  askBack: (id: string, text: string) => call<OversightRequest>("POST", `/v1/oversight/requests/${part(id)}/ask`, { text }),
  edit: (id: string, revision: number, args: unknown) =>
    call<OversightRequest>("POST", `/v1/oversight/requests/${part(id)}/edit`, { revision, arguments: args }),
  revisions: async (id: string, signal?: AbortSignal) =>
    (await call<{ revisions: Revision[] }>("GET", `/v1/oversight/requests/${part(id)}/revisions`, undefined, signal)).revisions,
  decideByMail: (id: string, token: string, choice: "approve" | "deny", seen: Seen, comment: string) =>
    call<OversightRequest>("POST", `/v1/oversight/requests/${part(id)}/mail`, { token, choice, ...seen, ...(comment === "" ? {} : { comment }) }),
  async approveByPasskey(id: string, seen: Seen, comment: string): Promise<OversightRequest> {
    const question = await call<Question>("POST", `/v1/oversight/requests/${part(id)}/passkey/options`, { digest: seen.digest });
    const body = { ...seen, ...(comment === "" ? {} : { comment }), ...(await use(question)) };
    return call<OversightRequest>("POST", `/v1/oversight/requests/${part(id)}/passkey`, body);
  },
  me: (signal?: AbortSignal) => call<Me>("GET", "/v1/oversight/me", undefined, signal),
  prefer: (preferences: Me["preferences"]) => call<Me>("PUT", "/v1/oversight/me", preferences),
  linkCode: (channel: string) => call<{ code: string; say: string }>("POST", `/v1/oversight/me/links/${part(channel)}`, {}),
  unlink: (channel: string) => call<void>("DELETE", `/v1/oversight/me/links/${part(channel)}`),

  runs: async (signal?: AbortSignal) => (await call<{ runs: Run[] }>("GET", "/v1/runs", undefined, signal)).runs,
  run: (id: string, signal?: AbortSignal) => call<RunDetail>("GET", `/v1/runs/${part(id)}`, undefined, signal),

  leaf: (id: string, signal?: AbortSignal) => call<ProvenLeaf>("GET", `/v1/audit/leaves/${part(id)}`, undefined, signal),
  entries: (from: number, limit: number, signal?: AbortSignal) =>
    call<LogEntries>("GET", `/v1/audit/entries?from=${from}&limit=${limit}`, undefined, signal),
  verifyLog: async () => (await call<{ report: LogReport }>("GET", "/v1/audit/verify")).report,

  overTime: ({ from, to, step, by, code }: Window & { by: string; code: string }, signal?: AbortSignal) => {
    const query = new URLSearchParams({ from, step, by, ...(to === undefined ? {} : { to }), ...(code === "" ? {} : { code }) });
    return call<OverTime>("GET", `/v1/metering/usage/over-time?${query}`, undefined, signal);
  },
  /** Of a window, or of all time. */
  costs: async (window: Window | undefined, signal?: AbortSignal) => {
    const query = window ? `?${new URLSearchParams({ from: window.from, ...(window.to === undefined ? {} : { to: window.to }) })}` : "";
    return (await call<{ costs: CostNode[] }>("GET", `/v1/metering/costs${query}`, undefined, signal)).costs;
  },
  /** Quotas with what their subjects used; at most so many of them. */
  quotas: async (signal?: AbortSignal) => {
    const { quotas } = await call<{ quotas: QuotaState[] }>("GET", "/v1/metering/quotas", undefined, signal);
    const read = (code: string) => call<QuotaState>("GET", `/v1/metering/quotas/${part(code)}`, undefined, signal);
    return { quotas: await Promise.all(quotas.slice(0, QUOTAS_SHOWN).map(({ quota }) => read(quota.code ?? ""))), more: Math.max(0, quotas.length - QUOTAS_SHOWN) };
  },
  accounts: async (signal?: AbortSignal) =>
    (await call<{ accounts: AccountState[] }>("GET", "/v1/metering/accounts", undefined, signal)).accounts,

  invoices: async (signal?: AbortSignal) =>
    (await call<{ items: InvoiceRow[] }>("GET", "/v1/metering/invoices?per_page=200", undefined, signal)).items,
  invoice: (id: string, signal?: AbortSignal) => call<InvoiceDetail>("GET", `/v1/metering/invoices/${part(id)}`, undefined, signal),
  wallets: async (signal?: AbortSignal) =>
    (await call<{ items: WalletRow[] }>("GET", "/v1/metering/wallets?per_page=200", undefined, signal)).items,
  /** The events of a line of usage, oldest first. */
  eventsBehind: async (fee: InvoiceFee, signal?: AbortSignal) => {
    const query = new URLSearchParams({ subscription: fee.external_subscription_id ?? "", code: fee.billable_metric_code ?? "" });
    if (fee.from) query.set("from", fee.from);
    if (fee.to) query.set("to", fee.to);
    return (await call<{ events: MeteredEvent[] }>("GET", `/v1/metering/events?${query}`, undefined, signal)).events;
  },
  eventProof: (event: MeteredEvent, signal?: AbortSignal) =>
    call<EventProof>("GET", `/v1/metering/events/${part(event.transaction_id)}/proof?subscription=${part(event.external_subscription_id)}`, undefined, signal),
};

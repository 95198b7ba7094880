/** Pages, as the part of the address after `#`. */

export type Route =
  | { readonly page: "inbox"; readonly request?: string }
  | { readonly page: "reviews"; readonly request?: string }
  | { readonly page: "runs" }
  | { readonly page: "run"; readonly run: string }
  | { readonly page: "audit"; readonly from?: number }
  | { readonly page: "entry"; readonly leaf: string }
  | { readonly page: "usage" }
  | { readonly page: "costs" }
  | { readonly page: "budgets" }
  | { readonly page: "invoices" }
  | { readonly page: "invoice"; readonly invoice: string }
  | { readonly page: "you" }
  /** A mail's link: the request, and a secret that is good for its recipient only. */
  | { readonly page: "mail"; readonly request: string; readonly token: string }
  | { readonly page: "invite"; readonly token: string }
  | { readonly page: "lost"; readonly path: string };

export function parseRoute(hash: string): Route {
  const path = hash.replace(/^#?\/?/, "");
  const [page = "", argument, second] = path.split("/").map(decoded);
  switch (page) {
    case "":
    case "inbox":
      return argument ? { page: "inbox", request: argument } : { page: "inbox" };
    case "reviews":
      return argument ? { page, request: argument } : { page };
    case "runs":
      return argument ? { page: "run", run: argument } : { page: "runs" };
    case "audit":
      if (argument === undefined || argument === "") return { page: "audit" };
      return /^from=\d{1,15}$/.test(argument) ? { page: "audit", from: Number(argument.slice(5)) } : { page: "entry", leaf: argument };
    case "invoices":
      return argument ? { page: "invoice", invoice: argument } : { page: "invoices" };
    case "usage":
    case "costs":
    case "budgets":
    case "you":
      return { page };
    case "invite":
      return { page, token: argument ?? "" };
    case "mail":
      return argument && second ? { page, request: argument, token: second } : { page: "lost", path };
    default:
      return { page: "lost", path };
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function href(route: Exclude<Route, { page: "lost" }>): string {
  switch (route.page) {
    case "inbox":
      return route.request === undefined ? "#/inbox" : `#/inbox/${encodeURIComponent(route.request)}`;
    case "reviews":
      return route.request === undefined ? "#/reviews" : `#/reviews/${encodeURIComponent(route.request)}`;
    case "run":
      return `#/runs/${encodeURIComponent(route.run)}`;
    case "invoice":
      return `#/invoices/${encodeURIComponent(route.invoice)}`;
    case "entry":
      return `#/audit/${encodeURIComponent(route.leaf)}`;
    case "mail":
      return `#/mail/${encodeURIComponent(route.request)}/${encodeURIComponent(route.token)}`;
    case "invite":
      return `#/invite/${encodeURIComponent(route.token)}`;
    case "audit":
      return route.from === undefined ? "#/audit" : `#/audit/from=${route.from}`;
    default:
      return `#/${route.page}`;
  }
}

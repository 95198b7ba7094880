/** The console: who is signed in, which page, and the frame around it. */

import { type ReactNode, useCallback, useEffect, useState } from "react";
import { Problem, api, onSignedOut } from "./api/client";
import type { Session } from "./api/types";
import { identity } from "./core/identity";
import { inbox } from "./core/inbox";
import { type Route, href, parseRoute } from "./core/route";
import { Audit } from "./pages/audit";
import { Budgets } from "./pages/budgets";
import { Costs } from "./pages/costs";
import { Entry } from "./pages/entry";
import { Inbox } from "./pages/inbox";
import { InvoicePage } from "./pages/invoice";
import { Invoices } from "./pages/invoices";
import { Invite } from "./pages/invite";
import { Reviews } from "./pages/reviews";
import { RunPage } from "./pages/run";
import { Runs } from "./pages/runs";
import { SignIn } from "./pages/sign-in";
import { Usage } from "./pages/usage";
import { You } from "./pages/you";
import { Help } from "./ui/help";
import { Icon, type IconName } from "./ui/icons";
import { useKeys } from "./ui/keys";
import { useNow } from "./ui/load";
import { Empty, ProblemBox, Skeleton, Who } from "./ui/parts";
import { type Glasses, type Requests, useRequests } from "./ui/requests";

type Page = "inbox" | "reviews" | "runs" | "audit" | "usage" | "costs" | "budgets" | "invoices";

/** Pages, with the role that each needs and the key after `g`. */
const PAGES: readonly { page: Page; title: string; icon: IconName; key: string; role?: string }[] = [
  { page: "inbox", title: "Inbox", icon: "inbox", key: "g i", role: "approver" },
  { page: "reviews", title: "Reviews", icon: "glass", key: "g e", role: "approver" },
  { page: "runs", title: "Runs", icon: "runs", key: "g r" },
  { page: "audit", title: "Audit", icon: "audit", key: "g a" },
  { page: "usage", title: "Usage", icon: "usage", key: "g u", role: "operator" },
  { page: "costs", title: "Costs", icon: "costs", key: "g c" },
  { page: "budgets", title: "Budgets", icon: "budgets", key: "g b", role: "operator" },
  { page: "invoices", title: "Invoices", icon: "invoices", key: "g v", role: "operator" },
];

/** Pages that are a list beside what is chosen of it, from edge to edge. */
const LISTS: readonly Route["page"][] = ["inbox", "mail", "reviews"];

function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parseRoute(location.hash));
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  return route;
}

type Who = { readonly is: "asked" } | { readonly is: "nobody"; readonly note?: string } | { readonly is: "somebody"; readonly session: Session };

export function App(): ReactNode {
  const [who, setWho] = useState<Who>({ is: "asked" });
  const [problem, setProblem] = useState<Problem>();
  const route = useRoute();

  const ask = useCallback(() => {
    setProblem(undefined);
    api.session().then(
      (session) => setWho({ is: "somebody", session }),
      (cause: unknown) => (Problem.of(cause).status === 401 ? setWho({ is: "nobody" }) : setProblem(Problem.of(cause))),
    );
  }, []);
  useEffect(() => {
    onSignedOut(() => setWho({ is: "nobody", note: "Your session ended. Sign in to go on where you were." }));
    ask();
  }, [ask]);

  if (route.page === "invite") return <Invite token={route.token} />;
  if (problem) return <main className="lone"><ProblemBox problem={problem} retry={ask} /></main>;
  if (who.is === "asked") return <main className="lone"><Skeleton rows={3} /></main>;
  if (who.is === "nobody") return <SignIn note={who.note} signedIn={(session) => setWho({ is: "somebody", session })} />;
  const signOut = () => void api.signOut().then(() => setWho({ is: "nobody" }), (cause: unknown) => setProblem(Problem.of(cause)));
  return <Frame session={who.session} signOut={signOut} />;
}

function Frame({ session, signOut }: { session: Session; signOut: () => void }): ReactNode {
  const asked = useRoute();
  const [help, setHelp] = useState(false);
  const roles = session.roles.split("+");
  const approver = roles.includes("approver");
  const { requests, glasses } = useRequests(approver);
  const waiting = inbox(requests.value ?? [], useNow(5000)).waiting.length;
  const counts: Partial<Record<Page, number>> = { inbox: waiting, reviews: glasses.value?.waiting.length ?? 0 };

  const allowed = PAGES.filter(({ role }) => role === undefined || roles.includes(role));
  // Who may not decide begins elsewhere.
  const route: Route = (asked.page === "inbox" || asked.page === "reviews") && !approver ? { page: allowed[0]?.page ?? "costs" } as Route : asked;
  const current = route.page === "run" ? "runs" : route.page === "entry" ? "audit" : route.page === "invoice" ? "invoices" : route.page === "mail" ? "inbox" : route.page;
  const title = current === "you" ? "You" : (PAGES.find(({ page }) => page === current)?.title ?? "creto");

  useEffect(() => {
    document.title = `${waiting > 0 ? `(${waiting}) ` : ""}${title} · creto`;
  }, [waiting, title]);
  useKeys({
    "?": () => setHelp(true),
    ...Object.fromEntries(allowed.map(({ page, key }) => [key, () => { location.hash = href({ page }); }])),
  });

  return (
    <div className="frame">
      <a className="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>
        skip to the page
      </a>
      <nav className="rail" aria-label="pages">
        <a className="brand" href="#/inbox" aria-label="creto">
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="8" />
            <path d="M22 11.5a7 7 0 1 0 0 9" />
            <circle cx="22.4" cy="16" r="2.2" />
          </svg>
          <span>creto</span>
        </a>
        <ul>
          {allowed.map(({ page, title, icon }) => (
            <li key={page}>
              <a href={href({ page })} aria-current={page === current ? "page" : undefined}>
                <Icon name={icon} />
                <span>{title}</span>
                {(counts[page] ?? 0) > 0 && <span className="count" aria-label={`${counts[page]} waiting`}>{counts[page]}</span>}
              </a>
            </li>
          ))}
        </ul>
        <div className="me">
          {approver && (
            <span className={`liveness ${requests.liveness}`} role="status">
              {requests.liveness === "live" ? "live" : "reconnecting…"}
            </span>
          )}
          <a className="me-name" href={href({ page: "you" })} title={`you: ${roles.join(", ")}`}><Who id={session.identity} /></a>
          <span className="me-buttons">
            <button type="button" className="quiet" onClick={() => setHelp(true)} aria-label="keyboard help" title="keyboard help (?)">
              ?
            </button>
            <button type="button" className="quiet" onClick={signOut} aria-label={`sign out ${identity(session.identity).name}`} title="sign out">
              <Icon name="out" />
            </button>
          </span>
        </div>
      </nav>
      <main id="main" tabIndex={-1} className={LISTS.includes(route.page) ? "page page-inbox" : `page page-${route.page}`}>
        <Content route={route} session={session} requests={requests} glasses={glasses} approver={approver} operator={roles.includes("operator")} />
      </main>
      {help && <Help close={() => setHelp(false)} />}
    </div>
  );
}

interface ContentProps {
  route: Route;
  session: Session;
  requests: Requests;
  glasses: Glasses;
  approver: boolean;
  operator: boolean;
}

function Content({ route, session, requests, glasses, approver, operator }: ContentProps): ReactNode {
  switch (route.page) {
    case "inbox":
      return <Inbox requests={requests} selected={route.request} approver={approver} operator={operator} me={session.identity} />;
    case "reviews":
      return <Reviews glasses={glasses} requests={requests} selected={route.request} me={session.identity} />;
    case "runs":
      return <Runs />;
    case "run":
      return <RunPage run={route.run} />;
    case "audit":
      return <Audit from={route.from} operator={operator} />;
    case "entry":
      return <Entry leaf={route.leaf} />;
    case "usage":
      return <Usage />;
    case "costs":
      return <Costs />;
    case "budgets":
      return <Budgets />;
    case "invoices":
      return <Invoices />;
    case "invoice":
      return <InvoicePage invoice={route.invoice} />;
    case "mail":
      return <Inbox requests={requests} selected={route.request} mail={route.token} approver={approver} operator={operator} me={session.identity} />;
    case "you":
      return <You session={session} />;
    case "invite":
      return null;
    case "lost":
      return <Empty title="There is no such page">The address names “{route.path}”. Choose a page on the side.</Empty>;
  }
}

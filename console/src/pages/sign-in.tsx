import { type FormEvent, type ReactNode, useEffect, useState } from "react";
import { Problem, api } from "../api/client";
import type { Session } from "../api/types";
import { unavailable } from "../core/passkey";
import { ProblemBox } from "../ui/parts";
import { failed } from "./you";

/** The page for who is not signed in. */
export function SignIn({ note, signedIn }: { note: string | undefined; signedIn: (session: Session) => void }): ReactNode {
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const [sso, setSso] = useState(false);
  useEffect(() => void api.signInMethods().then((methods) => setSso(methods.oidc), () => undefined), []);

  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setProblem(undefined);
    api.signIn(String(form.get("name") ?? ""), String(form.get("password") ?? "")).then(signedIn, (cause: unknown) => {
      setBusy(false);
      setProblem(Problem.of(cause));
    });
  };

  const byPasskey = () => {
    setBusy(true);
    setProblem(undefined);
    api.signInByPasskey().then(signedIn, (cause: unknown) => {
      setBusy(false);
      setProblem(failed(cause));
    });
  };

  return (
    <main className="sign-in">
      <form onSubmit={submit} aria-labelledby="sign-in-title">
        <svg className="logo" viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <path d="M22 11.5a7 7 0 1 0 0 9" />
          <circle cx="22.4" cy="16" r="2.2" />
        </svg>
        <h1 id="sign-in-title">Sign in to creto</h1>
        <p className="soft">{note ?? "See what your agents ask, decide, and check the record."}</p>
        {problem && <ProblemBox problem={problem} />}
        <label>
          Name
          <input name="name" autoComplete="username" autoCapitalize="none" spellCheck={false} required autoFocus />
        </label>
        <label>
          Password
          <input name="password" type="password" autoComplete="current-password" required />
        </label>
        <button type="submit" className="primary" disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
        {sso && <a className="button quiet" href="/v1/session/oidc">Sign in with your organisation</a>}
        {unavailable() === undefined && (
          <button type="button" className="quiet" disabled={busy} onClick={byPasskey}>
            Sign in with a passkey
          </button>
        )}
      </form>
    </main>
  );
}

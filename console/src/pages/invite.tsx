/** The way back in, for whoever lost their password or passkeys: an invitation from an operator. */

import { type FormEvent, type ReactNode, useState } from "react";
import { Problem, api } from "../api/client";
import { href } from "../core/route";
import { ProblemBox } from "../ui/parts";

export function Invite({ token }: { token: string }): ReactNode {
  const [problem, setProblem] = useState<Problem>();
  const [done, setDone] = useState(false);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    setProblem(undefined);
    const password = String(new FormData(event.currentTarget).get("password") ?? "");
    api.redeemInvite(token, password).then(() => setDone(true), (cause: unknown) => setProblem(Problem.of(cause)));
  };
  if (done) {
    return (
      <main className="sign-in">
        <form aria-labelledby="invite-title">
          <h1 id="invite-title">You are back</h1>
          <p className="soft">Sign in with your new password, then register your passkeys again.</p>
          <a className="primary" href={href({ page: "inbox" })}>Sign in</a>
        </form>
      </main>
    );
  }
  return (
    <main className="sign-in">
      <form onSubmit={submit} aria-labelledby="invite-title">
        <h1 id="invite-title">Choose a new password</h1>
        <p className="soft">Every session and passkey from before ends.</p>
        {problem && <ProblemBox problem={problem} />}
        <label>
          New password
          <input name="password" type="password" autoComplete="new-password" minLength={15} required autoFocus />
        </label>
        <button type="submit" className="primary">Use the invitation</button>
      </form>
    </main>
  );
}

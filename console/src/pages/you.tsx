/** The person who is signed in: their passkeys. */

import { type FormEvent, type ReactNode, useState } from "react";
import { Problem, api } from "../api/client";
import type { Me, Session } from "../api/types";
import { identity } from "../core/identity";
import { create, unavailable, use } from "../core/passkey";
import { moment } from "../core/time";
import { useLoad } from "../ui/load";
import { Await, Empty, Head, ProblemBox, Visible, Who } from "../ui/parts";

export function You({ session }: { session: Session }): ReactNode {
  const loaded = useLoad("passkeys", api.passkeys);
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const why = unavailable();

  const work = (done: Promise<unknown>) => {
    setBusy(true);
    setProblem(undefined);
    done
      .then(() => loaded.reload(), (cause: unknown) => setProblem(failed(cause)))
      .finally(() => setBusy(false));
  };
  const add = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const label = String(new FormData(form).get("label") ?? "");
    const register = async () => {
      const question = await api.passkeyOptions();
      // Whoever holds a passkey adds another with it: a password alone is not enough.
      const proof = question.credentials.length > 0 ? await use(question) : undefined;
      const made = await create(question, identity(session.identity).name);
      await api.registerPasskey({ label, ...made, ...(proof ? { proof } : {}) });
      form.reset();
    };
    work(register());
  };

  return (
    <>
      <Head title="You">
        <span className="soft"><Who id={session.identity} /> · {session.roles.split("+").join(", ")}</span>
      </Head>
      <section aria-labelledby="passkeys-title" className="passkeys">
        <h2 id="passkeys-title">Passkeys</h2>
        <p className="soft">A passkey signs you in, and approves what is too important for a click: it signs the very action, and anybody can check that later.</p>
        {problem && <ProblemBox problem={problem} />}
        <Await loaded={loaded} rows={2}>
          {(passkeys) =>
            passkeys.length === 0 ? (
              <Empty title="No passkey yet" />
            ) : (
              <table>
                <thead><tr><th>name</th><th>registered</th><th>last used</th><th /></tr></thead>
                <tbody>
                  {passkeys.map((passkey) => (
                    <tr key={passkey.credential}>
                      <td><Visible text={passkey.label} /></td>
                      <td>{moment(passkey.created_at)}</td>
                      <td>{passkey.used_at ? moment(passkey.used_at) : "never"}</td>
                      <td>
                        <button type="button" className="quiet" disabled={busy} onClick={() => work(api.removePasskey(passkey.credential))}>
                          remove
                        </button>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )
          }
        </Await>
        {why ? (
          <p className="note-warn">{why}</p>
        ) : (
          <form className="inline-form" onSubmit={add}>
            <label>
              Name of the device
              <input name="label" required maxLength={80} placeholder="laptop" />
            </label>
            <button type="submit" className="primary" disabled={busy}>{busy ? "Waiting for the device…" : "Add a passkey"}</button>
          </form>
        )}
      </section>
      {session.roles.includes("approver") && <Told />}
    </>
  );
}

/** How this person hears of requests. */
function Told(): ReactNode {
  const loaded = useLoad("me", api.me);
  const [problem, setProblem] = useState<Problem>();
  const [say, setSay] = useState<{ channel: string; say: string }>();
  const work = (done: Promise<unknown>) => {
    setProblem(undefined);
    done.then(() => loaded.reload(), (cause: unknown) => setProblem(Problem.of(cause)));
  };
  return (
    <section aria-labelledby="told-title" className="told">
      <h2 id="told-title">How you are told</h2>
      <p className="soft">The inbox always has everything. What these cannot deliver is tried again, and decides nothing.</p>
      {problem && <ProblemBox problem={problem} />}
      <Await loaded={loaded} rows={2}>
        {({ preferences, links, channels }) => {
          const mute = preferences.mute ?? [];
          const save = (changed: Me["preferences"]) => work(api.prefer({ ...preferences, ...changed }));
          return channels.length === 0 ? (
            <Empty title="This server has no other channel" />
          ) : (
            <ul>
              {channels.map((channel) => {
                const link = links.find((found) => found.channel === channel);
                return (
                  <li key={channel}>
                    <label className="check">
                      <input
                        type="checkbox"
                        checked={!mute.includes(channel)}
                        onChange={(event) => save({ mute: event.target.checked ? mute.filter((name) => name !== channel) : [...mute, channel] })}
                      />
                      {channel}
                    </label>
                    {channel === "email" && (
                      <form
                        className="inline-form"
                        onSubmit={(event) => {
                          event.preventDefault();
                          const email = String(new FormData(event.currentTarget).get("email") ?? "").trim();
                          save({ email: email === "" ? null : email });
                        }}
                      >
                        <label>
                          Address
                          <input name="email" type="email" defaultValue={preferences.email ?? ""} />
                        </label>
                        <button type="submit" className="quiet">save</button>
                      </form>
                    )}
                    {channel === "slack" &&
                      (link ? (
                        <span>
                          linked as <code>{link.subject}</code>{" "}
                          <button type="button" className="quiet" onClick={() => work(api.unlink(channel))}>end</button>
                        </span>
                      ) : (
                        <button
                          type="button"
                          className="quiet"
                          onClick={() => work(api.linkCode(channel).then((made) => setSay({ channel, say: made.say })))}
                        >
                          link your account
                        </button>
                      ))}
                    {say?.channel === channel && !link && (
                      <p>
                        Type this there within ten minutes: <code>{say.say}</code>
                      </p>
                    )}
                  </li>
                );
              })}
            </ul>
          );
        }}
      </Await>
    </section>
  );
}

/** What the browser or the person refused is no problem of the server's. */
export function failed(cause: unknown): Problem {
  if (cause instanceof DOMException) return new Problem(0, cause.message || cause.name, "console.passkey", "try again, or use another passkey");
  return Problem.of(cause);
}

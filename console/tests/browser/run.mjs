// The console in Debian's Chromium against the real binary: what a person sees and types, and what the server and the agent then know.
import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { NAME, PASSWORD, PATIENCE_MS, Server, Skipped, launch, run } from "./harness.mjs";

/** A page of its own, with what it complains about. */
async function open({ browser, server }, options = {}, url = server.url) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // Failed loads are part of some tests; what breaks the page's own policy, or React, is not.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  await page.goto(url);
  return { context, page, complaints };
}

/** The console under a name: passkeys are bound to one. */
const byName = (server) => server.url.replace("127.0.0.1", "localhost");

/** Chromium's own authenticator in software, on this page. */
async function authenticator(context, page) {
  const devtools = await context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };
  const { authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", { options });
  return { devtools, authenticatorId };
}

/** An ECDSA signature as WebCrypto has it, from ASN.1 DER. */
function fixed(der) {
  const parts = [];
  for (let at = 2; at < der.length; ) {
    const length = der[at + 1];
    parts.push(der.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return Buffer.concat(parts.map((part) => Buffer.concat([Buffer.alloc(32), part]).subarray(-32)));
}

async function signIn(page, name = NAME) {
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByRole("navigation", { name: "pages" }).waitFor();
}

async function signedIn(fixture, options) {
  const opened = await open(fixture, options);
  await signIn(opened.page);
  return opened;
}

const live = (page) => page.locator(".liveness.live").waitFor();
const goto = (page, hash) => page.evaluate((to) => { location.hash = to; }, hash);
/** Waits until the page has this text: the answer to "is it there?", and a failure by timeout where it never comes. */
const sees = (scope, text) => scope.getByText(text).first().waitFor();

const toolName = () => `t${randomUUID().slice(0, 8)}`;

/** An agent asks to call a tool, of a new name where none is given. `again` asks once more, as agents do while they wait. */
async function ask({ server, key }, { name = toolName(), arguments: args = { order: 7 }, reason, timeout_secs = 600, accepts_edits = false } = {}) {
  const body = { action: "tool.call_with_approval", resource: `tool:${name}`, arguments: args, reason, timeout_secs, accepts_edits, wait_secs: 0 };
  const again = (wait_secs = 10) => server.agent(key, "POST", "/v1/actions", { ...body, wait_secs });
  const { json } = await again(0);
  assert.equal(json.state, "pending");
  return { name, id: json.request, digest: json.digest, again };
}

const tests = {
  async "a wrong password is refused with its code, and the right one opens the inbox"(fixture) {
    const { page, context, complaints } = await open(fixture);
    await page.getByLabel("Name").fill(NAME);
    await page.getByLabel("Password").fill("not the right password");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").waitFor();
    assert.match(await page.getByRole("alert").innerText(), /nhi\.\w+/);
    await signIn(page);
    await page.getByRole("heading", { name: /Inbox/ }).waitFor();
    assert.match(page.url(), /^http:\/\/127\.0\.0\.1:\d+\/(#.*)?$/, "the password is not in the address");
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "a session survives a reload and ends when it is signed out"(fixture) {
    const { page, context } = await signedIn(fixture);
    await page.reload();
    await page.getByRole("heading", { name: /Inbox/ }).waitFor();
    await page.getByRole("button", { name: /sign out/ }).click();
    await page.getByLabel("Password").waitFor();
    await page.reload();
    await page.getByLabel("Password").waitFor();
    await context.close();
  },

  async "who is no longer known signs in again and goes on at the same page"(fixture) {
    const { page, context } = await signedIn(fixture);
    await goto(page, "#/costs");
    await page.getByRole("heading", { level: 1, name: "Costs" }).waitFor();
    await context.clearCookies();
    await page.getByRole("button", { name: "refresh" }).click();
    await sees(page, "Your session ended.");
    await signIn(page);
    await page.getByRole("heading", { level: 1, name: "Costs" }).waitFor();
    await context.close();
  },

  async "a request appears by itself, is approved by keyboard with a comment, and the agent goes on"(fixture) {
    const { server, key } = fixture;
    const { page, context, complaints } = await signedIn(fixture);
    await live(page);
    const asked = await ask(fixture, { arguments: { amount: "12.50" }, reason: "it is due" });
    await page.locator(".row", { hasText: asked.name }).waitFor();

    // `j` from the top reaches it, whatever else is in the list.
    for (let presses = 0; presses < 50; presses += 1) {
      if ((await page.locator(".row[aria-current=true]", { hasText: asked.name }).count()) > 0) break;
      await page.keyboard.press("j");
      await page.locator(".row[aria-current=true]").waitFor();
    }
    await sees(page, "computed here from the text above");
    assert.equal((await page.locator(".digest .hash").innerText()).replace(/\s/g, ""), asked.digest);
    await sees(page.locator(".untrusted"), "it is due");
    assert.match(await page.locator(".laid-out").innerText(), /"amount": "12\.50"/);

    await page.keyboard.press("a");
    await page.locator("textarea").waitFor();
    await page.keyboard.type("go ahead");
    await page.keyboard.press("Enter");
    await sees(page.locator(".decided"), "Approved");

    const decided = await server.owner("GET", `/v1/oversight/requests/${asked.id}`);
    assert.equal(decided.comment, "go ahead");
    assert.match(decided.decided_by, new RegExp(`/human/${NAME}$`));
    assert.equal(decided.state, "approved");

    const granted = await asked.again();
    assert.equal(granted.json.state, "granted");
    await server.agent(key, "POST", `/v1/actions/${granted.json.admission}/outcome`, { ok: true });
    await page.locator(".request .state", { hasText: "executed" }).waitFor();
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "a denial by keyboard reaches the agent with its comment"(fixture) {
    const asked = await ask(fixture);
    const waiting = asked.again(50);
    const { page, context } = await signedIn(fixture);
    await goto(page, `#/inbox/${asked.id}`);
    await page.getByRole("button", { name: /Deny/ }).waitFor();
    await page.keyboard.press("d");
    await page.locator("textarea").fill("not on a Friday");
    await page.keyboard.press("Enter");
    await sees(page.locator(".decided"), "Denied");
    const refused = await waiting;
    assert.equal(refused.json.code, "gate.denied_by_human");
    assert.match(refused.json.detail, /not on a Friday/);
    await context.close();
  },

  async "a question goes back to the agent, and the request keeps waiting"(fixture) {
    const asked = await ask(fixture);
    const { page, context, complaints } = await signedIn(fixture);
    await goto(page, `#/inbox/${asked.id}`);
    await page.getByRole("button", { name: "Ask the agent" }).click();
    await page.locator("textarea").fill("who is it for?");
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await sees(page.getByLabel("votes and words"), "who is it for?");
    assert.equal((await fixture.server.owner("GET", `/v1/oversight/requests/${asked.id}`)).state, "pending");
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "escape leaves a decision unmade"(fixture) {
    const asked = await ask(fixture);
    const { page, context } = await signedIn(fixture);
    await goto(page, `#/inbox/${asked.id}`);
    await page.getByRole("button", { name: /Approve/ }).waitFor();
    await sees(page, "computed here from the text above");
    await page.keyboard.press("a");
    await page.locator("textarea").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: /^Approve/ }).waitFor();
    await page.keyboard.press("Enter");
    assert.equal((await fixture.server.owner("GET", `/v1/oversight/requests/${asked.id}`)).state, "pending");
    await context.close();
  },

  async "hidden, reordering and look-alike characters are drawn and counted"(fixture) {
    const asked = await ask(fixture, {
      arguments: { file: "invoice\u202efdp.exe", to: "p\u0430ypal", body: "one\u200b\ntwo\u001b[2J" },
      reason: "trust\u2066me",
    });
    const { page, context } = await signedIn(fixture);
    await goto(page, `#/inbox/${asked.id}`);
    await sees(page, "4 hidden or deceptive characters");
    const marks = await page.locator(".laid-out .mark").allInnerTexts();
    assert.deepEqual(marks.sort(), ["Latin+Cyrillic", "RLO", "ZWSP", "\\n", "\\u001b"]);
    assert.deepEqual(await page.locator(".untrusted .mark").allInnerTexts(), ["LRI"]);
    await page.getByRole("button", { name: "exact bytes" }).click();
    const exact = await page.locator("pre.bytes").evaluate((pre) => {
      // Without the marks, what is drawn is the text itself.
      for (const mark of pre.querySelectorAll(".mark")) mark.remove();
      return pre.textContent;
    });
    const { action } = await fixture.server.owner("GET", `/v1/oversight/requests/${asked.id}`);
    assert.equal(exact, action.replace(/[\u202e\u200b]/g, ""));
    await context.close();
  },

  async "who decides second sees the decision that stands"(fixture) {
    const asked = await ask(fixture);
    const { page, context } = await signedIn(fixture);
    await goto(page, `#/inbox/${asked.id}`);
    await page.getByRole("button", { name: /Deny/ }).waitFor();
    await page.keyboard.press("d");
    await page.locator("textarea").waitFor();
    // Between the key press and the server another approver decides: the page cannot have heard of it.
    await page.route("**/deny", async (route) => {
      await fixture.server.owner("POST", `/v1/oversight/requests/${asked.id}/approve`, { digest: asked.digest, comment: "I was faster" });
      await route.continue();
    });
    await page.keyboard.press("Enter");
    await sees(page, "Your decision did not count.");
    await sees(page, "oversight.already_decided");
    await sees(page.locator(".decided"), "I was faster");
    await sees(page.locator(".decided"), "Approved");
    await context.close();
  },

  async "a request whose deadline passes is closed without a reload"(fixture) {
    const { page, context } = await signedIn(fixture);
    const asked = await ask(fixture, { timeout_secs: 6 });
    await goto(page, `#/inbox/${asked.id}`);
    await page.getByRole("timer").waitFor();
    await page.getByRole("button", { name: /Approve/ }).waitFor();
    await sees(page.locator(".decided"), "Nobody decided in time");
    assert.equal(await page.getByRole("button", { name: /Approve/ }).count(), 0);
    await context.close();
  },

  async "how the same agent's requests for the same tool were decided before is shown, with the words, and nobody else's"(fixture) {
    const { server } = fixture;
    const decide = (asked, verb, body) => server.owner("POST", `/v1/oversight/requests/${asked.id}/${verb}`, body);
    const approve = (asked, comment) => decide(asked, "approve", { digest: asked.digest, comment });
    const name = toolName();
    const yes = await ask(fixture, { name, arguments: { invoice: 1 } });
    await approve(yes, "paid \u202esince May");
    const no = await ask(fixture, { name, arguments: { invoice: 2 } });
    await decide(no, "deny", { comment: "not this one" });
    await approve(await ask(fixture), "another tool");
    await server.owner("POST", "/v1/identities", { kind: "agent", name: "other-bot" });
    const { token: key } = await server.owner("POST", "/v1/keys", { role: "agent", name: "other", agent: "other-bot" });
    await approve(await ask({ server, key }, { name, arguments: { invoice: 3 } }), "another agent");
    const waits = await ask(fixture, { name, arguments: { invoice: 4 } });

    const { page, context, complaints } = await signedIn(fixture);
    await goto(page, `#/inbox/${waits.id}`);
    const before = page.getByRole("region", { name: "similar past decisions" });
    await sees(before, "not this one");
    const rows = await before.getByRole("listitem").allInnerTexts();
    assert.equal(rows.length, 2, rows.join("\n"));
    assert.match(rows[0], /denied[\s\S]*not this one/, "the latest first");
    assert.match(rows[1], /approved[\s\S]*paid[\s\S]*RLO[\s\S]*since May/, "what a comment hides is drawn");
    await before.getByRole("link").last().click();
    await sees(page.locator(".decided"), "Approved");
    assert.equal(new URL(page.url()).hash, `#/inbox/${yes.id}`);
    // What nobody decided before shows no such part.
    const first = await ask(fixture);
    await goto(page, `#/inbox/${first.id}`);
    await sees(page, "computed here from the text above");
    assert.equal(await before.count(), 0);
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "an edit made in the page is drawn as what it took away and put there, hidden characters too"(fixture) {
    const asked = await ask(fixture, { arguments: { amount: "12.50", to: "acme" }, accepts_edits: true });
    const { page, context, complaints } = await signedIn(fixture);
    await goto(page, `#/inbox/${asked.id}`);
    await page.getByRole("button", { name: "Edit the arguments" }).click();
    await page.locator("textarea").fill(JSON.stringify({ amount: "10.00", to: "acme", note: "a\u202eb" }));
    await page.getByRole("button", { name: "Save the edit" }).click();
    const edits = page.getByRole("region", { name: "edits" });
    await sees(edits, "10.00");
    assert.deepEqual(await edits.locator("del").allInnerTexts(), ["12.50"].map((was) => JSON.stringify(was)));
    const put = (await edits.locator("ins").allInnerTexts()).join("\n");
    assert.match(put, /10\.00/);
    assert.match(put, /a[\s\S]*RLO[\s\S]*b/, "what the edit hides is drawn");
    assert.equal(await edits.getByText("acme").count(), 0, "what stayed is not in it");
    await sees(page, "revision 2: edited since it was asked");
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "an approval is not offered for a text that is not what the digest covers"(fixture) {
    const asked = await ask(fixture, { arguments: { amount: "1" } });
    const { page, context } = await signedIn(fixture);
    await page.route("**/v1/oversight/requests*", async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, body: (await answer.text()).replaceAll('\\"amount\\":\\"1\\"', '\\"amount\\":\\"0\\"') });
    });
    await page.reload();
    await goto(page, `#/inbox/${asked.id}`);
    await sees(page, "console.digest_mismatch");
    assert.equal(await page.getByRole("button", { name: /Approve/ }).isEnabled(), false);
    await page.keyboard.press("a");
    assert.equal(await page.locator("textarea").count(), 0);
    await context.close();
  },

  async "an audit entry proves itself in the browser, and a changed one does not"(fixture) {
    const { page, context } = await signedIn(fixture);
    await goto(page, "#/audit");
    await page.locator("tbody tr").first().waitFor();
    await page.getByRole("button", { name: /Verify the whole log/ }).click();
    await sees(page, /The log of default is whole/);
    await page.locator("tbody a").nth(1).click();
    await sees(page, "This entry is in the log");
    assert.ok((await page.locator(".proof li").count()) > 2, "the proof has its steps");

    for (const [what, change] of [
      ["a sibling", (proven) => ({ ...proven, proof: proven.proof.with(0, "00".repeat(32)) })],
      ["the record", (proven) => ({ ...proven, entry_text: proven.entry_text.replace('"v":1', '"v":2') })],
      ["the index", (proven) => ({ ...proven, index: proven.index - 1 })],
    ]) {
      await page.route("**/v1/audit/leaves/*", async (route) => {
        const answer = await route.fetch();
        await route.fulfill({ response: answer, json: change(await answer.json()) });
      });
      await page.reload();
      await page.locator(".verdict").waitFor();
      assert.match(await page.locator(".verdict").innerText(), /The proof does not hold/, `${what} was changed`);
      await page.unroute("**/v1/audit/leaves/*");
    }
    await context.close();
  },

  async "an invoice opens to the events behind a line, each proven in the page"(fixture) {
    const { server, key } = fixture;
    const code = `billed-${randomUUID().slice(0, 8)}`;
    const make = (path, body) => server.owner("POST", `/v1/metering/${path}`, body);
    await make("billable-metrics", { code, name: "Tokens <b>", aggregation_type: "sum", field_name: "n" });
    await make("plans", {
      code, name: "Pro", interval: "monthly", amount_cents: 1500, amount_currency: "EUR",
      charges: [{ billable_metric_code: code, charge_model: "standard", properties: { amount: "0.25" } }],
    });
    await make("customers", { external_id: code, name: "Ada Ltd" });
    const now = new Date();
    const [start, used] = [1, 2].map((day) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 1, day)).toISOString());
    await make("subscriptions", { external_id: code, external_customer_id: code, plan_code: code, subscription_at: start });
    await server.owner("PUT", `/v1/metering/reporters/${code}`, { reporters: ["*"] });
    for (const n of [3, 5]) {
      const event = { transaction_id: `${code}-${n}`, external_subscription_id: code, code, timestamp: used, properties: { n } };
      const { status, json } = await server.agent(key, "POST", "/v1/metering/events", event);
      assert.equal(status, 200, JSON.stringify(json));
    }
    await make("wallets", { external_customer_id: code, wallet: { name: "Prepaid", currency: "EUR", rate_amount: "1" }, granted_credits: "4" });
    const run = await make("billing-runs", {});
    assert.deepEqual(run.failures, []);

    const { page, context, complaints } = await signedIn(fixture);
    await goto(page, "#/invoices");
    const row = page.getByRole("row").filter({ hasText: code }).filter({ hasText: "INV-" });
    // 15.00 and 8 units at 0.25, less 4.00 of credits.
    await sees(row, "13.00 EUR");
    await page.getByRole("region", { name: "wallets" }).getByText("Prepaid").waitFor();
    if (process.env.CRETO_PICTURES) await page.screenshot({ path: `${process.env.CRETO_PICTURES}/invoices.png` });
    await row.getByRole("link").click();
    await sees(page, "Tokens <b>");
    await page.getByRole("button", { name: "2 events behind it" }).click();
    const events = page.getByRole("table", { name: /^events of/ });
    await events.getByText("proven by this line's root").nth(1).waitFor();
    if (process.env.CRETO_PICTURES) await page.screenshot({ path: `${process.env.CRETO_PICTURES}/invoice.png`, fullPage: true });
    const [pdf, web] = await Promise.all(["as PDF", "as a page"].map((name) => page.getByRole("link", { name }).getAttribute("href")));
    const file = await page.request.get(new URL(pdf, server.url).href);
    assert.equal((await file.body()).subarray(0, 5).toString(), "%PDF-");
    await page.goto(new URL(web, server.url).href);
    await page.getByRole("heading", { name: /^Invoice INV-/ }).waitFor();
    await sees(page, "Tokens <b>");
    if (process.env.CRETO_PICTURES) {
      await page.screenshot({ path: `${process.env.CRETO_PICTURES}/page.png`, fullPage: true });
      (await import("node:fs")).writeFileSync(`${process.env.CRETO_PICTURES}/invoice.pdf`, await file.body());
    }
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "costs and budgets are drawn from what was spent"(fixture) {
    const { server } = fixture;
    await server.owner("POST", "/v1/identities", { kind: "agent", name: "spender" });
    const { token: key } = await server.owner("POST", "/v1/keys", { role: "agent", name: "spender", agent: "spender" });
    await server.owner("PUT", "/v1/metering/metrics/pages", { aggregation: "sum", field: "n", unit_price: "0.25" });
    await server.owner("PUT", `/v1/metering/reporters/${NAME}`, { reporters: ["*"] });
    const event = { transaction_id: randomUUID(), external_subscription_id: NAME, code: "pages", properties: { n: 6 } };
    assert.equal((await server.agent(key, "POST", "/v1/metering/events", event)).json.cost, "1.5");
    const { page, context } = await signedIn(fixture);
    await goto(page, "#/costs");
    const row = page.locator("tr", { hasText: "spender" });
    await row.waitFor();
    assert.match(await row.innerText(), /1\.50/);
    await page.getByRole("button", { name: "fold" }).first().click();
    await row.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "custom" }).click();
    await page.getByLabel("from", { exact: true }).fill("2001-01-01");
    await page.getByLabel("to", { exact: true }).fill("2001-01-31");
    await sees(page, "Nothing was spent in this time");
    await page.getByRole("button", { name: "all", exact: true }).click();
    await page.getByRole("button", { name: "unfold" }).first().click();
    await row.waitFor();
    await goto(page, "#/budgets");
    await sees(page.locator("tr", { hasText: "spender" }), "1.50 spent, no ceiling");
    await context.close();
  },

  async "usage over time is drawn by what it is told apart by, walked by keyboard, and current"(fixture) {
    const { server } = fixture;
    const code = `t${randomUUID().slice(0, 8)}`;
    const used = async (agent, model, n) => {
      const event = { transaction_id: randomUUID(), external_subscription_id: NAME, code, properties: { n, model } };
      const { json } = await server.agent(keys[agent], "POST", "/v1/metering/events", event);
      assert.ok(json.cost, JSON.stringify(json));
    };
    await server.owner("PUT", `/v1/metering/metrics/${code}`, { aggregation: "sum", field: "n", unit_price: "0.5" });
    await server.owner("PUT", `/v1/metering/reporters/${NAME}`, { reporters: ["*"] });
    const keys = {};
    for (const agent of ["drawn-a", "drawn-b"]) {
      await server.owner("POST", "/v1/identities", { kind: "agent", name: agent });
      keys[agent] = (await server.owner("POST", "/v1/keys", { role: "agent", name: agent, agent })).token;
    }
    await used("drawn-a", "large", 6);
    await used("drawn-b", "small", 2.5);
    const { page, context, complaints } = await signedIn(fixture);
    await page.keyboard.press("g");
    await page.keyboard.press("u");
    await page.getByRole("heading", { level: 1, name: "Usage" }).waitFor();
    await page.getByLabel("metric", { exact: true }).selectOption(code);
    const by = (what) => page.getByRole("group", { name: "told apart by" }).getByRole("button", { name: what }).click();
    const totals = page.getByRole("table", { name: /totals$/ });
    const cells = async (name) => (await totals.getByRole("row").filter({ hasText: name }).innerText()).split(/\s+/).filter((cell) => cell !== "");
    await by("agent");
    await totals.getByText("drawn-a").waitFor();
    assert.deepEqual(await cells("drawn-a"), ["drawn-a", "1", "6", "3.00"]);
    assert.deepEqual(await cells("all"), ["all", "2", "8.5", "4.25"]);
    await by("model");
    await totals.getByText("large").waitFor();
    assert.deepEqual(await cells("small"), ["small", "1", "2.5", "1.25"]);

    // The column of today, by keyboard, in words.
    await page.getByRole("group", { name: /over time by model/ }).focus();
    await page.keyboard.press("End");
    const readout = page.locator(".readout");
    await readout.getByText("4.25").waitFor();
    assert.match(await readout.innerText(), /large\s*3\.00/);
    await page.getByText("The chart as a table").click();
    const table = page.getByRole("table", { name: "cost over time by model", exact: true });
    assert.equal(await table.getByRole("row").count(), (await table.locator("tbody tr").count()) + 1);
    assert.match(await table.locator("tbody tr").last().innerText(), /3\.00\s+1\.25\s+4\.25/);

    // What is acknowledged is there within a moment, and nobody reloads.
    await used("drawn-b", "small", 1);
    await totals.getByText("4.75").waitFor();
    await page.getByRole("group", { name: "what is shown" }).getByRole("button", { name: "units" }).click();
    await page.getByRole("group", { name: "window" }).getByRole("button", { name: "custom" }).click();
    await page.getByLabel("from", { exact: true }).fill("2001-02-01");
    await page.getByLabel("to", { exact: true }).fill("2001-01-01");
    await sees(page.getByRole("alert"), "The first day is after the last one");
    await page.getByLabel("to", { exact: true }).fill("2001-02-20");
    await sees(page, "Nothing was used in this time");
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "ceilings stand down the delegation tree, and the hop that stops first is named"(fixture) {
    const { server } = fixture;
    const name = (role) => `${role}-${suffix}`;
    const suffix = randomUUID().slice(0, 6);
    const roles = [["lead", "5"], ["worker", "4"]];
    let chain;
    for (const [role, budget] of roles) {
      await server.owner("POST", "/v1/identities", { kind: "agent", name: name(role) });
      const made = await server.owner("POST", "/v1/delegations", { ...(chain ? { chain } : { from: NAME }), to: name(role), budget });
      chain = made.chain;
    }
    const { token: key } = await server.owner("POST", "/v1/keys", { role: "agent", name: name("worker"), chain });
    await server.owner("PUT", "/v1/metering/metrics/pages", { aggregation: "sum", field: "n", unit_price: "0.25" });
    const event = { transaction_id: randomUUID(), external_subscription_id: NAME, code: "pages", properties: { n: 4 } };
    assert.equal((await server.agent(key, "POST", "/v1/metering/events", event)).json.cost, "1");
    // An operator lowers what the lead may spend: now the lead's ceiling stops the worker, not its own.
    const { accounts } = await server.owner("GET", "/v1/metering/accounts");
    const lead = accounts.find((account) => account.identity.endsWith(name("lead")));
    await server.owner("PUT", "/v1/metering/ceilings", { account: lead.account, ceiling: "1.5" });
    await server.owner("PUT", `/v1/metering/quotas/q-${suffix}`, { metric: "actions", scope: "agent", subject: name("worker"), window: "daily", limit: "100" });
    const { page, context, complaints } = await signedIn(fixture);
    await goto(page, "#/budgets");
    const worker = page.getByRole("row").filter({ hasText: name("worker") });
    await sees(worker, `by ${name("lead")}`);
    assert.match(await worker.innerText(), /1\.00 of 4\.00[\s\S]*3\.00[\s\S]*0\.50/, "its own ceiling leaves 3.00, the lead's 0.50");
    await sees(page.getByRole("row").filter({ hasText: name("lead") }).first(), "stops first");
    assert.equal(await worker.getByText("stops first").count(), 0);
    await sees(page.getByRole("region", { name: "quotas" }), "0 of 100 actions");
    await page.getByRole("button", { name: `fold ${name("lead")}` }).click();
    await worker.waitFor({ state: "detached" });
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "a run is a line of time whose moments lead to their proofs"(fixture) {
    const { status, json } = await fixture.server.agent(fixture.operator, "POST", "/v1/runs", { argv: ["echo", "hello"], agent: "builder", timeout_secs: 60 });
    if (json.code === "app.no_runtime") throw new Skipped(json.detail);
    assert.equal(status, 200, JSON.stringify(json));
    const { page, context, complaints } = await signedIn(fixture);
    await goto(page, "#/runs");
    await page.locator("tbody tr", { hasText: "echo hello" }).click();
    const moment = page.locator(".moment", { hasText: "runtime.exec" });
    await moment.waitFor();
    assert.match(await moment.innerText(), /done/);
    await moment.locator("a").click();
    await sees(page, "This entry is in the log");
    await sees(page.locator(".laid-out"), "runtime.exec");
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "a request of a run tells what the run has cost until it was asked"(fixture) {
    const { server, operator } = fixture;
    const name = toolName();
    await server.owner("PUT", `/v1/metering/metrics/${name}`, { aggregation: "count", unit_price: "0.0371" });
    await server.owner("PUT", `/v1/metering/reporters/${name}`, { reporters: ["*"] });
    // Three priced events, and then a question that waits.
    const program = [
      "import json, urllib.request",
      "opener = urllib.request.build_opener(urllib.request.ProxyHandler({'http': 'http://127.0.0.1:3128'}))",
      "def post(path, body):",
      "    head = {'content-type': 'application/json'}",
      "    asked = urllib.request.Request('http://creto.internal' + path, data=json.dumps(body).encode(), headers=head)",
      "    return json.load(opener.open(asked, timeout=60))",
      `tool = '${name}'`,
      "for n in range(3):",
      "    post('/v1/metering/events', {'transaction_id': f'{tool}-{n}', 'external_subscription_id': tool, 'code': tool})",
      "call = {'action': 'tool.call_with_approval', 'resource': 'tool:' + tool, 'arguments': {}, 'wait_secs': 50}",
      "print(post('/v1/actions', call)['state'])",
    ].join("\n");
    const running = server.agent(operator, "POST", "/v1/runs", { argv: ["python3", "-c", program], agent: "builder", timeout_secs: 60 });
    const { page, context, complaints } = await signedIn(fixture);
    const row = page.locator(".row", { hasText: name });
    const asked = await Promise.race([row.waitFor().then(() => undefined), running]);
    if (asked?.json.code === "app.no_runtime") throw new Skipped(asked.json.detail);
    assert.equal(asked, undefined, "it waits, and is shown by itself");
    await row.click();
    await sees(page, "computed here from the text above");
    const told = await page.getByText("The run has cost").innerText();
    // Three events, and nothing for a time that is not over yet.
    assert.equal(told, "The run has cost 0.1113 so far.");
    await page.keyboard.press("a");
    await page.locator("textarea").waitFor();
    await page.keyboard.press("Enter");
    await sees(page.locator(".decided"), "Approved");
    const { status, json } = await running;
    assert.equal(status, 200, JSON.stringify(json));
    const said = json.filter((line) => line.event === "stdout").map((line) => Buffer.from(line.data, "base64").toString()).join("");
    assert.equal(said, "granted\n");
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "the inbox is live again after the server was away"(fixture) {
    const { page, context } = await signedIn(fixture);
    await live(page);
    await fixture.server.stop();
    await page.locator(".liveness.connecting").waitFor();
    await fixture.server.start(new URL(fixture.server.url).host);
    await live(page);
    const asked = await ask(fixture);
    await page.locator(".row", { hasText: asked.name }).waitFor();
    await context.close();
  },

  async "a passkey is registered, signs in, and is removed"(fixture) {
    const { page, context, complaints } = await open(fixture, {}, byName(fixture.server));
    await authenticator(context, page);
    await signIn(page);
    await page.getByRole("link", { name: NAME }).click();
    await sees(page, "No passkey yet");
    await page.getByLabel("Name of the device").fill("test device");
    await page.getByRole("button", { name: "Add a passkey" }).click();
    await page.locator("tr", { hasText: "test device" }).waitFor();
    assert.equal((await page.locator("tr", { hasText: "test device" }).innerText()).includes("never"), true);
    await page.getByRole("button", { name: /sign out/ }).click();
    await page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await page.locator("tr", { hasText: "test device" }).waitFor();
    assert.equal((await page.locator("tr", { hasText: "test device" }).innerText()).includes("never"), false, "it was used");
    await page.getByRole("button", { name: "remove" }).click();
    await sees(page, "No passkey yet");
    await page.getByRole("button", { name: /sign out/ }).click();
    await page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await sees(page.getByRole("alert"), "nhi.login_failed");
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "an approval by passkey signs the very action, and anybody can check it"(fixture) {
    const { page, context, complaints } = await open(fixture, {}, byName(fixture.server));
    await authenticator(context, page);
    await signIn(page);
    await goto(page, "#/you");
    await page.getByLabel("Name of the device").fill("approving device");
    await page.getByRole("button", { name: "Add a passkey" }).click();
    await page.locator("tr", { hasText: "approving device" }).waitFor();
    const asked = await ask(fixture, { arguments: { amount: "9000.00" } });
    await goto(page, `#/inbox/${asked.id}`);
    await sees(page, "computed here from the text above");
    await page.keyboard.press("p");
    await page.locator("textarea").fill("signed by me");
    await page.getByRole("button", { name: /Sign with your passkey/ }).click();
    await sees(page.locator(".decided"), "Approved");
    await sees(page.locator(".decided"), "proved by passkey");

    const { votes } = await fixture.server.owner("GET", `/v1/oversight/requests/${asked.id}`);
    assert.equal(votes[0].proof.method, "passkey");
    const evidence = JSON.parse(votes[0].proof.evidence);
    const bytes = (text) => Buffer.from(text, "base64url");
    const client = JSON.parse(bytes(evidence.assertion.client_data).toString());
    const challenge = createHash("sha256").update(Buffer.from(asked.digest, "hex")).update(bytes(evidence.nonce)).digest("base64url");
    assert.deepEqual([client.type, client.challenge, client.origin], ["webauthn.get", challenge, byName(fixture.server)]);
    // Checked by another library than the one that accepted it.
    const xy = bytes(evidence.key.xy);
    const key = await crypto.subtle.importKey(
      "jwk",
      { kty: "EC", crv: "P-256", x: xy.subarray(0, 32).toString("base64url"), y: xy.subarray(32).toString("base64url") },
      { name: "ECDSA", namedCurve: "P-256" },
      false,
      ["verify"],
    );
    const signed = Buffer.concat([bytes(evidence.assertion.authenticator_data), createHash("sha256").update(bytes(evidence.assertion.client_data)).digest()]);
    const signature = fixed(bytes(evidence.assertion.signature));
    assert.ok(await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature, signed));
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "a glass is broken in the page, and somebody else says in words what they found"(fixture) {
    const { server } = fixture;
    await server.owner("POST", "/v1/accounts", { name: "rita", password: PASSWORD });
    const asked = await ask(fixture, { arguments: { valve: "main\u202e7" } });
    const { page, context, complaints } = await signedIn(fixture);
    await goto(page, `#/inbox/${asked.id}`);
    await page.getByRole("button", { name: "Break the glass" }).click();
    const breaks = page.getByRole("button", { name: "Break it now" });
    assert.equal(await breaks.isDisabled(), true, "a reason is required");
    await page.getByLabel("Why can this wait for nobody?").fill("the plant burns");
    await breaks.click();
    const glass = page.getByRole("region", { name: "broken glass" });
    await sees(glass, "the plant burns");
    assert.match(await glass.innerText(), /The glass was broken\s+by\s+ada\s[\s\S]*proved by session/);
    // Whoever broke it is offered no review of it.
    await sees(page, "You broke this glass: somebody else looks at it.");
    assert.equal(await page.getByRole("form", { name: "your review" }).count(), 0);
    assert.equal((await asked.again()).json.state, "granted");

    const other = await open(fixture);
    await signIn(other.page, "rita");
    await other.page.getByRole("link", { name: /^Reviews/ }).getByLabel("1 waiting").waitFor();
    await other.page.keyboard.press("g");
    await other.page.keyboard.press("e");
    await sees(other.page.getByRole("region", { name: "broken glasses" }), "broken by ada");
    await other.page.keyboard.press("j");
    assert.equal(new URL(other.page.url()).hash, `#/reviews/${asked.id}`);
    await sees(other.page, "computed here from the text above");
    assert.equal((await other.page.locator(".digest .hash").innerText()).replace(/\s/g, ""), asked.digest);
    assert.deepEqual(await other.page.locator(".laid-out .mark").allInnerTexts(), ["RLO"], "what its bytes hide is drawn");
    const right = other.page.getByRole("button", { name: "It was justified" });
    const wrong = other.page.getByRole("button", { name: "It was not justified" });
    assert.deepEqual([await right.isDisabled(), await wrong.isDisabled()], [true, true], "a comment is required");
    await other.page.getByLabel("What did you find?").fill("  ");
    assert.equal(await wrong.isDisabled(), true, "and has words");
    await other.page.getByLabel("What did you find?").fill("it did not\u200b burn");
    await wrong.click();
    const row = other.page.locator(".row", { hasText: asked.name });
    await sees(row, "looked at by rita");
    assert.match(await row.innerText(), /not justified/);
    const looked = other.page.getByRole("region", { name: "broken glass", exact: true });
    assert.match(await looked.innerText(), /Not justified\s+says\s+rita\s[\s\S]*it did not[\s\S]*ZWSP[\s\S]*burn/);
    await sees(other.page, "All looked at");
    // Who broke it reads it without a reload.
    await sees(glass, "Not justified");
    const { glass: kept } = await server.owner("GET", `/v1/oversight/requests/${asked.id}`);
    assert.deepEqual([kept.justified, kept.review, kept.reviewed_by.endsWith("/human/rita")], [false, "it did not\u200b burn", true]);
    assert.deepEqual([...complaints, ...other.complaints], []);
    await context.close();
    await other.context.close();
  },

  async "a critical glass is broken with a passkey, and who is in the chain is not offered it"(fixture) {
    const { server } = fixture;
    const document = { requirement: { at_least: { count: 2, of: ["role:approver"] } }, separation: "agents", risk: "critical" };
    await server.owner("PUT", "/v1/oversight/policies/require_approval", { policy: document });
    await server.owner("POST", "/v1/accounts", { name: "pia", password: PASSWORD, operator: true });
    const { page, context, complaints } = await open(fixture, {}, byName(server));
    await authenticator(context, page);
    await signIn(page, "pia");
    await goto(page, "#/you");
    await page.getByLabel("Name of the device").fill("red key");
    await page.getByRole("button", { name: "Add a passkey" }).click();
    await page.locator("tr", { hasText: "red key" }).waitFor();
    const asked = await ask(fixture);
    await goto(page, `#/inbox/${asked.id}`);
    await page.getByRole("button", { name: "Break the glass" }).click();
    await page.getByLabel("Why can this wait for nobody?").fill("the plant burns");
    await page.getByRole("button", { name: "Break it with your passkey" }).click();
    await sees(page.getByRole("region", { name: "broken glass" }), "proved by passkey");
    const { glass } = await server.owner("GET", `/v1/oversight/requests/${asked.id}`);
    const client = JSON.parse(Buffer.from(JSON.parse(glass.proof.evidence).assertion.client_data, "base64url").toString());
    const signed = createHash("sha256").update("creto/break-glass/v1/").update(Buffer.from(asked.digest, "hex")).digest();
    const nonce = Buffer.from(JSON.parse(glass.proof.evidence).nonce, "base64url");
    assert.equal(client.challenge, createHash("sha256").update(signed).update(nonce).digest("base64url"));

    // An agent of her own: she is in its chain.
    await server.owner("POST", "/v1/identities", { kind: "agent", name: "pias-bot" });
    const { token: mine } = await server.owner("POST", "/v1/keys", { role: "operator", name: "pia" });
    const { json } = await server.agent(mine, "POST", "/v1/keys", { role: "agent", name: "pias-bot", agent: "pias-bot" });
    const own = await ask({ server, key: json.token });
    await goto(page, `#/inbox/${own.id}`);
    await sees(page, "computed here from the text above");
    assert.equal(await page.getByRole("button", { name: "Break the glass" }).count(), 0);
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "an approver who may not see a secret approves what they were shown"(fixture) {
    const document = { requirement: { at_least: { count: 1, of: ["role:approver"] } }, separation: "agents", secrets: ["card"] };
    await fixture.server.owner("PUT", "/v1/oversight/policies/require_approval", { policy: document });
    await fixture.server.owner("POST", "/v1/accounts", { name: "eve", password: PASSWORD });
    const { page, context, complaints } = await open(fixture);
    await page.getByLabel("Name").fill("eve");
    await page.getByLabel("Password").fill(PASSWORD);
    await page.keyboard.press("Enter");
    await page.getByRole("navigation", { name: "pages" }).waitFor();
    const asked = await ask(fixture, { arguments: { card: "4111111111111111", amount: "12.50" } });
    await goto(page, `#/inbox/${asked.id}`);
    await sees(page, "computed here from the text above");
    const shown = await page.locator(".laid-out").innerText();
    assert.match(shown, /"card": "\(hidden\)"/);
    assert.ok(shown.includes(asked.digest), "the text names the digest of the whole action");
    assert.equal((await page.content()).includes("4111111111111111"), false);
    const computed = (await page.locator(".digest .hash").innerText()).replace(/\s/g, "");
    assert.notEqual(computed, asked.digest);
    await page.keyboard.press("a");
    await page.locator("textarea").waitFor();
    await page.keyboard.press("Enter");
    await sees(page.locator(".decided"), "Approved");
    const { votes } = await fixture.server.owner("GET", `/v1/oversight/requests/${asked.id}`);
    assert.deepEqual([votes[0].digest, votes[0].shown], [asked.digest, computed]);
    assert.equal((await asked.again()).json.state, "granted");
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "whoever lost their password comes back by an operator's invitation, once"(fixture) {
    await fixture.server.owner("POST", "/v1/accounts", { name: "lost", password: PASSWORD });
    const { url } = await fixture.server.owner("POST", "/v1/accounts/lost/invite", {});
    const { page, context } = await open(fixture);
    await page.goto(url);
    await page.getByRole("textbox", { name: "New password" }).fill("another horse battery staple");
    await page.getByRole("button", { name: "Use the invitation" }).click();
    await sees(page, "You are back");
    await page.getByRole("link", { name: "Sign in" }).click();
    await page.getByLabel("Name").fill("lost");
    await page.getByLabel("Password").fill("another horse battery staple");
    await page.keyboard.press("Enter");
    await page.getByRole("navigation", { name: "pages" }).waitFor();
    await page.goto(url);
    await page.getByRole("textbox", { name: "New password" }).fill("a third horse battery staple");
    await page.getByRole("button", { name: "Use the invitation" }).click();
    await sees(page.getByRole("alert"), "nhi.invite_unknown");
    await context.close();
  },

  async "every page says what is wrong, and how to go on"(fixture) {
    const { page, context } = await signedIn(fixture);
    for (const [hash, code] of [["#/inbox/req_unknown", "oversight.unknown_request"], ["#/runs/run_unknown", "app.unknown_run"], ["#/audit/leaf_unknown", "app.no_such_entry"]]) {
      await goto(page, hash);
      await sees(page.getByRole("alert"), code);
    }
    await goto(page, "#/nowhere");
    await sees(page, "There is no such page");
    await context.close();
  },

  async "every page fits a telephone, and breaks no rule of its content policy"(fixture) {
    const asked = await ask(fixture, { arguments: { long: "x".repeat(600) } });
    const { page, context, complaints } = await signedIn(fixture, { viewport: { width: 390, height: 844 } });
    for (const hash of ["#/inbox", `#/inbox/${asked.id}`, "#/runs", "#/audit", "#/usage", "#/costs", "#/budgets", "#/invoices", "#/reviews"]) {
      await goto(page, hash);
      await page.locator("main .skeleton").first().waitFor({ state: "detached" });
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390, `${hash} is wider than the screen`);
    }
    const answer = await page.request.get(fixture.server.url);
    assert.match(answer.headers()["content-security-policy"] ?? "", /default-src 'self'/);
    assert.deepEqual(complaints, []);
    await context.close();
  },

  async "the keyboard reaches every page, and explains itself"(fixture) {
    const { page, context } = await signedIn(fixture);
    for (const [key, title] of [["r", "Runs"], ["a", "Audit log"], ["u", "Usage"], ["c", "Costs"], ["b", "Budgets"], ["v", "Invoices"], ["e", "Reviews"], ["i", "Inbox"]]) {
      await page.keyboard.press("g");
      await page.keyboard.press(key);
      await page.getByRole("heading", { level: 1, name: new RegExp(`^${title}`) }).waitFor();
    }
    await page.keyboard.press("?");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await context.close();
  },
};

const server = await new Server().start();
const browser = await launch();
let passed = false;
try {
  await server.owner("POST", "/v1/accounts", { name: NAME, password: PASSWORD, operator: true });
  await server.owner("POST", "/v1/identities", { kind: "agent", name: "research-bot" });
  const { token: key } = await server.owner("POST", "/v1/keys", { role: "agent", name: "browser", agent: "research-bot" });
  const { token: operator } = await server.owner("POST", "/v1/keys", { role: "operator", name: "browser-operator" });
  const wanted = process.argv[2];
  const chosen = Object.fromEntries(Object.entries(tests).filter(([name]) => wanted === undefined || name.includes(wanted)));
  passed = await run(chosen, { server, browser, key, operator });
} finally {
  await browser.close();
  await server.stop();
  server.remove();
}
process.exitCode = passed ? 0 : 1;

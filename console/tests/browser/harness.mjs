// The real binary and the real browser.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { request as http } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const CHROMIUM_FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const READY_MS = 60_000;
/** Long enough for a loaded machine; no test waits for less. */
export const PATIENCE_MS = 20_000;

export const NAME = "ada";
export const PASSWORD = "correct horse battery staple";

function binary() {
  const target = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../../target", import.meta.url));
  const found = process.env.CRETO_BIN ?? join(target, "debug", "creto");
  if (!existsSync(found)) throw new Error(`there is no \`${found}\`: build it with \`cargo build -p creto\`, or set CRETO_BIN`);
  return found;
}

/** A server on a data directory of its own. */
export class Server {
  #data = mkdtempSync(join(tmpdir(), "creto-browser-"));
  #child;
  url = "";

  async start(listen = "127.0.0.1:0") {
    const child = spawn(binary(), ["serve", "--data", this.#data, "--listen", listen], { stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    let output = "";
    this.url = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the server was not ready in ${READY_MS} ms:\n${output}`)), READY_MS);
      const read = (chunk) => {
        output += chunk;
        const ready = /ready on (http:\/\/\S+)/.exec(output);
        if (!ready) return;
        clearTimeout(timer);
        resolve(ready[1]);
      };
      child.stdout.on("data", read);
      child.stderr.on("data", read);
      child.once("exit", (code) => reject(new Error(`the server ended with ${code}:\n${output}`)));
    });
    return this;
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.removeAllListeners("exit");
    this.#child.kill("SIGTERM");
    await once(this.#child, "exit");
  }

  async restart() {
    const { host } = new URL(this.url);
    await this.stop();
    await this.start(host);
  }

  remove() {
    rmSync(this.#data, { recursive: true, force: true });
  }

  /** A call of the data directory's owner, over its socket. */
  async owner(method, path, body, headers = {}) {
    const { status, json } = await this.#call({ socketPath: join(this.#data, "creto.sock") }, method, path, body, headers);
    if (status >= 400) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(json)}`);
    return json;
  }

  /** A call over the network with a key; problems are answers. */
  agent(key, method, path, body) {
    const { hostname, port } = new URL(this.url);
    return this.#call({ hostname, port }, method, path, body, { authorization: `Bearer ${key}` });
  }

  #call(where, method, path, body, headers) {
    return new Promise((resolve, reject) => {
      const sent = http({ ...where, method, path, headers: { "content-type": "application/json", ...headers } }, async (answer) => {
        let text = "";
        for await (const chunk of answer.setEncoding("utf8")) text += chunk;
        const lines = text.trim().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
        resolve({ status: answer.statusCode, json: lines.length > 1 ? lines : lines[0] });
      });
      sent.on("error", reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}

export function launch() {
  return chromium.launch({ executablePath: process.env.CRETO_CHROMIUM ?? "/usr/bin/chromium", args: CHROMIUM_FLAGS });
}

/** Who calls {@link skip} does not count as passed. */
export class Skipped extends Error {}

/** Runs the tests one after the other and prints the summary that `cargo xtask test` counts. Answers whether none failed. */
export async function run(tests, context) {
  const began = Date.now();
  const count = { passed: 0, failed: 0, skipped: 0 };
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test(context);
      count.passed += 1;
      console.log(`  ✓ ${name}`);
    } catch (cause) {
      if (cause instanceof Skipped) {
        count.skipped += 1;
        console.log(`SKIPPED ${name}: ${cause.message}`);
      } else {
        count.failed += 1;
        console.log(`  ✗ ${name}\n${cause instanceof Error ? cause.stack : cause}`);
      }
    }
  }
  console.log("");
  if (count.failed > 0) console.log(`  ${count.failed} failed`);
  if (count.skipped > 0) console.log(`  ${count.skipped} skipped`);
  console.log(`  ${count.passed} passed (${((Date.now() - began) / 1000).toFixed(1)}s)`);
  return count.failed === 0 && !(count.skipped > 0 && process.env.CI === "true");
}

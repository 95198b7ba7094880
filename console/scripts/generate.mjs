// Fetches /openapi.json from a running server ($CRETO_URL) and makes the client's types of it. Without a server it makes them again of
// the committed openapi.json.
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("..", import.meta.url));
const specification = `${folder}openapi.json`;
const server = process.env.CRETO_URL;
if (server) {
  const response = await fetch(new URL("/openapi.json", server));
  if (!response.ok) throw new Error(`${server}/openapi.json: ${response.status}`);
  writeFileSync(specification, `${JSON.stringify(await response.json(), null, 1)}\n`);
} else if (!existsSync(specification)) {
  throw new Error("set CRETO_URL to a running server, such as http://127.0.0.1:7480");
}
execFileSync("npx", ["--no-install", "openapi-typescript", specification, "--output", `${folder}src/api/schema.d.ts`], { cwd: folder, stdio: "inherit" });

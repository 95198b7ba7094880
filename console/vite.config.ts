import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** A running server that `npm run dev` sends API calls to. */
const server = process.env["CRETO_URL"] ?? "http://127.0.0.1:7480";

export default defineConfig({
  // The binary serves the console from `/`, a proxy may serve it from below a path: both work with relative addresses.
  base: "./",
  plugins: [react()],
  build: {
    target: "es2023",
    // The page's policy is `default-src 'self'`: nothing may become a `data:` address or an inline script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/v1": server, "/openapi.json": server } },
  test: { include: ["tests/unit/**/*.test.ts"], environment: "node" },
});

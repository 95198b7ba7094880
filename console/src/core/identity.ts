/** SPIFFE IDs as they are written here: `spiffe://<domain>/tenant/<tenant>/<human|agent|service>/<name>`. */

export interface Identity {
  readonly kind: "human" | "agent" | "service" | "other";
  readonly name: string;
  readonly tenant: string;
}

/** Reads an ID. Anything else keeps its whole text as its name, so that nothing is hidden. */
export function identity(id: string): Identity {
  const match = /^spiffe:\/\/[^/]+\/tenant\/([^/]+)\/(human|agent|service)\/([^/]+)$/.exec(id);
  const [, tenant, kind, name] = match ?? [];
  if (tenant === undefined || name === undefined) return { kind: "other", name: id, tenant: "" };
  return { kind: kind as Identity["kind"], name, tenant };
}

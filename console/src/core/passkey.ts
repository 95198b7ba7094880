/** Passkeys in this browser: what the server asks, in the form the browser wants, and back. */

import { type Bytes, fromBase64 } from "./bytes";

/** What the server asks; binary parts are base64url. */
export interface Question {
  challenge: string;
  rp_id: string;
  credentials: string[];
  user_handle: string;
}

/** What a use of a passkey gave, base64url. */
export interface Assertion {
  credential: string;
  client_data: string;
  authenticator_data: string;
  signature: string;
}

/** What a new passkey gave, base64url. */
export interface NewPasskey {
  client_data: string;
  attestation: string;
}

/** Why this page can use no passkey; undefined where it can. */
export function unavailable(): string | undefined {
  if (typeof PublicKeyCredential !== "function") return "This browser, or this address, has no passkeys: they need https:, or http://localhost.";
  if (/^[\d.]+$|:/.test(location.hostname)) return `Passkeys are bound to a name, and this address is a number: open the console as http://localhost:${location.port}.`;
  return undefined;
}

function decode(text: string): Bytes {
  const bytes = fromBase64(text.replaceAll("-", "+").replaceAll("_", "/"));
  if (!bytes) throw new Error("the server's question is not base64url");
  return bytes;
}

function encode(buffer: ArrayBuffer): string {
  const text = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

const described = (credentials: string[]) => credentials.map((id) => ({ type: "public-key" as const, id: decode(id) }));

/** Makes a passkey for the person of this name. */
export async function create(question: Question, name: string): Promise<NewPasskey> {
  const made = await navigator.credentials.create({
    publicKey: {
      challenge: decode(question.challenge),
      rp: { id: question.rp_id, name: "creto" },
      user: { id: decode(question.user_handle), name, displayName: name },
      pubKeyCredParams: [{ type: "public-key", alg: -7 }, { type: "public-key", alg: -8 }],
      excludeCredentials: described(question.credentials),
      authenticatorSelection: { residentKey: "required", userVerification: "required" },
      attestation: "none",
    },
  });
  if (!(made instanceof PublicKeyCredential) || !(made.response instanceof AuthenticatorAttestationResponse)) throw new Error("no passkey was made");
  return { client_data: encode(made.response.clientDataJSON), attestation: encode(made.response.attestationObject) };
}

/** Has the person use one of their passkeys. */
export async function use(question: Question): Promise<Assertion> {
  const used = await navigator.credentials.get({
    publicKey: {
      challenge: decode(question.challenge),
      rpId: question.rp_id,
      allowCredentials: described(question.credentials),
      userVerification: "required",
    },
  });
  if (!(used instanceof PublicKeyCredential) || !(used.response instanceof AuthenticatorAssertionResponse)) throw new Error("no passkey was used");
  return {
    credential: encode(used.rawId),
    client_data: encode(used.response.clientDataJSON),
    authenticator_data: encode(used.response.authenticatorData),
    signature: encode(used.response.signature),
  };
}

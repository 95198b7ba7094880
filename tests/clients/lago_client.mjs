// Lago's own client for JavaScript, unmodified, for the server that a test names.
import { Client, getLagoError } from "lago-javascript-client";

export const lago = Client(process.env.LAGO_API_KEY, { baseUrl: process.env.LAGO_API_URL });
export const own = (name) => `${name}_${process.env.RUN_ID}`;
/** What a call is refused with, as the client reads it. */
export async function refused(attempt) {
  try {
    await attempt();
  } catch (error) {
    return await getLagoError(error);
  }
  return "not refused";
}

// HumanLayer's own SDK for JavaScript, unmodified: asks, waits and prints what it was told. Run by sdk/python/tests/test_humanlayer_js.py.
import { humanlayer } from "@humanlayer/sdk";

const hl = humanlayer({ runId: process.env.RUN_ID, sleep: () => new Promise((done) => setTimeout(done, 20)) });
const ran = [];
async function pay(invoice) {
  ran.push(invoice);
  return `paid ${invoice.amount} to ${invoice.to}`;
}
async function refused(attempt) {
  try {
    await attempt();
  } catch (error) {
    return String(error.message);
  }
  return "not refused";
}

const guarded = hl.requireApproval({ slack: { channel_or_user_id: "C1", context_about_channel_or_user: "the finance team" } })(pay);
const approved = await guarded({ to: "alice", amount: 5 });
const denied = await guarded({ to: "mallory", amount: 5000 });
const answer = await hl.humanAsTool()({ message: "which one?" });

const call = await hl.createFunctionCall({ spec: { fn: "pay", kwargs: {}, reject_options: [{ name: "later" }] } });
const escalated = await hl.escalateEmailFunctionCall(call.call_id, { escalation_msg: "please" });
const read = await hl.getFunctionCall(call.call_id);
const contact = await hl.createHumanContact({ spec: { msg: "not to be answered" } });
const forged = await refused(() => hl.backend.functions().respond(call.call_id, { requested_at: new Date(), approved: true }));
const unknown = await refused(() => hl.getFunctionCall("nobody-asked"));
const bad = await refused(() => hl.createFunctionCall({ spec: { fn: "", kwargs: {} } }));

console.log(JSON.stringify({ approved, denied, answer, ran, call, escalated, read, contact, forged, unknown, bad }));

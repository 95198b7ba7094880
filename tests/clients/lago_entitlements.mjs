// Lago's own client for JavaScript, unmodified: alerts, features and what plans and subscriptions are entitled to.
// Run by sdk/python/tests/test_lago_js.py.
import { lago, own, refused } from "./lago_client.mjs";

await lago.plans.createPlan({
  plan: { name: "Pro", code: own("pro"), interval: "monthly", amount_cents: 0, amount_currency: "EUR", pay_in_advance: false },
});
await lago.customers.createCustomer({ customer: { external_id: own("acme"), currency: "EUR" } });
await lago.subscriptions.createSubscription({
  subscription: { external_customer_id: own("acme"), plan_code: own("pro"), external_id: own("sub"), billing_time: "calendar" },
});

const privileges = [
  { code: "max", name: "Maximum", value_type: "integer" },
  { code: "root", value_type: "boolean" },
  { code: "provider", value_type: "select", config: { select_options: ["google", "okta"] } },
];
const feature = (await lago.features.createFeature({ feature: { code: own("seats"), name: "Seats", privileges } })).data.feature;
const renamed = (
  await lago.features.updateFeature(own("seats"), { feature: { description: "how many", privileges: [{ code: "note" }] } })
).data.feature;
const features = (await lago.features.findAllFeatures({ search_term: own("seats") })).data;
const invalid = await refused(() => lago.features.createFeature({ feature: { code: own("x"), privileges: [{ code: "y", value_type: "select" }] } }));

const seats = own("seats");
const planned = (await lago.plans.createEntitlement(own("pro"), { entitlements: { [seats]: { max: 10, root: true, provider: "google" } } })).data.entitlements;
const patched = (await lago.plans.updateEntitlement(own("pro"), { entitlements: { [seats]: { max: 20, note: "x" } } })).data.entitlements;
const one = (await lago.plans.findEntitlement(own("pro"), seats)).data.entitlement;
const lessOne = (await lago.plans.removeEntitlementPrivilege(own("pro"), seats, "note")).data.entitlement;
const bad = await refused(() => lago.plans.updateEntitlement(own("pro"), { entitlements: { [seats]: { max: "many" } } }));
const mine = (await lago.subscriptions.updateSubscriptionEntitlements(own("sub"), { entitlements: { [seats]: { max: 30 } } })).data.entitlements;
const without = (await lago.subscriptions.destroySubscriptionEntitlementPrivilege(own("sub"), seats, "root")).data.entitlement;
const inUse = await refused(() => lago.features.destroyFeature(seats));
await lago.subscriptions.destroySubscriptionEntitlement(own("sub"), seats);
const none = (await lago.subscriptions.findAllSubscriptionEntitlements(own("sub"))).data.entitlements;
await lago.plans.destroyEntitlement(own("pro"), seats);
const left = (await lago.plans.findAllEntitlements(own("pro"))).data.entitlements;

const alert = (
  await lago.subscriptions.createSubscriptionAlert(own("sub"), {
    alert: { alert_type: "current_usage_amount", code: "warn", thresholds: [{ value: 99, code: "soon" }] },
  })
).data.alert;
const changed = (await lago.subscriptions.updateSubscriptionAlert(own("sub"), "warn", { alert: { name: "Warn" } })).data.alert;
const alerts = (await lago.subscriptions.getSubscriptionAlerts(own("sub"))).data;
const gone = (await lago.subscriptions.deleteSubscriptionAlert(own("sub"), "warn")).data.alert;
const unknown = await refused(() => lago.subscriptions.getSubscriptionAlert(own("sub"), "warn"));

console.log(
  JSON.stringify({
    feature, renamed, features, invalid, planned, patched, one, lessOne, bad, mine, without, inUse, none, left, alert, changed, alerts, gone, unknown,
  }),
);

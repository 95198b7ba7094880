// Lago's own client for JavaScript, unmodified: makes what is sold, subscribes, sends usage and prints what it was told.
// Run by sdk/python/tests/test_lago_js.py.
import { Client } from "lago-javascript-client";
import { lago, own, refused } from "./lago_client.mjs";

const metric = (
  await lago.billableMetrics.createBillableMetric({
    billable_metric: { name: "Tokens", code: own("tokens"), aggregation_type: "sum_agg", field_name: "n", description: null },
  })
).data.billable_metric;
const plan = (
  await lago.plans.createPlan({
    plan: {
      name: "Pro",
      code: own("pro"),
      interval: "monthly",
      amount_cents: 1000,
      amount_currency: "EUR",
      pay_in_advance: false,
      charges: [{ billable_metric_id: metric.lago_id, charge_model: "package", properties: { amount: "3", package_size: 10, free_units: 5 } }],
    },
  })
).data.plan;
const tried = (
  await lago.billableMetrics.evaluateBillableMetricExpression({
    expression: "event.properties.a * 2",
    event: { code: "x", timestamp: 1, properties: { a: "1.25" } },
  })
).data.expression_result;
const customer = (await lago.customers.createCustomer({ customer: { external_id: own("acme"), name: "Acme", currency: "EUR" } })).data.customer;
const subscription = (
  await lago.subscriptions.createSubscription({
    subscription: { external_customer_id: own("acme"), plan_code: own("pro"), external_id: own("sub"), billing_time: "calendar" },
  })
).data.subscription;

const event = (n) => ({ transaction_id: own(`t${n}`), external_subscription_id: own("sub"), code: own("tokens"), properties: { n } });
const sent = (await lago.events.createEvent({ event: event(7) })).data.event;
const batch = (await lago.events.createBatchEvents({ events: [event(8), event(9)] })).data.events;
const again = await refused(() => lago.events.createEvent({ event: event(7) }));
const found = (await lago.events.findEvent(own("t7"))).data.event;
const events = (await lago.events.findAllEvents({ external_subscription_id: own("sub"), per_page: 2 })).data;
const usage = (await lago.customers.findCustomerCurrentUsage(own("acme"), { external_subscription_id: own("sub") })).data.customer_usage;

const preview = (
  await lago.invoices.invoicePreview({
    customer: { name: "New", timezone: "UTC" },
    plan_code: own("pro"),
    subscription_at: "2026-06-16T00:00:00Z",
    billing_time: "calendar",
    coupons: [{ code: "deal", name: "Deal", coupon_type: "fixed_amount", amount_cents: 100, amount_currency: "EUR" }],
  })
).data.invoice;
const next = (await lago.invoices.invoicePreview({ customer: { external_id: own("acme") }, subscriptions: { external_ids: [own("sub")] } })).data.invoice;
const charges = (await lago.plans.findAllPlanCharges(own("pro"), { per_page: 5 })).data;
const subscriptions = (await lago.customers.findAllCustomerSubscriptions(own("acme"), { "status[]": ["active", "pending"] })).data;
const listed = (await lago.subscriptions.findAllSubscriptions({ external_customer_id: own("acme"), "status[]": ["active"] })).data;
const changed = (await lago.plans.updatePlan(own("pro"), { plan: { name: "Prime", description: "better" } })).data.plan;
const ended = (await lago.subscriptions.destroySubscription(own("sub"))).data.subscription;
const unknown = await refused(() => lago.customers.findCustomer("nobody-has-this-name"));
const invalid = await refused(() => lago.billableMetrics.createBillableMetric({ billable_metric: { name: "x", aggregation_type: "sum_agg" } }));
const nobody = await refused(() => Client("", { baseUrl: process.env.LAGO_API_URL }).plans.findAllPlans());

console.log(
  JSON.stringify({
    metric, tried, plan, customer, subscription, sent, batch, again, found, events, usage, preview, next, charges, subscriptions, listed, changed, ended, unknown, invalid, nobody,
  }),
);

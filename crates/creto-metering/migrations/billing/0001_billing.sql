-- Invoices, what stands on them, what is taken off them, and the runs that make them. One text serves both engines.

-- The last number given, by series. Numbers are given in the commit that finalizes: none is skipped, none is given twice.
CREATE TABLE meter_series (
    tenant TEXT NOT NULL,
    series TEXT NOT NULL,
    last   BIGINT NOT NULL,
    PRIMARY KEY (tenant, series)
);

CREATE TABLE meter_invoice (
    tenant         TEXT NOT NULL,
    id             TEXT NOT NULL,
    customer       TEXT NOT NULL,
    kind           TEXT NOT NULL,
    status         TEXT NOT NULL CHECK (status IN ('draft', 'finalized', 'voided', 'closed')),
    payment_status TEXT NOT NULL CHECK (payment_status IN ('pending', 'succeeded', 'failed')),
    once           TEXT NOT NULL,
    sequence       BIGINT,
    number         TEXT NOT NULL,
    currency       TEXT NOT NULL,
    total          BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    body           TEXT NOT NULL,
    billed_to      TEXT NOT NULL,
    salt           TEXT NOT NULL,
    leaf           TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    final_at       BIGINT NOT NULL,
    finalized_at   BIGINT,
    PRIMARY KEY (tenant, id)
);
-- One invoice for one subscription and period, whatever runs twice.
CREATE UNIQUE INDEX meter_invoice_once ON meter_invoice (tenant, once) WHERE once <> '';
CREATE UNIQUE INDEX meter_invoice_sequence ON meter_invoice (tenant, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX meter_invoice_age ON meter_invoice (tenant, created_at, id);
CREATE INDEX meter_invoice_customer ON meter_invoice (tenant, customer, created_at);
CREATE INDEX meter_invoice_due ON meter_invoice (tenant, status, final_at);

-- Which usage an invoice covers. Periods of one subscription never overlap.
CREATE TABLE meter_billed_period (
    tenant       TEXT NOT NULL,
    subscription TEXT NOT NULL,
    begins_at    BIGINT NOT NULL,
    ends_at      BIGINT NOT NULL,
    invoice      TEXT NOT NULL,
    seen_to      BIGINT NOT NULL,
    PRIMARY KEY (tenant, subscription, begins_at)
);
CREATE INDEX meter_billed_period_invoice ON meter_billed_period (tenant, invoice);

CREATE TABLE meter_fee (
    tenant       TEXT NOT NULL,
    id           TEXT NOT NULL,
    invoice      TEXT NOT NULL,
    customer     TEXT NOT NULL,
    subscription TEXT NOT NULL,
    kind         TEXT NOT NULL,
    position     BIGINT NOT NULL,
    amount       BIGINT NOT NULL,
    body         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX meter_fee_invoice ON meter_fee (tenant, invoice, position);
CREATE INDEX meter_fee_age ON meter_fee (tenant, created_at, id);
CREATE INDEX meter_fee_subscription ON meter_fee (tenant, subscription, created_at);

CREATE TABLE meter_credit_note (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    invoice    TEXT NOT NULL,
    customer   TEXT NOT NULL,
    number     TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('available', 'consumed', 'voided')),
    currency   TEXT NOT NULL,
    balance    BIGINT NOT NULL CHECK (balance >= 0),
    revision   BIGINT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX meter_credit_note_number ON meter_credit_note (tenant, number);
CREATE INDEX meter_credit_note_customer ON meter_credit_note (tenant, customer, created_at);
CREATE INDEX meter_credit_note_invoice ON meter_credit_note (tenant, invoice);

CREATE TABLE meter_applied_coupon (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    customer   TEXT NOT NULL,
    coupon     TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('active', 'terminated')),
    revision   BIGINT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX meter_applied_coupon_customer ON meter_applied_coupon (tenant, customer, status, created_at);

CREATE TABLE meter_billing_run (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('running', 'done')),
    revision   BIGINT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX meter_billing_run_one ON meter_billing_run (tenant) WHERE status = 'running';
CREATE INDEX meter_billing_run_age ON meter_billing_run (tenant, created_at);

-- A tenant in test mode has a clock of its own and no live invoice, for ever.
CREATE TABLE meter_test_clock (
    tenant   TEXT PRIMARY KEY,
    now      BIGINT NOT NULL,
    revision BIGINT NOT NULL
);

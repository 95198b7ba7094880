-- What a payment provider was asked for. One text serves both engines.

CREATE TABLE meter_payment (
    tenant    TEXT NOT NULL,
    invoice   TEXT NOT NULL,
    provider  TEXT NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('asking', 'open', 'paid', 'withdrawn', 'given_up')),
    -- What the provider calls it; empty until it is on record.
    reference TEXT NOT NULL,
    url       TEXT NOT NULL,
    problem   TEXT NOT NULL,
    -- How often somebody wanted the payment to be tried again, and how often it was.
    wanted    BIGINT NOT NULL,
    tried     BIGINT NOT NULL,
    asked_at  BIGINT NOT NULL,
    looked_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, invoice)
);
CREATE INDEX meter_payment_state ON meter_payment (tenant, state, looked_at);
CREATE INDEX meter_payment_reference ON meter_payment (tenant, provider, reference);

-- When something was first to be made at a provider: its idempotency keys are counted from there.
CREATE TABLE meter_payment_first (
    tenant  TEXT NOT NULL,
    subject TEXT NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (tenant, subject)
);

-- What a provider told, by its own identifier: each counts once.
CREATE TABLE meter_payment_notice (
    tenant   TEXT NOT NULL,
    provider TEXT NOT NULL,
    id       TEXT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (tenant, provider, id)
);
CREATE INDEX meter_payment_notice_age ON meter_payment_notice (tenant, at);

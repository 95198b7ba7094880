-- Events: exact idempotency on (tenant, subscription, transaction_id), for ever.
CREATE TABLE meter_event (
    tenant         TEXT NOT NULL,
    subscription   TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    code           TEXT NOT NULL,
    occurred_at    BIGINT NOT NULL,
    received_at    BIGINT NOT NULL,
    quantity       TEXT NOT NULL,
    properties     TEXT NOT NULL,
    agent          TEXT NOT NULL,
    chain          TEXT NOT NULL,
    admission      TEXT NOT NULL,
    digest         TEXT NOT NULL,
    cost_micros    BIGINT NOT NULL,
    PRIMARY KEY (tenant, subscription, transaction_id)
);
CREATE INDEX meter_event_by_metric ON meter_event (tenant, subscription, code, occurred_at);

CREATE TABLE meter_metric (
    tenant      TEXT NOT NULL,
    code        TEXT NOT NULL,
    aggregation TEXT NOT NULL CHECK (aggregation IN ('count', 'sum')),
    field       TEXT NOT NULL,
    unit_price  TEXT NOT NULL,
    PRIMARY KEY (tenant, code)
);

-- One row for each account a chain passes. INVARIANT: spent + held <= ceiling at the moment of every hold and every direct posting.
CREATE TABLE meter_account (
    tenant   TEXT NOT NULL,
    account  TEXT NOT NULL,
    identity TEXT NOT NULL,
    ceiling  BIGINT,
    spent    BIGINT NOT NULL DEFAULT 0,
    held     BIGINT NOT NULL DEFAULT 0 CHECK (held >= 0),
    PRIMARY KEY (tenant, account)
);

CREATE TABLE meter_hold (
    id        TEXT PRIMARY KEY,
    tenant    TEXT NOT NULL,
    amount    BIGINT NOT NULL CHECK (amount > 0),
    state     TEXT NOT NULL CHECK (state IN ('open', 'posted', 'voided')),
    opened_at BIGINT NOT NULL,
    closed_at BIGINT
);
CREATE TABLE meter_hold_account (
    hold    TEXT NOT NULL REFERENCES meter_hold (id),
    account TEXT NOT NULL,
    PRIMARY KEY (hold, account)
);

-- The ledger: immutable. debit and credit balance in each admission; rollup repeats the debit for every hop of the chain.
CREATE TABLE meter_entry (
    tenant    TEXT NOT NULL,
    admission TEXT NOT NULL,
    side      TEXT NOT NULL CHECK (side IN ('debit', 'credit', 'rollup')),
    account   TEXT NOT NULL,
    identity  TEXT NOT NULL,
    hop       BIGINT NOT NULL,
    path      TEXT NOT NULL,
    micros    BIGINT NOT NULL,
    posted_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, admission, side, account)
);
CREATE INDEX meter_entry_by_path ON meter_entry (tenant, side, posted_at);

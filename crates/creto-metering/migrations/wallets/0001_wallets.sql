-- Prepaid credits: a double-entry ledger in micro-units of a currency. One text serves both engines.

CREATE TABLE meter_wallet (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    customer   TEXT NOT NULL,
    code       TEXT NOT NULL,
    currency   TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('active', 'terminated')),
    revision   BIGINT NOT NULL,
    body       TEXT NOT NULL,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX meter_wallet_code ON meter_wallet (tenant, customer, code) WHERE status = 'active';
CREATE INDEX meter_wallet_age ON meter_wallet (tenant, created_at, id);

-- What happened to a wallet: credits in, credits out. A pending one waits for a payment.
CREATE TABLE meter_wallet_transaction (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    wallet     TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('purchased', 'granted', 'voided', 'expired', 'invoiced')),
    status     TEXT NOT NULL CHECK (status IN ('pending', 'settled', 'failed')),
    micros     BIGINT NOT NULL CHECK (micros > 0),
    once       TEXT NOT NULL,
    invoice    TEXT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    settled_at BIGINT,
    PRIMARY KEY (tenant, id)
);
-- What a rule or a run does, it does once.
CREATE UNIQUE INDEX meter_wallet_transaction_once ON meter_wallet_transaction (tenant, once) WHERE once <> '';
CREATE INDEX meter_wallet_transaction_of ON meter_wallet_transaction (tenant, wallet, created_at, id);
CREATE INDEX meter_wallet_transaction_invoice ON meter_wallet_transaction (tenant, invoice) WHERE invoice <> '';

-- Credits that came in together: drawn down by priority, expiry, granted before purchased, age.
CREATE TABLE meter_credit_lot (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    wallet     TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('purchased', 'granted')),
    priority   BIGINT NOT NULL,
    micros     BIGINT NOT NULL CHECK (micros > 0),
    left_over  BIGINT NOT NULL CHECK (left_over >= 0),
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX meter_credit_lot_of ON meter_credit_lot (tenant, wallet, created_at);

-- Which credits paid for what: from a top-up to its spending and back.
CREATE TABLE meter_credit_use (
    tenant      TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    lot         TEXT NOT NULL,
    micros      BIGINT NOT NULL CHECK (micros > 0),
    PRIMARY KEY (tenant, transaction_id, lot)
);
CREATE INDEX meter_credit_use_lot ON meter_credit_use (tenant, lot);

-- The ledger. Rows are only ever inserted; in each transaction debits equal credits.
CREATE TABLE meter_wallet_posting (
    tenant      TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    line        BIGINT NOT NULL,
    account     TEXT NOT NULL,
    side        TEXT NOT NULL CHECK (side IN ('debit', 'credit')),
    micros      BIGINT NOT NULL CHECK (micros > 0),
    currency    TEXT NOT NULL,
    posted_at   BIGINT NOT NULL,
    PRIMARY KEY (tenant, transaction_id, line)
);
CREATE INDEX meter_wallet_posting_account ON meter_wallet_posting (tenant, account);

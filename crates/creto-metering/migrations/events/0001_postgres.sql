-- Identifiers that were used, for ever: SHA-256 over tenant, subscription and transaction identifier. The one index in random order, so
-- it holds as little as it can; what the event was is found by its place.
CREATE TABLE meter_used (
    tenant TEXT NOT NULL,
    key    BYTEA NOT NULL,
    seq    BIGINT NOT NULL,
    PRIMARY KEY (tenant, key)
);

-- Events in the order they were recorded; those of one batch by subscription and metric, so that they stand together.
-- Erasure empties what was sent and leaves place, cost and digest.
CREATE TABLE meter_record (
    tenant         TEXT NOT NULL,
    seq            BIGINT NOT NULL,
    subscription   TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    code           TEXT NOT NULL,
    occurred_at    BIGINT NOT NULL,
    timed          BIGINT NOT NULL,
    properties     TEXT NOT NULL,
    total_cents    TEXT,
    source         BIGINT NOT NULL,
    cost_micros    BIGINT NOT NULL,
    terms          TEXT,
    cancelled_at   BIGINT,
    given_back     BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, seq)
);

-- One commit of events: places first .. first + events - 1, their digests in that order, and the root of the tree over them.
CREATE TABLE meter_batch (
    tenant      TEXT NOT NULL,
    first       BIGINT NOT NULL,
    events      BIGINT NOT NULL,
    admission   TEXT NOT NULL,
    collector   TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    root        TEXT NOT NULL,
    digests     BYTEA NOT NULL,
    PRIMARY KEY (tenant, first)
);
CREATE INDEX meter_batch_by_admission ON meter_batch (tenant, admission);

-- Where events of a subscription, a metric and a UTC day stand: what an index over every event would say, once for each run of them.
CREATE TABLE meter_span (
    tenant       TEXT NOT NULL,
    subscription TEXT NOT NULL,
    code         TEXT NOT NULL,
    day          BIGINT NOT NULL,
    first        BIGINT NOT NULL,
    last         BIGINT NOT NULL,
    PRIMARY KEY (tenant, subscription, code, day, first)
);

-- Whom events are booked to: a chain, its accounts, and whether the agent's own token said so, the caller is booked for want of one, or
-- the server measured it itself.
CREATE TABLE meter_source (
    tenant   TEXT NOT NULL,
    source   BIGINT NOT NULL,
    chain    TEXT NOT NULL,
    proof    TEXT NOT NULL CHECK (proof IN ('token', 'caller', 'server')),
    agent    TEXT NOT NULL,
    accounts TEXT NOT NULL,
    PRIMARY KEY (tenant, source),
    UNIQUE (tenant, chain, proof)
);


-- Who may report for a subscription, beside its own owner: `agent/<name>`, `human/<name>`, `service/<name>`, `*`. A row also says that a
-- subscription the catalog does not have is one of the house, priced by the metrics themselves.
CREATE TABLE meter_reporter (
    tenant       TEXT NOT NULL,
    subscription TEXT NOT NULL,
    reporter     TEXT NOT NULL,
    PRIMARY KEY (tenant, subscription, reporter)
);

-- Events whose metric or subscription nobody knew, where the server is set to keep them: as sent, until they are replayed.
CREATE TABLE meter_quarantine (
    tenant      TEXT NOT NULL,
    key         BYTEA NOT NULL,
    received_at BIGINT NOT NULL,
    code        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    event       TEXT NOT NULL,
    digest      TEXT NOT NULL,
    source      TEXT NOT NULL,
    PRIMARY KEY (tenant, key)
);

-- Aggregates of whole local days: of a subscription, a charge of its plan, and one set of filter and groups (`dims`, canonical JSON).
CREATE TABLE meter_day (
    tenant       TEXT NOT NULL,
    subscription TEXT NOT NULL,
    charge       TEXT NOT NULL,
    dims         TEXT NOT NULL,
    day          TEXT NOT NULL,
    cost_micros  BIGINT NOT NULL,
    tally        TEXT NOT NULL,
    PRIMARY KEY (tenant, subscription, charge, dims, day)
);

-- The same over a billing period, from its start to now, with what was posted for it: the next posting is what it is rated at now, less
-- what was posted.
CREATE TABLE meter_running (
    tenant        TEXT NOT NULL,
    subscription  TEXT NOT NULL,
    period        BIGINT NOT NULL,
    charge        TEXT NOT NULL,
    dims          TEXT NOT NULL,
    posted_micros BIGINT NOT NULL,
    tally         TEXT NOT NULL,
    PRIMARY KEY (tenant, subscription, period, charge, dims)
);

-- Values of a UNIQUE_COUNT and what happened to each last: over a period (`p` and where it begins), on a day (`d` and which), or ever
-- (`e`), of a metric whose level is carried over.
CREATE TABLE meter_member (
    tenant       TEXT NOT NULL,
    subscription TEXT NOT NULL,
    charge       TEXT NOT NULL,
    dims         TEXT NOT NULL,
    scope        TEXT NOT NULL,
    value        TEXT NOT NULL,
    added        BIGINT NOT NULL,
    active       BIGINT NOT NULL,
    last_at      BIGINT NOT NULL,
    last_seq     BIGINT NOT NULL,
    PRIMARY KEY (tenant, subscription, charge, dims, scope, value)
);

DROP TABLE meter_event;

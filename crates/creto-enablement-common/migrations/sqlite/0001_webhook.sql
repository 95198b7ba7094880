CREATE TABLE webhook_endpoint (
    tenant      TEXT NOT NULL,
    id          TEXT NOT NULL,
    url         TEXT NOT NULL,
    -- Event types, or their beginnings that end in a dot, parted by spaces; empty is all.
    events      TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('active', 'gone')),
    -- Sealed under the installation's keys.
    secret      BLOB NOT NULL,
    old_secret  BLOB,
    old_until   INTEGER,
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE TABLE webhook_delivery (
    tenant      TEXT NOT NULL,
    endpoint    TEXT NOT NULL,
    -- The outbox message: stable across attempts, what a receiver deduplicates by.
    message     TEXT NOT NULL,
    type        TEXT NOT NULL,
    body        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts    INTEGER NOT NULL,
    due         INTEGER NOT NULL,
    claim       TEXT,
    created_at  INTEGER NOT NULL,
    status      INTEGER,
    problem     TEXT,
    PRIMARY KEY (tenant, endpoint, message)
);
CREATE INDEX webhook_delivery_due ON webhook_delivery (due) WHERE state = 'pending';

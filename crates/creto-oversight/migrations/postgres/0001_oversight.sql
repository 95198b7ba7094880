CREATE TABLE oversight_request (
    id         TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    digest     TEXT NOT NULL,
    salt       BYTEA NOT NULL,
    action     TEXT NOT NULL,
    rule       TEXT NOT NULL,
    run        TEXT,
    hops       TEXT NOT NULL,
    reason     TEXT,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'timed_out', 'cancelled', 'consumed', 'executed', 'failed')),
    opened_at  BIGINT NOT NULL,
    deadline   BIGINT NOT NULL,
    decided_by TEXT,
    decided_at BIGINT,
    how        TEXT,
    comment    TEXT,
    admission  TEXT,
    -- Whether the agent that asked has been told of a denial.
    heard      BIGINT NOT NULL DEFAULT 0
);
-- INVARIANT: at most one request is open for one action; a retry finds it instead of asking twice.
CREATE UNIQUE INDEX oversight_request_open ON oversight_request (tenant, digest) WHERE state IN ('pending', 'approved');
CREATE INDEX oversight_request_by_state ON oversight_request (tenant, state, id);

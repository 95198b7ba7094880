CREATE TABLE gate_action (
    admission   TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL,
    run         TEXT,
    agent       TEXT NOT NULL,
    chain       TEXT NOT NULL,
    action      TEXT NOT NULL,
    resource    TEXT NOT NULL,
    arguments   TEXT NOT NULL,
    digest      TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('intent', 'done', 'failed', 'refused', 'in_doubt')),
    opened_at   INTEGER NOT NULL,
    closed_at   INTEGER,
    opened_leaf TEXT NOT NULL,
    closed_leaf TEXT,
    hold        TEXT,
    approval    TEXT,
    cost_micros INTEGER NOT NULL,
    note        TEXT,
    salt        BLOB NOT NULL
);
CREATE INDEX gate_action_by_tenant ON gate_action (tenant, admission);
CREATE INDEX gate_action_by_run ON gate_action (tenant, run, admission);
CREATE INDEX gate_action_open ON gate_action (state) WHERE state IN ('intent', 'in_doubt');

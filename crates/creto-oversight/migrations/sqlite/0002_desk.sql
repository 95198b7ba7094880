-- Requests are what their events say. Rows of the first version had none: they stay to be read, and whatever was open is asked again.
DROP INDEX oversight_request_open;
DROP INDEX oversight_request_by_state;
ALTER TABLE oversight_request RENAME TO oversight_request_v1;

CREATE TABLE oversight_request (
    tenant       TEXT NOT NULL,
    id           TEXT NOT NULL,
    seq          INTEGER NOT NULL,
    -- What a retry of the same action, or of the same call, finds it by.
    lookup       TEXT,
    first_digest TEXT NOT NULL,
    digest       TEXT NOT NULL,
    policy       TEXT,
    salt         BLOB NOT NULL,
    action       TEXT NOT NULL,
    rule         TEXT NOT NULL,
    run          TEXT,
    call         TEXT,
    agent        TEXT NOT NULL,
    presented    TEXT,
    context      TEXT,
    tool_schema  TEXT,
    reason       TEXT,
    extra        TEXT,
    kind         TEXT NOT NULL,
    state        TEXT NOT NULL,
    risk         TEXT NOT NULL,
    -- The request as its events made it, as JSON.
    body         TEXT NOT NULL,
    opened_at    INTEGER NOT NULL,
    decided_at   INTEGER,
    decided_by   TEXT,
    deadline     INTEGER NOT NULL,
    -- Whether the agent that asked has been told of a denial.
    heard        INTEGER NOT NULL DEFAULT 0,
    -- Until when a broken glass must have been looked at; NULL when nothing is to be.
    review_by    INTEGER,
    PRIMARY KEY (tenant, id)
);
-- INVARIANT: at most one request is open for one action; a retry finds it instead of asking twice.
CREATE UNIQUE INDEX oversight_request_open ON oversight_request (tenant, lookup) WHERE state IN ('pending', 'approved');
CREATE INDEX oversight_request_lookup ON oversight_request (tenant, lookup, id);
CREATE INDEX oversight_request_by_state ON oversight_request (tenant, state, id);
CREATE INDEX oversight_request_by_agent ON oversight_request (tenant, agent, state);
CREATE INDEX oversight_request_by_run ON oversight_request (tenant, run, call);
CREATE INDEX oversight_request_review ON oversight_request (tenant, review_by) WHERE review_by IS NOT NULL;

CREATE TABLE oversight_event (
    tenant  TEXT NOT NULL,
    request TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    leaf    TEXT,
    body    TEXT NOT NULL,
    PRIMARY KEY (tenant, request, seq)
);

CREATE TABLE oversight_revision (
    tenant   TEXT NOT NULL,
    request  TEXT NOT NULL,
    revision INTEGER NOT NULL,
    digest   TEXT NOT NULL,
    action   TEXT NOT NULL,
    editor   TEXT,
    at       INTEGER NOT NULL,
    PRIMARY KEY (tenant, request, revision)
);

-- Who sees a waiting request in their inbox, and who does not although they are selected.
CREATE TABLE oversight_audience (
    tenant   TEXT NOT NULL,
    selector TEXT NOT NULL,
    request  TEXT NOT NULL,
    PRIMARY KEY (tenant, selector, request)
);
CREATE INDEX oversight_audience_request ON oversight_audience (tenant, request);
CREATE TABLE oversight_excluded (
    tenant  TEXT NOT NULL,
    request TEXT NOT NULL,
    person  TEXT NOT NULL,
    PRIMARY KEY (tenant, request, person)
);

-- The next moment at which time alone changes a request.
CREATE TABLE oversight_timer (
    tenant  TEXT NOT NULL,
    request TEXT NOT NULL,
    due     INTEGER NOT NULL,
    PRIMARY KEY (tenant, request)
);
CREATE INDEX oversight_timer_due ON oversight_timer (due);

CREATE TABLE oversight_policy (
    tenant  TEXT NOT NULL,
    rule    TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest  TEXT NOT NULL,
    body    TEXT NOT NULL,
    author  TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (tenant, rule, version)
);

CREATE TABLE oversight_roster (
    tenant  TEXT PRIMARY KEY,
    version INTEGER NOT NULL
);
CREATE TABLE oversight_member (
    tenant TEXT NOT NULL,
    name   TEXT NOT NULL,
    person TEXT NOT NULL,
    PRIMARY KEY (tenant, name, person)
);
CREATE TABLE oversight_delegation (
    tenant        TEXT NOT NULL,
    id            TEXT NOT NULL,
    whose         TEXT NOT NULL,
    stand_in      TEXT NOT NULL,
    starts        INTEGER NOT NULL,
    ends          INTEGER NOT NULL,
    out_of_office INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE oversight_grant (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    agent      TEXT NOT NULL,
    action     TEXT NOT NULL,
    resource   TEXT NOT NULL,
    rule       TEXT NOT NULL,
    arguments  TEXT,
    uses_max   INTEGER NOT NULL,
    used       INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER NOT NULL,
    given_by   TEXT NOT NULL,
    given_at   INTEGER NOT NULL,
    revoked_at INTEGER,
    revoked_by TEXT,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX oversight_grant_agent ON oversight_grant (tenant, agent, action);

CREATE TABLE oversight_checkpoint (
    tenant  TEXT NOT NULL,
    run     TEXT NOT NULL,
    version INTEGER NOT NULL,
    agent   TEXT NOT NULL,
    chain   TEXT NOT NULL,
    body    TEXT NOT NULL,
    mac     BLOB NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (tenant, run, version)
);

CREATE TABLE oversight_hold (
    tenant  TEXT NOT NULL,
    request TEXT NOT NULL,
    reason  TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (tenant, request)
);

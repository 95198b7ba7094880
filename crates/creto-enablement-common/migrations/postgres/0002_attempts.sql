-- What each attempt of a client came to: the same attempt asked again is answered the same.
CREATE TABLE gate_attempt (
    tenant    TEXT NOT NULL,
    agent     TEXT NOT NULL,
    attempt   TEXT NOT NULL,
    digest    TEXT NOT NULL,
    admission TEXT,
    request   TEXT,
    PRIMARY KEY (tenant, agent, attempt)
);
-- Servers that share this database, of no tenant, and until when each is taken to be alive.
CREATE TABLE gate_server (
    server      TEXT PRIMARY KEY,
    lease_until BIGINT NOT NULL
);
-- Which server opened an intent that is still open.
CREATE TABLE gate_open (
    tenant    TEXT NOT NULL,
    admission TEXT NOT NULL,
    server    TEXT NOT NULL,
    PRIMARY KEY (tenant, admission)
);

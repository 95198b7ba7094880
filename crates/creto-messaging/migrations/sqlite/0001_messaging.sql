CREATE TABLE messaging_identity (
    tenant TEXT NOT NULL,
    nhi TEXT NOT NULL,
    key_id TEXT NOT NULL,
    statement BLOB NOT NULL,
    signed_prekey BLOB NOT NULL,
    last_resort BLOB NOT NULL,
    published BIGINT NOT NULL,
    PRIMARY KEY (tenant, nhi)
);

-- One-time prekeys that were not handed out yet; a row is deleted in the commit that hands it out.
CREATE TABLE messaging_prekey (
    tenant TEXT NOT NULL,
    nhi TEXT NOT NULL,
    kind BIGINT NOT NULL,
    id BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    body BLOB NOT NULL,
    not_after BIGINT NOT NULL,
    PRIMARY KEY (tenant, nhi, kind, id)
);

-- How many bundles one requester may still take of one target.
CREATE TABLE messaging_bucket (
    tenant TEXT NOT NULL,
    requester TEXT NOT NULL,
    target TEXT NOT NULL,
    requests_left BIGINT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (tenant, requester, target)
);

-- What waits for a recipient, summed up, so that its limits hold by compare-and-set.
CREATE TABLE messaging_mailbox (
    tenant TEXT NOT NULL,
    recipient TEXT NOT NULL,
    messages BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant, recipient)
);

-- Sealed envelopes. An acknowledged one keeps its digest until it expires, so that a late retry of its delivery is recognised.
CREATE TABLE messaging_message (
    tenant TEXT NOT NULL,
    sender TEXT NOT NULL,
    message TEXT NOT NULL,
    recipient TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    body BLOB,
    accepted BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    acknowledged BIGINT,
    PRIMARY KEY (tenant, sender, message)
);
CREATE INDEX messaging_message_waiting ON messaging_message (tenant, recipient, acknowledged, accepted);

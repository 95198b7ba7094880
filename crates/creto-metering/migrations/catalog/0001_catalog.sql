-- What is sold, to whom, and under which agreement. One text serves both engines.

-- Metrics, plans, taxes, add-ons, coupons and customers: the definition in force, as canonical JSON.
CREATE TABLE meter_definition (
    tenant     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    code       TEXT NOT NULL,
    version    BIGINT NOT NULL,
    body       TEXT NOT NULL,
    salt       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    PRIMARY KEY (tenant, kind, id)
);
CREATE UNIQUE INDEX meter_definition_code ON meter_definition (tenant, kind, code) WHERE deleted_at IS NULL;
CREATE INDEX meter_definition_age ON meter_definition (tenant, kind, created_at, id);

-- Every version a definition ever had; immutable. Customers have no row here: what belongs to a person can be erased.
CREATE TABLE meter_definition_version (
    tenant     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    version    BIGINT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, id, version)
);

-- Which definition names which other one, so that nothing in use is deleted.
CREATE TABLE meter_reference (
    tenant    TEXT NOT NULL,
    from_kind TEXT NOT NULL,
    from_id   TEXT NOT NULL,
    to_kind   TEXT NOT NULL,
    to_code   TEXT NOT NULL,
    PRIMARY KEY (tenant, from_kind, from_id, to_kind, to_code)
);
CREATE INDEX meter_reference_to ON meter_reference (tenant, to_kind, to_code);

-- A change of plan is a new row under the same external identifier; the rows of one identifier follow each other without overlap.
CREATE TABLE meter_subscription (
    tenant        TEXT NOT NULL,
    id            TEXT NOT NULL,
    external_id   TEXT NOT NULL,
    customer      TEXT NOT NULL,
    plan          TEXT NOT NULL,
    plan_version  BIGINT NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('pending', 'active', 'terminated', 'canceled')),
    revision      BIGINT NOT NULL,
    body          TEXT NOT NULL,
    begins_at     BIGINT NOT NULL,
    started_at    BIGINT,
    ending_at     BIGINT,
    terminated_at BIGINT,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX meter_subscription_active ON meter_subscription (tenant, external_id) WHERE status = 'active';
CREATE UNIQUE INDEX meter_subscription_pending ON meter_subscription (tenant, external_id) WHERE status = 'pending';
CREATE INDEX meter_subscription_external ON meter_subscription (tenant, external_id, begins_at);
CREATE INDEX meter_subscription_customer ON meter_subscription (tenant, customer, created_at);
CREATE INDEX meter_subscription_status ON meter_subscription (tenant, status, created_at);
CREATE INDEX meter_subscription_plan ON meter_subscription (tenant, plan, status);

-- Changes with every commit that a cached reading of the catalog depends on.
CREATE TABLE meter_catalog_epoch (
    tenant TEXT PRIMARY KEY,
    epoch  BIGINT NOT NULL
);

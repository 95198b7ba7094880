-- Limits on use and what was counted under them. One text serves both engines.

-- The quotas in force, as canonical JSON. `id` is what counts stand under: a quota that counts something else gets another one.
CREATE TABLE meter_quota (
    tenant     TEXT NOT NULL,
    code       TEXT NOT NULL,
    id         TEXT NOT NULL,
    revision   BIGINT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, code)
);

-- What was debited for one subject, slice by slice. `revision` is compared and set by whoever debits.
CREATE TABLE meter_quota_tally (
    tenant   TEXT NOT NULL,
    quota    TEXT NOT NULL,
    subject  TEXT NOT NULL,
    revision BIGINT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (tenant, quota, subject)
);

-- Raised by every change of a tenant's quotas, so that servers learn of it.
CREATE TABLE meter_quota_epoch (
    tenant TEXT NOT NULL PRIMARY KEY,
    epoch  BIGINT NOT NULL
);

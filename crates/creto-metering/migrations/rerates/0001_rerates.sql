-- Final periods that are billed under another version of their plan than they were: the difference is on the next invoice. One text serves
-- both engines.
CREATE TABLE meter_rerate (
    tenant       TEXT NOT NULL,
    subscription TEXT NOT NULL,
    begins_at    BIGINT NOT NULL,
    plan_version BIGINT NOT NULL,
    decided_at   BIGINT NOT NULL,
    PRIMARY KEY (tenant, subscription, begins_at)
);

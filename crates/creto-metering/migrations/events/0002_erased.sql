-- When what an event was not billed of was erased, and how long a tenant keeps that.
ALTER TABLE meter_record ADD COLUMN erased_at BIGINT;

-- Every event at or before `erased_to` is erased; the next pass begins after it, at `due_at` or when somebody asks.
CREATE TABLE meter_retention (
    tenant    TEXT   NOT NULL PRIMARY KEY,
    setting   TEXT   NOT NULL,
    erased_to BIGINT NOT NULL,
    erased    BIGINT NOT NULL,
    due_at    BIGINT NOT NULL,
    revision  BIGINT NOT NULL
);

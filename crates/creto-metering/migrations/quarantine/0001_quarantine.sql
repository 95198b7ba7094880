-- Whether a tenant keeps events that nothing can price yet (`meter_quarantine`) instead of refusing them.
CREATE TABLE meter_quarantine_setting (
    tenant TEXT   NOT NULL PRIMARY KEY,
    keeps  BIGINT NOT NULL
);

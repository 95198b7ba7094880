-- What is watched, what it came to, and what has to be looked at. One text serves both engines.

-- Alerts in force, as canonical JSON. `subject` is a subscription's external identifier, or a wallet's own. `on_usage` marks those of a
-- wallet that the usage of its customer changes too.
CREATE TABLE meter_alert (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    customer   TEXT NOT NULL,
    on_usage   BIGINT NOT NULL,
    code       TEXT NOT NULL,
    revision   BIGINT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX meter_alert_code ON meter_alert (tenant, kind, subject, code);
CREATE INDEX meter_alert_customer ON meter_alert (tenant, customer);

-- What an alert saw last, of each period it looked at, or of all time (`''`). `revision` is compared and set by whoever tells.
CREATE TABLE meter_alert_state (
    tenant    TEXT NOT NULL,
    alert     TEXT NOT NULL,
    scope     TEXT NOT NULL,
    revision  BIGINT NOT NULL,
    body      TEXT NOT NULL,
    looked_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, alert, scope)
);

-- What changed and was not looked at yet: written by the commit that changes it. `quiet` passes what was recorded without telling anybody.
CREATE TABLE meter_alert_due (
    tenant       TEXT NOT NULL,
    kind         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    subscription TEXT NOT NULL,
    period       BIGINT NOT NULL,
    marks        BIGINT NOT NULL,
    quiet        BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, subject, subscription, period)
);

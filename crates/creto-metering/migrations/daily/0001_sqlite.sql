-- Usage of a local day by whom it is booked to, metric and model: one row for all events that share them, kept in their commit. `units` are
-- what was counted or summed; NULL where the metric's units do not add up.
CREATE TABLE meter_daily (
    tenant      TEXT NOT NULL,
    day         TEXT NOT NULL,
    source      INTEGER NOT NULL,
    code        TEXT NOT NULL,
    model       TEXT NOT NULL,
    events      INTEGER NOT NULL,
    units       TEXT,
    cost_micros INTEGER NOT NULL,
    PRIMARY KEY (tenant, day, source, code, model)
) WITHOUT ROWID;

-- Aggregates of all subscriptions on some days. A day's row is entered once, however often it changes.
CREATE INDEX meter_day_by_day ON meter_day (tenant, day);

-- The account that this one was delegated from.
ALTER TABLE meter_account ADD COLUMN parent TEXT;

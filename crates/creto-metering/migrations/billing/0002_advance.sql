-- What an event brought of a charge that is paid in advance (`event`), and what taking one back gives back of it (`taken_back`, below
-- nothing): written in the commit of the event, and billed once by a step after it. `open` is what is not on a line or a note yet.
CREATE TABLE meter_advance (
    tenant       TEXT NOT NULL,
    seq          BIGINT NOT NULL,
    charge       TEXT NOT NULL,
    dims         TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('event', 'taken_back')),
    subscription TEXT NOT NULL,
    period       BIGINT NOT NULL,
    cents        BIGINT NOT NULL,
    open         BIGINT NOT NULL CHECK (open >= 0),
    fee          TEXT NOT NULL,
    body         TEXT NOT NULL,
    PRIMARY KEY (tenant, seq, charge, dims, kind)
);
CREATE INDEX meter_advance_open ON meter_advance (tenant, kind, seq) WHERE open > 0;
CREATE INDEX meter_advance_period ON meter_advance (tenant, subscription, period);

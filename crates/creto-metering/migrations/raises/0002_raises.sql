-- Accounts whose owners let a human be asked to raise the ceiling. One text serves both engines. `id` is part of what is asked: terms that
-- are set anew are other terms. `asked` counts the questions of the UTC day `day`.
CREATE TABLE meter_raise (
    tenant  TEXT NOT NULL,
    account TEXT NOT NULL,
    id      TEXT NOT NULL,
    step    BIGINT NOT NULL CHECK (step > 0),
    a_day   BIGINT NOT NULL CHECK (a_day > 0),
    until   BIGINT,
    day     BIGINT NOT NULL DEFAULT 0,
    asked   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, account)
);

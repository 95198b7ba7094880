-- From when a server may claim it: its due moment, or the end of another claim's lease. Claims leave the order of `due` as it is.
ALTER TABLE oversight_timer ADD COLUMN claimable BIGINT NOT NULL DEFAULT 0;
UPDATE oversight_timer SET claimable = due;

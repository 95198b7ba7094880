-- The event that a line bills by itself, by the sender's identifier of it; empty of all other lines. Lines are found by it.
ALTER TABLE meter_fee ADD COLUMN transaction_id TEXT NOT NULL DEFAULT '';
-- jsonb takes no U+0000, which a group's value may hold and an identifier may not.
UPDATE meter_fee SET transaction_id = COALESCE(replace(body, '\u0000', '\u0020')::jsonb #>> '{advance,transaction_id}', '') WHERE body LIKE '%"advance"%';
CREATE INDEX meter_fee_event ON meter_fee (tenant, transaction_id) WHERE transaction_id <> '';

-- The event that a line bills by itself, by the sender's identifier of it; empty of all other lines. Lines are found by it.
ALTER TABLE meter_fee ADD COLUMN transaction_id TEXT NOT NULL DEFAULT '';
UPDATE meter_fee SET transaction_id = COALESCE(body::jsonb #>> '{advance,transaction_id}', '') WHERE body LIKE '%"advance"%';
CREATE INDEX meter_fee_event ON meter_fee (tenant, transaction_id) WHERE transaction_id <> '';

-- The leaf that commits to a checkpoint; `mac` is what the commitment is salted with.
ALTER TABLE oversight_checkpoint ADD COLUMN leaf TEXT;

-- Whether somebody looked at its broken glass: reviews that were made are listed as those that wait are. `jsonb` keeps no U+0000.
ALTER TABLE oversight_request ADD COLUMN reviewed INTEGER NOT NULL DEFAULT 0;
UPDATE oversight_request SET reviewed = 1 WHERE replace(body, '\u0000', '\u0020')::jsonb #>> '{glass,reviewed_by}' IS NOT NULL;
CREATE INDEX oversight_request_reviewed ON oversight_request (tenant, id) WHERE reviewed = 1;
CREATE INDEX oversight_request_waits_for_review ON oversight_request (tenant, id) WHERE review_by IS NOT NULL;

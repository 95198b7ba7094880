-- Whose currency the budgets are in: the plan that was committed first, whatever clocks say later.
CREATE TABLE meter_first_plan (
    tenant TEXT PRIMARY KEY,
    plan   TEXT NOT NULL
);
INSERT INTO meter_first_plan (tenant, plan)
SELECT d.tenant, d.id FROM meter_definition d
WHERE d.kind = 'plan' AND NOT EXISTS (
    SELECT 1 FROM meter_definition e WHERE e.tenant = d.tenant AND e.kind = 'plan'
    AND (e.created_at < d.created_at OR (e.created_at = d.created_at AND e.id < d.id))
);

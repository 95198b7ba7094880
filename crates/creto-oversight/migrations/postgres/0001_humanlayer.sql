-- Clients of HumanLayer ask about a call by its name alone.
CREATE INDEX oversight_request_by_call ON oversight_request (tenant, call, kind) WHERE extra IS NOT NULL;

-- What a plan, or a subscription beside its plan, entitles to: of a plan by its identifier, of a subscription by its external one. One
-- text serves both engines.
CREATE TABLE meter_entitlement (
    tenant  TEXT NOT NULL,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    feature TEXT NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (tenant, kind, subject, feature)
);
CREATE INDEX meter_entitlement_feature ON meter_entitlement (tenant, feature);

-- What Lago's API needs beside the use cases. One text serves both engines.

-- The key that signs webhooks by RS256, one for each tenant.
CREATE TABLE meter_lago_key (
    tenant     TEXT NOT NULL,
    -- PKCS#8, sealed under the installation's keys, in base64.
    sealed     TEXT NOT NULL,
    -- SubjectPublicKeyInfo in PEM.
    public     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant)
);

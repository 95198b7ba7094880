CREATE TABLE authz_policy (
    tenant       TEXT   NOT NULL,
    epoch        BIGINT NOT NULL,
    author       TEXT   NOT NULL,
    published_at BIGINT NOT NULL,
    digest       TEXT   NOT NULL,
    body         TEXT   NOT NULL,
    PRIMARY KEY (tenant, epoch)
);

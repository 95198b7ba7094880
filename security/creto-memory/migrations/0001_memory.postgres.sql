CREATE TABLE memory_item (
    position    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          TEXT   NOT NULL UNIQUE,
    tenant      TEXT   NOT NULL,
    author      TEXT   NOT NULL,
    source      TEXT   NOT NULL,
    body        TEXT,
    salt        BYTEA,
    valid_from  BIGINT NOT NULL,
    valid_to    BIGINT,
    action      TEXT,
    supersedes  TEXT,
    recorded_at BIGINT NOT NULL,
    leaf        TEXT   NOT NULL,
    -- Punctuation separates words here as it does in FTS5; the parser would otherwise keep `api.example.com` as one word.
    words       TSVECTOR GENERATED ALWAYS AS
        (to_tsvector('simple'::regconfig, regexp_replace(coalesce(body, ''), '[[:punct:][:space:]]+', ' ', 'g'))) STORED
);
CREATE INDEX memory_item_words ON memory_item USING gin (words);
CREATE INDEX memory_item_action ON memory_item (tenant, action) WHERE action IS NOT NULL;

CREATE TABLE memory_change (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant   TEXT   NOT NULL,
    item     TEXT   NOT NULL,
    kind     TEXT   NOT NULL,
    actor    TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    leaf     TEXT   NOT NULL
);
CREATE INDEX memory_change_item ON memory_change (tenant, item);

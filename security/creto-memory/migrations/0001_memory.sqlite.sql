CREATE TABLE memory_item (
    position    INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    tenant      TEXT    NOT NULL,
    author      TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    body        TEXT,
    salt        BLOB,
    valid_from  INTEGER NOT NULL,
    valid_to    INTEGER,
    action      TEXT,
    supersedes  TEXT,
    recorded_at INTEGER NOT NULL,
    leaf        TEXT    NOT NULL
) STRICT;
CREATE INDEX memory_item_action ON memory_item (tenant, action) WHERE action IS NOT NULL;

CREATE TABLE memory_change (
    position INTEGER PRIMARY KEY,
    tenant   TEXT    NOT NULL,
    item     TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    actor    TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    leaf     TEXT    NOT NULL
) STRICT;
CREATE INDEX memory_change_item ON memory_change (tenant, item);

CREATE VIRTUAL TABLE memory_words USING fts5 (body, tokenize = 'unicode61 remove_diacritics 0');
-- A forgotten word leaves the index at once, not with the next merge.
INSERT INTO memory_words (memory_words, rank) VALUES ('secure-delete', 1);

CREATE TRIGGER memory_item_put AFTER INSERT ON memory_item BEGIN
    INSERT INTO memory_words (rowid, body) VALUES (new.position, new.body);
END;
CREATE TRIGGER memory_item_forget AFTER UPDATE OF body ON memory_item BEGIN
    DELETE FROM memory_words WHERE rowid = old.position;
END;

-- The addresses under which mails of ours are answered: by the digest of the token that an address carries.
CREATE TABLE oversight_reply (
    tenant       TEXT NOT NULL,
    token_digest TEXT NOT NULL,
    request      TEXT NOT NULL,
    person       TEXT NOT NULL,
    -- Where the mail went: answers come from there.
    address      TEXT NOT NULL,
    expires_at   BIGINT NOT NULL,
    PRIMARY KEY (tenant, token_digest)
);
CREATE INDEX oversight_reply_request ON oversight_reply (tenant, request);
CREATE INDEX oversight_reply_expiry ON oversight_reply (expires_at);

-- What came back. No event of the request: it decides nothing, and nobody who watches the request's events is told of it.
CREATE TABLE oversight_mail_comment (
    tenant         TEXT NOT NULL,
    request        TEXT NOT NULL,
    token_digest   TEXT NOT NULL,
    -- INVARIANT: one mail is one comment, however often it is delivered.
    message_digest TEXT NOT NULL,
    person         TEXT NOT NULL,
    sender         TEXT NOT NULL,
    text           TEXT NOT NULL,
    left_out       BIGINT NOT NULL,
    attachments    BIGINT NOT NULL,
    at             BIGINT NOT NULL,
    leaf           TEXT NOT NULL,
    -- Of the commitment in its leaf. Nothing but the comment has it, and it goes with the comment.
    salt           BYTEA NOT NULL,
    PRIMARY KEY (tenant, token_digest, message_digest)
);
CREATE INDEX oversight_mail_comment_request ON oversight_mail_comment (tenant, request, at);

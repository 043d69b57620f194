-- One row. The id names these rows: a backup gets another one.
CREATE TABLE store (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    id       BLOB NOT NULL
) STRICT;

INSERT INTO store (only_row, id) VALUES (1, randomblob(16));

-- Each run that pruned events, with the highest of their numbers, without the runs that a later one
-- exceeds. No event gets a number up to the highest again.
CREATE TABLE prune (
    run     INTEGER PRIMARY KEY,
    highest INTEGER NOT NULL
) STRICT;

-- The check values of peppers and sealing keys.
CREATE TABLE key_check (
    kind  TEXT NOT NULL,
    id    INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- Ids and digests are blobs, times are microseconds since 1970, booleans are 0 and 1. Text is
-- compared byte by byte. What is unique of a token has an index with a name, so that an import can
-- build it last.
CREATE TABLE token (
    id                 BLOB NOT NULL,
    identifier         TEXT NOT NULL,
    intent             TEXT NOT NULL,
    owner              INTEGER NOT NULL,
    description        TEXT NOT NULL,
    expires            INTEGER,
    expiring           INTEGER NOT NULL,
    managed            TEXT,
    revision           INTEGER NOT NULL,
    created            INTEGER NOT NULL,
    updated            INTEGER NOT NULL,
    last_used          INTEGER,
    owner_may_view_key INTEGER NOT NULL,
    key_digest         BLOB NOT NULL,
    sealed_key         BLOB,
    -- The number of the token's newest event, from which its trail is read.
    last_event         INTEGER
) STRICT;

CREATE UNIQUE INDEX token_id ON token (id);
CREATE UNIQUE INDEX token_identifier ON token (identifier);
CREATE UNIQUE INDEX token_managed ON token (managed) WHERE managed IS NOT NULL;
CREATE UNIQUE INDEX token_key_digest ON token (key_digest);
CREATE INDEX token_owner ON token (owner, identifier);
CREATE INDEX token_expires ON token (expires, id) WHERE expiring;
CREATE INDEX token_sealing_key ON token (substr(sealed_key, 1, 1)) WHERE sealed_key IS NOT NULL;

-- In the order of commits: new events go to the end. An index by token would cost a commit more than
-- everything else, a random page for each event, so each event holds the number of its token's event
-- before it, and the token's row that of its newest one.
CREATE TABLE event (
    number     INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    id         BLOB NOT NULL,
    token      BLOB NOT NULL,
    identifier TEXT NOT NULL,
    owner      INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    -- 'pruned': kept only as long as an older event of the token follows.
    kind       TEXT NOT NULL,
    -- One bit a field.
    changed    INTEGER NOT NULL,
    -- A user's id; null is the system.
    actor      INTEGER,
    previous   INTEGER
) STRICT;

-- For what is pruned and read by time. New entries go to the end.
CREATE INDEX event_at ON event (at);

-- The newest events of deleted tokens.
CREATE TABLE event_head (
    token  BLOB NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE user_account (
    id                   INTEGER PRIMARY KEY,
    uuid                 BLOB NOT NULL,
    username             TEXT NOT NULL UNIQUE,
    name                 TEXT NOT NULL,
    email                TEXT NOT NULL,
    avatar               TEXT,
    is_active            INTEGER NOT NULL,
    user_type            TEXT NOT NULL,
    path                 TEXT NOT NULL,
    -- A JSON object.
    attributes           TEXT NOT NULL,
    last_login           INTEGER,
    date_joined          INTEGER NOT NULL,
    last_updated         INTEGER NOT NULL,
    password_change_date INTEGER NOT NULL
) STRICT;

CREATE TABLE user_group (
    id           BLOB NOT NULL PRIMARY KEY,
    name         TEXT NOT NULL,
    is_superuser INTEGER NOT NULL,
    parent       BLOB REFERENCES user_group (id) ON DELETE SET NULL,
    -- A JSON object.
    attributes   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX user_group_parent ON user_group (parent) WHERE parent IS NOT NULL;

CREATE TABLE group_member (
    user       INTEGER NOT NULL REFERENCES user_account (id) ON DELETE CASCADE,
    user_group BLOB NOT NULL REFERENCES user_group (id) ON DELETE CASCADE,
    PRIMARY KEY (user, user_group)
) STRICT, WITHOUT ROWID;

CREATE INDEX group_member_group ON group_member (user_group);

CREATE TABLE user_permission (
    user       INTEGER NOT NULL REFERENCES user_account (id) ON DELETE CASCADE,
    -- The token on which it is held; empty for all.
    token      BLOB NOT NULL,
    permission TEXT NOT NULL,
    PRIMARY KEY (user, token, permission)
) STRICT, WITHOUT ROWID;

CREATE INDEX user_permission_token ON user_permission (token) WHERE token <> x'';

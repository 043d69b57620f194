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
    sealed_key         BLOB
) STRICT;

CREATE UNIQUE INDEX token_id ON token (id);
CREATE UNIQUE INDEX token_identifier ON token (identifier);
CREATE UNIQUE INDEX token_managed ON token (managed) WHERE managed IS NOT NULL;
CREATE UNIQUE INDEX token_key_digest ON token (key_digest);
CREATE INDEX token_owner ON token (owner);
CREATE INDEX token_expires ON token (expires) WHERE expiring;

-- In the order of time, so that new events go to the end and old ones are pruned from the start.
CREATE TABLE event (
    at         INTEGER NOT NULL,
    id         BLOB NOT NULL,
    token      BLOB NOT NULL,
    identifier TEXT NOT NULL,
    owner      INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    -- One bit a field.
    changed    INTEGER NOT NULL,
    -- A user's id; null is the system.
    actor      INTEGER,
    PRIMARY KEY (at, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX event_token ON event (token, revision, at, id);

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

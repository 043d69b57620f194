-- The unique values of a token get indexes with names, so that an import can build them last.
CREATE TABLE token_2 (
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

INSERT INTO token_2 SELECT * FROM token ORDER BY rowid;
DROP TABLE token;
ALTER TABLE token_2 RENAME TO token;

CREATE UNIQUE INDEX token_id ON token (id);
CREATE UNIQUE INDEX token_identifier ON token (identifier);
CREATE UNIQUE INDEX token_managed ON token (managed) WHERE managed IS NOT NULL;
CREATE UNIQUE INDEX token_key_digest ON token (key_digest);
CREATE INDEX token_owner ON token (owner);
CREATE INDEX token_expires ON token (expires) WHERE expiring;

-- Ids are UUIDs, digests are bytes, times are microseconds since 1970. Text is compared byte by byte
-- whatever the database's collation: every column that is sorted or cut into lower case says so.
--
-- The constraints of a token are in the order in which a refused value is to be reported, which is
-- that in which PostgreSQL looks at them.
CREATE TABLE tokenkeep_token (
    id                 uuid NOT NULL CONSTRAINT tokenkeep_token_pkey PRIMARY KEY,
    identifier         text COLLATE "C" NOT NULL CONSTRAINT tokenkeep_token_identifier UNIQUE,
    intent             text COLLATE "C" NOT NULL,
    owner              bigint NOT NULL,
    description        text COLLATE "C" NOT NULL,
    expires            bigint,
    expiring           boolean NOT NULL,
    managed            text COLLATE "C",
    -- SHA-256: a marker can be longer than the row of an index.
    managed_digest     bytea CONSTRAINT tokenkeep_token_managed UNIQUE,
    revision           bigint NOT NULL,
    created            bigint NOT NULL,
    updated            bigint NOT NULL,
    last_used          bigint,
    owner_may_view_key boolean NOT NULL,
    key_digest         bytea NOT NULL CONSTRAINT tokenkeep_token_key UNIQUE,
    sealed_key         bytea
);

CREATE INDEX tokenkeep_token_owner ON tokenkeep_token (owner);
CREATE INDEX tokenkeep_token_expires ON tokenkeep_token (expires) WHERE expiring;
-- What is looked for by prefix, as far as the row of an index can hold it.
CREATE INDEX tokenkeep_token_marked ON tokenkeep_token (substr(managed, 1, 100))
    WHERE managed IS NOT NULL;

CREATE TABLE tokenkeep_event (
    at         bigint NOT NULL,
    id         uuid NOT NULL,
    token      uuid NOT NULL,
    identifier text COLLATE "C" NOT NULL,
    owner      bigint NOT NULL,
    revision   bigint NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    -- One bit a field.
    changed    bigint NOT NULL,
    -- A user's id; null is the system.
    actor      bigint,
    CONSTRAINT tokenkeep_event_pkey PRIMARY KEY (at, id)
);

CREATE INDEX tokenkeep_event_token ON tokenkeep_event (token, revision, at, id);

CREATE TABLE tokenkeep_user (
    id                   bigint NOT NULL CONSTRAINT tokenkeep_user_pkey PRIMARY KEY,
    uuid                 uuid NOT NULL,
    -- Of any length: its digest is what is unique.
    username             text COLLATE "C" NOT NULL,
    username_digest      bytea NOT NULL CONSTRAINT tokenkeep_user_username UNIQUE,
    name                 text COLLATE "C" NOT NULL,
    email                text COLLATE "C" NOT NULL,
    avatar               text COLLATE "C",
    is_active            boolean NOT NULL,
    user_type            text COLLATE "C" NOT NULL,
    path                 text COLLATE "C" NOT NULL,
    -- A JSON object.
    attributes           text COLLATE "C" NOT NULL,
    last_login           bigint,
    date_joined          bigint NOT NULL,
    last_updated         bigint NOT NULL,
    password_change_date bigint NOT NULL
);

CREATE TABLE tokenkeep_group (
    id           uuid NOT NULL CONSTRAINT tokenkeep_group_pkey PRIMARY KEY,
    name         text COLLATE "C" NOT NULL,
    is_superuser boolean NOT NULL,
    parent       uuid CONSTRAINT tokenkeep_group_parent
                 REFERENCES tokenkeep_group (id) ON DELETE SET NULL,
    -- A JSON object.
    attributes   text COLLATE "C" NOT NULL
);

CREATE INDEX tokenkeep_group_children ON tokenkeep_group (parent) WHERE parent IS NOT NULL;

CREATE TABLE tokenkeep_member (
    user_id  bigint NOT NULL REFERENCES tokenkeep_user (id) ON DELETE CASCADE,
    group_id uuid NOT NULL CONSTRAINT tokenkeep_member_group
             REFERENCES tokenkeep_group (id) ON DELETE CASCADE,
    CONSTRAINT tokenkeep_member_pkey PRIMARY KEY (user_id, group_id)
);

CREATE INDEX tokenkeep_member_of_group ON tokenkeep_member (group_id);

CREATE TABLE tokenkeep_permission (
    user_id    bigint NOT NULL CONSTRAINT tokenkeep_permission_user
               REFERENCES tokenkeep_user (id) ON DELETE CASCADE,
    -- The id of the token on which it is held; empty for all.
    token      bytea NOT NULL,
    permission text COLLATE "C" NOT NULL,
    CONSTRAINT tokenkeep_permission_pkey PRIMARY KEY (user_id, token, permission)
);

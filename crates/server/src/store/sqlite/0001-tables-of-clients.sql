CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE client (
    client_id              TEXT PRIMARY KEY,
    status                 TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
    allowed_scope          TEXT NOT NULL,
    default_scope          TEXT,
    token_lifetime_seconds INTEGER NOT NULL,
    created_at_ms          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE client_audience (
    client_id TEXT NOT NULL REFERENCES client ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    audience  TEXT NOT NULL,
    PRIMARY KEY (client_id, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE client_secret (
    client_id     TEXT NOT NULL REFERENCES client ON DELETE CASCADE,
    digest        BLOB NOT NULL CHECK (length(digest) = 32),
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (client_id, digest)
) STRICT, WITHOUT ROWID;

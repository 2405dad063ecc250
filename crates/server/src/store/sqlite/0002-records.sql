CREATE TABLE counter (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    change INTEGER NOT NULL,
    purged INTEGER NOT NULL
) STRICT;
INSERT INTO counter VALUES (1, 1, 0);
CREATE TABLE tally (
    kind    TEXT PRIMARY KEY,
    records INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE record (
    kind          TEXT NOT NULL,
    id            TEXT NOT NULL,
    body          TEXT,
    change        INTEGER NOT NULL,
    expires_at_ms INTEGER,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_by_change ON record (change);
CREATE INDEX record_by_end ON record (expires_at_ms) WHERE expires_at_ms IS NOT NULL;

INSERT INTO record (kind, id, body, change)
SELECT 'client', client_id, json_object(
    'status', status,
    'scope', allowed_scope,
    'default_scope', default_scope,
    'audience', json((
        SELECT json_group_array(audience) FROM (
            SELECT audience FROM client_audience
            WHERE client_audience.client_id = client.client_id ORDER BY position
        )
    )),
    'token_lifetime_seconds', token_lifetime_seconds,
    'created_at_ms', created_at_ms,
    'secrets', json((
        SELECT json_group_array(json_object('name', CAST(number AS TEXT), 'digest', digest, 'created_at_ms', created_at_ms)) FROM (
            SELECT row_number() OVER (ORDER BY created_at_ms) AS number, lower(hex(digest)) AS digest, created_at_ms
            FROM client_secret WHERE client_secret.client_id = client.client_id ORDER BY created_at_ms
        )
    ))
), 1 FROM client;
INSERT INTO tally SELECT 'client', count(*) FROM client;
DROP TABLE client_secret;
DROP TABLE client_audience;
DROP TABLE client;

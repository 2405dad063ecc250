CREATE TABLE jeton.setting (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);
CREATE TABLE jeton.counter (
    one    integer PRIMARY KEY CHECK (one = 1),
    change bigint NOT NULL,
    purged bigint NOT NULL
);
INSERT INTO jeton.counter VALUES (1, 1, 0);
CREATE TABLE jeton.tally (
    kind    text COLLATE "C" PRIMARY KEY,
    records bigint NOT NULL
);
CREATE TABLE jeton.record (
    kind          text COLLATE "C" NOT NULL,
    id            text COLLATE "C" NOT NULL,
    body          text,
    change        bigint NOT NULL,
    expires_at_ms bigint,
    PRIMARY KEY (kind, id)
);
CREATE INDEX record_by_change ON jeton.record (change);
CREATE INDEX record_by_end ON jeton.record (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
CREATE TABLE jeton.spent_assertion (
    key             bytea PRIMARY KEY,
    usable_until_ms bigint NOT NULL
);
CREATE INDEX spent_assertion_by_end ON jeton.spent_assertion (usable_until_ms);

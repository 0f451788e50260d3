-- +goose Up

-- One row per device; what is not asked for by SQL is in doc (JSON). crc is
-- CRC-32C over doc and the primary key: SQLite has no check sums of its own,
-- and a token with one wrong digit would look like a good one.
CREATE TABLE devices (
    user         TEXT    NOT NULL,
    domain       TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    doc          BLOB    NOT NULL,
    crc          INTEGER NOT NULL,
    PRIMARY KEY (user, domain, key)
);

-- Times are milliseconds since 1970 in UTC; 0 in fates and NULL in calls: none.
CREATE TABLE fates (
    user          TEXT    NOT NULL,
    domain        TEXT    NOT NULL,
    device        TEXT    NOT NULL,
    uuid          TEXT    NOT NULL,
    cause         INTEGER NOT NULL,
    text          TEXT    NOT NULL,
    expires_ms    INTEGER NOT NULL,
    recorded_ms   INTEGER NOT NULL,
    keep_until_ms INTEGER NOT NULL,
    told          INTEGER NOT NULL,
    PRIMARY KEY (user, domain, device, uuid)
);

CREATE TABLE calls (
    id          TEXT    NOT NULL PRIMARY KEY,
    started_ms  INTEGER NOT NULL,
    answered_ms INTEGER,
    ended_ms    INTEGER,
    caller      TEXT    NOT NULL,
    called      TEXT    NOT NULL,
    trunk       TEXT    NOT NULL,
    user        TEXT    NOT NULL,
    status      INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    devices     TEXT    NOT NULL, -- JSON: [{"device","uuid","outcome"}]
    doc         TEXT    NOT NULL  -- JSON: the rest
);
CREATE INDEX calls_by_start ON calls (started_ms, id);
CREATE INDEX calls_open ON calls (started_ms) WHERE ended_ms IS NULL;

-- +goose Down
DROP TABLE calls;
DROP TABLE fates;
DROP TABLE devices;

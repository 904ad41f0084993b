-- One schema for SQLite and PostgreSQL: TEXT, BIGINT, BOOLEAN, BYTEA, no types of one of them alone. Times are milliseconds since 1970.
-- Never edit a migration that was released: add another.

-- Numbers that only grow: what the next thing is called, and what other control planes look at to see whether there is news.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES
    ('generation', 0), ('audit', 0), ('event', 0),
    ('revocations', 0), ('events', 0), ('reports', 0), ('asks', 0);

-- published: gzip of JSON; see stored.rs.
CREATE TABLE generations (
    generation BIGINT PRIMARY KEY,
    published BYTEA NOT NULL
);

-- entry: JSON of wire::api::audit::Entry.
CREATE TABLE audit (
    sequence BIGINT PRIMARY KEY,
    target TEXT NOT NULL,
    entry TEXT NOT NULL
);

-- hash: SHA-256 of the secret, hex.
CREATE TABLE join_tokens (
    hash TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    uses BIGINT NOT NULL
);

-- renewal_key: SHA-256 of the public key of the last renewal, hex.
CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    enrolled_at BIGINT NOT NULL,
    counter BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    shut_out TEXT,
    renewal_key TEXT
);

CREATE TABLE reported (
    instance TEXT PRIMARY KEY,
    node TEXT,
    held_by TEXT NOT NULL,
    last_seen BIGINT NOT NULL,
    seen BYTEA NOT NULL
);

-- point: JSON of wire::api::mesh::HistoryPoint.
CREATE TABLE history (
    node TEXT NOT NULL,
    at BIGINT NOT NULL,
    point TEXT NOT NULL,
    PRIMARY KEY (node, at)
);
CREATE INDEX history_at ON history (at);

-- entry: JSON of wire::api::event::Entry; event_id: that of the webhook event, when it is one.
CREATE TABLE events (
    sequence BIGINT PRIMARY KEY,
    node TEXT,
    event_id TEXT UNIQUE,
    entry TEXT NOT NULL
);

CREATE TABLE named_values (
    name TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

-- Questions to nodes whose streams another control plane holds, and their answers.
CREATE TABLE asked (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    question BYTEA NOT NULL,
    until_at BIGINT NOT NULL,
    taken BOOLEAN NOT NULL,
    answer BYTEA
);

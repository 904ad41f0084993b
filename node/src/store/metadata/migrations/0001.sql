-- Metadata of one node. Times are milliseconds since 1970; a rule that is NULL means that a client pushed it.
-- Never edit a migration that was released: add another.

-- Kept up to date by triggers, so that nobody ever counts.
CREATE TABLE total (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    blobs INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    manifests INTEGER NOT NULL DEFAULT 0,
    tags INTEGER NOT NULL DEFAULT 0,
    repositories INTEGER NOT NULL DEFAULT 0,
    jobs INTEGER NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0,
    events_dropped INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO total (id) VALUES (1);

-- `links` counts the links to it, by triggers on link.
CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    stored_at INTEGER NOT NULL,
    verified_at INTEGER NOT NULL,
    links INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_verified ON blob (verified_at);
CREATE INDEX blob_unreferenced ON blob (stored_at) WHERE links = 0;

CREATE TABLE manifest (
    digest TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    children TEXT NOT NULL,
    subject TEXT,
    artifact_type TEXT,
    annotations TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_subject ON manifest (subject) WHERE subject IS NOT NULL;

-- The children of manifests once more, to be found from below.
CREATE TABLE child (
    digest TEXT NOT NULL,
    parent TEXT NOT NULL,
    PRIMARY KEY (digest, parent)
) STRICT, WITHOUT ROWID;
CREATE INDEX child_parent ON child (parent);

CREATE TABLE link (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    manifest INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    rule TEXT,
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX link_digest ON link (digest);
CREATE INDEX link_pushed ON link (repository) WHERE rule IS NULL;
CREATE INDEX link_used ON link (used_at) WHERE manifest = 1 AND rule IS NOT NULL;

CREATE TABLE tag (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    complete_digest TEXT,
    complete_media_type TEXT,
    complete_size INTEGER,
    checked_at INTEGER NOT NULL,
    observed_at INTEGER NOT NULL,
    rule TEXT,
    PRIMARY KEY (repository, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_digest ON tag (repository, digest);
CREATE INDEX tag_complete ON tag (repository, complete_digest) WHERE complete_digest IS NOT NULL;

-- `refs` counts links and tags.
CREATE TABLE repository (
    name TEXT PRIMARY KEY,
    refs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE job (
    id TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    root TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (repository, root)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_due ON job (due_at, id);

-- `number` is the order in which events were recorded.
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    action TEXT NOT NULL,
    body BLOB NOT NULL,
    recorded_at INTEGER NOT NULL
) STRICT;

-- `state`: 0 pending, 1 delivered, 2 failed.
CREATE TABLE delivery (
    webhook TEXT NOT NULL,
    number INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    sent_at INTEGER,
    response TEXT,
    PRIMARY KEY (webhook, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_event ON delivery (number);
CREATE INDEX delivery_pending ON delivery (webhook, number) WHERE state = 0;

CREATE TABLE upload (
    id TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    length INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    touched_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_touched ON upload (touched_at);

CREATE TABLE value (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER blob_added AFTER INSERT ON blob BEGIN
    UPDATE total SET blobs = blobs + 1, bytes = bytes + NEW.size;
END;
CREATE TRIGGER blob_changed AFTER UPDATE OF size ON blob BEGIN
    UPDATE total SET bytes = bytes - OLD.size + NEW.size;
END;
CREATE TRIGGER blob_removed AFTER DELETE ON blob BEGIN
    UPDATE total SET blobs = blobs - 1, bytes = bytes - OLD.size;
END;

CREATE TRIGGER manifest_added AFTER INSERT ON manifest BEGIN
    UPDATE total SET manifests = manifests + 1;
END;
CREATE TRIGGER manifest_removed AFTER DELETE ON manifest BEGIN
    UPDATE total SET manifests = manifests - 1;
    DELETE FROM child WHERE parent = OLD.digest;
END;

CREATE TRIGGER link_added AFTER INSERT ON link BEGIN
    UPDATE blob SET links = links + 1 WHERE digest = NEW.digest;
    INSERT INTO repository (name, refs) VALUES (NEW.repository, 1)
        ON CONFLICT (name) DO UPDATE SET refs = refs + 1;
END;
CREATE TRIGGER link_removed AFTER DELETE ON link BEGIN
    UPDATE blob SET links = links - 1 WHERE digest = OLD.digest;
    UPDATE repository SET refs = refs - 1 WHERE name = OLD.repository;
    DELETE FROM repository WHERE name = OLD.repository AND refs = 0;
END;

CREATE TRIGGER tag_added AFTER INSERT ON tag BEGIN
    UPDATE total SET tags = tags + 1;
    INSERT INTO repository (name, refs) VALUES (NEW.repository, 1)
        ON CONFLICT (name) DO UPDATE SET refs = refs + 1;
END;
CREATE TRIGGER tag_removed AFTER DELETE ON tag BEGIN
    UPDATE total SET tags = tags - 1;
    UPDATE repository SET refs = refs - 1 WHERE name = OLD.repository;
    DELETE FROM repository WHERE name = OLD.repository AND refs = 0;
END;

CREATE TRIGGER repository_added AFTER INSERT ON repository BEGIN
    UPDATE total SET repositories = repositories + 1;
END;
CREATE TRIGGER repository_removed AFTER DELETE ON repository BEGIN
    UPDATE total SET repositories = repositories - 1;
END;

CREATE TRIGGER job_added AFTER INSERT ON job BEGIN
    UPDATE total SET jobs = jobs + 1;
END;
CREATE TRIGGER job_removed AFTER DELETE ON job BEGIN
    UPDATE total SET jobs = jobs - 1;
END;

CREATE TRIGGER event_added AFTER INSERT ON event BEGIN
    UPDATE total SET events = events + 1;
END;
CREATE TRIGGER event_removed AFTER DELETE ON event BEGIN
    UPDATE total SET events = events - 1;
    DELETE FROM delivery WHERE number = OLD.number;
END;

"""The tables of a resource.

A key's versions are ordered by `sequence`; at most one is `latest`. `record` holds what is read
only together with a version (headers, metadata, tags, access control, lock) and `pieces` the
content, both in MessagePack. `blobs` counts who refers to a content file; what is deleted first
goes to `trash`, and its files go when nobody reads them any more.
"""

from __future__ import annotations

FORMAT = 1
"""Version of the layout, kept in `PRAGMA user_version`."""

TABLES = """
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    suffix TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL DEFAULT '',
    created INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE buckets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    created INTEGER NOT NULL,
    region TEXT NOT NULL DEFAULT '',
    versioning TEXT NOT NULL DEFAULT '',
    locking INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE settings (
    bucket INTEGER NOT NULL REFERENCES buckets (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (bucket, name)
) WITHOUT ROWID;

CREATE TABLE versions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket INTEGER NOT NULL REFERENCES buckets (id),
    key TEXT NOT NULL,
    version TEXT NOT NULL,
    latest INTEGER NOT NULL,
    marker INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    record BLOB NOT NULL,
    pieces BLOB NOT NULL
);
CREATE UNIQUE INDEX versions_current ON versions (bucket, key) WHERE latest = 1;
CREATE INDEX versions_history ON versions (bucket, key, sequence DESC);

CREATE TABLE inlined (
    id INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);

CREATE TABLE blobs (
    digest BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    holders INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE trash (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    deleted INTEGER NOT NULL,
    pieces BLOB NOT NULL
);

CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    bucket INTEGER NOT NULL REFERENCES buckets (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    started INTEGER NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_by_key ON uploads (bucket, key, id);

CREATE TABLE parts (
    upload TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    record BLOB NOT NULL,
    pieces BLOB NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;

CREATE TABLE completed (
    upload TEXT PRIMARY KEY,
    bucket INTEGER NOT NULL,
    key TEXT NOT NULL,
    version TEXT NOT NULL,
    etag TEXT NOT NULL,
    finished INTEGER NOT NULL
) WITHOUT ROWID;
"""

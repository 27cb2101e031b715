-- +goose Up
-- claimed_until: a collector said that it deletes the object until then. Never 0
-- again after that: the object may be gone, and nothing may come to name it.
-- size: what the object takes, as far as it is known; 0 if it is not.
ALTER TABLE garbage ADD COLUMN claimed_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE garbage ADD COLUMN size BIGINT NOT NULL DEFAULT 0;

-- While a row is live, no object that a row of garbage names is deleted.
CREATE TABLE layer_hold (
    id         btext  NOT NULL PRIMARY KEY,
    owner      btext  NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- What the last runs of the collector did; ended_at is 0 while one runs.
CREATE TABLE layer_collection (
    id         BIGINT  NOT NULL PRIMARY KEY,
    started_at BIGINT  NOT NULL,
    seen_at    BIGINT  NOT NULL,
    ended_at   BIGINT  NOT NULL,
    reviews    BIGINT  NOT NULL,
    layers     BIGINT  NOT NULL,
    blobs      BIGINT  NOT NULL,
    bytes      BIGINT  NOT NULL,
    objects    BIGINT  NOT NULL,
    freed      BIGINT  NOT NULL,
    held       BOOLEAN NOT NULL,
    error      btext   NOT NULL
);

-- The sum of all runs, in one row.
CREATE TABLE layer_collection_total (
    id      BIGINT NOT NULL PRIMARY KEY,
    since   BIGINT NOT NULL,
    reviews BIGINT NOT NULL,
    layers  BIGINT NOT NULL,
    blobs   BIGINT NOT NULL,
    bytes   BIGINT NOT NULL,
    objects BIGINT NOT NULL,
    freed   BIGINT NOT NULL
);

-- How far the comparison of a region's stores with the rows is; position is the
-- last page that was done, ended_at is 0 until the round is over.
CREATE TABLE layer_reconcile (
    region      btext  NOT NULL PRIMARY KEY,
    round       BIGINT NOT NULL,
    position    btext  NOT NULL,
    pages       BIGINT NOT NULL,
    started_at  BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL,
    ended_at    BIGINT NOT NULL,
    objects     BIGINT NOT NULL,
    blobs       BIGINT NOT NULL,
    strays      BIGINT NOT NULL,
    stray_bytes BIGINT NOT NULL
);

-- Blobs whose object was not where it should be when it was last looked for.
CREATE TABLE layer_missing (
    blob_id    BIGINT  NOT NULL PRIMARY KEY REFERENCES blob (id) ON DELETE CASCADE,
    account_id btext   NOT NULL,
    region     btext   NOT NULL,
    digest     btext   NOT NULL,
    object_key btext   NOT NULL,
    archived   BOOLEAN NOT NULL,
    found_at   BIGINT  NOT NULL,
    seen_at    BIGINT  NOT NULL
);
CREATE INDEX layer_missing_object ON layer_missing (object_key);

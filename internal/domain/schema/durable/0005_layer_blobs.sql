-- +goose Up
-- One row per digest within a registry and a key; the object it names is never moved.
CREATE TABLE blob (
    id         BIGINT NOT NULL PRIMARY KEY,
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    key_id     btext  NOT NULL,
    digest     btext  NOT NULL,
    size       BIGINT NOT NULL,
    object_key btext  NOT NULL UNIQUE,
    seal       BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account_id, region, key_id, digest)
);

-- Which repository holds which digest.
CREATE TABLE layer (
    repository_id BIGINT NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    digest        btext  NOT NULL,
    blob_id       BIGINT NOT NULL REFERENCES blob (id),
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX layer_blob ON layer (blob_id);

-- Objects to remove from a region's store. An object is never in here and in
-- blob at once: who wants to put it into one of them inserts here first.
CREATE TABLE garbage (
    region     btext  NOT NULL,
    object_key btext  NOT NULL,
    due_at     BIGINT NOT NULL,
    PRIMARY KEY (region, object_key)
);
CREATE INDEX garbage_due ON garbage (due_at, region, object_key);

-- Digests that no image may refer to any more, or not yet: to be reviewed after
-- a grace period. Every layer row without an image has a row here.
CREATE TABLE layer_review (
    repository_id BIGINT NOT NULL,
    digest        btext  NOT NULL,
    blob_id       BIGINT NOT NULL,
    due_at        BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX layer_review_due ON layer_review (due_at, repository_id, digest);

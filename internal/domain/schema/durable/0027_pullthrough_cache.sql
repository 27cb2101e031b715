-- +goose Up
-- Images that the pull-through cache is bringing here: their manifests are served
-- already, their layers are still to come. body is the manifest, sealed as in the
-- table manifest; counterpart is the digest that it has once translated between
-- docker schema 2 and OCI, '' for none; pulled says that the pull that began it is
-- to be noted; failed_at is when a layer last could not be had, 0 for never.
CREATE TABLE pullthrough_import (
    id            BIGINT  NOT NULL PRIMARY KEY,
    repository_id BIGINT  NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    digest        btext   NOT NULL,
    media_type    btext   NOT NULL,
    body          BYTEA   NOT NULL,
    counterpart   btext   NOT NULL,
    pulled        BOOLEAN NOT NULL,
    created_at    BIGINT  NOT NULL,
    failed_at     BIGINT  NOT NULL,
    UNIQUE (repository_id, digest)
);
CREATE INDEX pullthrough_import_counterpart ON pullthrough_import (repository_id, counterpart);

-- The tags that such an image gets when it is here.
CREATE TABLE pullthrough_import_tag (
    repository_id BIGINT NOT NULL,
    tag           btext  NOT NULL,
    import_id     BIGINT NOT NULL REFERENCES pullthrough_import (id) ON DELETE CASCADE,
    PRIMARY KEY (repository_id, tag)
);
CREATE INDEX pullthrough_import_tag_import ON pullthrough_import_tag (import_id);

-- The blobs that it needs, by the size that its manifest gives them.
CREATE TABLE pullthrough_import_blob (
    import_id     BIGINT NOT NULL REFERENCES pullthrough_import (id) ON DELETE CASCADE,
    digest        btext  NOT NULL,
    repository_id BIGINT NOT NULL,
    size          BIGINT NOT NULL,
    media_type    btext  NOT NULL,
    PRIMARY KEY (import_id, digest)
);
CREATE INDEX pullthrough_import_blob_digest ON pullthrough_import_blob (repository_id, digest);

-- When the upstream was last asked successfully: what a tag is, or, by a digest, what
-- refers to it.
CREATE TABLE pullthrough_check (
    repository_id BIGINT NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    ref           btext  NOT NULL,
    checked_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, ref)
);

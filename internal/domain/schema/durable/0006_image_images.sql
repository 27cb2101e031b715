-- +goose Up
-- tags counts the rows of image_tag that point here; annotations is JSON and
-- kept only where subject is set, for the list of referrers.
CREATE TABLE image (
    id            BIGINT NOT NULL PRIMARY KEY,
    repository_id BIGINT NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    digest        btext  NOT NULL,
    media_type    btext  NOT NULL,
    artifact_type btext  NOT NULL,
    size          BIGINT NOT NULL,
    manifest_size BIGINT NOT NULL,
    pushed_at     BIGINT NOT NULL,
    tags          BIGINT NOT NULL DEFAULT 0,
    subject       btext  NOT NULL,
    annotations   btext  NOT NULL,
    UNIQUE (repository_id, digest)
);
CREATE UNIQUE INDEX image_order ON image (repository_id, id);
CREATE UNIQUE INDEX image_tagged ON image (repository_id, id) WHERE tags > 0;
CREATE UNIQUE INDEX image_untagged ON image (repository_id, id) WHERE tags = 0;
CREATE UNIQUE INDEX image_subject ON image (repository_id, subject, id) WHERE subject <> '';

-- The manifest's bytes, apart from the row that listings read.
CREATE TABLE manifest (
    image_id BIGINT NOT NULL PRIMARY KEY REFERENCES image (id) ON DELETE CASCADE,
    body     BYTEA  NOT NULL
);

CREATE TABLE image_tag (
    repository_id BIGINT NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    tag           btext  NOT NULL,
    image_id      BIGINT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    updated_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, tag)
);
CREATE UNIQUE INDEX image_tag_image ON image_tag (image_id, tag);

-- Blobs that an image needs, its config among them.
CREATE TABLE image_layer (
    image_id      BIGINT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    digest        btext  NOT NULL,
    repository_id BIGINT NOT NULL,
    media_type    btext  NOT NULL,
    PRIMARY KEY (image_id, digest)
);
CREATE INDEX image_layer_digest ON image_layer (repository_id, digest, image_id);

-- Images that an index or manifest list needs.
CREATE TABLE image_child (
    image_id      BIGINT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    digest        btext  NOT NULL,
    repository_id BIGINT NOT NULL,
    PRIMARY KEY (image_id, digest)
);
CREATE INDEX image_child_digest ON image_child (repository_id, digest, image_id);

-- Digests under which a translated form of an image can be asked for. Images
-- that differ only in what is lost in translation share one. The tag is for
-- schema 1 only, which names it.
CREATE TABLE image_translation (
    repository_id BIGINT NOT NULL,
    digest        btext  NOT NULL,
    image_id      BIGINT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    media_type    btext  NOT NULL,
    tag           btext  NOT NULL,
    PRIMARY KEY (repository_id, digest, image_id)
);
CREATE INDEX image_translation_image ON image_translation (image_id);

-- The last recorded pull, written in batches after the fact.
CREATE TABLE image_pull (
    image_id  BIGINT NOT NULL PRIMARY KEY REFERENCES image (id) ON DELETE CASCADE,
    pulled_at BIGINT NOT NULL
);

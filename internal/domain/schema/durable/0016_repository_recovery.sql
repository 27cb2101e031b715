-- +goose Up
-- What is set for a repository beyond ECR's own settings, as the operator wrote it.
CREATE TABLE repository_setting (
    repository_id BIGINT NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    name          btext  NOT NULL,
    value         btext  NOT NULL,
    PRIMARY KEY (repository_id, name)
);

-- A repository that was deleted and can be restored until expires_at: its name
-- is one that nobody can address, deleted_name the one it had. 0 and '' for all
-- others.
ALTER TABLE repository ADD COLUMN deleted_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE repository ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE repository ADD COLUMN deleted_name btext NOT NULL DEFAULT '';
CREATE INDEX repository_deleted ON repository (expires_at, id) WHERE deleted_at <> 0;

-- Deleted images that can be restored until expires_at. tags is a JSON array of
-- those that the image had, body its manifest, sealed as in the table manifest;
-- pulled_at is 0 where no pull was recorded.
CREATE TABLE deleted_image (
    id            BIGINT NOT NULL PRIMARY KEY,
    repository_id BIGINT NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    digest        btext  NOT NULL,
    media_type    btext  NOT NULL,
    tags          btext  NOT NULL,
    body          BYTEA  NOT NULL,
    pushed_at     BIGINT NOT NULL,
    pulled_at     BIGINT NOT NULL,
    deleted_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    UNIQUE (repository_id, digest)
);
CREATE INDEX deleted_image_due ON deleted_image (expires_at, id);

-- Layers that stay for them.
CREATE TABLE deleted_image_layer (
    deleted_id    BIGINT NOT NULL REFERENCES deleted_image (id) ON DELETE CASCADE,
    digest        btext  NOT NULL,
    repository_id BIGINT NOT NULL,
    PRIMARY KEY (deleted_id, digest)
);
CREATE INDEX deleted_image_layer_digest ON deleted_image_layer (repository_id, digest, deleted_id);

-- How long the account's authorization tokens live, in microseconds; 0 for the
-- usual time.
ALTER TABLE account ADD COLUMN token_life BIGINT NOT NULL DEFAULT 0;

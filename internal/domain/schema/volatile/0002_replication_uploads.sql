-- +goose Up
-- The upload that brings a blob from another registry, to be gone on with after a
-- break. sender has it until then; another may take it afterwards.
CREATE /*UNLOGGED*/ TABLE replication_upload (
    repository_id BIGINT NOT NULL,
    digest        btext  NOT NULL,
    upload_id     btext  NOT NULL,
    sender        btext  NOT NULL,
    held_until    BIGINT NOT NULL,
    used_at       BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX replication_upload_used ON replication_upload (used_at);

-- +goose Up
-- status: 0 active, 1 archived, 2 on the way back from the archive.
ALTER TABLE image ADD COLUMN status BIGINT NOT NULL DEFAULT 0;
-- When it was last archived, and last came back; 0 for never.
ALTER TABLE image ADD COLUMN archived_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE image ADD COLUMN activated_at BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX image_inactive ON image (repository_id, id) WHERE status <> 0;

-- archived: the object stands in the region's archive, not in its store.
ALTER TABLE blob ADD COLUMN archived BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE garbage ADD COLUMN archived BOOLEAN NOT NULL DEFAULT FALSE;

-- Blobs whose place is to be looked at: in the store, or in the archive?
CREATE TABLE blob_placement (
    blob_id BIGINT NOT NULL PRIMARY KEY REFERENCES blob (id) ON DELETE CASCADE
);

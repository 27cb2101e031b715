-- +goose Up
-- sparse: an index that the pull-through cache has stored, whose children are not
-- all in the repository.
ALTER TABLE image ADD COLUMN sparse BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Up
-- The keyring of a deployment that keeps it in the database: one row, sealed
-- under a master key that stands elsewhere.
CREATE TABLE keyring (
    id       BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    revision BIGINT NOT NULL,
    sealed   BYTEA  NOT NULL
);

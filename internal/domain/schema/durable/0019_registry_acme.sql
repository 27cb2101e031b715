-- +goose Up
-- What ACME needs on every node: the account's key, certificates with their keys,
-- and for as long as an order lasts the answers to its challenges. data is sealed
-- with a key that is derived from the default key.
CREATE TABLE acme_cache (
    name       btext  NOT NULL,
    data       BYTEA  NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (name)
);

-- +goose Up
-- What one address has pulled from public registries without a token in a month, in
-- bytes. month counts from the year 0. A power cut may lose these rows or take them back
-- to an earlier state: then an address may pull some of its volume again.
CREATE /*UNLOGGED*/ TABLE catalog_volume (
    month   BIGINT NOT NULL,
    address btext  NOT NULL,
    bytes   BIGINT NOT NULL,
    PRIMARY KEY (month, address)
);

-- +goose Up
-- What one node is fetching from an upstream, so that no other does. upload is the
-- layer upload that the bytes go into, for the node that goes on after this one.
-- A power cut may lose these rows: then a fetch begins anew.
CREATE /*UNLOGGED*/ TABLE pullthrough_fetch (
    id           btext  NOT NULL PRIMARY KEY,
    owner        BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    upload       btext  NOT NULL
);
CREATE INDEX pullthrough_fetch_until ON pullthrough_fetch (leased_until);

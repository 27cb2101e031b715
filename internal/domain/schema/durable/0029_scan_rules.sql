-- +goose Up
-- The scanning configuration of a registry, where one was set. scan_type is BASIC or
-- ENHANCED; rules is JSON, as the package scan/rules has them.
CREATE TABLE scan_config (
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    scan_type  btext  NOT NULL,
    rules      btext  NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, region),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);
CREATE INDEX scan_config_type ON scan_config (scan_type, account_id, region);

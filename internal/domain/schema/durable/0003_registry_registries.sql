-- +goose Up
CREATE TABLE registry (
    account_id   btext  NOT NULL REFERENCES account (id),
    region       btext  NOT NULL,
    repositories BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (account_id, region)
);

-- +goose Up
CREATE TABLE audit (
    id          BIGINT NOT NULL PRIMARY KEY,
    account_id  btext  NOT NULL,
    region      btext  NOT NULL,
    occurred_at BIGINT NOT NULL,
    name        btext  NOT NULL,
    record      btext  NOT NULL
);
CREATE INDEX audit_time ON audit (occurred_at);

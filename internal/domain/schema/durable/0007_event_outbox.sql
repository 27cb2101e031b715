-- +goose Up
CREATE TABLE event (
    id          BIGINT NOT NULL PRIMARY KEY,
    account_id  btext  NOT NULL,
    region      btext  NOT NULL,
    kind        btext  NOT NULL,
    occurred_at BIGINT NOT NULL,
    detail      btext  NOT NULL
);

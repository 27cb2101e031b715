-- +goose Up
CREATE TABLE account (
    id         btext  NOT NULL PRIMARY KEY,
    name       btext  NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE access_key (
    id         btext   NOT NULL PRIMARY KEY,
    account_id btext   NOT NULL REFERENCES account (id),
    principal  btext   NOT NULL,
    secret     BYTEA   NOT NULL,
    enabled    BOOLEAN NOT NULL,
    created_at BIGINT  NOT NULL
);

-- +goose Up
-- Where rules may send events. arn is what targets of rules name it by. settings is JSON
-- and holds no secret; those are sealed by a data key, wrapped, and secret_names says
-- which there are, JSON. version counts the changes.
CREATE TABLE event_destination (
    id           BIGINT NOT NULL PRIMARY KEY,
    account_id   btext  NOT NULL REFERENCES account (id),
    region       btext  NOT NULL,
    name         btext  NOT NULL,
    kind         btext  NOT NULL,
    arn          btext  NOT NULL,
    settings     btext  NOT NULL,
    secret_names btext  NOT NULL,
    data_key     BYTEA  NOT NULL,
    sealed       BYTEA  NOT NULL,
    version      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    changed_at   BIGINT NOT NULL,
    UNIQUE (account_id, region, name),
    UNIQUE (account_id, region, arn)
);

-- +goose Up
-- Secrets with their versions. kms_key is the key as it was named, "" for the
-- account's own for secrets, and key_id the key of the key manager. tags is JSON.
-- used_day is the day of the last reading, 0 for none; ends_at is when a deleted
-- secret ends, 0 while it is not deleted.
CREATE TABLE secret (
    id          BIGINT NOT NULL PRIMARY KEY,
    account_id  btext  NOT NULL REFERENCES account (id),
    region      btext  NOT NULL,
    name        btext  NOT NULL,
    suffix      btext  NOT NULL,
    description btext  NOT NULL,
    kms_key     btext  NOT NULL,
    key_id      btext  NOT NULL,
    tags        btext  NOT NULL,
    created_at  BIGINT NOT NULL,
    changed_at  BIGINT NOT NULL,
    used_day    BIGINT NOT NULL,
    ends_at     BIGINT NOT NULL,
    UNIQUE (account_id, region, name)
);
CREATE INDEX secret_ends ON secret (ends_at);

-- Each version has a data key of its own, wrapped, that its value is sealed with.
-- form is "string" or "binary"; stages is the staging labels as JSON.
CREATE TABLE secret_version (
    secret_id  BIGINT NOT NULL REFERENCES secret (id) ON DELETE CASCADE,
    version_id btext  NOT NULL,
    stages     btext  NOT NULL,
    form       btext  NOT NULL,
    data_key   BYTEA  NOT NULL,
    sealed     BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (secret_id, version_id)
);

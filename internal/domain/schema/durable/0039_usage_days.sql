-- +goose Up
-- Repositories that the rows of usage_day speak of, those that are gone included; id is
-- made out of the columns that name one. The name "" is the registry as a whole. last_day
-- is the latest day with a row.
CREATE TABLE usage_repository (
    id         BIGINT NOT NULL PRIMARY KEY,
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    name       btext  NOT NULL,
    last_day   BIGINT NOT NULL,
    UNIQUE (account_id, region, name)
);

-- Sets of resource tags, as JSON objects; id is made out of the text, and 0 is no tags.
CREATE TABLE usage_tags (
    id       BIGINT NOT NULL PRIMARY KEY,
    tags     btext  NOT NULL,
    last_day BIGINT NOT NULL
);

-- What a repository held and moved in a day, by days since 1970 (UTC). sampled is the
-- last hour that is in the byte-hours, which are the sum of hourly samples.
CREATE TABLE usage_day (
    day                 BIGINT NOT NULL,
    repository_id       BIGINT NOT NULL,
    tags_id             BIGINT NOT NULL,
    sampled             BIGINT NOT NULL,
    byte_hours          BIGINT NOT NULL,
    archived_byte_hours BIGINT NOT NULL,
    sent                BIGINT NOT NULL,
    received            BIGINT NOT NULL,
    pulls               BIGINT NOT NULL,
    pushes              BIGINT NOT NULL,
    PRIMARY KEY (day, repository_id)
);

-- The hours since 1970 whose sample is complete.
CREATE TABLE usage_hour (
    hour BIGINT NOT NULL PRIMARY KEY
);

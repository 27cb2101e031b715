-- +goose Up
-- Backfills. ended_at is 0 until it has ended. repository_name and list_cursor say how
-- far the images are listed, fed how many of them have had their turn, and outstanding
-- how many of those the queue of replications has still. failure_codes is a JSON list
-- with each code once. failure_code is why the whole of it failed, or is about to.
CREATE TABLE replication_backfill (
    id              BIGINT NOT NULL PRIMARY KEY,
    uuid            btext  NOT NULL UNIQUE,
    account_id      btext  NOT NULL,
    region          btext  NOT NULL,
    to_account_id   btext  NOT NULL,
    to_region       btext  NOT NULL,
    status          btext  NOT NULL,
    started_at      BIGINT NOT NULL,
    ended_at        BIGINT NOT NULL DEFAULT 0,
    failure_code    btext  NOT NULL DEFAULT '',
    prepared        BOOLEAN NOT NULL DEFAULT FALSE,
    repository_name btext  NOT NULL DEFAULT '',
    list_cursor     btext  NOT NULL DEFAULT '',
    total           BIGINT NOT NULL DEFAULT 0,
    fed             BIGINT NOT NULL DEFAULT 0,
    outstanding     BIGINT NOT NULL DEFAULT 0,
    completed       BIGINT NOT NULL DEFAULT 0,
    failed          BIGINT NOT NULL DEFAULT 0,
    failure_codes   btext  NOT NULL DEFAULT '[]'
);
CREATE UNIQUE INDEX replication_backfill_order ON replication_backfill (account_id, region, id);
-- One at a time goes to a region.
CREATE UNIQUE INDEX replication_backfill_busy ON replication_backfill (account_id, region, to_region) WHERE ended_at = 0;
CREATE UNIQUE INDEX replication_backfill_open ON replication_backfill (id) WHERE ended_at = 0;
CREATE UNIQUE INDEX replication_backfill_ended ON replication_backfill (ended_at, id) WHERE ended_at <> 0;

-- Images that a backfill sends, each with one of its tags or none; position counts
-- from 1. The repository may have gone. sent_tag is the tag that goes along: none
-- where the image had lost it when its turn came. state: 0 waiting, 1 in the queue,
-- 2 complete, 3 failed. sub_codes is a JSON list for an index, and '' for all others.
CREATE TABLE replication_backfill_item (
    backfill_id     BIGINT NOT NULL REFERENCES replication_backfill (id) ON DELETE CASCADE,
    position        BIGINT NOT NULL,
    repository_id   BIGINT NOT NULL,
    repository_name btext  NOT NULL,
    digest          btext  NOT NULL,
    tag             btext  NOT NULL,
    sent_tag        btext  NOT NULL,
    state           BIGINT NOT NULL DEFAULT 0,
    code            btext  NOT NULL DEFAULT '',
    sub_codes       btext  NOT NULL DEFAULT '',
    PRIMARY KEY (backfill_id, position)
);
CREATE UNIQUE INDEX replication_backfill_item_sent ON replication_backfill_item (backfill_id, repository_name, digest, sent_tag, position) WHERE state = 1;
CREATE UNIQUE INDEX replication_backfill_item_ended ON replication_backfill_item (backfill_id, position) WHERE state > 1;
CREATE UNIQUE INDEX replication_backfill_item_result ON replication_backfill_item (backfill_id, state, position) WHERE state > 1;

-- +goose Up
-- What a registry copies: rules is JSON. The revision changes with every change of
-- the rules and of the options.
CREATE TABLE replication_config (
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    rules      btext  NOT NULL,
    revision   BIGINT NOT NULL,
    PRIMARY KEY (account_id, region),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);

-- Berth's own options of a destination, JSON.
CREATE TABLE replication_option (
    account_id btext NOT NULL,
    region     btext NOT NULL,
    to_account btext NOT NULL,
    to_region  btext NOT NULL,
    options    btext NOT NULL,
    PRIMARY KEY (account_id, region, to_account, to_region),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);

-- The last number given to a change of a repository. A repository that is made
-- again under its name goes on counting, so it hangs on nothing.
CREATE TABLE replication_seq (
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    repository btext  NOT NULL,
    seq        BIGINT NOT NULL,
    PRIMARY KEY (account_id, region, repository)
);

-- What is to be done at a destination. Items of one lane are done in the order of
-- seq. They outlive their repository, so that their end can be told.
CREATE TABLE replication_item (
    id            BIGINT NOT NULL PRIMARY KEY,
    repository_id BIGINT NOT NULL,
    account_id    btext  NOT NULL,
    region        btext  NOT NULL,
    repository    btext  NOT NULL,
    to_account    btext  NOT NULL,
    to_region     btext  NOT NULL,
    lane          btext  NOT NULL,
    seq           BIGINT NOT NULL,
    removal       BOOLEAN NOT NULL,
    digest        btext  NOT NULL,
    tag           btext  NOT NULL,
    backfill      btext  NOT NULL,
    queued_at     BIGINT NOT NULL,
    attempts      BIGINT NOT NULL DEFAULT 0,
    next_at       BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX replication_item_lane ON replication_item (repository_id, to_account, to_region, lane, seq, id);
CREATE INDEX replication_item_queued ON replication_item (to_account, to_region, queued_at, id);
CREATE INDEX replication_item_digest ON replication_item (repository_id, digest);

-- How far an image is at its destinations.
CREATE TABLE replication_status (
    image_id     BIGINT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    to_account   btext  NOT NULL,
    to_region    btext  NOT NULL,
    status       btext  NOT NULL,
    failure_code btext  NOT NULL,
    PRIMARY KEY (image_id, to_account, to_region)
);

-- At a destination: the last change of a tag or an image (ref) that has come from a
-- source. removed says that it was a deletion, removing that its transaction is
-- under way.
CREATE TABLE replication_guard (
    repository_id BIGINT  NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    from_account  btext   NOT NULL,
    from_region   btext   NOT NULL,
    ref           btext   NOT NULL,
    seq           BIGINT  NOT NULL,
    removed       BOOLEAN NOT NULL,
    removing      BOOLEAN NOT NULL,
    PRIMARY KEY (repository_id, ref, from_account, from_region)
);

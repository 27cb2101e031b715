-- +goose Up
-- What software a layer of a repository holds, sealed; version is that of the reader.
CREATE TABLE scan_layer (
    repository_id BIGINT NOT NULL,
    digest        btext  NOT NULL,
    version       BIGINT NOT NULL,
    body          BYTEA  NOT NULL,
    read_at       BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest),
    FOREIGN KEY (repository_id, digest) REFERENCES layer (repository_id, digest) ON DELETE CASCADE
);

-- The scan of an image: the last one that was asked for, and what the last one that
-- was completed counted. scan_type is BASIC or ENHANCED. waiting: it failed for want of
-- a vulnerability database. requested_at is the last start, for the quota; database is
-- the digest of the one that was used, counts JSON.
CREATE TABLE scan_image (
    image_id     BIGINT  NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    scan_type    btext   NOT NULL,
    status       btext   NOT NULL,
    description  btext   NOT NULL,
    waiting      BOOLEAN NOT NULL DEFAULT FALSE,
    requested_at BIGINT  NOT NULL,
    completed_at BIGINT  NOT NULL DEFAULT 0,
    source_at    BIGINT  NOT NULL DEFAULT 0,
    database     btext   NOT NULL DEFAULT '',
    counts       btext   NOT NULL DEFAULT '',
    PRIMARY KEY (image_id, scan_type)
);
CREATE INDEX scan_image_waiting ON scan_image (image_id) WHERE waiting;

-- The findings of the last completed scan, sealed.
CREATE TABLE scan_report (
    image_id  BIGINT NOT NULL,
    scan_type btext  NOT NULL,
    body      BYTEA  NOT NULL,
    PRIMARY KEY (image_id, scan_type),
    FOREIGN KEY (image_id, scan_type) REFERENCES scan_image (image_id, scan_type) ON DELETE CASCADE
);

-- How many basic scans a registry has begun in an hour since the epoch.
CREATE TABLE scan_count (
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    hour       BIGINT NOT NULL,
    scans      BIGINT NOT NULL,
    PRIMARY KEY (account_id, region, hour)
);

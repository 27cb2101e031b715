-- +goose Up
-- Trails: who has the audit records of an account written to files, and where to.
-- home_region is where a trail was made. prefix is "" or stands, without a slash at its
-- end, before all keys in the bucket. validated_from is when digests begin, 0 while
-- there are none. tags is JSON. The last columns are what the latest tries said,
-- errors "" for one that succeeded.
CREATE TABLE trail (
    id               BIGINT  NOT NULL PRIMARY KEY,
    account_id       btext   NOT NULL REFERENCES account (id),
    home_region      btext   NOT NULL,
    name             btext   NOT NULL,
    bucket           btext   NOT NULL,
    prefix           btext   NOT NULL,
    multi_region     BOOLEAN NOT NULL,
    global_events    BOOLEAN NOT NULL,
    logging          BOOLEAN NOT NULL,
    started_at       BIGINT  NOT NULL,
    stopped_at       BIGINT  NOT NULL,
    validated_from   BIGINT  NOT NULL,
    tags             btext   NOT NULL,
    created_at       BIGINT  NOT NULL,
    attempted_at     BIGINT  NOT NULL,
    delivered_at     BIGINT  NOT NULL,
    delivery_error   btext   NOT NULL,
    digested_at      BIGINT  NOT NULL,
    digest_error     btext   NOT NULL,
    UNIQUE (account_id, home_region, name)
);

-- The records that a trail is still to write of one region: those with ids above
-- position and below until_id; 0 is no end, while the trail logs. One row for each time
-- that logging was started, gone once everything is written.
CREATE TABLE trail_span (
    id       BIGINT NOT NULL PRIMARY KEY,
    trail_id BIGINT NOT NULL REFERENCES trail (id) ON DELETE CASCADE,
    region   btext  NOT NULL,
    position BIGINT NOT NULL,
    until_id BIGINT NOT NULL
);
CREATE INDEX trail_span_trail ON trail_span (trail_id, region, id);

-- Log files. One is planned first, which fixes the records (above after_id, up to
-- last_id) and the key, so that whoever writes it writes the same bytes; hash is the
-- SHA-256 of its content before compression, "" until it is written. digest_id is 0
-- until a digest has it.
CREATE TABLE trail_file (
    id           BIGINT NOT NULL PRIMARY KEY,
    trail_id     BIGINT NOT NULL REFERENCES trail (id) ON DELETE CASCADE,
    region       btext  NOT NULL,
    bucket       btext  NOT NULL,
    object       btext  NOT NULL,
    after_id     BIGINT NOT NULL,
    last_id      BIGINT NOT NULL,
    records      BIGINT NOT NULL,
    oldest_at    BIGINT NOT NULL,
    newest_at    BIGINT NOT NULL,
    hash         btext  NOT NULL,
    delivered_at BIGINT NOT NULL,
    digest_id    BIGINT NOT NULL
);
CREATE INDEX trail_file_digest ON trail_file (trail_id, region, digest_id);
CREATE INDEX trail_file_object ON trail_file (bucket, object);

-- Digest files, planned in the same way. key_id is the fingerprint of the key that
-- signs; signature is hexadecimal, "" until the digest is written.
CREATE TABLE trail_digest (
    id        BIGINT NOT NULL PRIMARY KEY,
    trail_id  BIGINT NOT NULL REFERENCES trail (id) ON DELETE CASCADE,
    region    btext  NOT NULL,
    bucket    btext  NOT NULL,
    object    btext  NOT NULL,
    start_at  BIGINT NOT NULL,
    end_at    BIGINT NOT NULL,
    key_id    btext  NOT NULL,
    hash      btext  NOT NULL,
    signature btext  NOT NULL,
    UNIQUE (trail_id, region, end_at)
);
CREATE INDEX trail_digest_object ON trail_digest (bucket, object);

-- The keys that sign digests, the one with the highest generation the new ones:
-- public_key as PKCS #1, the private one sealed by a data key, which the key manager has
-- wrapped.
CREATE TABLE trail_key (
    id         btext  NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    public_key BYTEA  NOT NULL,
    data_key   BYTEA  NOT NULL,
    sealed     BYTEA  NOT NULL
);

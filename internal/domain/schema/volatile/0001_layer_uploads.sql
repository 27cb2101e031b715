-- +goose Up
-- Upload sessions. A power cut may lose these rows or take them back to an
-- earlier state; docs/push-cycle.md says why that is harmless.
CREATE /*UNLOGGED*/ TABLE upload (
    id            btext   NOT NULL PRIMARY KEY,
    repository_id BIGINT  NOT NULL,
    region        btext   NOT NULL,
    object_key    btext   NOT NULL UNIQUE,
    -- Set for ever before the object is finished or removed: no writer after that.
    closed        BOOLEAN NOT NULL,
    -- How often a writer took the row.
    opened        BIGINT  NOT NULL,
    received      BIGINT  NOT NULL,
    parts         BIGINT  NOT NULL,
    last_part     BIGINT  NOT NULL,
    -- The last part was cut off; the next bytes belong to it.
    part_cut      BOOLEAN NOT NULL,
    -- A part other than the last one is under the minimum.
    small_part    BOOLEAN NOT NULL,
    state         BYTEA   NOT NULL,
    hashes        BYTEA   NOT NULL,
    -- The process that the bytes came in through, and whether another one had
    -- a part in it: then they are read again before the upload is finished.
    process       btext   NOT NULL,
    mixed         BOOLEAN NOT NULL,
    writer        btext   NOT NULL,
    writer_until  BIGINT  NOT NULL,
    -- Another request waits for the writer to stop.
    wanted        BOOLEAN NOT NULL,
    started_at    BIGINT  NOT NULL,
    expires_at    BIGINT  NOT NULL
);
CREATE INDEX upload_expires ON upload (expires_at, id);

-- +goose Up
-- Audit records that came together: many of one account and region in one row (see
-- domain/audit/segment). Records that came alone are rows of audit, as are those from before.
-- The ids of the records are the segment's own and the ones behind it.
CREATE TABLE audit_segment (
    id         BIGINT NOT NULL PRIMARY KEY,
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    oldest_at  BIGINT NOT NULL,
    newest_at  BIGINT NOT NULL,
    records    BIGINT NOT NULL,
    content    BYTEA  NOT NULL
);
CREATE INDEX audit_segment_time ON audit_segment (oldest_at);

-- What the records of a segment are found by: the keys of audit_lookup and audit_term, each
-- once for a segment.
CREATE TABLE audit_segment_term (
    term       BIGINT NOT NULL,
    newest_at  BIGINT NOT NULL,
    segment_id BIGINT NOT NULL,
    oldest_at  BIGINT NOT NULL,
    PRIMARY KEY (term, newest_at, segment_id)
);
CREATE INDEX audit_segment_term_time ON audit_segment_term (newest_at);

-- The job that writes the files of trails has another name from here on (audit.files): a node
-- that does not know of segments must not pass over them.
UPDATE job_period SET next_at = 4102444800000000 WHERE kind = 'audit.trails';

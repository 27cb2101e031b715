-- +goose Up
-- What audit records are found by, apart from them so that no index holds a record. Keys
-- are hashes (see domain/audit/lookup), 0 for nothing: of the account, the region and, in
-- this order, the kind, the operation, the caller's name, the access key, the first resource.
CREATE TABLE audit_lookup (
    audit_id     BIGINT NOT NULL PRIMARY KEY,
    occurred_at  BIGINT NOT NULL,
    kind_key     BIGINT NOT NULL,
    name_key     BIGINT NOT NULL,
    user_key     BIGINT NOT NULL,
    access_key   BIGINT NOT NULL,
    resource_key BIGINT NOT NULL
);
CREATE INDEX audit_lookup_kind ON audit_lookup (kind_key, occurred_at, audit_id);
CREATE INDEX audit_lookup_name ON audit_lookup (name_key, occurred_at, audit_id);
CREATE INDEX audit_lookup_user ON audit_lookup (user_key, occurred_at, audit_id) WHERE user_key <> 0;
CREATE INDEX audit_lookup_access ON audit_lookup (access_key, occurred_at, audit_id) WHERE access_key <> 0;
CREATE INDEX audit_lookup_resource ON audit_lookup (resource_key, occurred_at, audit_id) WHERE resource_key <> 0;

-- What only few records have besides: a second resource, an event id of another form.
CREATE TABLE audit_term (
    audit_id    BIGINT NOT NULL,
    term        BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    PRIMARY KEY (audit_id, term)
);
CREATE INDEX audit_term_term ON audit_term (term, occurred_at, audit_id);

-- The kinds of records that there are: few for each account and region.
CREATE TABLE audit_kind (
    kind_key      BIGINT  NOT NULL PRIMARY KEY,
    account_id    btext   NOT NULL,
    region        btext   NOT NULL,
    source        btext   NOT NULL,
    read_only     BOOLEAN NOT NULL,
    resource_type btext   NOT NULL
);
CREATE INDEX audit_kind_account ON audit_kind (account_id, region);

-- How far down the ids the records from before these tables are in them: one row, or none
-- before the first batch.
CREATE TABLE audit_backfill (
    id    BIGINT  NOT NULL PRIMARY KEY,
    below BIGINT  NOT NULL,
    done  BOOLEAN NOT NULL
);

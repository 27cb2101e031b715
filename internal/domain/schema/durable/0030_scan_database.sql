-- +goose Up
-- Vulnerability databases. digest is that of the archive, manifest that of the
-- artifact's manifest it came in, '' for a bare archive. state is 'incoming' (its
-- object is being written; since imported_at), 'current', 'former' or 'going' (its
-- object is to be deleted). Times that the database does not tell are 0; size is that
-- of the archive, and the object may be sealed.
CREATE TABLE scan_database (
    id             BIGINT NOT NULL PRIMARY KEY,
    state          btext  NOT NULL,
    digest         btext  NOT NULL,
    manifest       btext  NOT NULL,
    schema_version BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    next_update    BIGINT NOT NULL,
    downloaded_at  BIGINT NOT NULL,
    imported_at    BIGINT NOT NULL,
    size           BIGINT NOT NULL,
    source         btext  NOT NULL,
    object_key     btext  NOT NULL,
    object_size    BIGINT NOT NULL,
    seal           BYTEA  NOT NULL
);
CREATE UNIQUE INDEX scan_database_current ON scan_database (state) WHERE state = 'current';
CREATE UNIQUE INDEX scan_database_former ON scan_database (state) WHERE state = 'former';

-- One row, which whoever changes the current database holds: how often that was
-- done, when sources were last asked for a newer one and with what result, and when
-- they are asked again.
CREATE TABLE scan_database_state (
    id       BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    asked_at BIGINT NOT NULL,
    source   btext  NOT NULL,
    failure  btext  NOT NULL,
    ask_at   BIGINT NOT NULL
);

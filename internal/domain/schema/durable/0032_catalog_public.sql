-- +goose Up
-- Public registries: what the gallery says of an account. revision is new with every
-- change of the registry or of its aliases.
CREATE TABLE public_registry (
    account_id   btext   NOT NULL PRIMARY KEY REFERENCES account (id),
    display_name btext   NOT NULL,
    verified     BOOLEAN NOT NULL,
    revision     BIGINT  NOT NULL,
    created_at   BIGINT  NOT NULL
);

-- The names of public registries. status is ACTIVE, PENDING or REJECTED; one of an
-- account's active aliases is the primary one. decided_at is 0 until somebody has.
CREATE TABLE public_alias (
    alias        btext   NOT NULL PRIMARY KEY,
    account_id   btext   NOT NULL REFERENCES public_registry (account_id),
    status       btext   NOT NULL,
    is_default   BOOLEAN NOT NULL,
    is_primary   BOOLEAN NOT NULL,
    requested_at BIGINT  NOT NULL,
    decided_at   BIGINT  NOT NULL,
    reason       btext   NOT NULL
);
CREATE INDEX public_alias_account ON public_alias (account_id, alias);
CREATE INDEX public_alias_status ON public_alias (status, alias);
CREATE UNIQUE INDEX public_alias_default ON public_alias (account_id) WHERE is_default;
CREATE UNIQUE INDEX public_alias_primary ON public_alias (account_id) WHERE is_primary;

-- What is said of public repositories. architectures and operating_systems are JSON,
-- lists of text; logo is the id of a catalog_logo, "" for none.
CREATE TABLE catalog_data (
    repository_id     BIGINT NOT NULL PRIMARY KEY REFERENCES repository (id) ON DELETE CASCADE,
    description       btext  NOT NULL,
    about             btext  NOT NULL,
    usage             btext  NOT NULL,
    architectures     btext  NOT NULL,
    operating_systems btext  NOT NULL,
    logo              btext  NOT NULL,
    updated_at        BIGINT NOT NULL
);

-- Logos as they are served: decoded and encoded again.
CREATE TABLE catalog_logo (
    id            btext  NOT NULL PRIMARY KEY,
    repository_id BIGINT NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    media_type    btext  NOT NULL,
    body          BYTEA  NOT NULL,
    created_at    BIGINT NOT NULL
);
CREATE INDEX catalog_logo_repository ON catalog_logo (repository_id);

-- Public repositories that an image was pushed to. changed_at is when anything last
-- changed that the gallery shows of one, pushed_at when an image last came, downloads
-- how many manifests were pulled.
CREATE TABLE catalog_entry (
    repository_id BIGINT NOT NULL PRIMARY KEY REFERENCES repository (id) ON DELETE CASCADE,
    changed_at    BIGINT NOT NULL,
    pushed_at     BIGINT NOT NULL,
    downloads     BIGINT NOT NULL
);
CREATE INDEX catalog_entry_changed ON catalog_entry (changed_at, repository_id);

-- What images of public repositories run on. platforms is JSON, a list of os/architecture
-- and perhaps /variant; an image that says none has an empty one.
CREATE TABLE catalog_platform (
    repository_id BIGINT NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    digest        btext  NOT NULL,
    platforms     btext  NOT NULL,
    PRIMARY KEY (repository_id, digest)
);

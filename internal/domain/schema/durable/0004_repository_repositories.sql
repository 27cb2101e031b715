-- +goose Up
CREATE TABLE repository (
    id                 BIGINT  NOT NULL PRIMARY KEY,
    account_id         btext   NOT NULL,
    region             btext   NOT NULL,
    name               btext   NOT NULL,
    created_at         BIGINT  NOT NULL,
    tag_mutability     btext   NOT NULL,
    mutability_filters btext   NOT NULL,
    scan_on_push       BOOLEAN NOT NULL,
    encryption         btext   NOT NULL,
    kms_key            btext   NOT NULL,
    key_id             btext   NOT NULL,
    data_key           BYTEA   NOT NULL,
    images             BIGINT  NOT NULL,
    UNIQUE (account_id, region, name),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);

CREATE TABLE repository_tag (
    repository_id BIGINT NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    tag_key       btext  NOT NULL,
    tag_value     btext  NOT NULL,
    PRIMARY KEY (repository_id, tag_key)
);

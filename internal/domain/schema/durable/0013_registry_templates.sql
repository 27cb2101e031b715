-- +goose Up
-- Repository creation templates. prefix_key is the prefix without the slash that
-- is meant at its end in any case. mutability_filters, resource_tags and
-- applied_for are JSON, "" where there are none; policy has unique ids for its
-- principals; the lifecycle policy stands as it was given.
CREATE TABLE repository_template (
    account_id         btext  NOT NULL,
    region             btext  NOT NULL,
    prefix_key         btext  NOT NULL,
    prefix             btext  NOT NULL,
    description        btext  NOT NULL,
    encryption         btext  NOT NULL,
    kms_key            btext  NOT NULL,
    tag_mutability     btext  NOT NULL,
    mutability_filters btext  NOT NULL,
    resource_tags      btext  NOT NULL,
    policy             btext  NOT NULL,
    lifecycle_policy   btext  NOT NULL,
    applied_for        btext  NOT NULL,
    custom_role        btext  NOT NULL,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    PRIMARY KEY (account_id, region, prefix_key),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);

-- Roles and users whose pulls leave an image's last pull time as it is.
CREATE TABLE registry_pull_exclusion (
    account_id    btext  NOT NULL,
    region        btext  NOT NULL,
    principal_arn btext  NOT NULL,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (account_id, region, principal_arn),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);

-- +goose Up
-- Pull-through cache rules. prefix_key is the prefix without the slash that is meant
-- at its end in any case. kind is "" for a registry that has no name in the ECR API;
-- credential and custom_role are ARNs, "" for none.
CREATE TABLE pullthrough_rule (
    account_id      btext  NOT NULL,
    region          btext  NOT NULL,
    prefix_key      btext  NOT NULL,
    prefix          btext  NOT NULL,
    kind            btext  NOT NULL,
    url             btext  NOT NULL,
    upstream_prefix btext  NOT NULL,
    credential      btext  NOT NULL,
    custom_role     btext  NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    PRIMARY KEY (account_id, region, prefix_key),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);

-- What the nodes see by that the rules of a registry have changed.
CREATE TABLE pullthrough_revision (
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    revision   BIGINT NOT NULL,
    PRIMARY KEY (account_id, region)
);

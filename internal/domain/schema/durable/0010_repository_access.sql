-- +goose Up
-- access_revision changes with what decides about access: the policy, the tags.
ALTER TABLE repository ADD COLUMN access_revision BIGINT NOT NULL DEFAULT 0;

CREATE TABLE repository_policy (
    repository_id BIGINT NOT NULL PRIMARY KEY REFERENCES repository (id) ON DELETE CASCADE,
    document      btext  NOT NULL
);

ALTER TABLE registry ADD COLUMN access_revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE registry ADD COLUMN policy btext NOT NULL DEFAULT '';

-- What PutAccountSetting has set; a name without a row has its default.
CREATE TABLE registry_setting (
    account_id btext NOT NULL,
    region     btext NOT NULL,
    name       btext NOT NULL,
    value      btext NOT NULL,
    PRIMARY KEY (account_id, region, name),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);

-- +goose Up
-- revision changes with everything that decides about the account's principals.
ALTER TABLE account ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN alias btext NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN password_policy btext NOT NULL DEFAULT '';
CREATE UNIQUE INDEX account_alias ON account (alias) WHERE alias <> '';

-- An access key without a user is the root user's.
ALTER TABLE access_key DROP COLUMN principal;
ALTER TABLE access_key ADD COLUMN user_id btext NOT NULL DEFAULT '';
CREATE INDEX access_key_owner ON access_key (account_id, user_id, id);

-- When a key was last used, written in batches after the fact.
CREATE TABLE access_key_use (
    key_id  btext  NOT NULL PRIMARY KEY REFERENCES access_key (id) ON DELETE CASCADE,
    used_at BIGINT NOT NULL,
    region  btext  NOT NULL,
    service btext  NOT NULL
);

-- Users, groups and roles. name_key is the name in lower case: IAM's names
-- differ in more than case. The columns from trust on are for roles.
CREATE TABLE iam_entity (
    id            btext  NOT NULL PRIMARY KEY,
    account_id    btext  NOT NULL REFERENCES account (id),
    kind          btext  NOT NULL,
    name          btext  NOT NULL,
    name_key      btext  NOT NULL,
    path          btext  NOT NULL,
    created_at    BIGINT NOT NULL,
    boundary      btext  NOT NULL DEFAULT '',
    trust         btext  NOT NULL DEFAULT '',
    description   btext  NOT NULL DEFAULT '',
    max_session   BIGINT NOT NULL DEFAULT 0,
    service       btext  NOT NULL DEFAULT '',
    UNIQUE (account_id, kind, name_key)
);
CREATE INDEX iam_entity_boundary ON iam_entity (boundary, id) WHERE boundary <> '';

CREATE TABLE iam_membership (
    user_id  btext NOT NULL REFERENCES iam_entity (id) ON DELETE CASCADE,
    group_id btext NOT NULL REFERENCES iam_entity (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id)
);
CREATE INDEX iam_membership_group ON iam_membership (group_id, user_id);

CREATE TABLE iam_inline_policy (
    entity_id btext NOT NULL REFERENCES iam_entity (id) ON DELETE CASCADE,
    name      btext NOT NULL,
    document  btext NOT NULL,
    PRIMARY KEY (entity_id, name)
);

-- Managed policies of the account, by ARN. AWS's own stand in the program.
CREATE TABLE iam_policy (
    id              btext  NOT NULL PRIMARY KEY,
    account_id      btext  NOT NULL REFERENCES account (id),
    arn             btext  NOT NULL UNIQUE,
    name            btext  NOT NULL,
    name_key        btext  NOT NULL,
    path            btext  NOT NULL,
    description     btext  NOT NULL,
    default_version BIGINT NOT NULL,
    last_version    BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    UNIQUE (account_id, name_key)
);

CREATE TABLE iam_policy_version (
    policy_id  btext  NOT NULL REFERENCES iam_policy (id) ON DELETE CASCADE,
    version    BIGINT NOT NULL,
    document   btext  NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (policy_id, version)
);

CREATE TABLE iam_attachment (
    entity_id  btext NOT NULL REFERENCES iam_entity (id) ON DELETE CASCADE,
    policy_arn btext NOT NULL,
    PRIMARY KEY (entity_id, policy_arn)
);
CREATE INDEX iam_attachment_policy ON iam_attachment (policy_arn, entity_id);

-- Tags of users, roles, policies (owner is their id), OIDC providers and MFA
-- devices (owner is the ARN). Keys differ in more than case: key_fold is lower.
CREATE TABLE iam_tag (
    owner     btext NOT NULL,
    key_fold  btext NOT NULL,
    tag_key   btext NOT NULL,
    tag_value btext NOT NULL,
    PRIMARY KEY (owner, key_fold)
);

CREATE TABLE iam_login_profile (
    user_id        btext   NOT NULL PRIMARY KEY REFERENCES iam_entity (id) ON DELETE CASCADE,
    hash           btext   NOT NULL,
    reset_required BOOLEAN NOT NULL,
    created_at     BIGINT  NOT NULL,
    changed_at     BIGINT  NOT NULL,
    used_at        BIGINT  NOT NULL DEFAULT 0
);

-- Hashes of a user's former passwords, for the policy against using them again.
CREATE TABLE iam_password_history (
    user_id    btext  NOT NULL REFERENCES iam_entity (id) ON DELETE CASCADE,
    changed_at BIGINT NOT NULL,
    hash       btext  NOT NULL,
    PRIMARY KEY (user_id, changed_at)
);

-- Virtual MFA devices; user_id is empty while none has it, and the account's
-- number for the root user. last_step is the last time step that a code was
-- taken for, so that none is taken twice.
CREATE TABLE iam_mfa_device (
    serial     btext  NOT NULL PRIMARY KEY,
    account_id btext  NOT NULL REFERENCES account (id),
    name       btext  NOT NULL,
    path       btext  NOT NULL,
    user_id    btext  NOT NULL DEFAULT '',
    seed       BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    enabled_at BIGINT NOT NULL DEFAULT 0,
    skew       BIGINT NOT NULL DEFAULT 0,
    last_step  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX iam_mfa_device_user ON iam_mfa_device (account_id, user_id, serial);

CREATE TABLE iam_oidc_provider (
    arn         btext  NOT NULL PRIMARY KEY,
    account_id  btext  NOT NULL REFERENCES account (id),
    url         btext  NOT NULL,
    client_ids  btext  NOT NULL,
    thumbprints btext  NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX iam_oidc_provider_account ON iam_oidc_provider (account_id, arn);

-- An organization: a root, units under it, accounts in them, and service
-- control policies attached to any of these (target_id).
CREATE TABLE organization (
    id                 btext  NOT NULL PRIMARY KEY,
    root_id            btext  NOT NULL UNIQUE,
    management_account btext  NOT NULL UNIQUE REFERENCES account (id),
    created_at         BIGINT NOT NULL
);

CREATE TABLE organization_unit (
    id              btext NOT NULL PRIMARY KEY,
    organization_id btext NOT NULL REFERENCES organization (id),
    parent_id       btext NOT NULL,
    name            btext NOT NULL,
    UNIQUE (parent_id, name)
);

CREATE TABLE organization_account (
    account_id      btext  NOT NULL PRIMARY KEY REFERENCES account (id),
    organization_id btext  NOT NULL REFERENCES organization (id),
    parent_id       btext  NOT NULL,
    joined_at       BIGINT NOT NULL
);
CREATE INDEX organization_account_parent ON organization_account (parent_id, account_id);

CREATE TABLE organization_policy (
    id              btext  NOT NULL PRIMARY KEY,
    organization_id btext  NOT NULL REFERENCES organization (id),
    name            btext  NOT NULL,
    document        btext  NOT NULL,
    created_at      BIGINT NOT NULL,
    UNIQUE (organization_id, name)
);

CREATE TABLE organization_attachment (
    target_id btext NOT NULL,
    policy_id btext NOT NULL REFERENCES organization_policy (id),
    PRIMARY KEY (target_id, policy_id)
);

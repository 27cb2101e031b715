-- +goose Up
-- The default event bus of an account and region, once something was put on it.
-- revision is new with every change of its rules and targets, and never the same twice;
-- who changes them holds the row. tags is JSON.
CREATE TABLE event_bus (
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    revision   BIGINT NOT NULL,
    tags       btext  NOT NULL,
    PRIMARY KEY (account_id, region)
);

-- Rules of a bus. state is EventBridge's word, pattern the event pattern as it was
-- given, tags JSON.
CREATE TABLE event_rule (
    id          BIGINT NOT NULL PRIMARY KEY,
    account_id  btext  NOT NULL,
    region      btext  NOT NULL,
    name        btext  NOT NULL,
    state       btext  NOT NULL,
    pattern     btext  NOT NULL,
    description btext  NOT NULL,
    role_arn    btext  NOT NULL,
    tags        btext  NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    FOREIGN KEY (account_id, region) REFERENCES event_bus (account_id, region)
);
CREATE UNIQUE INDEX event_rule_name ON event_rule (account_id, region, name);

-- Targets of a rule. settings is JSON: what the target gets, and what happens when it
-- does not take it.
CREATE TABLE event_target (
    rule_id  BIGINT NOT NULL REFERENCES event_rule (id) ON DELETE CASCADE,
    id       btext  NOT NULL,
    arn      btext  NOT NULL,
    settings btext  NOT NULL,
    PRIMARY KEY (rule_id, id)
);
CREATE INDEX event_target_arn ON event_target (arn, rule_id);

-- +goose Up
-- What holds for one account in place of the deployment's value; repository is
-- empty, or one of the account's in whatever region. name stands in the table
-- of package quota, or is rate:<action>, in requests a second.
CREATE TABLE quota_value (
    account_id btext  NOT NULL REFERENCES account (id),
    repository btext  NOT NULL,
    name       btext  NOT NULL,
    value      BIGINT NOT NULL,
    PRIMARY KEY (account_id, repository, name)
);

-- One row; its revision changes with every change of quota_value.
CREATE TABLE quota_revision (
    id       BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO quota_revision (id, revision) VALUES (1, 0);

-- How much each node is asked for under request rates. beat changes with every
-- write; a node whose beat stands still is gone.
CREATE TABLE quota_demand (
    node   btext  NOT NULL PRIMARY KEY,
    beat   BIGINT NOT NULL,
    demand btext  NOT NULL
);

-- +goose Up
-- Rules of the pull gate, which hold images back. repositories and exempt are JSON, lists
-- of filters and of patterns of ARNs; severity is "" for a rule that does not look at
-- findings, unscanned is allow, block or strict, grace in days, wait in seconds.
CREATE TABLE scan_gate_rule (
    account_id   btext   NOT NULL,
    region       btext   NOT NULL,
    name         btext   NOT NULL,
    repositories btext   NOT NULL,
    severity     btext   NOT NULL,
    fixable      BOOLEAN NOT NULL,
    grace        BIGINT  NOT NULL,
    unscanned    btext   NOT NULL,
    wait         BIGINT  NOT NULL,
    exempt       btext   NOT NULL,
    created_at   BIGINT  NOT NULL,
    updated_at   BIGINT  NOT NULL,
    PRIMARY KEY (account_id, region, name),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);

-- Vulnerabilities that the gate does not count, until a time. repository is a filter and
-- package a name, both "" for all.
CREATE TABLE scan_gate_exception (
    account_id    btext  NOT NULL,
    region        btext  NOT NULL,
    id            BIGINT NOT NULL,
    vulnerability btext  NOT NULL,
    repository    btext  NOT NULL,
    package       btext  NOT NULL,
    reason        btext  NOT NULL,
    until         BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (account_id, region, id),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);

-- What the nodes see by that the gate of a registry has changed.
CREATE TABLE scan_gate_revision (
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    revision   BIGINT NOT NULL,
    PRIMARY KEY (account_id, region)
);

-- Which tags of which repositories (repository is a filter) a push is scanned with; tags
-- is JSON, a list of patterns.
CREATE TABLE scan_tag_rule (
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    repository btext  NOT NULL,
    tags       btext  NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, region, repository),
    FOREIGN KEY (account_id, region) REFERENCES registry (account_id, region)
);

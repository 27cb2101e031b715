-- +goose Up
-- Work to do. state: 0 waiting, 1 running, 2 dead. A job that is done is gone.
CREATE TABLE job (
    id           BIGINT  NOT NULL PRIMARY KEY,
    kind         btext   NOT NULL,
    unique_key   btext   NOT NULL,
    payload      btext   NOT NULL,
    state        BIGINT  NOT NULL,
    again        BOOLEAN NOT NULL,
    attempt      BIGINT  NOT NULL,
    max_attempts BIGINT  NOT NULL,
    run_at       BIGINT  NOT NULL,
    owner        btext   NOT NULL,
    lease_until  BIGINT  NOT NULL,
    created_at   BIGINT  NOT NULL,
    last_error   btext   NOT NULL
);
CREATE UNIQUE INDEX job_unique ON job (kind, unique_key) WHERE unique_key <> '' AND state < 2;
CREATE INDEX job_waiting ON job (kind, run_at, id) WHERE state = 0;
CREATE INDEX job_running ON job (lease_until) WHERE state = 1;
CREATE INDEX job_dead ON job (id) WHERE state = 2;

-- When a periodic job is due next.
CREATE TABLE job_period (
    kind    btext  NOT NULL PRIMARY KEY,
    next_at BIGINT NOT NULL
);

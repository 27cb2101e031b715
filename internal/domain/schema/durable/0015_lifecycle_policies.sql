-- +goose Up
-- evaluated_at is the last run's time, 0 before the first; reported_at is when the
-- images that a run could not act on were last recorded.
CREATE TABLE lifecycle_policy (
    repository_id BIGINT NOT NULL PRIMARY KEY REFERENCES repository (id) ON DELETE CASCADE,
    policy_id     btext  NOT NULL,
    version       BIGINT NOT NULL,
    document      btext  NOT NULL,
    evaluated_at  BIGINT NOT NULL DEFAULT 0,
    reported_at   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX lifecycle_policy_evaluated ON lifecycle_policy (evaluated_at, repository_id);

-- The last preview of each repository. started_at tells one preview from the next.
CREATE TABLE lifecycle_preview (
    repository_id BIGINT NOT NULL PRIMARY KEY REFERENCES repository (id) ON DELETE CASCADE,
    preview_id    BIGINT NOT NULL,
    document      btext  NOT NULL,
    status        btext  NOT NULL,
    started_at    BIGINT NOT NULL,
    expiring      BIGINT NOT NULL DEFAULT 0,
    transitioning BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX lifecycle_preview_started ON lifecycle_preview (started_at, repository_id);

-- tags is a JSON list, position the order of execution from 1.
CREATE TABLE lifecycle_preview_result (
    repository_id BIGINT NOT NULL REFERENCES lifecycle_preview (repository_id) ON DELETE CASCADE,
    position      BIGINT NOT NULL,
    digest        btext  NOT NULL,
    tags          btext  NOT NULL,
    pushed_at     BIGINT NOT NULL,
    rule          BIGINT NOT NULL,
    action        btext  NOT NULL,
    archived      BOOLEAN NOT NULL,
    PRIMARY KEY (repository_id, position)
);
CREATE INDEX lifecycle_preview_result_digest ON lifecycle_preview_result (repository_id, digest);

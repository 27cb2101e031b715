-- +goose Up
-- run counts how often the job was claimed and is never set back: with owner it
-- tells one run from every other. died_at is when a dead job became so.
-- progress_*: what the last run reported; progress_at 0: nothing so far,
-- progress_total 0: how much there is to do is not known.
ALTER TABLE job ADD COLUMN run            BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN died_at        BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN progress_done  BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN progress_total BIGINT NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN progress_text  btext  NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN progress_at    BIGINT NOT NULL DEFAULT 0;
UPDATE job SET died_at = run_at WHERE state = 2;
CREATE INDEX job_died ON job (died_at) WHERE state = 2;

-- +goose Up
-- Metrics that CloudWatch's calls show. id is made out of the four columns that name a
-- series. metric: 1 calls, 2 pulls, which are counted by the minute; 3 repositories, 4
-- images of a repository, of which changes are kept. last_at is a minute: none but
-- older ones have points of it, except that it is far in the future for a 3 or 4 that
-- still stands. value is what a 3 or 4 stands at.
CREATE TABLE usage_series (
    id         BIGINT NOT NULL PRIMARY KEY,
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    metric     BIGINT NOT NULL,
    resource   btext  NOT NULL,
    last_at    BIGINT NOT NULL,
    value      BIGINT NOT NULL,
    UNIQUE (account_id, region, metric, resource)
);

-- Points, by minutes since 1970: how many, or from when on it stands at which value; -1
-- is that it has gone.
CREATE TABLE usage_point (
    series_id BIGINT NOT NULL,
    minute    BIGINT NOT NULL,
    value     BIGINT NOT NULL,
    PRIMARY KEY (series_id, minute)
);

-- What one node does for all: for which slot of time it was last done, and until when
-- somebody is at it, in microseconds.
CREATE TABLE usage_task (
    name         btext  NOT NULL PRIMARY KEY,
    done         BIGINT NOT NULL,
    leased_until BIGINT NOT NULL
);
INSERT INTO usage_task (name, done, leased_until) VALUES ('gauges', 0, 0);
INSERT INTO usage_task (name, done, leased_until) VALUES ('storage', 0, 0);
INSERT INTO usage_task (name, done, leased_until) VALUES ('expire', 0, 0);

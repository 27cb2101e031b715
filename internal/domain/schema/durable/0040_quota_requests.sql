-- +goose Up
-- Requests for more of a quota (Service Quotas). status is the API's word; desired is in
-- the quota's own unit.
CREATE TABLE quota_request (
    id         BIGINT NOT NULL PRIMARY KEY,
    request_id btext  NOT NULL UNIQUE,
    account_id btext  NOT NULL,
    region     btext  NOT NULL,
    service    btext  NOT NULL,
    code       btext  NOT NULL,
    desired    BIGINT NOT NULL,
    status     btext  NOT NULL,
    requester  btext  NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX quota_request_account ON quota_request (account_id, region, id);
-- At most one that nobody has decided about.
CREATE UNIQUE INDEX quota_request_open ON quota_request (account_id, region, service, code) WHERE status = 'PENDING';

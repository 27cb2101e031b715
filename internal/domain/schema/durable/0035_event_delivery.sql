-- +goose Up
-- ordering is the ARN of the repository that an event is about, '' for none; ids of one
-- ordering ascend. routed says that the event's deliveries have been made. What was
-- there before there were rules has none.
ALTER TABLE event ADD COLUMN ordering btext NOT NULL DEFAULT '';
ALTER TABLE event ADD COLUMN routed BOOLEAN NOT NULL DEFAULT TRUE;
CREATE INDEX event_ordering ON event (ordering, id);
CREATE INDEX event_unrouted ON event (id) WHERE NOT routed;

-- An event that is to go, or could not go, to a target of a rule. state is 0 for one that
-- waits and 1 for a dead one; what was delivered has no row. since is when the target's
-- time for trying began. letter is the ARN where a dead one is sent, '' for none;
-- letter_at is when to try, 0 once it is there, or given up for letter_error.
CREATE TABLE event_delivery (
    id             BIGINT NOT NULL PRIMARY KEY,
    event_id       BIGINT NOT NULL REFERENCES event (id),
    message_id     btext  NOT NULL,
    account_id     btext  NOT NULL,
    region         btext  NOT NULL,
    rule_id        BIGINT NOT NULL,
    rule_name      btext  NOT NULL,
    rule_arn       btext  NOT NULL,
    target_id      btext  NOT NULL,
    target_arn     btext  NOT NULL,
    ordering       btext  NOT NULL,
    detail_type    btext  NOT NULL,
    state          BIGINT NOT NULL,
    routed_at      BIGINT NOT NULL,
    since          BIGINT NOT NULL,
    attempts       BIGINT NOT NULL DEFAULT 0,
    tried_at       BIGINT NOT NULL DEFAULT 0,
    last_error     btext  NOT NULL DEFAULT '',
    died_at        BIGINT NOT NULL DEFAULT 0,
    letter         btext  NOT NULL DEFAULT '',
    letter_at      BIGINT NOT NULL DEFAULT 0,
    letter_tries   BIGINT NOT NULL DEFAULT 0,
    letter_error   btext  NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX event_delivery_lane ON event_delivery (rule_id, target_id, ordering, event_id) WHERE state = 0;
CREATE INDEX event_delivery_event ON event_delivery (event_id);
CREATE INDEX event_delivery_dead ON event_delivery (died_at, id) WHERE state = 1;
CREATE INDEX event_delivery_letter ON event_delivery (letter_at) WHERE letter_at > 0;

-- A repository's deliveries to a target, as long as any waits: the first of them is
-- tried at next_at.
CREATE TABLE event_lane (
    rule_id   BIGINT NOT NULL,
    target_id btext  NOT NULL,
    ordering  btext  NOT NULL,
    next_at   BIGINT NOT NULL,
    PRIMARY KEY (rule_id, target_id, ordering)
);
CREATE INDEX event_lane_due ON event_lane (rule_id, target_id, next_at);

-- Which node sends to a target. Rows speak of nodes only.
CREATE TABLE event_stream (
    rule_id     BIGINT NOT NULL,
    target_id   btext  NOT NULL,
    owner       btext  NOT NULL,
    lease_until BIGINT NOT NULL,
    PRIMARY KEY (rule_id, target_id)
);

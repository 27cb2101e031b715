-- +goose Up
-- The keys that this deployment signs with. The newest generation is its identity;
-- older ones stay until every peer has been told of a newer one. private_key is
-- sealed.
CREATE TABLE peer_identity (
    generation  BIGINT NOT NULL PRIMARY KEY,
    public_key  BYTEA  NOT NULL,
    private_key BYTEA  NOT NULL,
    created_at  BIGINT NOT NULL
);

-- Other deployments. accounts are those that the peer may speak for, a JSON list.
-- told is the generation of our identity that the peer knows, told_at since when;
-- seen_at is the last time that it answered or asked with a good signature, 0 never;
-- error is what failed last, '' when the last contact was good.
CREATE TABLE peer (
    name       btext   NOT NULL PRIMARY KEY,
    url        btext   NOT NULL UNIQUE,
    insecure   BOOLEAN NOT NULL,
    accounts   btext   NOT NULL,
    created_at BIGINT  NOT NULL,
    told       BIGINT  NOT NULL,
    told_at    BIGINT  NOT NULL,
    seen_at    BIGINT  NOT NULL DEFAULT 0,
    error      btext   NOT NULL DEFAULT '',
    failed_at  BIGINT  NOT NULL DEFAULT 0
);

-- The keys that a peer may sign with: two from when it has told us of a new one
-- until it first uses that. generation is the peer's own count, 0 for a key that an
-- operator entered.
CREATE TABLE peer_key (
    fingerprint btext  NOT NULL PRIMARY KEY,
    peer        btext  NOT NULL REFERENCES peer (name) ON DELETE CASCADE,
    public_key  BYTEA  NOT NULL,
    generation  BIGINT NOT NULL,
    added_at    BIGINT NOT NULL
);
CREATE INDEX peer_key_peer ON peer_key (peer, generation);

-- One row: changes with everything above that decides about a request.
CREATE TABLE peer_revision (
    id       BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);

-- The rows that the plans are made for. Every statement ends with a line that
-- holds nothing but a semicolon. Foreign keys are not checked meanwhile: the rows
-- keep to them. Nothing here is random, so that every load is the same.

-- 10,000 repositories: one of 100,000 images, one of 10,000, a thousand of 689,
-- one of 27, the rest of 9 or 49; a million images in all.
INSERT INTO registry (account_id, region, repositories, created_at) VALUES ('000000000000', 'us-east-1', 10000, 1760000000000000)
ON CONFLICT (account_id, region) DO UPDATE SET repositories = 10000
;
INSERT INTO repository (id, account_id, region, name, created_at, tag_mutability, mutability_filters, scan_on_push, encryption, kms_key, key_id, data_key, images)
SELECT k, '000000000000', 'us-east-1',
    CASE k WHEN 1 THEN 'platform/monorepo' WHEN 2 THEN 'platform/nightly' ELSE 'team-' || lpad((k % 200)::text, 3, '0') || '/service-' || lpad(k::text, 5, '0') END,
    1760000000000000 + k, 'MUTABLE', '', FALSE, 'AES256', '', '', ''::bytea,
    CASE WHEN k = 1 THEN 100000 WHEN k = 2 THEN 10000 WHEN k = 3 THEN 27 WHEN k % 10 = 9 THEN 689 WHEN k % 10 >= 6 THEN 49 ELSE 9 END
FROM generate_series(1, 10000) AS k
;
INSERT INTO repository_tag (repository_id, tag_key, tag_value)
SELECT k, 'team', 'team-' || k % 200 FROM generate_series(1, 10000) AS k
;
INSERT INTO repository_policy (repository_id, document)
SELECT k, '{"Version":"2012-10-17","Statement":[{"Sid":"pull","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"]}]}'
FROM generate_series(1, 10000, 4) AS k
;

-- Images of all repositories come one after the other as in time, mixed. 4 of 10
-- have one tag, 2 have three, 4 none; 1 of 50 refers to another.
INSERT INTO image (id, repository_id, digest, media_type, artifact_type, size, manifest_size, pushed_at, tags, subject, annotations, status, archived_at)
SELECT n, r, 'sha256:' || md5('image ' || n) || md5(n || ' image'), 'application/vnd.oci.image.manifest.v1+json', '', 30000000 + n % 1000, 900,
    1760000000000000 + n * 1000000,
    CASE WHEN n % 10 < 4 THEN 1 WHEN n % 10 < 6 THEN 3 ELSE 0 END,
    CASE WHEN n % 50 = 7 THEN 'sha256:' || md5('subject ' || r || n % 5) || md5(r || ' subject' || n % 5) ELSE '' END,
    CASE WHEN n % 50 = 7 THEN '{"kind":"signature"}' ELSE '' END,
    CASE WHEN n % 100 = 8 THEN 1 ELSE 0 END, CASE WHEN n % 100 = 8 THEN 1760000000000000 ELSE 0 END
FROM (
    SELECT row_number() OVER (ORDER BY (j::float8 + (r * 7919 % 10007) / 10007.0) / images, r) AS n, r
    FROM (SELECT id AS r, images FROM repository) AS s, generate_series(0, s.images - 1) AS j
) AS o
ORDER BY n
;
INSERT INTO manifest (image_id, body)
SELECT n, convert_to(repeat('manifest ', 20) || n, 'UTF8') FROM generate_series(1, 1000000) AS n
;
INSERT INTO image_tag (repository_id, tag, image_id, updated_at)
SELECT repository_id, t, id, pushed_at
FROM image, LATERAL (SELECT 'build-' || id WHERE tags > 0 UNION ALL SELECT 'v1.' || id WHERE tags = 3 UNION ALL SELECT 'commit-' || left(md5(id::text), 12) WHERE tags = 3) AS x(t)
;
-- Three blobs each: a configuration of its own, one layer that few images of the
-- repository share, and one base of 200 that all repositories share.
INSERT INTO image_layer (image_id, digest, repository_id, media_type)
SELECT i.id, 'sha256:' || md5(x.what) || md5(x.what || ' blob'), i.repository_id, x.media
FROM image i JOIN repository r ON r.id = i.repository_id, LATERAL (VALUES
    ('config ' || i.id, 'application/vnd.oci.image.config.v1+json'),
    ('layer ' || r.id || ' ' || i.id % greatest(1, r.images / 4), 'application/vnd.oci.image.layer.v1.tar+gzip'),
    ('base ' || r.id % 20 || ' ' || i.id % 10, 'application/vnd.oci.image.layer.v1.tar+gzip')) AS x(what, media)
;
INSERT INTO blob (id, account_id, region, key_id, digest, size, object_key, seal, created_at)
SELECT row_number() OVER (ORDER BY digest), '000000000000', 'us-east-1', '', digest, 1000000, '000000000000/us-east-1/' || substr(digest, 8, 2) || '/' || substr(digest, 8, 32), ''::bytea, 1760000000000000
FROM (SELECT DISTINCT digest FROM image_layer) AS d
;
INSERT INTO layer (repository_id, digest, blob_id, created_at)
SELECT h.repository_id, h.digest, b.id, b.created_at
FROM (SELECT DISTINCT repository_id, digest FROM image_layer) AS h JOIN blob b ON b.digest = h.digest
;
INSERT INTO image_child (image_id, digest, repository_id)
SELECT id, 'sha256:' || md5('child ' || id) || md5(id || ' child'), repository_id FROM image WHERE id % 50 = 9
;
INSERT INTO image_translation (repository_id, digest, image_id, media_type, tag)
SELECT repository_id, 'sha256:' || md5('docker ' || id) || md5(id || ' docker'), id, 'application/vnd.docker.distribution.manifest.v2+json', '' FROM image WHERE id % 10 = 3
;
INSERT INTO image_pull (image_id, pulled_at)
SELECT n, 1770000000000000 FROM generate_series(1, 1000000, 2) AS n
;
INSERT INTO event (id, account_id, region, kind, occurred_at, detail)
SELECT n, '000000000000', 'us-east-1', 'image.pushed', 1760000000000000 + n, '{}' FROM generate_series(1, 100000) AS n
;
-- Two thousand of a million audit records are older than they are kept.
INSERT INTO audit (id, account_id, region, occurred_at, name, record)
SELECT n, '000000000000', 'us-east-1', CASE WHEN n <= 2000 THEN 1000000 ELSE 4000000000000000 END + n, 'PutImage', repeat('record ', 40) || n FROM generate_series(1, 1000000) AS n
;
-- Of the reviews and of the garbage nothing is due yet.
INSERT INTO layer_review (repository_id, digest, blob_id, due_at)
SELECT repository_id, digest, blob_id, 4000000000000000 + blob_id FROM layer WHERE blob_id % 6 = 0
;
INSERT INTO garbage (region, object_key, due_at)
SELECT 'us-east-1', '000000000000/us-east-1/00/garbage-' || n, 4000000000000000 + n FROM generate_series(1, 100000) AS n
;
INSERT INTO deleted_image (id, repository_id, digest, media_type, tags, body, pushed_at, pulled_at, deleted_at, expires_at)
SELECT n, 1 + n % 10000, 'sha256:' || md5('deleted ' || n) || md5(n || ' deleted'), 'application/vnd.oci.image.manifest.v1+json', '[]', ''::bytea, 1, 0, 1, CASE WHEN n <= 50 THEN n ELSE 4000000000000000 END
FROM generate_series(1, 100000) AS n
;
INSERT INTO deleted_image_layer (deleted_id, digest, repository_id)
SELECT n, 'sha256:' || md5('gone ' || n) || md5(n || ' gone'), 1 + n % 10000 FROM generate_series(1, 100000) AS n
;
-- Policies of 5,000 repositories, nearly all evaluated lately.
INSERT INTO lifecycle_policy (repository_id, policy_id, version, document, evaluated_at)
SELECT k, 'policy-' || k, 1,
    '{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":100000},"action":{"type":"expire"}}]}', 4000000000000000
FROM generate_series(3, 10000, 2) AS k
;
-- Work that waits for another day, and work that failed for good.
INSERT INTO job (id, kind, unique_key, payload, state, again, attempt, max_attempts, run_at, owner, lease_until, created_at, last_error, died_at)
SELECT n, CASE n % 2 WHEN 0 THEN 'lifecycle.run' ELSE 'image.activate' END, 'waiting ' || n, '{}', CASE WHEN n % 20 = 0 THEN 2 ELSE 0 END, FALSE, 0, 20, 4000000000000000 + n, '', 0, 1, '',
    CASE WHEN n % 20 = 0 THEN 4000000000000000 ELSE 0 END
FROM generate_series(1, 20000) AS n
;
INSERT INTO upload (id, repository_id, region, object_key, closed, opened, received, parts, last_part, part_cut, small_part, state, hashes, process, mixed, writer, writer_until, wanted, started_at, expires_at)
SELECT 'upload-' || n, 1 + n % 10000, 'us-east-1', '000000000000/us-east-1/00/upload-' || n, FALSE, 0, 0, 0, 0, FALSE, FALSE, ''::bytea, ''::bytea, '', FALSE, '', 0, FALSE, 1, 4000000000000000 + n
FROM generate_series(1, 20000) AS n
;
-- Two thousand users with two policies and a key each.
INSERT INTO iam_entity (id, account_id, kind, name, name_key, path, created_at)
SELECT 'AIDA' || lpad(n::text, 16, '0'), '000000000000', 'user', 'user-' || n, 'user-' || n, '/', 1 FROM generate_series(1, 2000) AS n
;
INSERT INTO access_key (id, account_id, secret, enabled, created_at, user_id)
SELECT 'AKIA' || lpad(n::text, 16, '0'), '000000000000', ''::bytea, TRUE, 1, 'AIDA' || lpad(n::text, 16, '0') FROM generate_series(1, 2000) AS n
;
INSERT INTO iam_attachment (entity_id, policy_arn)
SELECT 'AIDA' || lpad(n::text, 16, '0'), 'arn:aws:iam::aws:policy/' || p FROM generate_series(1, 2000) AS n, unnest(ARRAY['AmazonEC2ContainerRegistryReadOnly', 'AmazonEC2ContainerRegistryPowerUser']) AS p
;

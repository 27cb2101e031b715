package image

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/batch"
)

// Put is a push: the input of Service.Put.
type Put struct {
	// Manifest is the manifest as the client sent it.
	Manifest []byte
	// MediaType is what the client announced, "" for nothing.
	MediaType string
	// Tag to put on the image, "" for none.
	Tag name.Tag
	// Digest that the client announced, "" for none. Its algorithm becomes
	// that of the image's digest.
	Digest name.Digest
	// Origin says how the image comes if no client pushes it.
	Origin event.Origin
	// Sparse lets an index be stored whose children are not all here: the
	// pull-through cache brings them when they are asked for.
	Sparse bool
	// Before, if it is set, runs in the transaction once the repository is locked;
	// its error undoes everything. It may run more than once, and adds no images.
	Before func(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error
}

// Put stores an image, or puts a tag on one that is there. created=false says
// that the image was there with this tag (or, without a tag, at all) and
// nothing has changed; see Exists. An archived image that is pushed again is
// active at once.
//
// It returns the refusals of manifest.Parse, errs.InvalidParameter for a tag or
// a digest algorithm that cannot be, errs.ImageDigestMismatch,
// errs.RepositoryNotFound, errs.TagExists for an immutable tag,
// errs.LayersNotFound, errs.ReferencedImagesNotFound, errs.LimitExceeded and
// errs.KeyFailure.
func (s *Service) Put(ctx context.Context, r repository.Repository, p Put) (img Image, created bool, err error) {
	push, err := s.prepare(ctx, r, p)
	if err != nil {
		return Image{}, false, err
	}
	var stored row
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		stored, created, err = s.put(ctx, tx, r, push)
		return err
	})
	if err != nil {
		return Image{}, false, err
	}
	img = stored.image(p.Tag)
	img.Manifest = p.Manifest
	return img, created, nil
}

// push is a Put that is ready for its transaction: everything is done that
// needs no row.
type push struct {
	manifest    manifest.Manifest
	digest      name.Digest
	tag         name.Tag
	size        int
	sealed      []byte
	annotations string
	translation name.Digest // "" for none
	translated  string      // its media type
	limits      quota.Limits
	origin      event.Origin
	sparse      bool
	before      func(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error
}

func (s *Service) prepare(ctx context.Context, r repository.Repository, p Put) (push, error) {
	if p.Tag != "" {
		if _, err := name.ParseTag(string(p.Tag)); err != nil {
			return push{}, errs.Parameter("imageTag", "must satisfy regular expression '"+name.TagPattern+"'")
		}
	}
	limits, err := s.Quotas.Limits(ctx, r.Registry.Account)
	if err != nil {
		return push{}, err
	}
	m, err := manifest.Parse(p.Manifest, p.MediaType, manifest.Limits{Bytes: limits.ManifestBytes, Layers: limits.LayersPerImage})
	if err != nil {
		return push{}, err
	}
	out := push{manifest: m, digest: name.SHA256(m.Canonical), tag: p.Tag, size: len(p.Manifest), limits: limits, origin: p.Origin, sparse: p.Sparse, before: p.Before}
	if p.Digest != "" {
		if out.digest = p.Digest.DigestOf(m.Canonical); out.digest == "" {
			return push{}, errs.Parameter("imageDigest", "The digest algorithm is not supported; use sha256 or sha512")
		}
		if out.digest != p.Digest {
			return push{}, errs.New(errs.ImageDigestMismatch, "The image digest '%s' does not match the calculated digest '%s'", p.Digest, out.digest)
		}
	}
	if m.Subject.Digest != "" && len(m.Annotations) > 0 {
		b, err := json.Marshal(m.Annotations)
		if err != nil {
			return push{}, err
		}
		out.annotations = string(b)
	}
	if body, mediaType, ok := m.Counterpart(); ok {
		out.translation, out.translated = name.SHA256(body), mediaType
	}
	out.sealed, err = s.Repositories.Seal(ctx, r, SealContext(out.digest), p.Manifest)
	return out, err
}

// put is the transaction of a push.
func (s *Service) put(ctx context.Context, tx *sqldb.Tx, r repository.Repository, p push) (i row, created bool, err error) {
	r, err = s.Repositories.Lock(ctx, tx, r)
	if err != nil {
		return row{}, false, err
	}
	if p.before != nil {
		if err := p.before(ctx, tx, r); err != nil {
			return row{}, false, err
		}
	}
	i, tagged, err := findEither(ctx, tx, r, p)
	if err != nil {
		return row{}, false, err
	}
	there := i.id != 0
	if there && i.status == Active && (p.tag == "" || tagged == i.id) {
		return i, false, nil
	}
	if tagged != 0 && tagged != i.id && !r.Mutability.Allows(p.tag) {
		return row{}, false, errs.New(errs.TagExists,
			"The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable.", p.tag, r.Name)
	}
	switch {
	case !there:
		i, err = s.insert(ctx, tx, r, p)
	case i.status != Active:
		err = s.revive(ctx, tx, r, &i, p)
	}
	if err != nil {
		return row{}, false, err
	}
	if p.tag != "" && tagged != i.id {
		if err := s.setTag(ctx, tx, r, &i, p, there, tagged); err != nil {
			return row{}, false, err
		}
	}
	return i, true, s.recordPush(ctx, tx, r, i, p)
}

// imageByEither finds the image of a digest, and the one that has a tag now.
const imageByEither = `SELECT ` + rowColumns + `, 0 FROM image i WHERE i.repository_id = $1 AND i.digest = $2
	UNION ALL SELECT ` + rowColumns + `, 1 FROM image_tag t JOIN image i ON i.id = t.image_id WHERE t.repository_id = $1 AND t.tag = $3`

// findEither finds the image that is pushed, if it is there, and the number of the
// one that has the tag, 0 for none.
func findEither(ctx context.Context, tx *sqldb.Tx, r repository.Repository, p push) (i row, tagged int64, err error) {
	var byTag int64
	s := rows(&byTag)
	_, err = sqldb.Collect(ctx, tx, func(from sqldb.Scanner) (struct{}, error) {
		found, err := s.scan(from)
		if byTag == 1 {
			tagged = found.id
		} else {
			i = found
		}
		return struct{}{}, err
	}, imageByEither, r.ID, string(p.digest), string(p.tag))
	return i, tagged, err
}

// insert adds an image that is not there, with everything that belongs to it but
// its tag, which is counted.
func (s *Service) insert(ctx context.Context, tx *sqldb.Tx, r repository.Repository, p push) (row, error) {
	if r.Images >= p.limits.ImagesPerRepository {
		return row{}, errs.New(errs.LimitExceeded, "The repository with name '%s' in registry with id '%s' already has the maximum allowed number of images which is '%d'",
			r.Name, r.Registry.Account, p.limits.ImagesPerRepository)
	}
	if err := s.Repositories.AddImages(ctx, tx, r.ID, 1); err != nil {
		return row{}, err
	}
	blobs, blobSize, err := s.requireBlobs(ctx, tx, r, p.manifest)
	if err != nil {
		return row{}, err
	}
	children, childSize, err := requireChildren(ctx, tx, r, p)
	if err != nil {
		return row{}, err
	}
	i := row{
		id: sqldb.NewID(), digest: p.digest, mediaType: p.manifest.MediaType, artifactType: p.manifest.EffectiveArtifactType(),
		size: max(blobSize, childSize), manifestSize: int64(p.size), pushedAt: s.Clock.Now().UnixMicro(), subject: p.manifest.Subject.Digest,
	}
	if p.tag != "" {
		i.tags = 1
	}
	_, err = tx.Exec(ctx, `INSERT INTO image (id, repository_id, digest, media_type, artifact_type, size, manifest_size, pushed_at, tags, subject, annotations, sparse)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		i.id, r.ID, string(i.digest), i.mediaType, i.artifactType, i.size, i.manifestSize, i.pushedAt, i.tags, string(i.subject), p.annotations, p.sparse && len(children) > 0)
	if err != nil {
		return row{}, err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO manifest (image_id, body) VALUES ($1, $2)`, i.id, p.sealed); err != nil {
		return row{}, err
	}
	err = batch.Insert(ctx, tx, `INSERT INTO image_layer (image_id, digest, repository_id, media_type) VALUES `, len(blobs), func(n int) []any {
		return []any{i.id, string(blobs[n].Digest), r.ID, blobs[n].MediaType}
	})
	if err != nil {
		return row{}, err
	}
	err = batch.Insert(ctx, tx, `INSERT INTO image_child (image_id, digest, repository_id) VALUES `, len(children), func(n int) []any {
		return []any{i.id, string(children[n]), r.ID}
	})
	if err != nil || p.translation == "" {
		return i, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO image_translation (repository_id, digest, image_id, media_type, tag) VALUES ($1, $2, $3, $4, '')`,
		r.ID, string(p.translation), i.id, p.translated)
	return i, err
}

// revive makes an image active that was archived. Layers whose bytes did not come
// with the push come back from the archive.
func (s *Service) revive(ctx context.Context, tx *sqldb.Tx, r repository.Repository, i *row, p push) error {
	if _, _, err := s.requireBlobs(ctx, tx, r, p.manifest); err != nil {
		return err
	}
	if _, _, err := requireChildren(ctx, tx, r, p); err != nil {
		return err
	}
	i.status, i.activatedAt = Active, s.Clock.Now().UnixMicro()
	_, err := tx.Exec(ctx, `UPDATE image SET status = 0, activated_at = $2 WHERE id = $1`, i.id, i.activatedAt)
	return err
}

// requireBlobs finds what the image needs in the repository, and its size. A
// foreign layer may be missing; one that is there is kept like any other.
func (s *Service) requireBlobs(ctx context.Context, tx *sqldb.Tx, r repository.Repository, m manifest.Manifest) (held []manifest.Descriptor, size int64, err error) {
	blobs := m.Blobs()
	if len(blobs) == 0 {
		return nil, 0, nil
	}
	digests := make([]name.Digest, len(blobs))
	for n, b := range blobs {
		digests[n] = b.Digest
	}
	sizes, _, err := s.Layers.RequireTx(ctx, tx, r, digests)
	if err != nil {
		return nil, 0, err
	}
	var missing []string
	for _, b := range blobs {
		blobSize, ok := sizes[b.Digest]
		switch {
		case ok && b.Size >= 0 && b.Size != blobSize:
			// Every client refuses such an image when it pulls it.
			return nil, 0, errs.New(errs.ManifestInvalid, "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'the layer %s has %d bytes, not %d'",
				b.Digest, blobSize, b.Size)
		case ok:
			held = append(held, b)
			size += blobSize
		case !b.Foreign:
			missing = append(missing, string(b.Digest))
		}
	}
	if len(missing) > 0 {
		return nil, 0, errs.New(errs.LayersNotFound, "Layers with digests '[%s]' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist",
			strings.Join(missing, ", "), r.Name, r.Registry.Account)
	}
	return held, size, nil
}

// childrenByDigest is completed with a list of digests. An archived child is not
// there: the index could not be pulled.
const childrenByDigest = `SELECT digest, size FROM image WHERE repository_id = $1 AND status <> 1 AND digest IN `

// requireChildren finds what an index needs in the repository, and the size of
// the largest. The children of a sparse one are all taken as they are named. The lock on the repository keeps the children until the commit.
func requireChildren(ctx context.Context, tx *sqldb.Tx, r repository.Repository, p push) (digests []name.Digest, size int64, err error) {
	children := p.manifest.ChildManifests()
	sizes := make(map[name.Digest]int64, len(children))
	for n := 0; n < len(children); n += batch.Size {
		some := children[n:min(n+batch.Size, len(children))]
		args := []any{r.ID}
		for _, c := range some {
			args = append(args, string(c.Digest))
		}
		_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
			var digest string
			var size int64
			err := row.Scan(&digest, &size)
			sizes[name.Digest(digest)] = size
			return struct{}{}, err
		}, childrenByDigest+sqldb.In(2, len(some)), args...)
		if err != nil {
			return nil, 0, err
		}
	}
	var missing []string
	for _, c := range children {
		childSize, ok := sizes[c.Digest]
		if !ok && !p.sparse {
			missing = append(missing, string(c.Digest))
			continue
		}
		digests = append(digests, c.Digest)
		size = max(size, childSize)
	}
	if len(missing) > 0 {
		return nil, 0, errs.New(errs.ReferencedImagesNotFound, "Images with digests '[%s]' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist",
			strings.Join(missing, ", "), r.Name, r.Registry.Account)
	}
	return digests, size, nil
}

// setTag puts the tag on the image, where it is counted already if the image was not
// there, taking it from the image that has it; 0 for none. That image stays,
// untagged if it was its last.
func (s *Service) setTag(ctx context.Context, tx *sqldb.Tx, r repository.Repository, i *row, p push, there bool, from int64) error {
	if there {
		i.tags++
	}
	if i.tags > p.limits.TagsPerImage {
		return errs.New(errs.LimitExceeded, "The image with digest '%s' in the repository with name '%s' in registry with id '%s' already has the maximum allowed number of tags which is '%d'",
			i.digest, r.Name, r.Registry.Account, p.limits.TagsPerImage)
	}
	_, err := tx.Exec(ctx, `INSERT INTO image_tag (repository_id, tag, image_id, updated_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (repository_id, tag) DO UPDATE SET image_id = excluded.image_id, updated_at = excluded.updated_at`,
		r.ID, string(p.tag), i.id, s.Clock.Now().UnixMicro())
	if err != nil {
		return err
	}
	if there {
		err = addTags(ctx, tx, i.id, 1)
	}
	if err == nil && from != 0 {
		err = addTags(ctx, tx, from, -1)
	}
	return err
}

// addTags changes an image's count of tags.
func addTags(ctx context.Context, tx *sqldb.Tx, id, delta int64) error {
	_, err := tx.Exec(ctx, `UPDATE image SET tags = tags + $1 WHERE id = $2`, delta, id)
	return err
}

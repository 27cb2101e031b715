package repository

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository/kept"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Config is what a Service stands on.
type Config struct {
	DB         *sqldb.DB
	Clock      clock.Clock
	Registries *registry.Service
	Keys       keys.Manager
	Quotas     quota.Source
	// Sealing says whether manifests are sealed at rest; off only where the
	// operator has said that the disks are encrypted already.
	Sealing bool
}

// Service stores repositories.
type Service struct {
	Config
	sealers sealers
	access  *revcache.Cache[accessKey, Access]
	// rows are repositories as they stand, but for their counts of images. Only a
	// database that no other node writes to is remembered.
	rows *revcache.Cache[accessKey, Repository]
	// contents are told when something in a repository may have changed.
	contents []func(repository int64)
}

// New returns the service.
func New(c Config) *Service {
	s := &Service{Config: c, access: revcache.New[accessKey, Access](c.Clock, CacheLife, maxAccess)}
	if !c.DB.Shared() {
		s.rows = revcache.New[accessKey, Repository](c.Clock, CacheLife, maxAccess)
	}
	return s
}

// Keep is a cache of at most most bytes for what is read of repositories' images and
// layers, each by the number of its repository; nil where other processes may change them.
// It is called before the service is used.
func Keep[V any](s *Service, most int) *kept.Cache[V] {
	if s.DB.Shared() {
		return nil
	}
	c := kept.New[V](most)
	s.contents = append(s.contents, c.Changed)
	return c
}

// update runs fn in a transaction. errs.StorageFull when the database has no
// room.
func (s *Service) update(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	err := s.DB.Update(ctx, fn)
	if errors.Is(err, sqldb.ErrFull) {
		return StorageFull(err)
	}
	return err
}

// NotFound is the failure for a repository that is not there.
func NotFound(reg name.Registry, repo name.Repository) error {
	return errs.New(errs.RepositoryNotFound, "The repository with name '%s' does not exist in the registry with id '%s'", repo, reg.Account)
}

// madeColumns are what a new repository's row is given, columns what scan reads.
const (
	madeColumns = `id, account_id, region, name, created_at, tag_mutability, mutability_filters, scan_on_push, encryption, kms_key, key_id, data_key, images`
	columns     = madeColumns + `, deleted_at, expires_at, deleted_name`
)

func scan(row sqldb.Scanner) (Repository, error) {
	var r Repository
	var account, region, repo, mutability, filters, encryption, deletedName string
	var created, deleted, expires int64
	err := row.Scan(&r.ID, &account, &region, &repo, &created, &mutability, &filters, &r.ScanOnPush,
		&encryption, &r.Encryption.KMSKey, &r.Encryption.KeyID, &r.dataKey, &r.Images, &deleted, &expires, &deletedName)
	if err != nil {
		return Repository{}, err
	}
	r.Registry = name.Registry{Account: name.AccountID(account), Region: name.Region(region)}
	r.Name = name.Repository(repo)
	r.CreatedAt = time.UnixMicro(created)
	if deleted != 0 {
		r.Name, r.DeletedAt, r.ExpiresAt = name.Repository(deletedName), time.UnixMicro(deleted), time.UnixMicro(expires)
	}
	r.Mutability.Setting = TagMutability(mutability)
	r.Encryption.Type = EncryptionType(encryption)
	if filters != "" {
		if err := json.Unmarshal([]byte(filters), &r.Mutability.Filters); err != nil {
			return Repository{}, err
		}
	}
	return r, nil
}

// Create is the input of Service.Create.
type Create struct {
	Registry   name.Registry
	Name       name.Repository
	Mutability Mutability
	ScanOnPush bool
	// Encryption.KMSKey is a key's id, ARN or alias as the caller wrote it.
	Encryption Encryption
	Tags       map[string]string
	// Policy is the repository policy as it is stored, its principals pinned;
	// nil for none.
	Policy *policy.Document
	// After runs in the transaction that makes the repository, and its error
	// leaves nothing made; nil for none. It may run more than once.
	After func(ctx context.Context, tx *sqldb.Tx, made Repository) error
}

// Create makes a repository. It returns errs.RepositoryExists,
// errs.LimitExceeded, errs.KeyFailure for a key that cannot be used,
// errs.InvalidParameter for a wrong mutability setting and
// errs.InvalidResourceTag or errs.TooManyResourceTags for its tags, and what After
// returns.
func (s *Service) Create(ctx context.Context, c Create) (Repository, error) {
	if err := c.Mutability.Validate(); err != nil {
		return Repository{}, err
	}
	limits, err := s.Quotas.Limits(ctx, c.Registry.Account)
	if err != nil {
		return Repository{}, err
	}
	limits = limits.In(c.Registry)
	if err := CheckTags(c.Tags, limits.ResourceTags); err != nil {
		return Repository{}, err
	}
	encryption, err := s.resolveEncryption(ctx, c.Registry, c.Encryption)
	if err != nil {
		return Repository{}, err
	}
	r := Repository{
		ID: sqldb.NewID(), Registry: c.Registry, Name: c.Name, CreatedAt: s.Clock.Now().Truncate(time.Millisecond),
		Mutability: c.Mutability, ScanOnPush: c.ScanOnPush, Encryption: encryption, dataKey: []byte{},
	}
	if s.Sealing {
		dataKey := make([]byte, 32)
		_, _ = rand.Read(dataKey) // never fails: crypto/rand ends the program instead
		if r.dataKey, err = s.Keys.Wrap(ctx, encryption.KeyID, dataKey, sealContext(r.ID)); err != nil {
			return Repository{}, KeyFailure(err)
		}
	}
	filters, err := marshalFilters(r.Mutability.Filters)
	if err != nil {
		return Repository{}, err
	}
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		if err := s.Registries.EnsureTx(ctx, tx, c.Registry); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `INSERT INTO repository (`+madeColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0)
			ON CONFLICT (account_id, region, name) DO NOTHING`,
			r.ID, string(r.Registry.Account), string(r.Registry.Region), string(r.Name), r.CreatedAt.UnixMicro(),
			string(r.Mutability.Setting), filters, r.ScanOnPush, string(r.Encryption.Type), r.Encryption.KMSKey, r.Encryption.KeyID, r.dataKey)
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.New(errs.RepositoryExists, "The repository with name '%s' already exists in the registry with id '%s'", c.Name, c.Registry.Account)
		}
		count, err := s.Registries.AddRepositoriesTx(ctx, tx, c.Registry, 1)
		if err != nil {
			return err
		}
		if count > limits.RepositoriesPerRegistry {
			return errs.New(errs.LimitExceeded, "The registry with id '%s' already has the maximum allowed number of repositories which is '%d'", c.Registry.Account, limits.RepositoriesPerRegistry)
		}
		s.changedAfter(tx, r)
		if c.Policy != nil {
			if err := putPolicy(ctx, tx, r.ID, c.Policy); err != nil {
				return err
			}
		}
		if err := putTags(ctx, tx, r.ID, c.Tags); err != nil || c.After == nil {
			return err
		}
		return c.After(ctx, tx, r)
	})
	if err != nil {
		return Repository{}, err
	}
	return r, nil
}

// Validate checks type and key against each other, without a look at the key.
func (e Encryption) Validate() error {
	switch e.Type {
	case "", AES256:
		if e.KMSKey != "" {
			return errs.Parameter("encryptionConfiguration", "kmsKey can only be set when encryptionType is KMS")
		}
	case KMS:
	default:
		return errs.Parameter("encryptionType", "encryptionType '"+string(e.Type)+"' is not supported in this region")
	}
	return nil
}

// resolveEncryption finds the key that the caller named. KMS without a key is
// the account's aws/ecr key, made on first use.
func (s *Service) resolveEncryption(ctx context.Context, reg name.Registry, e Encryption) (Encryption, error) {
	if err := e.Validate(); err != nil {
		return Encryption{}, err
	}
	if e.Type != KMS {
		return Encryption{Type: AES256}, nil
	}
	var k keys.Key
	var err error
	if e.KMSKey == "" {
		k, err = s.Keys.Create(ctx, string(reg.Account), string(reg.Region), "alias/aws/ecr")
	} else {
		k, err = s.Keys.Resolve(ctx, string(reg.Account), string(reg.Region), e.KMSKey)
	}
	if err != nil {
		return Encryption{}, KeyFailure(err)
	}
	if !k.Enabled {
		return Encryption{}, KeyFailure(keys.ErrDisabled)
	}
	arn := name.ARN{Partition: reg.Region.Partition(), Service: "kms", Region: name.Region(k.Region), Account: name.AccountID(k.Account), Resource: "key/" + k.ID}
	return Encryption{Type: KMS, KMSKey: arn.String(), KeyID: k.ID}, nil
}

// Get finds a repository as the last change left it, or returns
// errs.RepositoryNotFound. Its count of images may be of earlier.
func (s *Service) Get(ctx context.Context, reg name.Registry, repo name.Repository) (Repository, error) {
	if s.rows == nil {
		return s.read(ctx, reg, repo)
	}
	return s.rows.Get(ctx, accessKey{reg, repo}, revcache.Source[Repository]{
		Revision: func(context.Context) (int64, error) { return -1, nil }, // no entry's: a change drops it, and this bounds its age besides
		Load: func(ctx context.Context) (Repository, int64, error) {
			r, err := s.read(ctx, reg, repo)
			return r, 0, err
		},
	})
}

func (s *Service) read(ctx context.Context, reg name.Registry, repo name.Repository) (r Repository, err error) {
	err = s.DB.Lookup(ctx, func(tx *sqldb.Tx) error {
		r, err = s.GetTx(ctx, tx, reg, repo)
		return err
	})
	return r, err
}

// changedAfter has what is remembered of the repository dropped when the transaction
// has changed it.
func (s *Service) changedAfter(tx *sqldb.Tx, r Repository) {
	changed := accessKey{r.Registry, r.Name}
	match := func(k accessKey) bool { return k == changed }
	tx.AfterCommit(func() {
		s.access.Forget(match)
		if s.rows != nil {
			s.rows.Forget(match)
		}
	})
}

// GetTx is Get inside a transaction.
func (s *Service) GetTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry, repo name.Repository) (Repository, error) {
	r, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM repository WHERE account_id = $1 AND region = $2 AND name = $3 AND deleted_at = 0`,
		string(reg.Account), string(reg.Region), string(repo)))
	if errors.Is(err, sqldb.ErrNoRows) {
		return Repository{}, NotFound(reg, repo)
	}
	return r, err
}

// Lock reads the repository afresh and holds its row until the transaction
// ends. Whatever changes a repository's images, or layers that they name, takes it first:
// what is kept of them goes when the transaction has been committed.
// It returns errs.RepositoryNotFound when the repository has gone, also when it
// can be restored: then its row is held all the same.
func (s *Service) Lock(ctx context.Context, tx *sqldb.Tx, r Repository) (Repository, error) {
	fresh, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM repository WHERE id = $1`+tx.ForUpdate(), r.ID))
	if errors.Is(err, sqldb.ErrNoRows) || err == nil && !fresh.DeletedAt.IsZero() {
		return Repository{}, NotFound(r.Registry, r.Name)
	}
	s.contentsAfter(tx, r.ID)
	return fresh, err
}

// contentsAfter has what is kept of the repository's contents dropped when the
// transaction has been committed.
func (s *Service) contentsAfter(tx *sqldb.Tx, id int64) {
	if len(s.contents) == 0 {
		return
	}
	tx.AfterCommit(func() {
		for _, changed := range s.contents {
			changed(id)
		}
	})
}

// AddImages changes the repository's count of images. The caller holds the
// repository's Lock, which has returned the count before.
func (s *Service) AddImages(ctx context.Context, tx *sqldb.Tx, id, delta int64) error {
	_, err := tx.Exec(ctx, `UPDATE repository SET images = images + $1 WHERE id = $2`, delta, id)
	return err
}

// List returns up to limit repositories of the registry whose names come after
// the given one in byte order.
func (s *Service) List(ctx context.Context, reg name.Registry, after name.Repository, limit int) ([]Repository, error) {
	var all []Repository
	err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		all, err = sqldb.Collect(ctx, tx, scan, `SELECT `+columns+` FROM repository
			WHERE account_id = $1 AND region = $2 AND name > $3 AND deleted_at = 0 ORDER BY name LIMIT $4`,
			string(reg.Account), string(reg.Region), string(after), limit)
		return err
	})
	return all, err
}

// GetAll finds all the named repositories, in the order of the names; one that
// is missing fails the whole call with errs.RepositoryNotFound.
func (s *Service) GetAll(ctx context.Context, reg name.Registry, repos []name.Repository) ([]Repository, error) {
	all := make([]Repository, 0, len(repos))
	err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all = all[:0]
		for _, n := range repos {
			r, err := s.GetTx(ctx, tx, reg, n)
			if err != nil {
				return err
			}
			all = append(all, r)
		}
		return nil
	})
	return all, err
}

// SetMutability changes the tag mutability. Existing tags stay as they are.
func (s *Service) SetMutability(ctx context.Context, reg name.Registry, repo name.Repository, m Mutability) (Repository, error) {
	if err := m.Validate(); err != nil {
		return Repository{}, err
	}
	filters, err := marshalFilters(m.Filters)
	if err != nil {
		return Repository{}, err
	}
	return s.change(ctx, reg, repo, `UPDATE repository SET tag_mutability = $2, mutability_filters = $3 WHERE id = $1`, string(m.Setting), filters)
}

// SetScanOnPush changes the repository's own scan flag.
func (s *Service) SetScanOnPush(ctx context.Context, reg name.Registry, repo name.Repository, on bool) (Repository, error) {
	return s.change(ctx, reg, repo, `UPDATE repository SET scan_on_push = $2 WHERE id = $1`, on)
}

func (s *Service) change(ctx context.Context, reg name.Registry, repo name.Repository, update string, args ...any) (Repository, error) {
	var r Repository
	err := s.update(ctx, func(tx *sqldb.Tx) error {
		found, err := s.GetTx(ctx, tx, reg, repo)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, update, append([]any{found.ID}, args...)...); err != nil {
			return err
		}
		s.changedAfter(tx, found)
		r, err = s.GetTx(ctx, tx, reg, repo)
		return err
	})
	return r, err
}

// Validate checks the setting against its filters (ECR user guide, "image tag
// mutability"): filters stand with the *_WITH_EXCLUSION settings, and only there.
func (m Mutability) Validate() error {
	var wants bool
	switch m.Setting {
	case MutableWithExclusion, ImmutableWithExclusion:
		wants = true
	case Mutable, Immutable:
	default:
		return errs.Parameter("imageTagMutability", "Member must satisfy enum value set: [IMMUTABLE, MUTABLE, MUTABLE_WITH_EXCLUSION, IMMUTABLE_WITH_EXCLUSION]")
	}
	if wants != (len(m.Filters) > 0) {
		return errs.Parameter("imageTagMutabilityExclusionFilters", "ImageTagMutabilityExclusionFilters can't be null when imageTagMutability is set as "+string(m.Setting))
	}
	return nil
}

func marshalFilters(f []string) (string, error) {
	if len(f) == 0 {
		return "", nil
	}
	b, err := json.Marshal(f)
	return string(b), err
}

func sealContext(id int64) []byte { return []byte("repository/" + strconv.FormatInt(id, 10)) }

// Tags returns the repository's resource tags.
func (s *Service) Tags(ctx context.Context, r Repository) (map[string]string, error) {
	var tags map[string]string
	err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		tags, err = tagsTx(ctx, tx, r.ID)
		return err
	})
	return tags, err
}

func tagsTx(ctx context.Context, tx *sqldb.Tx, id int64) (map[string]string, error) {
	tags := map[string]string{}
	_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
		var k, v string
		err := row.Scan(&k, &v)
		tags[k] = v
		return struct{}{}, err
	}, `SELECT tag_key, tag_value FROM repository_tag WHERE repository_id = $1`, id)
	return tags, err
}

// SetTags adds the tags, overwriting those with the same keys. It returns
// errs.InvalidResourceTag and errs.TooManyResourceTags.
func (s *Service) SetTags(ctx context.Context, r Repository, tags map[string]string) error {
	limits, err := s.Quotas.Limits(ctx, r.Registry.Account)
	if err != nil {
		return err
	}
	if err := CheckTags(tags, limits.ResourceTags); err != nil {
		return err
	}
	return s.update(ctx, func(tx *sqldb.Tx) error {
		locked, err := s.Lock(ctx, tx, r)
		if err != nil {
			return err
		}
		stored, err := tagsTx(ctx, tx, locked.ID)
		if err != nil {
			return err
		}
		if err := alike(slices.Collect(maps.Keys(tags)), slices.Collect(maps.Keys(stored))); err != nil {
			return err
		}
		if err := putTags(ctx, tx, locked.ID, tags); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM repository_tag WHERE repository_id = $1`, r.ID).Scan(&n); err != nil {
			return err
		}
		if n > limits.ResourceTags {
			return tooManyTags(limits.ResourceTags)
		}
		return s.accessChangedTx(ctx, tx, locked)
	})
}

// RemoveTags removes the tags with these keys; unknown keys are ignored.
func (s *Service) RemoveTags(ctx context.Context, r Repository, tagKeys []string) error {
	return s.update(ctx, func(tx *sqldb.Tx) error {
		for _, k := range tagKeys {
			if !tagText.MatchString(k) {
				continue // no tag has such a key, and not every database could look for it
			}
			if _, err := tx.Exec(ctx, `DELETE FROM repository_tag WHERE repository_id = $1 AND tag_key = $2`, r.ID, k); err != nil {
				return err
			}
		}
		return s.accessChangedTx(ctx, tx, r)
	})
}

func putTags(ctx context.Context, tx *sqldb.Tx, id int64, tags map[string]string) error {
	for k, v := range tags {
		_, err := tx.Exec(ctx, `INSERT INTO repository_tag (repository_id, tag_key, tag_value) VALUES ($1, $2, $3)
			ON CONFLICT (repository_id, tag_key) DO UPDATE SET tag_value = excluded.tag_value`, id, k, v)
		if err != nil {
			return err
		}
	}
	return nil
}

// Limits of a resource tag, in characters (ECR user guide, "tagging a
// private repository").
const (
	maxTagKey   = 128
	maxTagValue = 256
)

// tagText are the characters of a resource tag, as AWS has them for all services
// together.
var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// reserved says whether a tag's key or value begins as AWS's own do, in
// whatever writing.
func reserved(text string) bool { return strings.HasPrefix(strings.ToLower(text), "aws:") }

// CheckTags holds the tags of one repository to their limits, limit the number of them.
// errs.InvalidResourceTag and errs.TooManyResourceTags.
func CheckTags(tags map[string]string, limit int) error {
	if len(tags) > limit {
		return tooManyTags(limit)
	}
	if err := alike(slices.Collect(maps.Keys(tags)), nil); err != nil {
		return err
	}
	for k, v := range tags {
		switch {
		case k == "" || len([]rune(k)) > maxTagKey:
			return errs.New(errs.InvalidResourceTag, "Invalid tag key '%s': a key has 1 to %d characters", k, maxTagKey)
		case len([]rune(v)) > maxTagValue:
			return errs.New(errs.InvalidResourceTag, "Invalid value for tag key '%s': a value has at most %d characters", k, maxTagValue)
		case reserved(k):
			return errs.New(errs.InvalidResourceTag, "Invalid tag key '%s': the prefix 'aws:' is reserved", k)
		case reserved(v):
			return errs.New(errs.InvalidResourceTag, "Invalid value for tag key '%s': the prefix 'aws:' is reserved", k)
		case !tagText.MatchString(k):
			return errs.New(errs.InvalidResourceTag, "Invalid tag key '%s': letters, digits, spaces and _ . : / = + - @ can be used", k)
		case !tagText.MatchString(v):
			return errs.New(errs.InvalidResourceTag, "Invalid value for tag key '%s': letters, digits, spaces and _ . : / = + - @ can be used", k)
		}
		if err := checkSettingTag(k, v); err != nil {
			return err
		}
	}
	return nil
}

// alike refuses keys that differ in case only, among themselves or from those
// that are stored. AWS takes them, and conditions on tags, which do not regard
// case, then see either; so that a tag could be hidden behind another one.
func alike(given, stored []string) error {
	seen := map[string]string{}
	for _, k := range append(slices.Sorted(slices.Values(stored)), slices.Sorted(slices.Values(given))...) {
		lower := strings.ToLower(k)
		if other, ok := seen[lower]; ok && other != k && slices.Contains(given, k) {
			return errs.New(errs.InvalidResourceTag, "Invalid tag key '%s': it differs from the tag key '%s' in case only", k, other)
		}
		seen[lower] = k
	}
	return nil
}

func tooManyTags(limit int) error {
	return errs.New(errs.TooManyResourceTags, "The list of tags on the repository is over the limit. The maximum number of tags that can be applied to a repository is %d.", limit)
}

package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The periodic work.
const (
	JobExpire = "secret.expire"

	expirePeriod = time.Hour
	// expirePage is how many secrets end in one transaction.
	expirePage = 200
)

// Config is what a Service stands on.
type Config struct {
	DB    *sqldb.DB
	Keys  keys.Manager
	Clock clock.Clock
	// Jobs gets the periodic work; nil leaves Expire to the caller.
	Jobs *jobs.Queue
}

// Service keeps secrets.
type Service struct{ Config }

// New returns the service and registers its periodic work on c.Jobs.
func New(c Config) *Service {
	s := &Service{Config: c}
	if c.Jobs != nil {
		c.Jobs.Handle(JobExpire, jobs.Handler{Workers: 1, Run: func(ctx context.Context, _ jobs.Task) error {
			_, err := s.Expire(ctx)
			return err
		}})
		c.Jobs.Every(JobExpire, expirePeriod)
	}
	return s
}

func (s *Service) now() time.Time { return s.Clock.Now().UTC().Truncate(time.Millisecond) }

func (s *Service) update(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	err := s.DB.Update(ctx, fn)
	if errors.Is(err, sqldb.ErrFull) {
		return repository.StorageFull(err)
	}
	return err
}

// Create is a secret to be made.
type Create struct {
	Home              name.Registry
	Name, Description string
	// KMSKey is a key of the account by id, alias or ARN, "" for its
	// aws/secretsmanager, made on first use.
	KMSKey string
	Tags   map[string]string
	// Token is the id of the first version, so that a call that is repeated makes
	// nothing anew; "" chooses one. Content is its value, nil for no version.
	Token   string
	Content *Content
}

// Create makes a secret and returns it with the id of its version, "" for none.
// errs.SecretExists, errs.SecretInvalid while a deleted secret has the name,
// errs.Validation for the name, errs.InvalidParameter for the rest,
// errs.LimitExceeded, errs.KeyFailure.
func (s *Service) Create(ctx context.Context, c Create) (Secret, string, error) {
	if !nameForm.MatchString(c.Name) {
		return Secret{}, "", errs.New(errs.Validation, "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	if err := c.Content.check(); err != nil {
		return Secret{}, "", err
	}
	if err := checkTags(c.Tags); err != nil {
		return Secret{}, "", err
	}
	if made, id, found, err := s.made(ctx, c); found || err != nil {
		return made, id, err
	}
	now := s.now()
	made := Secret{
		ID: sqldb.NewID(), Home: c.Home, Name: c.Name, Suffix: newSuffix(), Description: c.Description, KMSKey: c.KMSKey, Tags: c.Tags,
		CreatedAt: now, ChangedAt: now, Labels: map[string][]string{},
	}
	var err error
	if made.keyID, err = s.key(ctx, c.Home, c.KMSKey); err != nil {
		return Secret{}, "", err
	}
	tags, err := json.Marshal(c.Tags)
	if err != nil {
		return Secret{}, "", err
	}
	var v *sealed
	id := ""
	if c.Content != nil {
		id = tokenOr(c.Token)
		if v, err = s.seal(ctx, made, id, *c.Content); err != nil {
			return Secret{}, "", err
		}
	}
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `INSERT INTO secret (`+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0) ON CONFLICT (account_id, region, name) DO NOTHING`,
			made.ID, string(c.Home.Account), string(c.Home.Region), c.Name, made.Suffix, c.Description, c.KMSKey, made.keyID, string(tags), now.UnixMicro(), now.UnixMicro())
		if err != nil {
			return err
		}
		if n == 0 {
			return exists(c.Name)
		}
		var many int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM secret WHERE account_id = $1 AND region = $2`, string(c.Home.Account), string(c.Home.Region)).Scan(&many); err != nil {
			return err
		}
		if many > maxSecrets {
			return errs.New(errs.LimitExceeded, "The account has %d secrets in the region, which is as many as it can have. Delete some first.", maxSecrets)
		}
		if v == nil {
			return nil
		}
		return insert(ctx, tx, made.ID, *v, []string{Current}, now)
	})
	if errs.Is(err, errs.SecretExists) { // made meanwhile, perhaps by the same call
		if again, id, found, err := s.made(ctx, c); found || err != nil {
			return again, id, err
		}
	}
	if err != nil {
		return Secret{}, "", err
	}
	if v != nil {
		made.Labels[id] = []string{Current}
	}
	return made, id, nil
}

func exists(secretName string) error {
	return errs.New(errs.SecretExists, "The operation failed because the secret %s already exists.", secretName)
}

// made finds what an earlier run of the same call has made. Another secret of the
// name is a failure.
func (s *Service) made(ctx context.Context, c Create) (Secret, string, bool, error) {
	found, err := s.Find(ctx, c.Home, c.Name)
	switch {
	case errs.Is(err, errs.SecretMissing):
		return Secret{}, "", false, nil
	case err != nil:
		return Secret{}, "", false, err
	case !found.EndsAt.IsZero():
		return Secret{}, "", false, errs.New(errs.SecretInvalid, "You can't create this secret because a secret with this name is already scheduled for deletion.")
	case c.Token == "" || c.Content == nil:
		return Secret{}, "", false, exists(c.Name)
	}
	v, there, err := s.version(ctx, found, c.Token)
	if err != nil {
		return Secret{}, "", false, err
	}
	if !there {
		return Secret{}, "", false, exists(c.Name)
	}
	return found, v.ID, true, sameValue(found, v, *c.Content)
}

// sameValue refuses a version's id that was given to another value.
func sameValue(of Secret, v Version, c Content) error {
	if v.Binary != c.Binary || !bytes.Equal(v.Data, c.Data) {
		return errs.New(errs.SecretExists, "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", v.ID, of.ARN())
	}
	return nil
}

// Put adds a version to a secret and gives it the labels, nil for Current alone, and
// the id token, "" for one that is chosen. A version of the id with the same value is
// left as it is. errs.SecretMissing, errs.SecretInvalid for a deleted secret,
// errs.SecretExists when the id is another value's, errs.InvalidParameter,
// errs.LimitExceeded for the labels, errs.KeyFailure.
func (s *Service) Put(ctx context.Context, home name.Registry, id, token string, c Content, labels []string) (Secret, Version, error) {
	if err := c.check(); err != nil {
		return Secret{}, Version{}, err
	}
	token = tokenOr(token)
	for try := 0; ; try++ {
		of, err := s.living(ctx, home, id)
		if err != nil {
			return Secret{}, Version{}, err
		}
		v, there, err := s.version(ctx, of, token)
		if err != nil {
			return Secret{}, Version{}, err
		}
		if there {
			return of, v, sameValue(of, v, c)
		}
		added, err := s.seal(ctx, of, token, c)
		if err != nil {
			return Secret{}, Version{}, err
		}
		v = Version{ID: token, Content: c, CreatedAt: s.now()}
		err = s.update(ctx, func(tx *sqldb.Tx) error {
			v.Labels, err = s.putTx(ctx, tx, of, *added, labels, v.CreatedAt)
			return err
		})
		if errors.Is(err, errThere) && try < 3 {
			continue // added meanwhile: is it the same?
		}
		return of, v, err
	}
}

// errThere says that the version is there already.
var errThere = errors.New("secret: the version is there")

// putTx adds a sealed version and moves the labels.
func (s *Service) putTx(ctx context.Context, tx *sqldb.Tx, of Secret, v sealed, labels []string, now time.Time) ([]string, error) {
	held, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM secret WHERE id = $1`+tx.ForUpdate(), of.ID))
	switch {
	case errors.Is(err, sqldb.ErrNoRows):
		return nil, missing()
	case err != nil:
		return nil, err
	case !held.EndsAt.IsZero():
		return nil, deleted()
	}
	versions, err := sqldb.Collect(ctx, tx, scanLabels, `SELECT version_id, stages FROM secret_version WHERE secret_id = $1`, of.ID)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(versions, func(l labelled) bool { return l.id == v.id }) {
		return nil, errThere
	}
	labels = move(versions, labels)
	total := len(labels)
	for _, other := range versions {
		total += len(other.labels)
		if !other.moved {
			continue
		}
		text, err := json.Marshal(other.labels)
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `UPDATE secret_version SET stages = $3 WHERE secret_id = $1 AND version_id = $2`, of.ID, other.id, string(text)); err != nil {
			return nil, err
		}
	}
	if total > maxLabels {
		return nil, errs.New(errs.LimitExceeded, "The versions of a secret can have %d staging labels together. Move one that is there in place of a new one.", maxLabels)
	}
	if err := insert(ctx, tx, of.ID, v, labels, now); err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `DELETE FROM secret_version WHERE secret_id = $1 AND stages = '[]' AND version_id NOT IN
		(SELECT version_id FROM secret_version WHERE secret_id = $1 AND stages = '[]' ORDER BY created_at DESC, version_id LIMIT $2)`, of.ID, int64(maxUnlabelled))
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `UPDATE secret SET changed_at = $2 WHERE id = $1`, of.ID, now.UnixMicro())
	return labels, err
}

func scanLabels(row sqldb.Scanner) (labelled, error) {
	var l labelled
	var text string
	if err := row.Scan(&l.id, &text); err != nil {
		return labelled{}, err
	}
	return l, json.Unmarshal([]byte(text), &l.labels)
}

func insert(ctx context.Context, tx *sqldb.Tx, of int64, v sealed, labels []string, now time.Time) error {
	text, err := json.Marshal(labels)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO secret_version (secret_id, version_id, stages, form, data_key, sealed, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		of, v.id, string(text), v.form, v.dataKey, v.bytes, now.UnixMicro())
	return err
}

// Find reads a secret by its name, its ARN or its ARN without the suffix, a deleted
// one too. A name is one of home; an ARN may be another account's. errs.SecretMissing.
func (s *Service) Find(ctx context.Context, home name.Registry, id string) (found Secret, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		if found, err = findTx(ctx, tx, home, id, ""); err != nil {
			return err
		}
		versions, err := sqldb.Collect(ctx, tx, scanLabels, `SELECT version_id, stages FROM secret_version WHERE secret_id = $1 AND stages <> '[]'`, found.ID)
		for _, v := range versions {
			found.Labels[v.id] = v.labels
		}
		return err
	})
	return found, err
}

// living is Find for secrets that are not deleted. errs.SecretInvalid for others.
func (s *Service) living(ctx context.Context, home name.Registry, id string) (Secret, error) {
	found, err := s.Find(ctx, home, id)
	if err == nil && !found.EndsAt.IsZero() {
		return Secret{}, deleted()
	}
	return found, err
}

func findTx(ctx context.Context, tx *sqldb.Tx, home name.Registry, id, lock string) (Secret, error) {
	a, ok := addressOf(home, id)
	if !ok {
		return Secret{}, missing()
	}
	const query = `SELECT ` + columns + ` FROM secret WHERE account_id = $1 AND region = $2 AND name = $3`
	if secretName, suffix, ok := a.whole(); ok {
		found, err := scan(tx.QueryRow(ctx, query+lock, string(a.home.Account), string(a.home.Region), secretName))
		if err == nil && found.Suffix == suffix || err != nil && !errors.Is(err, sqldb.ErrNoRows) {
			return found, err
		}
	}
	found, err := scan(tx.QueryRow(ctx, query+lock, string(a.home.Account), string(a.home.Region), a.text))
	if errors.Is(err, sqldb.ErrNoRows) {
		err = missing()
	}
	return found, err
}

// Which chooses a version: by its id, by a label, or by both, which have to be of one
// version. Nothing chooses Current.
type Which struct{ ID, Label string }

// Get reads a version with its value. errs.SecretMissing for the secret or the
// version, errs.SecretInvalid for a deleted secret or an id that has not the label,
// errs.SecretUndecryptable when its key cannot be used.
func (s *Service) Get(ctx context.Context, home name.Registry, id string, w Which) (Secret, Version, error) {
	of, err := s.living(ctx, home, id)
	if err != nil {
		return Secret{}, Version{}, err
	}
	if w.ID == "" {
		if w.Label == "" {
			w.Label = Current
		}
		for version, labels := range of.Labels {
			if slices.Contains(labels, w.Label) {
				w.ID = version
			}
		}
		if w.ID == "" {
			return Secret{}, Version{}, errs.New(errs.SecretMissing, "Secrets Manager can't find the specified secret value for staging label: %s", w.Label)
		}
	}
	v, found, err := s.version(ctx, of, w.ID)
	if err != nil {
		return Secret{}, Version{}, err
	}
	if !found {
		return Secret{}, Version{}, errs.New(errs.SecretMissing, "Secrets Manager can't find the specified secret value for VersionId: %s", w.ID)
	}
	if w.Label != "" && !slices.Contains(v.Labels, w.Label) {
		return Secret{}, Version{}, errs.New(errs.SecretInvalid, "You provided a VersionStage that is not associated to the provided VersionId.")
	}
	if day := s.now().Unix() / secondsOfDay; of.UsedOn.Unix()/secondsOfDay < day {
		// A day that could not be noted is no reason to withhold the value.
		_ = s.update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE secret SET used_day = $2 WHERE id = $1 AND used_day < $2`, of.ID, day)
			return err
		})
	}
	return of, v, nil
}

// version reads a version and opens it. errs.SecretUndecryptable.
func (s *Service) version(ctx context.Context, of Secret, id string) (v Version, found bool, err error) {
	var held sealed
	var text string
	var created int64
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT version_id, stages, form, data_key, sealed, created_at FROM secret_version WHERE secret_id = $1 AND version_id = $2`, of.ID, id).
			Scan(&held.id, &text, &held.form, &held.dataKey, &held.bytes, &created)
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return Version{}, false, nil
	}
	if err != nil {
		return Version{}, false, err
	}
	v = Version{ID: held.id, CreatedAt: time.UnixMicro(created).UTC()}
	if err := json.Unmarshal([]byte(text), &v.Labels); err != nil {
		return Version{}, false, err
	}
	v.Content, err = s.open(ctx, of, held)
	return v, err == nil, err
}

// Delete deletes a secret: it cannot be read any more, and ends after so many days, or
// at once with force, when it may be deleted already or not be there. It returns the
// secret, with EndsAt. errs.SecretMissing, errs.SecretInvalid for one that is deleted,
// errs.InvalidParameter for the days, of which nil is DefaultWindow.
func (s *Service) Delete(ctx context.Context, home name.Registry, id string, days *int64, force bool) (Secret, error) {
	switch {
	case force && days != nil:
		return Secret{}, errs.New(errs.InvalidParameter, "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case days == nil:
		days = new(int64(DefaultWindow))
	case *days < MinWindow || *days > MaxWindow:
		return Secret{}, errs.New(errs.InvalidParameter, "The RecoveryWindowInDays value must be between %d and %d days (inclusive).", MinWindow, MaxWindow)
	}
	now := s.now()
	var gone Secret
	err := s.update(ctx, func(tx *sqldb.Tx) (err error) {
		if gone, err = findTx(ctx, tx, home, id, tx.ForUpdate()); err != nil {
			return err
		}
		if force {
			gone.EndsAt = now
			_, err = tx.Exec(ctx, `DELETE FROM secret WHERE id = $1`, gone.ID)
			return err
		}
		if !gone.EndsAt.IsZero() {
			return errs.New(errs.SecretInvalid, "You can't perform this operation on the secret because it was already scheduled for deletion.")
		}
		gone.EndsAt = now.AddDate(0, 0, int(*days))
		_, err = tx.Exec(ctx, `UPDATE secret SET ends_at = $2, changed_at = $3 WHERE id = $1`, gone.ID, gone.EndsAt.UnixMicro(), now.UnixMicro())
		return err
	})
	if a, ok := addressOf(home, id); force && ok && errs.Is(err, errs.SecretMissing) {
		gone = Secret{Home: a.home, Name: a.text, Suffix: newSuffix(), EndsAt: now}
		if secretName, suffix, ok := a.whole(); ok {
			gone.Name, gone.Suffix = secretName, suffix
		}
		return gone, nil
	}
	return gone, err
}

// Expire removes the deleted secrets whose time has come, and says how many.
func (s *Service) Expire(ctx context.Context) (ended int64, err error) {
	for {
		var n int64
		err := s.update(ctx, func(tx *sqldb.Tx) error {
			n, err = tx.Exec(ctx, `DELETE FROM secret WHERE id IN (SELECT id FROM secret WHERE ends_at > 0 AND ends_at <= $1 ORDER BY id LIMIT $2)`, s.now().UnixMicro(), int64(expirePage))
			return err
		})
		ended += n
		if err != nil || n < expirePage {
			return ended, err
		}
	}
}

// checkTags holds tags to the rules of tags. errs.InvalidParameter.
func checkTags(tags map[string]string) error {
	if len(tags) > tag.Max {
		return errs.New(errs.InvalidParameter, "A secret can have %d tags.", tag.Max)
	}
	var all []tag.Tag
	for k, v := range tags {
		all = append(all, tag.Tag{Key: k, Value: v})
	}
	if err := tag.Check(all); err != nil {
		return errs.Wrap(err, errs.InvalidParameter, "%s", messageOf(err))
	}
	return nil
}

func messageOf(err error) string {
	var e *errs.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return fmt.Sprint(err)
}

package secret_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/domain/secret"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

var (
	home   = name.Registry{Account: "111111111111", Region: "us-east-1"}
	abroad = name.Registry{Account: "111111111111", Region: "eu-west-1"}
	other  = name.Registry{Account: "222222222222", Region: "us-east-1"}
)

const token = "0123456789abcdef0123456789abcdef"

type world struct {
	*secret.Service
	t    *testing.T
	clk  *clock.Fake
	keys *keyring.Keyring
	db   *sqldb.DB
}

func newWorld(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	w := &world{t: t, db: db, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC))}
	ctx := t.Context()
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	var err error
	w.keys, err = keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	w.must(err)
	principals, err := principal.New(db, w.keys, w.clk)
	w.must(err)
	for _, h := range []name.Registry{home, other} {
		w.must(principals.EnsureAccount(ctx, h.Account))
	}
	w.Service = secret.New(secret.Config{DB: db, Keys: w.keys, Clock: w.clk})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused fails unless the error has the code and begins with the text.
func (w *world) refused(what string, err error, code errs.Code, text string) {
	w.t.Helper()
	if !errs.Is(err, code) || !strings.HasPrefix(err.Error(), text) {
		w.t.Errorf("%s: %v, want %q", what, err, text)
	}
}

func of(text string) *secret.Content { return &secret.Content{Data: []byte(text)} }

// make makes a secret with the value, "" for none.
func (w *world) make(secretName, value string) secret.Secret {
	w.t.Helper()
	c := secret.Create{Home: home, Name: secretName}
	if value != "" {
		c.Content = of(value)
	}
	made, _, err := w.Create(w.t.Context(), c)
	w.must(err)
	return made
}

func (w *world) value(id string, which secret.Which) string {
	w.t.Helper()
	_, v, err := w.Get(w.t.Context(), home, id, which)
	w.must(err)
	return string(v.Data)
}

func TestLifeOfASecret(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		tags := map[string]string{"team": "blue", "empty": ""}
		made, version, err := w.Create(ctx, secret.Create{Home: home, Name: "ecr-pullthroughcache/hub", Description: "of Docker Hub", Tags: tags, Content: of("one")})
		w.must(err)
		now := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
		if !regexp.MustCompile(`^arn:aws:secretsmanager:us-east-1:111111111111:secret:ecr-pullthroughcache/hub-[A-Za-z0-9]{6}$`).MatchString(made.ARN().String()) ||
			!regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(version) ||
			!made.CreatedAt.Equal(now) || !made.ChangedAt.Equal(now) || !reflect.DeepEqual(made.Labels, map[string][]string{version: {secret.Current}}) {
			t.Errorf("made %+v %s", made, version)
		}
		arn := made.ARN().String()
		for what, id := range map[string]string{"name": made.Name, "ARN": arn, "partial ARN": arn[:len(arn)-7]} {
			found, err := w.Find(ctx, home, id)
			if err != nil || found.ID != made.ID || found.Description != "of Docker Hub" || !reflect.DeepEqual(found.Tags, tags) || !reflect.DeepEqual(found.Labels, made.Labels) || !found.UsedOn.IsZero() {
				t.Errorf("by its %s: %+v %v", what, found, err)
			}
		}
		if found, err := w.Find(ctx, other, arn); err != nil || found.ID != made.ID {
			t.Errorf("from another account: %v", err)
		}
		const missing = "Secrets Manager can't find the specified secret."
		for what, c := range map[string]struct {
			from name.Registry
			id   string
		}{
			"another account's name": {other, made.Name}, "another region": {abroad, made.Name}, "an ARN of another region": {abroad, arn},
			"another suffix": {home, arn[:len(arn)-6] + "??????"}, "a part of a name": {home, made.Name[:10]}, "name and suffix": {home, made.Name + "-" + made.Suffix},
			"an ARN of a repository": {home, "arn:aws:ecr:us-east-1:111111111111:repository/hub"},
		} {
			_, err := w.Find(ctx, c.from, c.id)
			w.refused(what, err, errs.SecretMissing, missing)
		}

		w.clk.Advance(26 * time.Hour)
		if got := w.value(arn, secret.Which{}); got != "one" {
			t.Errorf("read %q", got)
		}
		if found, err := w.Find(ctx, home, arn); err != nil || !found.UsedOn.Equal(time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("after reading: %+v %v", found, err)
		}

		// A deleted secret can be seen and not read, and keeps its name until it ends.
		gone, err := w.Delete(ctx, home, made.Name, nil, false)
		w.must(err)
		if ends := w.clk.Now().UTC().Truncate(time.Millisecond).AddDate(0, 0, 30); !gone.EndsAt.Equal(ends) {
			t.Errorf("ends at %v, want %v", gone.EndsAt, ends)
		}
		const marked = "You can't perform this operation on the secret because it was marked for deletion."
		_, _, err = w.Get(ctx, home, arn, secret.Which{})
		w.refused("reading", err, errs.SecretInvalid, marked)
		_, _, err = w.Put(ctx, home, arn, "", *of("two"), nil)
		w.refused("writing", err, errs.SecretInvalid, marked)
		_, _, err = w.Create(ctx, secret.Create{Home: home, Name: made.Name})
		w.refused("making it again", err, errs.SecretInvalid, "You can't create this secret because a secret with this name is already scheduled for deletion.")
		_, err = w.Delete(ctx, home, arn, nil, false)
		w.refused("deleting it again", err, errs.SecretInvalid, "You can't perform this operation on the secret because it was already scheduled for deletion.")
		if found, err := w.Find(ctx, home, arn); err != nil || !found.EndsAt.Equal(gone.EndsAt) {
			t.Errorf("%+v %v", found, err)
		}
		w.clk.Advance(30*24*time.Hour - time.Second)
		if n, err := w.Expire(ctx); n != 0 || err != nil {
			t.Errorf("too early: %d %v", n, err)
		}
		w.clk.Advance(time.Second)
		kept := w.make("kept", "value")
		if n, err := w.Expire(ctx); n != 1 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		_, err = w.Find(ctx, home, arn)
		w.refused("after its end", err, errs.SecretMissing, missing)
		if again := w.make(made.Name, "new"); again.ID == made.ID || w.value(made.Name, secret.Which{}) != "new" || w.value(kept.Name, secret.Which{}) != "value" {
			t.Errorf("made again: %+v", again)
		}
	})
}

func TestDeletion(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		made := w.make("one", "value")
		for _, days := range []int64{-1, 0, 6, 31} {
			_, err := w.Delete(ctx, home, "one", &days, false)
			w.refused(fmt.Sprint(days), err, errs.InvalidParameter, "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
		}
		_, err := w.Delete(ctx, home, "one", new(int64(7)), true)
		w.refused("both", err, errs.InvalidParameter, "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
		_, err = w.Delete(ctx, home, "none", nil, false)
		w.refused("none", err, errs.SecretMissing, "Secrets Manager can't find the specified secret.")
		gone, err := w.Delete(ctx, home, "one", new(int64(7)), false)
		if err != nil || !gone.EndsAt.Equal(w.clk.Now().UTC().Truncate(time.Millisecond).AddDate(0, 0, 7)) {
			t.Errorf("%v %v", gone.EndsAt, err)
		}
		// By force it goes at once, also when it is deleted, and needs not be there.
		for _, id := range []string{made.ARN().String(), "one"} {
			gone, err := w.Delete(ctx, home, id, nil, true)
			if err != nil || gone.Name != "one" || !gone.EndsAt.Equal(w.clk.Now().UTC().Truncate(time.Millisecond)) {
				t.Errorf("%s: %+v %v", id, gone, err)
			}
			_, err = w.Find(ctx, home, "one")
			w.refused(id, err, errs.SecretMissing, "")
		}
		var left int64
		w.must(db.View(ctx, func(tx *sqldb.Tx) error { return tx.QueryRow(ctx, `SELECT count(*) FROM secret_version`).Scan(&left) }))
		if left != 0 {
			t.Errorf("%d versions are left", left)
		}
	})
}

func TestVersions(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		w.make("s", "")
		_, _, err := w.Get(ctx, home, "s", secret.Which{})
		w.refused("no version", err, errs.SecretMissing, "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT")
		id := func(n int) string { return fmt.Sprintf("%032d", n) }
		put := func(n int, labels ...string) secret.Version {
			t.Helper()
			_, v, err := w.Put(ctx, home, "s", id(n), *of(id(n)), labels)
			w.must(err)
			return v
		}
		check := func(want map[string][]string) {
			t.Helper()
			s, err := w.Find(ctx, home, "s")
			if err != nil || !reflect.DeepEqual(s.Labels, want) {
				t.Errorf("%v %v, want %v", s.Labels, err, want)
			}
		}
		put(1, "blue") // the first one is the current one in any case
		check(map[string][]string{id(1): {secret.Current, "blue"}})
		put(2)
		check(map[string][]string{id(1): {"blue", secret.Previous}, id(2): {secret.Current}})
		put(3, "blue", "blue")
		check(map[string][]string{id(1): {secret.Previous}, id(2): {secret.Current}, id(3): {"blue"}})
		put(4, secret.Current, secret.Previous)
		check(map[string][]string{id(3): {"blue"}, id(4): {secret.Current, secret.Previous}})
		put(5)
		check(map[string][]string{id(3): {"blue"}, id(4): {secret.Previous}, id(5): {secret.Current}})
		for which, want := range map[secret.Which]string{
			{}: id(5), {Label: secret.Previous}: id(4), {Label: "blue"}: id(3), {ID: id(1)}: id(1), {ID: id(4), Label: secret.Previous}: id(4),
		} {
			if got := w.value("s", which); got != want {
				t.Errorf("%+v: %s, want %s", which, got, want)
			}
		}
		_, _, err = w.Get(ctx, home, "s", secret.Which{ID: id(4), Label: secret.Current})
		w.refused("another's label", err, errs.SecretInvalid, "You provided a VersionStage that is not associated to the provided VersionId.")
		_, _, err = w.Get(ctx, home, "s", secret.Which{ID: id(9)})
		w.refused("no such version", err, errs.SecretMissing, "Secrets Manager can't find the specified secret value for VersionId: "+id(9))
		_, _, err = w.Get(ctx, home, "s", secret.Which{Label: "green"})
		w.refused("no such label", err, errs.SecretMissing, "Secrets Manager can't find the specified secret value for staging label: green")

		// The same call again changes nothing, with another value it is refused.
		if v := put(4); !reflect.DeepEqual(v.Labels, []string{secret.Previous}) {
			t.Errorf("again: %+v", v)
		}
		for _, c := range []secret.Content{{Data: []byte("x")}, {Binary: true, Data: []byte(id(4))}} {
			_, _, err = w.Put(ctx, home, "s", id(4), c, nil)
			w.refused("another value", err, errs.SecretExists, "You can't use ClientRequestToken "+id(4)+" because that value is already in use for a version of secret arn:aws:secretsmanager:us-east-1:111111111111:secret:s-")
		}
		check(map[string][]string{id(3): {"blue"}, id(4): {secret.Previous}, id(5): {secret.Current}})

		var many []string
		for i := range 18 {
			many = append(many, fmt.Sprint("label", i))
		}
		_, _, err = w.Put(ctx, home, "s", id(6), *of("x"), many)
		w.refused("too many labels", err, errs.LimitExceeded, "The versions of a secret can have 20 staging labels together.")
		put(6, many[:17]...)

		// Of those without a label, the newest stay.
		for n := range 101 {
			w.clk.Advance(time.Second)
			put(100+n, "blue")
		}
		var left int64
		w.must(db.View(ctx, func(tx *sqldb.Tx) error { return tx.QueryRow(ctx, `SELECT count(*) FROM secret_version`).Scan(&left) }))
		if left != 100+4 {
			t.Errorf("%d versions", left)
		}
		if _, _, err := w.Get(ctx, home, "s", secret.Which{ID: id(1)}); !errs.Is(err, errs.SecretMissing) {
			t.Errorf("the oldest: %v", err)
		}
	})
}

func TestCreate(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		create := secret.Create{Home: home, Name: "a/b_c+d=e.f@g!h-i", Token: token, Content: &secret.Content{Binary: true, Data: []byte{0, 255}}}
		first, version, err := w.Create(ctx, create)
		if err != nil || version != token {
			t.Fatalf("%s %v", version, err)
		}
		again, version, err := w.Create(ctx, create)
		if err != nil || again.ID != first.ID || version != token {
			t.Errorf("again: %+v %s %v", again, version, err)
		}
		if _, v, err := w.Get(ctx, home, create.Name, secret.Which{}); err != nil || !v.Binary || !bytes.Equal(v.Data, []byte{0, 255}) {
			t.Errorf("%+v %v", v, err)
		}
		const there = "The operation failed because the secret a/b_c+d=e.f@g!h-i already exists."
		for what, change := range map[string]func(*secret.Create){
			"another token": func(c *secret.Create) { c.Token = strings.Repeat("f", 32) }, "no token": func(c *secret.Create) { c.Token = "" },
			"no value": func(c *secret.Create) { c.Content = nil },
		} {
			c := create
			change(&c)
			_, _, err := w.Create(ctx, c)
			w.refused(what, err, errs.SecretExists, there)
		}
		c := create
		c.Content = of("x")
		_, _, err = w.Create(ctx, c)
		w.refused("another value", err, errs.SecretExists, "You can't use ClientRequestToken "+token)
		for _, bad := range []string{"", "a b", "ä", "a*", "a\n"} {
			_, _, err := w.Create(ctx, secret.Create{Home: home, Name: bad})
			w.refused(bad, err, errs.Validation, "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
		}
		_, _, err = w.Create(ctx, secret.Create{Home: home, Name: "long", Content: of(strings.Repeat("ü", 32_769))})
		w.refused("a long value", err, errs.InvalidParameter, "The secret value has 65538 bytes. It can have 65536 at most.")
		_, _, err = w.Create(ctx, secret.Create{Home: home, Name: "tags", Tags: map[string]string{"aws:x": ""}})
		w.refused("a reserved tag", err, errs.InvalidParameter, "Tag keys that begin with aws: are reserved")
		many := map[string]string{}
		for i := range 51 {
			many[fmt.Sprint(i)] = ""
		}
		_, _, err = w.Create(ctx, secret.Create{Home: home, Name: "tags", Tags: many})
		w.refused("51 tags", err, errs.InvalidParameter, "A secret can have 50 tags.")
		if _, err := w.Find(ctx, home, "tags"); !errs.Is(err, errs.SecretMissing) {
			t.Errorf("something was made: %v", err)
		}
	})
}

func TestKeys(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		key, err := w.keys.Create(ctx, string(home.Account), string(home.Region), "alias/mine")
		w.must(err)
		made, _, err := w.Create(ctx, secret.Create{Home: home, Name: "own", KMSKey: "alias/mine", Content: of("opensesame")})
		w.must(err)
		if made.KMSKey != "alias/mine" {
			t.Errorf("%+v", made)
		}
		w.make("plain", "opensesame")
		account, err := w.keys.Resolve(ctx, string(home.Account), string(home.Region), "alias/aws/secretsmanager")
		w.must(err)
		_, err = w.keys.SetEnabled(ctx, key.ID, false)
		w.must(err)
		_, _, err = w.Get(ctx, home, "own", secret.Which{})
		w.refused("reading with a disabled key", err, errs.SecretUndecryptable, "Secrets Manager can't decrypt the protected secret text using the provided KMS key.")
		const unusable = "Secrets Manager can't encrypt the protected secret text using the provided KMS key."
		_, _, err = w.Put(ctx, home, "own", "", *of("x"), nil)
		w.refused("writing with a disabled key", err, errs.KeyFailure, unusable)
		for what, ref := range map[string]string{"disabled": key.ID, "none": "alias/none"} {
			_, _, err = w.Create(ctx, secret.Create{Home: home, Name: "new", KMSKey: ref})
			w.refused(what, err, errs.KeyFailure, unusable)
		}
		if w.value("plain", secret.Which{}) != "opensesame" {
			t.Error("the account's own key")
		}
		_, err = w.keys.SetEnabled(ctx, account.ID, false)
		w.must(err)
		_, _, err = w.Get(ctx, home, "plain", secret.Which{})
		w.refused("the account's own key, disabled", err, errs.SecretUndecryptable, "")
		_, err = w.keys.SetEnabled(ctx, key.ID, true)
		w.must(err)
		if w.value("own", secret.Which{}) != "opensesame" {
			t.Error("enabled again")
		}

		// What is stored shows nothing, and opens nowhere else.
		w.must(db.Update(ctx, func(tx *sqldb.Tx) error {
			rows, err := sqldb.Collect(ctx, tx, sqldb.One[[]byte], `SELECT sealed FROM secret_version`)
			if err != nil {
				return err
			}
			for _, row := range rows {
				if bytes.Contains(row, []byte("sesame")) {
					t.Error("a value is stored open")
				}
			}
			if _, err := tx.Exec(ctx, `INSERT INTO secret_version (secret_id, version_id, stages, form, data_key, sealed, created_at)
				SELECT (SELECT id FROM secret WHERE name = 'plain'), $1, '["stolen"]', form, data_key, sealed, created_at FROM secret_version
				WHERE secret_id = (SELECT id FROM secret WHERE name = 'own')`, token); err != nil {
				return err
			}
			return nil
		}))
		_, _, err = w.Get(ctx, home, "plain", secret.Which{Label: "stolen"})
		w.refused("another secret's value", err, errs.SecretUndecryptable, "")
	})
}

func TestList(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		for _, c := range []secret.Create{
			{Name: "prod/db", Description: "The Database", Tags: map[string]string{"team": "blue"}}, {Name: "Prod/mail", Tags: map[string]string{"Team": "red"}},
			{Name: "dev/db", Description: "main database"}, {Name: "gone"}, {Home: other, Name: "others"}, {Home: abroad, Name: "abroad"},
		} {
			if c.Home == (name.Registry{}) {
				c.Home = home
			}
			w.clk.Advance(time.Minute)
			_, _, err := w.Create(ctx, c)
			w.must(err)
		}
		_, err := w.Delete(ctx, home, "gone", nil, false)
		w.must(err)
		w.clk.Advance(time.Minute)
		_, _, err = w.Put(ctx, home, "prod/db", token, *of("x"), nil)
		w.must(err)
		list := func(l secret.Listing) string {
			t.Helper()
			l.Limit = 2
			var all []string
			for {
				page, more, err := w.List(ctx, home, l)
				w.must(err)
				if len(page) > 2 || more && len(page) < 2 {
					t.Fatalf("a page of %d, more %v", len(page), more)
				}
				for _, s := range page {
					all = append(all, s.Name)
				}
				if !more {
					return strings.Join(all, " ")
				}
				l.After = l.Cursor(page[1])
			}
		}
		filter := func(key secret.FilterKey, values ...string) secret.Listing {
			return secret.Listing{Filters: []secret.Filter{{Key: key, Values: values}}}
		}
		for _, c := range []struct {
			what string
			l    secret.Listing
			want string
		}{
			{"all", secret.Listing{}, "prod/db Prod/mail dev/db"},
			{"descending", secret.Listing{Descending: true}, "dev/db Prod/mail prod/db"},
			{"deleted too", secret.Listing{Deleted: true}, "prod/db Prod/mail dev/db gone"},
			{"by name", secret.Listing{Order: secret.Named}, "Prod/mail dev/db prod/db"},
			{"by change", secret.Listing{Order: secret.Changed}, "Prod/mail dev/db prod/db"},
			{"by use", secret.Listing{Order: secret.Accessed}, "prod/db Prod/mail dev/db"},
			{"name", filter(secret.ByName, "prod"), "prod/db"},
			{"names", filter(secret.ByName, "prod", "dev"), "prod/db dev/db"},
			{"not the name", filter(secret.ByName, "!prod"), "Prod/mail dev/db"},
			{"description", filter(secret.ByDescription, "DATA"), "prod/db dev/db"},
			{"tag key", filter(secret.ByTagKey, "te"), "prod/db"},
			{"tag value", filter(secret.ByTagValue, "r"), "Prod/mail"},
			{"region", filter(secret.ByPrimaryRegion, "us-"), "prod/db Prod/mail dev/db"},
			{"service", filter(secret.ByOwningService, ""), ""},
			{"everything", filter(secret.ByAll, "mail main"), "Prod/mail dev/db"},
			{"two", secret.Listing{Filters: []secret.Filter{{Key: secret.ByDescription, Values: []string{"data"}}, {Key: secret.ByName, Values: []string{"dev"}}}}, "dev/db"},
		} {
			if got := list(c.l); got != c.want {
				t.Errorf("%s: %s, want %s", c.what, got, c.want)
			}
		}
		page, _, err := w.List(ctx, home, secret.Listing{Limit: 9})
		if err != nil || !reflect.DeepEqual(page[0].Labels, map[string][]string{token: {secret.Current}}) || len(page[1].Labels) > 0 {
			t.Errorf("%+v %v", page, err)
		}
	})
}

// TestTogether: of many callers with one token one adds the version, and all get it.
func TestTogether(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		done := make(chan error)
		run := func(f func(context.Context) (string, error)) {
			for range 8 {
				go func() {
					id, err := f(ctx)
					if err == nil && id != token {
						err = fmt.Errorf("the version %s", id)
					}
					done <- err
				}()
			}
			for range 8 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
		run(func(ctx context.Context) (string, error) {
			_, id, err := w.Create(ctx, secret.Create{Home: home, Name: "one", Token: token, Content: of("x")})
			return id, err
		})
		w.make("two", "y")
		run(func(ctx context.Context) (string, error) {
			_, v, err := w.Put(ctx, home, "two", token, *of("x"), nil)
			return v.ID, err
		})
		if s, err := w.Find(ctx, home, "two"); err != nil || len(s.Labels) != 2 {
			t.Errorf("%+v %v", s, err)
		}
	})
}

func TestLogsHideValues(t *testing.T) {
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("a", "content", secret.Content{Data: []byte("sesame")}, "version", secret.Version{Content: secret.Content{Data: []byte("sesame")}})
	if strings.Contains(b.String(), "sesame") || strings.Contains(b.String(), "115 101 115") {
		t.Error(b.String())
	}
}

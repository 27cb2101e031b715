package destination_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/destination"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink/webhook"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

var (
	home   = name.Registry{Account: "111122223333", Region: "us-east-1"}
	abroad = name.Registry{Account: "111122223333", Region: "eu-west-1"}
	other  = name.Registry{Account: "444455556666", Region: "us-east-1"}
)

const queue = "arn:aws:sqs:us-east-1:111122223333:images"

type world struct {
	*destination.Service
	t   *testing.T
	clk *clock.Fake
	db  *sqldb.DB
	// wrong is what Check says; using, what InUse does.
	wrong error
	using []string
}

func newWorld(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	w := &world{t: t, db: db, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 678_900, time.UTC))}
	w.must(db.Migrate(t.Context(), "schema_version", schema.Durable()...))
	w.must(db.Update(t.Context(), func(tx *sqldb.Tx) error {
		for _, h := range []name.Registry{home, other} {
			if _, err := tx.Exec(t.Context(), `INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3)`, string(h.Account), "", 1); err != nil {
				return err
			}
		}
		return nil
	}))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	w.must(err)
	w.Service = destination.New(destination.Config{
		DB: db, Keys: ring, Clock: w.clk, NewSecret: webhook.NewSecret,
		Check: func(destination.Opened) error { return w.wrong },
		InUse: func(context.Context, name.AccountID, name.Region, string) ([]string, error) { return w.using, nil },
	})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) refused(what string, err error, code errs.Code, text string) {
	w.t.Helper()
	if !errs.Is(err, code) || !strings.Contains(err.Error(), text) {
		w.t.Errorf("%s: %v, want %q", what, err, text)
	}
}

func (w *world) create(c destination.Create) (destination.Destination, string) {
	w.t.Helper()
	d, secret, err := w.Create(w.t.Context(), c)
	w.must(err)
	return d, secret
}

func each(t *testing.T, fn func(w *world)) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) { fn(newWorld(t, db)) })
}

func TestLife(t *testing.T) {
	each(t, func(w *world) {
		ctx := w.t.Context()
		hook, secret := w.create(destination.Create{Home: home, Name: "hook", Kind: destination.Webhook, Settings: json.RawMessage(`{"url":"https://example.com"}`), Values: map[string]string{"header:X": "the-header's-value"}})
		if !regexp.MustCompile(`^arn:aws:events:us-east-1:111122223333:api-destination/hook/[0-9a-f-]{36}$`).MatchString(hook.ARN) || !strings.HasPrefix(secret, "whsec_") {
			w.t.Errorf("%+v %q", hook, secret)
		}
		sqs, none := w.create(destination.Create{Home: home, Name: "images", Kind: destination.SQS, ARN: queue})
		if sqs.ARN != queue || none != "" {
			w.t.Errorf("%+v %q", sqs, none)
		}
		w.create(destination.Create{Home: abroad, Name: "hook", Kind: destination.Webhook})
		w.create(destination.Create{Home: other, Name: "images", Kind: destination.SQS, ARN: queue})

		for _, ref := range []string{"hook", hook.ARN} {
			got, err := w.Describe(ctx, home, ref)
			w.must(err)
			if got.ID != hook.ID || got.Version != 1 || got.Home != home || string(got.Settings) != `{"url":"https://example.com"}` || strings.Join(got.SecretNames, ",") != "header:X,signing" || !got.CreatedAt.Equal(hook.CreatedAt) {
				w.t.Errorf("%+v", got)
			}
		}
		o, err := w.Open(ctx, home.Account, home.Region, hook.ARN)
		w.must(err)
		if o.Secrets.Values["header:X"] != "the-header's-value" || len(o.Secrets.Signing) != 1 || o.Secrets.Signing[0].Value != secret {
			w.t.Errorf("%+v", o.Secrets)
		}
		for want, in := range map[int]name.Registry{4: {}, 2: home, 1: abroad, 3: {Account: home.Account}} {
			all, err := w.List(ctx, in.Account, in.Region)
			w.must(err)
			if len(all) != want {
				w.t.Errorf("%v: %+v", in, all)
			}
		}
		w.must(w.Known(ctx, home.Account, home.Region, queue))
		w.refused("another region's", w.Known(ctx, abroad.Account, abroad.Region, queue), errs.EventResourceNotFound, "berth events destination create")
		w.refused("a name", w.Known(ctx, home.Account, home.Region, "hook"), errs.EventResourceNotFound, "")

		w.using = []string{"one", "two"}
		_, err = w.Delete(ctx, home, "images", false)
		w.refused("in use", err, errs.InvalidParameter, "the rules one, two")
		_, err = w.Delete(ctx, home, "images", true)
		w.must(err)
		_, err = w.Delete(ctx, home, "images", true)
		w.refused("deleted", err, errs.EventResourceNotFound, "images")
		w.refused("deleted", w.Known(ctx, home.Account, home.Region, queue), errs.EventResourceNotFound, "")
		_, err = w.Open(ctx, home.Account, home.Region, queue)
		w.refused("deleted", err, errs.EventResourceNotFound, "")
		w.must(w.Known(ctx, other.Account, other.Region, queue))
	})
}

func TestSealed(t *testing.T) {
	each(t, func(w *world) {
		ctx := w.t.Context()
		made, secret := w.create(destination.Create{Home: home, Name: "hook", Kind: destination.Webhook, Values: map[string]string{"header:X": "the-header's-value"}})
		second, _ := w.create(destination.Create{Home: home, Name: "two", Kind: destination.NATS, Values: map[string]string{"token": "t"}})
		w.must(w.db.View(ctx, func(tx *sqldb.Tx) error {
			var settings, names string
			var key, bytes_ []byte
			if err := tx.QueryRow(ctx, `SELECT settings, secret_names, data_key, sealed FROM event_destination WHERE id = $1`, made.ID).Scan(&settings, &names, &key, &bytes_); err != nil {
				return err
			}
			for _, column := range [][]byte{[]byte(settings), []byte(names), key, bytes_} {
				if bytes.Contains(column, []byte(secret)) || bytes.Contains(column, []byte("the-header")) {
					w.t.Errorf("a secret stands open: %q", column)
				}
			}
			return nil
		}))
		// They open for the row that they are of, and as they were.
		w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE event_destination SET data_key = (SELECT data_key FROM event_destination WHERE id = $1), sealed = (SELECT sealed FROM event_destination WHERE id = $1) WHERE id = $2`, made.ID, second.ID)
			return err
		}))
		_, err := w.Open(ctx, home.Account, home.Region, second.ARN)
		w.refused("another's secrets", err, errs.KeyFailure, "keyring")
	})
}

func TestRotateSecret(t *testing.T) {
	each(t, func(w *world) {
		ctx := w.t.Context()
		made, first := w.create(destination.Create{Home: home, Name: "hook", Kind: destination.Webhook, Signing: webhook.NewSecret(), Values: map[string]string{"header:X": "v"}})
		held := func(want ...string) {
			w.t.Helper()
			o, err := w.Open(ctx, home.Account, home.Region, made.ARN)
			w.must(err)
			var got []string
			for _, s := range o.Secrets.Signing {
				got = append(got, s.Value)
			}
			if strings.Join(got, " ") != strings.Join(want, " ") || o.Secrets.Values["header:X"] != "v" || !o.Secrets.Signing[0].Until.IsZero() {
				w.t.Errorf("%+v, want %q", o.Secrets, want)
			}
		}
		held(first)
		start := w.clk.Now()
		w.clk.Advance(time.Hour)
		d, second, err := w.RotateSecret(ctx, home, "hook")
		w.must(err)
		if d.Version != 2 || !d.ChangedAt.After(d.CreatedAt) {
			w.t.Errorf("%+v", d)
		}
		held(second, first)
		o, err := w.Open(ctx, home.Account, home.Region, made.ARN)
		w.must(err)
		if until := o.Secrets.Signing[1].Until; !until.Equal(start.Add(time.Hour + destination.Overlap).Truncate(time.Microsecond)) {
			w.t.Error(until)
		}
		w.clk.Advance(23 * time.Hour)
		_, third, err := w.RotateSecret(ctx, home, made.ARN)
		w.must(err)
		held(third, second, first)
		w.clk.Advance(time.Hour)
		_, fourth, err := w.RotateSecret(ctx, home, made.ARN)
		w.must(err)
		held(fourth, third, second)

		w.create(destination.Create{Home: home, Name: "images", Kind: destination.SQS, ARN: queue})
		_, _, err = w.RotateSecret(ctx, home, "images")
		w.refused("a queue", err, errs.InvalidParameter, "only webhooks")
		_, _, err = w.RotateSecret(ctx, home, "none")
		w.refused("none", err, errs.EventResourceNotFound, "none")
	})
}

func TestRotateAtOnce(t *testing.T) {
	each(t, func(w *world) {
		made, _ := w.create(destination.Create{Home: home, Name: "hook", Kind: destination.Webhook})
		const many = 4
		secrets := make(chan string, many)
		for range many {
			go func() {
				_, secret, err := w.RotateSecret(w.t.Context(), home, "hook")
				if err != nil {
					w.t.Errorf("rotating: %v", err)
				}
				secrets <- secret
			}()
		}
		want := map[string]bool{}
		for range many {
			want[<-secrets] = true
		}
		o, err := w.Open(w.t.Context(), home.Account, home.Region, made.ARN)
		w.must(err)
		for _, s := range o.Secrets.Signing {
			delete(want, s.Value)
		}
		if len(want) != 0 || len(o.Secrets.Signing) != many+1 || o.Version != many+1 {
			w.t.Errorf("%d are lost of %+v", len(want), o)
		}
	})
}

func TestRefusals(t *testing.T) {
	each(t, func(w *world) {
		w.create(destination.Create{Home: home, Name: "images", Kind: destination.SQS, ARN: queue})
		for what, c := range map[string]struct {
			destination.Create
			want string
		}{
			"no kind":          {destination.Create{Home: home, Name: "a", Kind: "fax"}, "webhook, file, nats, sqs, sns, eventbridge"},
			"no name":          {destination.Create{Home: home, Kind: destination.File}, "1 to 64"},
			"a long name":      {destination.Create{Home: home, Name: strings.Repeat("a", 65), Kind: destination.File}, "1 to 64"},
			"a slash":          {destination.Create{Home: home, Name: "a/b", Kind: destination.File}, "1 to 64"},
			"no ARN":           {destination.Create{Home: home, Name: "a", Kind: destination.SNS}, "Give it"},
			"an ARN":           {destination.Create{Home: home, Name: "a", Kind: destination.NATS, ARN: queue}, "Leave it out"},
			"a secret":         {destination.Create{Home: home, Name: "a", Kind: destination.File, Signing: "x"}, "signs nothing"},
			"no settings":      {destination.Create{Home: home, Name: "a", Kind: destination.File, Settings: json.RawMessage(`[]`)}, "JSON object"},
			"null":             {destination.Create{Home: home, Name: "a", Kind: destination.File, Settings: json.RawMessage(`null`)}, "JSON object"},
			"long settings":    {destination.Create{Home: home, Name: "a", Kind: destination.File, Settings: json.RawMessage(`{"a":"` + strings.Repeat("x", 70000) + `"}`)}, "bytes at most"},
			"long secrets":     {destination.Create{Home: home, Name: "a", Kind: destination.NATS, Values: map[string]string{"token": strings.Repeat("x", 70000)}}, "bytes at most"},
			"no account":       {destination.Create{Home: name.Registry{Account: "999999999999", Region: "us-east-1"}, Name: "a", Kind: destination.File}, "no account 999999999999"},
			"the name's taken": {destination.Create{Home: home, Name: "images", Kind: destination.File}, "already"},
			"the ARN's taken":  {destination.Create{Home: home, Name: "a", Kind: destination.SQS, ARN: queue}, "already"},
		} {
			_, _, err := w.Create(w.t.Context(), c.Create)
			w.refused(what, err, errs.InvalidParameter, c.want)
		}
		w.wrong = errors.New("the URL is none")
		_, _, err := w.Create(w.t.Context(), destination.Create{Home: home, Name: "a", Kind: destination.Webhook})
		w.refused("wrong settings", err, errs.InvalidParameter, "The destination a cannot be made: the URL is none.")
	})
}

func TestLimit(t *testing.T) {
	each(t, func(w *world) {
		w.must(w.db.Update(w.t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(w.t.Context(), `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
				INSERT INTO event_destination (id, account_id, region, name, kind, arn, settings, secret_names, data_key, sealed, version, created_at, changed_at)
				SELECT i, '111122223333', 'us-east-1', 'n' || i, 'file', 'arn:' || i, '{}', '[]', $1, $1, 1, 0, 0 FROM n`, []byte{})
			return err
		}))
		w.create(destination.Create{Home: home, Name: "last", Kind: destination.File})
		w.create(destination.Create{Home: abroad, Name: "elsewhere", Kind: destination.File})
		_, _, err := w.Create(w.t.Context(), destination.Create{Home: home, Name: "more", Kind: destination.File})
		w.refused("too many", err, errs.LimitExceeded, "1000 destinations")
	})
}

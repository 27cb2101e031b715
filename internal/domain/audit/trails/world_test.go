package trails_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/audit/trails"
	"github.com/berth-registry/berth/internal/domain/audit/trails/verify"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	"github.com/berth-registry/berth/internal/infra/trailstore"
	"github.com/berth-registry/berth/internal/infra/trailstore/dir"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	account = name.AccountID("111111111111")
	other   = name.AccountID("222222222222")
	west    = name.Region("eu-west-1")
	north   = name.Region("eu-north-1")
	east    = name.Region("us-east-1")
)

var home = name.Registry{Account: account, Region: west}

// fragile is a store that can be told to fail after a number of writes, before or after
// they are done.
type fragile struct {
	trailstore.Store
	mu   sync.Mutex
	left int // writes until it fails; below 0: never
	done bool
}

var errStore = errors.New("the disk is on fire")

func (f *fragile) set(left int, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.done = left, done
}

func (f *fragile) Put(ctx context.Context, key string, body []byte, metadata map[string]string) error {
	f.mu.Lock()
	fails := f.left == 0
	if f.left > 0 {
		f.left--
	}
	done := f.done
	f.mu.Unlock()
	if fails && !done {
		return errStore
	}
	if err := f.Store.Put(ctx, key, body, metadata); err != nil || !fails {
		return err
	}
	return errStore
}

type world struct {
	t     *testing.T
	db    *sqldb.DB
	clock *clock.Fake
	trail *audit.Trail
	keys  *keyring.Keyring
	store *fragile
	root  string
	*trails.Service
}

func newWorld(t *testing.T, db *sqldb.DB) *world {
	w := &world{t: t, db: db, clock: clock.NewFake(time.Now().UTC().Truncate(time.Hour)), root: t.TempDir()}
	w.must(db.Migrate(t.Context(), "schema_version", schema.Durable()...))
	for _, a := range []name.AccountID{account, other} {
		w.must(db.Update(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO account (id, name, created_at) VALUES ($1, '', 0) ON CONFLICT DO NOTHING`, string(a))
			return err
		}))
	}
	var err error
	w.keys, err = keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clock)
	w.must(err)
	d, err := dir.Open(w.root)
	w.must(err)
	t.Cleanup(func() { w.must(d.Close()) })
	w.store = &fragile{Store: d, left: -1}
	w.trail = audit.NewTrail(db, slog.New(slog.DiscardHandler), audit.Options{})
	w.Service = w.node(trails.Config{})
	return w
}

// node is another service over the same database and store.
func (w *world) node(c trails.Config) *trails.Service {
	c.DB, c.Clock, c.Log, c.Keys, c.Records = w.db, w.clock, slog.New(slog.DiscardHandler), w.keys, w.trail
	c.Regions, c.Buckets, c.Margin = []name.Region{west, north}, map[string]trailstore.Store{"logs": w.store}, time.Nanosecond
	return trails.New(c)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) refused(err error, code errs.Code, text string) {
	w.t.Helper()
	if !errs.Is(err, code) || !strings.Contains(err.Error(), text) {
		w.t.Errorf("got %v, want %q", err, text)
	}
}

// record writes n records of an account and region, with the request ids r0, r1 and so on.
func (w *world) record(a name.AccountID, region name.Region, source string, n int) {
	w.t.Helper()
	for i := range n {
		w.trail.Record(w.t.Context(), audit.Entry{
			Time: w.clock.Now(), EventSource: source, EventName: "PutImage", Region: region, Account: a, RequestID: fmt.Sprintf("r%d", i),
			Principal:         audit.Identity{Account: a, ARN: "arn:aws:iam::" + string(a) + ":root", ID: string(a), Type: "Root"},
			RequestParameters: json.RawMessage(`{"repositoryName":"a<b>&c"}`),
		})
	}
	w.must(w.trail.Flush(w.t.Context()))
}

// keysOf are the objects of a kind: CloudTrail or CloudTrail-Digest.
func (w *world) keysOf(kind string) (all []string) {
	w.t.Helper()
	w.must(w.store.List(w.t.Context(), "", func(key string) error {
		if strings.Contains(key, "/"+kind+"/") {
			all = append(all, key)
		}
		return nil
	}))
	return all
}

func (w *world) read(key string) []byte {
	w.t.Helper()
	o, err := w.store.Get(w.t.Context(), key)
	w.must(err)
	z, err := gzip.NewReader(bytes.NewReader(o.Body))
	w.must(err)
	b, err := io.ReadAll(z)
	w.must(err)
	return b
}

// written counts the records of all files by their event ids.
func (w *world) written() map[string]int {
	w.t.Helper()
	all := map[string]int{}
	for _, key := range w.keysOf("CloudTrail") {
		var f struct {
			Records []struct{ EventID, AwsRegion string }
		}
		w.must(json.Unmarshal(w.read(key), &f))
		if len(f.Records) == 0 {
			w.t.Errorf("%s is empty", key)
		}
		for _, r := range f.Records {
			all[r.EventID]++
			if !strings.Contains(key, "_CloudTrail_"+r.AwsRegion+"_") {
				w.t.Errorf("%s has a record of %s", key, r.AwsRegion)
			}
		}
	}
	return all
}

func (w *world) once(n int) {
	w.t.Helper()
	all := w.written()
	for id, times := range all {
		if times != 1 || id == "" {
			w.t.Errorf("the record %q is written %d times", id, times)
		}
	}
	if len(all) != n {
		w.t.Errorf("%d records are written, want %d", len(all), n)
	}
}

func (w *world) verify(known bool) verify.Report {
	w.t.Helper()
	public, err := w.PublicKeys(w.t.Context())
	w.must(err)
	o := verify.Options{Store: w.store, Keys: map[string]*rsa.PublicKey{}}
	for _, k := range public {
		o.Keys[k.Fingerprint] = k.Public
	}
	if known {
		o.Bucket, o.Known = "logs", w.Service
	}
	r, err := verify.Run(w.t.Context(), o)
	w.must(err)
	return r
}

// valid makes sure that both kinds of checks find nothing.
func (w *world) valid() {
	w.t.Helper()
	for _, known := range []bool{true, false} {
		if r := w.verify(known); !r.Valid() {
			w.t.Errorf("with the database: %v: %+v", known, r.Problems)
		}
	}
}

func (w *world) find(in name.Registry, s string) trails.Trail {
	w.t.Helper()
	t, err := w.Find(w.t.Context(), in, s)
	w.must(err)
	return t
}

func all(prefix string) trails.Create {
	return trails.Create{Home: home, Name: "all", Bucket: "logs", Prefix: prefix, MultiRegion: true, GlobalEvents: true, Validation: true, Tags: map[string]string{"a": "b"}}
}

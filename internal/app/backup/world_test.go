package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/app/backends/backendstest"
	"github.com/berth-registry/berth/internal/app/backup/dump"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// world is a deployment with objects, opened by this process.
type world struct {
	t   *testing.T
	cfg config.Config
	*Local
	ids int64
}

func settings(t *testing.T, change ...func(*config.Config)) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Blobs.InlineBytes = 0 // each layer is an object
	for _, c := range change {
		c(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func open(t *testing.T, cfg config.Config) *world {
	t.Helper()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	backendstest.Prepare(t, cfg)
	o := backends.Options{Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)}
	b, err := backends.Open(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, cfg: cfg, Local: &Local{Backends: b, Clock: o.Clock, Log: o.Log, Header: dump.Header{Program: "test", Account: cfg.Account, Region: cfg.Region}}, ids: 1}
	t.Cleanup(func() { w.close() })
	return w
}

func (w *world) close() {
	if w.Backends == nil {
		return
	}
	if err := w.Backends.Close(); err != nil {
		w.t.Error(err)
	}
	w.Backends = nil
}

// deployment has an account and n objects, of which some are archived.
func deployment(t *testing.T, n int, change ...func(*config.Config)) *world {
	w := open(t, settings(t, change...))
	w.exec(`INSERT INTO account (id, name, created_at) VALUES ($1, 'test', 1)`, string(w.cfg.Account))
	w.push(n)
	return w
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	err := w.Backends.Durable.Update(w.t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.t.Context(), query, args...)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// push adds n objects: sealed, of many sizes, every third in the archive, every fifth of a
// public registry.
func (w *world) push(n int) {
	w.t.Helper()
	ctx := w.t.Context()
	for range n {
		region := w.cfg.Region
		if w.ids%5 == 0 {
			region = name.Public
		}
		store := w.Backends.Stores[region]
		archived := w.ids%3 == 0
		if archived {
			store = w.Backends.Archives[region]
		}
		key := fmt.Sprintf("%s/%s/%02x/object-%d", w.cfg.Account, region, w.ids%7, w.ids)
		wr, err := store.Create(ctx, key, blobstore.Placement{})
		if err == nil {
			_, err = wr.Write(bytes.Repeat([]byte{byte(w.ids)}, int(w.ids*1777%70_000)))
		}
		if err != nil {
			w.t.Fatal(err)
		}
		o, err := wr.Commit(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		w.exec(`INSERT INTO blob (id, account_id, region, key_id, digest, size, object_key, seal, created_at, archived) VALUES ($1, $2, $3, '', $4, $5, $6, $7, 1, $8)`,
			w.ids, string(w.cfg.Account), string(region), fmt.Sprint("digest ", w.ids), o.Size, key, o.Seal, archived)
		w.ids++
	}
}

func (w *world) remove(id int64) { w.t.Helper(); w.exec(`DELETE FROM blob WHERE id = $1`, id) }

// state is everything that a backup is about, as text.
func (w *world) state() string {
	w.t.Helper()
	var rows bytes.Buffer
	if err := dump.Write(w.t.Context(), w.Backends.Durable, dump.Header{}, &rows); err != nil {
		w.t.Fatal(err)
	}
	keys, err := w.Backends.Keys.Export(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	type object struct {
		blobstore.Object
		archived bool
		region   name.Region
	}
	var all []object
	err = w.Backends.Durable.View(w.t.Context(), func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(w.t.Context(), tx, func(row sqldb.Scanner) (o object, err error) {
			return o, row.Scan(&o.Key, &o.Size, &o.Seal, &o.archived, &o.region)
		}, `SELECT object_key, size, seal, archived, region FROM blob ORDER BY id`)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	var objects strings.Builder
	for _, o := range all {
		store := w.Backends.Stores[o.region]
		if o.archived {
			store = w.Backends.Archives[o.region]
		}
		body, err := store.Open(w.t.Context(), o.Object, 0, -1)
		if err != nil {
			fmt.Fprintln(&objects, o.Key, err)
			continue
		}
		text, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintln(&objects, o.Key, len(text), text[:min(1, len(text))])
	}
	return rows.String() + string(keys) + objects.String()
}

func backups(t *testing.T) *Dir {
	t.Helper()
	return backupsAt(t, filepath.Join(t.TempDir(), "backups"))
}

func backupsAt(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() }) // perhaps for the second time
	return d
}

func made(t *testing.T, d *Dir, src Source) Made {
	t.Helper()
	m, err := d.Make(t.Context(), src, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func verified(t *testing.T, d *Dir) (Verified, string) {
	t.Helper()
	var mu sync.Mutex
	var problems []string
	v, err := d.Verify(t.Context(), "", func(p string) { mu.Lock(); defer mu.Unlock(); problems = append(problems, p) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v, strings.Join(problems, "\n")
}

func restored(t *testing.T, d *Dir, cfg config.Config, snapshot string) *world {
	t.Helper()
	if _, err := d.Restore(t.Context(), cfg, restoring(snapshot)); err != nil {
		t.Fatal(err)
	}
	return open(t, cfg)
}

func restoring(snapshot string) Restoring {
	return Restoring{Snapshot: snapshot, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)}
}

func files(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	all := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && !e.IsDir() {
			all[path] = info.Mode().Perm()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// shapes are where a backup is restored to.
func shapes() map[string]func(*config.Config, *testing.T) {
	return map[string]func(*config.Config, *testing.T){
		"sqlite": func(*config.Config, *testing.T) {},
		"postgres": func(c *config.Config, t *testing.T) {
			c.Database.URL = sqldbtest.PostgresURL(t)
		},
		"postgres with the keyring in a file": func(c *config.Config, t *testing.T) {
			c.Database.URL = sqldbtest.PostgresURL(t)
			c.Keys.Keyring = filepath.Join(t.TempDir(), "keyring.json")
		},
		"files elsewhere, not sealed": func(c *config.Config, t *testing.T) {
			c.Blobs.Encryption, c.Blobs.Archive = "none", filepath.Join(t.TempDir(), "slow")
		},
	}
}

package vulndb_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/fs"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// run has a node keep up until the test ends or stop is called.
func (n *node) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// has says whether a node has a database on its disk.
func (n *node) has(archive []byte) bool {
	return slices.Contains(n.entries(), name.SHA256(archive).Hex())
}

// TestNodes has a second node keep up, over sealed objects in files.
func TestNodes(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		d := deploy(t, db)
		inner, err := fs.New(t.TempDir())
		must(t, err)
		t.Cleanup(func() { must(t, inner.Close()) })
		ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), d.clk)
		must(t, err)
		d.store = encrypted.NewEither(inner, ring, true)
		a, b := d.node(), d.node()
		must(t, os.WriteFile(filepath.Join(b.dir, "tmp-killed"), nil, 0o600))
		b.run(t)
		a.mustImport(database(t, 1))
		eventually(t, "the other node has the first database", func() bool { return b.has(database(t, 1)) })
		b.serves(database(t, 1))
		if slices.Contains(b.entries(), "tmp-killed") {
			t.Error("what a killed process left is still there")
		}
		// Two more: the first is neither current nor former then, but stays for an hour.
		a.mustImport(database(t, 2))
		eventually(t, "the other node has the second database", func() bool { return b.has(database(t, 2)) })
		a.mustImport(database(t, 3))
		eventually(t, "the other node has the third database", func() bool { return b.has(database(t, 3)) })
		b.serves(database(t, 3))
		must(t, b.Sweep(t.Context()))
		d.clk.Advance(time.Hour - time.Second)
		must(t, b.Sweep(t.Context()))
		if !b.has(database(t, 1)) {
			t.Error("a database was removed within an hour of its replacement")
		}
		d.clk.Advance(time.Second)
		eventually(t, "the replaced database is removed", func() bool { return !b.has(database(t, 1)) })
		eventually(t, "the node has two databases and nothing else", func() bool {
			return len(b.entries()) == 2 && b.has(database(t, 2)) && b.has(database(t, 3))
		})
		// What somebody takes out of a directory comes back.
		must(t, os.Remove(filepath.Join(b.dir, name.SHA256(database(t, 3)).Hex(), "metadata.json")))
		b.serves(database(t, 3))
		if len(d.objects()) != 2 {
			t.Errorf("objects %v", d.objects())
		}
	})
}

// TestOneUnpacks has many ask at once on a node that does not have the database yet.
func TestOneUnpacks(t *testing.T) {
	d := deploy(t, sqldbtest.SQLite(t))
	store := &hooked{Store: d.store}
	d.store = store
	d.node().mustImport(database(t, 1))
	var mu sync.Mutex
	opens := 0
	store.open = func() { mu.Lock(); defer mu.Unlock(); opens++ }
	n := d.node()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if db, ok, err := n.Current(t.Context()); err != nil || !ok || db.Digest != name.SHA256(database(t, 1)) {
				t.Errorf("%+v, %t, %v", db, ok, err)
			}
		})
	}
	group.Wait()
	if opens != 1 {
		t.Errorf("the archive was read %d times", opens)
	}
}

// TestCannotUnpack has a node that cannot unpack the new database: it has no room for it.
func TestCannotUnpack(t *testing.T) {
	d := deploy(t, sqldbtest.SQLite(t))
	small := int64(len(unpacked(t, database(t, 1))["trivy.db"])) + 4096
	a := d.node()
	b := d.node(func(c *vulndb.Config) { c.MaxPlain = small })
	a.mustImport(database(t, 1))
	b.serves(database(t, 1))
	d.clk.Advance(time.Hour)
	big := unpacked(t, database(t, 2))
	large := packed(t, entry{content: big["trivy.db"] + strings.Repeat("\x00", 1<<16)}.named("trivy.db"), entry{content: big["metadata.json"]}.named("metadata.json"))
	a.mustImport(large)
	a.serves(large)
	b.serves(database(t, 1)) // goes on with the former one
	st, err := b.Status(t.Context())
	if err != nil || st.Unpacked || !strings.Contains(st.NodeError, "cannot be unpacked") || !strings.Contains(st.Advice, "this node") {
		t.Errorf("%+v, %v", st, err)
	}
	for _, e := range b.entries() {
		if strings.HasPrefix(e, "tmp-") {
			t.Errorf("%s stays", e)
		}
	}
	// It is not swept while it serves, even when it is not the former one any more.
	d.clk.Advance(time.Minute)
	larger := packed(t, entry{content: big["trivy.db"] + strings.Repeat("\x00", 1<<17)}.named("trivy.db"), entry{content: big["metadata.json"]}.named("metadata.json"))
	a.mustImport(larger)
	must(t, b.Sweep(t.Context()))
	d.clk.Advance(2 * time.Hour)
	must(t, b.Sweep(t.Context()))
	b.serves(database(t, 1))
	// A node that has nothing says why.
	c := d.node(func(c *vulndb.Config) { c.MaxPlain = small })
	if _, ok, err := c.Current(t.Context()); ok || err == nil || !strings.Contains(err.Error(), "cannot be unpacked") {
		t.Errorf("%t, %v", ok, err)
	}
}

func (e entry) named(file string) entry { e.Name = file; return e }

// TestDamagedStore has the stored archive damaged, and gone.
func TestDamagedStore(t *testing.T) {
	d := deploy(t, sqldbtest.SQLite(t))
	store := memory.New()
	d.store = store
	a := d.node()
	verify := func() []string {
		t.Helper()
		var all []string
		must(t, a.Verify(t.Context(), func(text string) { all = append(all, text) }))
		return all
	}
	a.mustImport(database(t, 1))
	if found := verify(); found != nil {
		t.Errorf("found %q", found)
	}
	key := d.objects()[0]
	must(t, store.Damage(key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }))
	if found := verify(); len(found) != 1 || !strings.Contains(found[0], "damaged") {
		t.Errorf("found %q", found)
	}
	a.serves(database(t, 1)) // this node has it
	b := d.node()
	if _, ok, err := b.Current(t.Context()); ok || err == nil {
		t.Errorf("a damaged archive is unpacked: %v", err)
	}
	must(t, store.Delete(t.Context(), key))
	if found := verify(); len(found) != 1 || !strings.Contains(found[0], "cannot be read") {
		t.Errorf("found %q", found)
	}
	c := d.node()
	if _, ok, err := c.Current(t.Context()); ok || !errors.Is(err, blobstore.ErrNotFound) {
		t.Errorf("%t, %v", ok, err)
	}
	a.mustImport(database(t, 1)) // mends it
	d.clk.Advance(time.Minute)
	b.serves(database(t, 1))
	c.serves(database(t, 1))
	w, err := store.Create(t.Context(), vulndb.Prefix+"stray", blobstore.Placement{})
	must(t, err)
	_, err = w.Commit(t.Context())
	must(t, err)
	if found := verify(); len(found) != 1 || !strings.Contains(found[0], "stray") {
		t.Errorf("found %q", found)
	}
}

// hooked is a store that tells of what is done with it, before it is done; after a
// commit, committed is called.
type hooked struct {
	blobstore.Store
	create, write, commit, committed, open, remove func()
}

func call(f func()) {
	if f != nil {
		f()
	}
}

func (h *hooked) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	call(h.create)
	w, err := h.Store.Create(ctx, key, p)
	return &hookedWriter{w, h}, err
}

func (h *hooked) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	call(h.open)
	return h.Store.Open(ctx, o, offset, length)
}

func (h *hooked) Delete(ctx context.Context, key string) error {
	call(h.remove)
	return h.Store.Delete(ctx, key)
}

type hookedWriter struct {
	blobstore.Writer
	h *hooked
}

func (w *hookedWriter) Write(p []byte) (int, error) {
	call(w.h.write)
	return w.Writer.Write(p)
}

func (w *hookedWriter) Commit(ctx context.Context) (blobstore.Object, error) {
	call(w.h.commit)
	defer call(w.h.committed)
	return w.Writer.Commit(ctx)
}

// TestKilled stops an import for good at each of its steps, as a kill does, and goes on with a
// new process on what it has left. Then the killed one comes back to life, as a process that hung
// does, and must harm nothing.
func TestKilled(t *testing.T) {
	type step struct {
		name  string
		set   func(h *hooked, c *vulndb.Config, stop func())
		taken bool // the change was made
	}
	steps := []step{
		{"checking", func(_ *hooked, c *vulndb.Config, stop func()) {
			c.Check = func(ctx context.Context, dir string) (match.Metadata, error) { stop(); return one.check(ctx, dir) }
		}, false},
		{"creating", func(h *hooked, _ *vulndb.Config, stop func()) { h.create = stop }, false},
		{"writing", func(h *hooked, _ *vulndb.Config, stop func()) { h.write = stop }, false},
		{"committing", func(h *hooked, _ *vulndb.Config, stop func()) { h.commit = stop }, false},
		{"committed", func(h *hooked, _ *vulndb.Config, stop func()) { h.committed = stop }, false},
		{"deleting", func(h *hooked, _ *vulndb.Config, stop func()) { h.remove = stop }, true},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
				d := deploy(t, db)
				first := d.node()
				first.mustImport(database(t, 1))
				first.mustImport(database(t, 2)) // so that there is something to delete

				reached, revive := make(chan struct{}), make(chan struct{})
				stop := sync.OnceFunc(func() { close(reached); <-revive })
				h := &hooked{Store: d.store}
				killed := d.nodeOn(first.dir, func(c *vulndb.Config) {
					c.Store = func() blobstore.Store { return h }
					s.set(h, c, stop)
				})
				ended := make(chan error, 1)
				go func() {
					_, err := killed.Import(context.Background(), file(t, database(t, 3)), "", vulndb.ImportOptions{})
					ended <- err
				}()
				<-reached

				again := d.nodeOn(first.dir)
				again.run(t)
				eventually(t, "what was on its way is removed", func() bool {
					return !slices.ContainsFunc(again.entries(), func(e string) bool { return strings.HasPrefix(e, "tmp-") })
				})
				if s.taken {
					again.serves(database(t, 3))
				} else {
					again.serves(database(t, 2))
				}
				must(t, again.Tidy(t.Context()))
				if !s.taken && s.name != "checking" && d.states() != "current former incoming" {
					t.Errorf("an import under way is swept: %s", d.states())
				}
				d.clk.Advance(4 * time.Hour)
				must(t, again.Tidy(t.Context()))
				if d.states() != "current former" || len(d.objects()) != 2 {
					t.Errorf("rows %s, objects %v", d.states(), d.objects())
				}
				again.mustImport(database(t, 4))
				again.serves(database(t, 4))

				close(revive)
				if err := <-ended; (err == nil) != s.taken {
					t.Errorf("the killed import ends with %v", err)
				}
				again.serves(database(t, 4))
				if d.states() != "current former" || len(d.objects()) != 2 {
					t.Errorf("in the end: rows %s, objects %v", d.states(), d.objects())
				}
			})
		})
	}
}

// TestFailures has the store or the database refuse at each step: nothing stays of
// the import, and the next one succeeds.
func TestFailures(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		d := deploy(t, db)
		d.node().mustImport(database(t, 1))
		failure := errors.New("no more")
		for what, set := range map[string]func(c *vulndb.Config){
			"check": func(c *vulndb.Config) {
				c.Check = func(context.Context, string) (match.Metadata, error) { return match.Metadata{}, failure }
			},
			"create": func(c *vulndb.Config) {
				c.Store = func() blobstore.Store { return failing{d.store, failure, "create"} }
			},
			"write": func(c *vulndb.Config) { c.Store = func() blobstore.Store { return failing{d.store, failure, "write"} } },
			"commit": func(c *vulndb.Config) {
				c.Store = func() blobstore.Store { return failing{d.store, failure, "commit"} }
			},
			"changed": func(c *vulndb.Config) {
				c.Changed = func(context.Context, *sqldb.Tx, vulndb.Database) error { return failure }
			},
		} {
			n := d.node(set)
			if _, err := n.Import(t.Context(), file(t, database(t, 2)), "", vulndb.ImportOptions{}); !errors.Is(err, failure) {
				t.Errorf("%s: %v", what, err)
			}
			if d.states() != "current" || len(d.objects()) != 1 || len(n.entries()) != 0 {
				t.Errorf("%s leaves rows %s, objects %v, files %v", what, d.states(), d.objects(), n.entries())
			}
			n.serves(database(t, 1))
		}
		ctx, cancel := context.WithCancel(t.Context())
		n := d.node(func(c *vulndb.Config) {
			c.Store = func() blobstore.Store { return &hooked{Store: d.store, write: cancel} }
		})
		if _, err := n.Import(ctx, file(t, database(t, 2)), "", vulndb.ImportOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
		if d.states() != "current" || len(d.objects()) != 1 {
			t.Errorf("a canceled import leaves rows %s, objects %v", d.states(), d.objects())
		}
		d.node().mustImport(database(t, 2))
	})
}

// failing fails at one step.
type failing struct {
	blobstore.Store
	err error
	at  string
}

func (f failing) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	if f.at == "create" {
		return nil, f.err
	}
	w, err := f.Store.Create(ctx, key, p)
	return failingWriter{w, f}, err
}

type failingWriter struct {
	blobstore.Writer
	f failing
}

func (w failingWriter) Write(p []byte) (int, error) {
	if w.f.at == "write" {
		return 0, w.f.err
	}
	return w.Writer.Write(p)
}

func (w failingWriter) Commit(ctx context.Context) (blobstore.Object, error) {
	if w.f.at == "commit" {
		return blobstore.Object{}, w.f.err
	}
	return w.Writer.Commit(ctx)
}

// TestUncertain loses the database's answer to the commit of the change.
func TestUncertain(t *testing.T) {
	direct := sqldbtest.PostgresURL(t)
	line := sqldbtest.NewLine(t, direct)
	d := deploy(t, sqldbtest.OpenPostgres(t, direct))
	d.node().mustImport(database(t, 1))
	over := sqldbtest.OpenPostgres(t, line.URL)
	n := d.node(func(c *vulndb.Config) { c.DB = over })
	line.CutAfterCommit("SET state = $1, manifest")
	_, err := n.Import(t.Context(), file(t, database(t, 2)), "", vulndb.ImportOptions{})
	if !errors.Is(err, sqldb.ErrUncertain) || line.Cuts() != 1 {
		t.Fatalf("%v, %d connections were cut", err, line.Cuts())
	}
	d.node().serves(database(t, 2)) // the change was made, and its object is there
	must(t, n.Tidy(t.Context()))
	n.serves(database(t, 2))
}

// TestAtOnce has two nodes import at once, both past the first comparison: whichever comes
// first, the newer one is in use in the end.
func TestAtOnce(t *testing.T) {
	for _, newerFirst := range []bool{true, false} {
		sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
			d := deploy(t, db)
			d.node().mustImport(database(t, 1))
			checked, pass := make(chan struct{}, 2), [2]chan struct{}{make(chan struct{}), make(chan struct{})}
			results := [2]chan error{make(chan error, 1), make(chan error, 1)}
			for i := range 2 {
				n := d.node(func(c *vulndb.Config) {
					c.Check = func(ctx context.Context, dir string) (match.Metadata, error) {
						m, err := one.check(ctx, dir)
						checked <- struct{}{}
						<-pass[i]
						return m, err
					}
				})
				go func() {
					_, err := n.ImportReader(context.Background(), bytes.NewReader(database(t, 2+i)), "", vulndb.ImportOptions{})
					results[i] <- err
				}()
			}
			<-checked
			<-checked
			order := []int{0, 1}
			if newerFirst {
				order = []int{1, 0}
			}
			for k, i := range order {
				close(pass[i])
				err := <-results[i]
				if newerFirst && k == 1 {
					refused(t, err, "before the one in use")
				} else {
					must(t, err)
				}
			}
			d.node().serves(database(t, 3))
			if d.states() != "current former" || len(d.objects()) != 2 {
				t.Errorf("rows %s, objects %v", d.states(), d.objects())
			}
		})
	}
}

// TestMany has several nodes import many databases at the same time.
func TestMany(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		d := deploy(t, db)
		var group sync.WaitGroup
		for i := range 3 {
			n := d.node()
			group.Go(func() {
				for k := range 4 {
					_, err := n.ImportReader(t.Context(), bytes.NewReader(database(t, 1+(i+2*k)%7)), "", vulndb.ImportOptions{})
					var r *vulndb.Refused
					if err != nil && (!errors.As(err, &r) || !r.Older) {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		n := d.node()
		n.serves(database(t, 7))
		must(t, n.Tidy(t.Context()))
		if states := d.states(); !strings.HasPrefix(states, "current") || strings.Contains(states, "g") || len(d.objects()) != len(strings.Fields(states)) {
			t.Errorf("rows %s, objects %v", states, d.objects())
		}
	})
}

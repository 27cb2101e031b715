package vulndb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb/layout"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// mirrors are sources: archives by reference.
type mirrors struct {
	t       *testing.T
	mu      sync.Mutex
	has     map[string][]byte
	asked   []string // "resolve REF", "fetch REF"
	because error    // of a reference that has none
}

func (m *mirrors) set(ref string, archive []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.has[ref] = archive
}

func (m *mirrors) get(what, ref string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, what+" "+ref)
	if b, ok := m.has[ref]; ok {
		return b, nil
	}
	return nil, m.because
}

// log is what was asked since the last time.
func (m *mirrors) log() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := strings.Join(m.asked, ", ")
	m.asked = nil
	return text
}

func (m *mirrors) fetch(_ context.Context, ref string, w io.Writer) (name.Digest, error) {
	b, err := m.get("fetch", ref)
	if err != nil {
		return "", err
	}
	a := manifest(m.t, b)
	return a.Manifest, layout.Write(w, a, []byte("{}"), bytes.NewReader(b))
}

func (m *mirrors) resolve(_ context.Context, ref string) (name.Digest, error) {
	b, err := m.get("resolve", ref)
	if err != nil {
		return "", err
	}
	return manifest(m.t, b).Manifest, nil
}

func newMirrors(t *testing.T) *mirrors {
	return &mirrors{t: t, has: map[string][]byte{}, because: errors.New("no answer")}
}

func (m *mirrors) config(c *vulndb.Config) {
	c.Sources, c.Fetch, c.Resolve, c.Refresh = []string{"one", "two"}, m.fetch, m.resolve, time.Hour
}

func TestRefresh(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		d, m := deploy(t, db), newMirrors(t)
		n := d.node(m.config)
		due := func(want string) {
			t.Helper()
			must(t, n.RefreshDue(t.Context()))
			if got := m.log(); got != want {
				t.Errorf("asked: %s\nwant: %s", got, want)
			}
		}
		status := func() vulndb.Status {
			t.Helper()
			st, err := n.Status(t.Context())
			must(t, err)
			return st
		}
		if st := status(); !st.Asked.At.IsZero() || !strings.Contains(st.Advice, "soon") {
			t.Errorf("%+v", st)
		}
		// Nobody has it.
		due("resolve one, resolve two")
		if st := status(); st.Asked.Error != "one: no answer\ntwo: no answer" || st.Asked.At != start || st.Asked.Next != start.Add(10*time.Minute) || !strings.Contains(st.Advice, "fetch -o FILE") {
			t.Errorf("%+v", st)
		}
		due("") // its time has not come
		// The second has it, and is asked where the first fails.
		m.set("two", database(t, 6))
		d.clk.Advance(10 * time.Minute)
		due("resolve one, resolve two, fetch two")
		got := n.serves(database(t, 6))
		if got.Source != "two" || got.Manifest != manifest(t, database(t, 6)).Manifest {
			t.Errorf("%+v", got)
		}
		if st := status(); st.Asked.Error != "" || st.Asked.Source != "two" || st.Advice != "" {
			t.Errorf("%+v", st)
		}
		// Nobody is asked before the next one is to be expected: made(6) and six hours.
		d.clk.Advance(made(12).Add(-time.Second).Sub(d.clk.Now()))
		due("")
		m.set("one", database(t, 5)) // a mirror that lags
		d.clk.Advance(time.Second)
		due("resolve one, fetch one, resolve two")
		n.serves(database(t, 6))
		due("")
		m.set("one", database(t, 6))
		d.clk.Advance(time.Hour)
		due("resolve one")
		m.set("one", database(t, 11))
		d.clk.Advance(time.Hour)
		due("resolve one, fetch one")
		n.serves(database(t, 11))
		if len(d.told()) != 2 {
			t.Errorf("told of %v", d.told())
		}

		// Who goes back is not brought forward again, except to something newer.
		_, err := n.UseFormer(t.Context())
		must(t, err)
		now, changed, err := n.Refresh(t.Context())
		if err != nil || changed || now.Digest != name.SHA256(database(t, 6)) || m.log() != "resolve one" {
			t.Errorf("%+v, %t, %v", now, changed, err)
		}
		m.set("one", database(t, 12))
		now, changed, err = n.Refresh(t.Context())
		if err != nil || !changed || now.Digest != name.SHA256(database(t, 12)) {
			t.Errorf("%+v, %t, %v", now, changed, err)
		}
		n.serves(database(t, 12))
		m.log()

		// All lag behind: that is no failure.
		m.set("one", database(t, 5))
		m.set("two", database(t, 6))
		now, changed, err = n.Refresh(t.Context())
		if err != nil || changed || now.Digest != name.SHA256(database(t, 12)) || status().Asked.Error != "" {
			t.Errorf("%+v, %t, %v, %+v", now, changed, err, status().Asked)
		}
		// A source that gives something else.
		m.set("one", []byte("nonsense"))
		m.set("two", append(bytes.Clone(database(t, 13)), "and nonsense behind"...))
		if _, _, err = n.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "one: the archive") || !strings.Contains(err.Error(), "two: the archive") {
			t.Errorf("%v", err)
		}
		n.serves(database(t, 12))
		if st := status(); st.Asked.Error == "" {
			t.Errorf("%+v", st)
		}
		if d.states() != "current former" || len(d.objects()) != 2 || len(n.entries()) > 4 {
			t.Errorf("rows %s, objects %v, files %v", d.states(), d.objects(), n.entries())
		}
	})
}

// TestRefreshOfFiles looks at databases that were imported as bare archives, whose
// manifests are not known.
func TestRefreshOfFiles(t *testing.T) {
	d, m := deploy(t, sqldbtest.SQLite(t)), newMirrors(t)
	n := d.node(m.config)
	n.mustImport(database(t, 1))
	n.mustImport(database(t, 2))
	m.set("one", database(t, 2))
	objects := fmt.Sprint(d.objects())
	for _, want := range []string{"resolve one, fetch one", "resolve one"} { // then it is known
		if _, changed, err := n.Refresh(t.Context()); changed || err != nil || m.log() != want {
			t.Errorf("%t, %v", changed, err)
		}
	}
	_, err := n.UseFormer(t.Context())
	must(t, err)
	if _, changed, err := n.Refresh(t.Context()); changed || err != nil {
		t.Errorf("%t, %v", changed, err)
	}
	n.serves(database(t, 1))
	if got := fmt.Sprint(d.objects()); got != objects {
		t.Errorf("the objects were %s and are %s", objects, got)
	}

	// The same without a way to ask for the digest alone.
	plain := d.node(m.config, func(c *vulndb.Config) { c.Resolve = nil })
	m.log()
	if _, changed, err := plain.Refresh(t.Context()); changed || err != nil || m.log() != "fetch one" {
		t.Errorf("%t, %v", changed, err)
	}
	none := d.node()
	if _, _, err := none.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "no sources") {
		t.Error(err)
	}
	must(t, none.RefreshDue(t.Context()))
}

// TestArtifactAgain imports what was pushed here twice.
func TestArtifactAgain(t *testing.T) {
	d := deploy(t, sqldbtest.SQLite(t))
	n := d.node()
	push := func(k int) (vulndb.Database, error) {
		return n.ImportArtifact(t.Context(), manifest(t, database(t, k)).Body, func(context.Context, name.Digest) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(database(t, k))), nil
		}, "registry")
	}
	for range 2 {
		db, err := push(2)
		must(t, err)
		if db.Digest != name.SHA256(database(t, 2)) {
			t.Errorf("%+v", db)
		}
	}
	if len(d.told()) != 1 {
		t.Errorf("told of %v", d.told())
	}
	_, err := push(1)
	refused(t, err, "before the one in use")
	if _, err := n.ImportArtifact(t.Context(), []byte(`{"schemaVersion":2}`), nil, ""); err == nil {
		t.Error("a manifest of something else is taken")
	}
	gone := errors.New("the blob is gone")
	_, err = n.ImportArtifact(t.Context(), manifest(t, database(t, 3)).Body, func(context.Context, name.Digest) (io.ReadCloser, error) { return nil, gone }, "")
	if !errors.Is(err, gone) {
		t.Error(err)
	}
	_, err = n.ImportArtifact(t.Context(), manifest(t, database(t, 3)).Body, func(context.Context, name.Digest) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(database(t, 4))), nil
	}, "")
	refused(t, err, "in place of")
	n.serves(database(t, 2))
}

// TestJobs has two nodes run: one of them fetches the first database soon after the
// start, and both have it.
func TestJobs(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		d, m := deploy(t, db), newMirrors(t)
		m.set("one", database(t, 1))
		var nodes []*node
		for range 2 {
			q := jobs.New(db, d.clk, slog.New(slog.DiscardHandler), jobs.Options{Poll: 10 * time.Millisecond})
			n := d.node(m.config, func(c *vulndb.Config) { c.Jobs = q })
			nodes = append(nodes, n)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- q.Run(ctx) }()
			t.Cleanup(func() {
				cancel()
				must(t, <-done)
			})
			n.run(t)
		}
		for i, n := range nodes {
			eventually(t, fmt.Sprintf("node %d has the database", i), func() bool { return n.has(database(t, 1)) })
		}
		// The next one, when it is to be expected.
		m.set("one", database(t, 8))
		d.clk.Advance(time.Hour)
		advanced := time.Now()
		eventually(t, "both have the next database", func() bool {
			// A look that began before may be written down with the time that it is now, and
			// then the next one is an hour away again.
			if time.Since(advanced) > 5*time.Second {
				d.clk.Advance(time.Hour)
				advanced = time.Now()
			}
			return nodes[0].has(database(t, 8)) && nodes[1].has(database(t, 8))
		})
		if told := d.told(); len(told) != 2 {
			t.Errorf("told of %v", told)
		}
	})
}

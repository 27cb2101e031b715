package match_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
)

func TestOneDatabaseAtATime(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		if err := matchtest.Write(dir, distributions()); err != nil {
			t.Fatal(err)
		}
	}
	d, err := match.Open(one)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := match.Open(two); !errors.Is(err, match.ErrOpen) {
		t.Errorf("a second one: %v", err)
	}
	if err := matchtest.Write(two, ecosystems()); err != nil { // while one is open
		t.Error(err)
	}
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Error(err)
	}
	if _, err := d.Match(t.Context(), inventory.Image{}, match.Options{}); err == nil {
		t.Error("a closed one was matched with")
	}
	if err := d.Check(t.Context()); err == nil {
		t.Error("a closed one was checked")
	}
	d, err = match.Open(two)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Check(t.Context()), d.Close()); err != nil {
		t.Error(err)
	}
}

func TestMetadata(t *testing.T) {
	dir := t.TempDir()
	want := match.Metadata{Schema: 2, UpdatedAt: time.Date(2026, 5, 1, 2, 3, 4, 5000, time.UTC), NextUpdate: time.Date(2026, 5, 2, 2, 3, 4, 0, time.UTC), DownloadedAt: time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)}
	if err := matchtest.Write(dir, matchtest.DB{UpdatedAt: want.UpdatedAt, NextUpdate: want.NextUpdate, DownloadedAt: want.DownloadedAt}); err != nil {
		t.Fatal(err)
	}
	if got, err := match.ReadMetadata(dir); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestWhatIsNoDatabase: each is refused with a text that says why, and left as it is.
func TestWhatIsNoDatabase(t *testing.T) {
	file := func(name string, b []byte) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), b, 0o600) }
	}
	bare := func(f func(*bolt.Tx) error) func(string) error {
		return func(dir string) error {
			path := filepath.Join(dir, match.DatabaseFile)
			b, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				return err
			}
			err = b.Update(func(tx *bolt.Tx) error {
				for _, name := range []string{"data-source", "vulnerability", "debian 12"} {
					if tx.Bucket([]byte(name)) != nil {
						if err := tx.DeleteBucket([]byte(name)); err != nil {
							return err
						}
					}
				}
				return f(tx)
			})
			return errors.Join(err, b.Close())
		}
	}
	put := func(tx *bolt.Tx, bucket, key, value string) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err == nil {
			err = b.Put([]byte(key), []byte(value))
		}
		return err
	}
	for _, c := range []struct {
		what  string
		spoil func(dir string) error
		want  string
	}{
		{"no metadata", func(dir string) error { return os.Remove(filepath.Join(dir, match.MetadataFile)) }, "no description of the vulnerability database"},
		{"metadata that are none", file(match.MetadataFile, []byte("hello")), "metadata.json of the vulnerability database is no valid JSON"},
		{"a newer schema", file(match.MetadataFile, []byte(`{"Version": 3}`)), "schema version 3; this version of Berth reads 2"},
		{"no file", func(dir string) error { return os.Remove(filepath.Join(dir, match.DatabaseFile)) }, "no vulnerability database"},
		{"an empty file", file(match.DatabaseFile, nil), "trivy.db is no database that can be opened"},
		{"text", file(match.DatabaseFile, bytes.Repeat([]byte("no database. "), 10_000)), "trivy.db is no database that can be opened"},
		{"zeros", file(match.DatabaseFile, make([]byte, 1<<16)), "trivy.db is no database that can be opened"},
		{"a directory", func(dir string) error {
			p := filepath.Join(dir, match.DatabaseFile)
			return errors.Join(os.Remove(p), os.Mkdir(p, 0o700))
		}, "no regular file"},
		{"half of it", func(dir string) error {
			p := filepath.Join(dir, match.DatabaseFile)
			st, err := os.Stat(p)
			if err != nil {
				return err
			}
			return os.Truncate(p, st.Size()/2)
		}, "cut off"},
		{"its head", func(dir string) error { return os.Truncate(filepath.Join(dir, match.DatabaseFile), 8192) }, "cut off"},
		{"an empty database", bare(func(*bolt.Tx) error { return nil }), "it names no sources"},
		{"no vulnerabilities", bare(func(tx *bolt.Tx) error { return put(tx, "data-source", "debian 12", "{}") }), "it describes no vulnerability"},
		{"no advisories", bare(func(tx *bolt.Tx) error {
			return errors.Join(put(tx, "data-source", "debian 12", "{}"), put(tx, "vulnerability", "CVE-1-1", "{}"))
		}), "it has no advisories"},
		{"values that are no JSON", bare(func(tx *bolt.Tx) error {
			return errors.Join(put(tx, "data-source", "debian 12", "{}"), put(tx, "vulnerability", "CVE-1-1", "{"), put(tx, "debian 12", "x", "{}"))
		}), "damaged"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			db, err := matchtest.PerlDB()
			if err != nil {
				t.Fatal(err)
			}
			if err := matchtest.Write(dir, db); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			d, err := match.Open(dir)
			if err == nil {
				err = errors.Join(d.Check(t.Context()), d.Close())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("the directory was changed: from %s to %s", before, after)
			}
		})
	}
}

// tree is what lies in a directory.
func tree(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, e := range entries {
		i, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprintf("%s %d %s; ", e.Name(), i.Size(), i.ModTime())
	}
	return out
}

// TestDamage: whichever page is overwritten, the check refuses the database or what was overwritten is
// not part of it; it never ends the process, and neither does matching.
func TestDamage(t *testing.T) {
	whole := t.TempDir()
	db := distributions()
	db.Buckets = append(db.Buckets, matchtest.Filler("debian 11", source("debian"), 200))
	if err := matchtest.Write(whole, db); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(whole, match.DatabaseFile))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := os.ReadFile(filepath.Join(whole, match.MetadataFile))
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	refused, used := 0, pages(t, whole)
	for n := range used {
		for _, with := range []byte{0, 0xff} {
			dir := t.TempDir()
			spoiled := bytes.Clone(b)
			for i := range page {
				spoiled[n*page+i] = with
			}
			if err := errors.Join(os.WriteFile(filepath.Join(dir, match.DatabaseFile), spoiled, 0o600), os.WriteFile(filepath.Join(dir, match.MetadataFile), meta, 0o600)); err != nil {
				t.Fatal(err)
			}
			d, err := match.Open(dir)
			if err != nil {
				refused++
				continue
			}
			if err := d.Check(t.Context()); err != nil {
				refused++
			}
			for _, os := range []inventory.OS{{Family: "debian", Name: "12"}, {Family: "redhat", Name: "9"}, {Family: "debian", Name: "11"}} {
				_, _ = d.Match(t.Context(), inventory.Image{OS: os, Packages: []pkg{
					dpkg("openssl", "openssl", "1", "1"), rpm("openssl", 0, "1", "1"), dpkg("filler-00007", "x", "1", "1"), dpkg("filler-00033", "y", "1", "1"),
				}}, match.Options{Now: now}) // an error or none: the process is still there
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// One of the two first pages may be lost, and those that are free; most are in use.
	if all := 2 * used; refused < all*9/10 {
		t.Errorf("%d of %d damages were noticed", refused, all)
	}
}

// pages is how many pages a database has; the file is longer.
func pages(t *testing.T, dir string) (n int) {
	t.Helper()
	b, err := bolt.Open(filepath.Join(dir, match.DatabaseFile), 0, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	err = b.View(func(tx *bolt.Tx) error {
		n = int(tx.Size()) / os.Getpagesize()
		return nil
	})
	if err := errors.Join(err, b.Close()); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	return n
}

// TestTheFileShrinks: somebody cuts the file off while it is open.
func TestTheFileShrinks(t *testing.T) {
	dir := t.TempDir()
	if err := matchtest.Write(dir, matchtest.DB{Buckets: []pack{matchtest.Filler("debian 12", source("debian"), 2000)}}); err != nil {
		t.Fatal(err)
	}
	d, err := match.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := os.Truncate(filepath.Join(dir, match.DatabaseFile), 8192); err != nil {
		t.Fatal(err)
	}
	img := inventory.Image{OS: inventory.OS{Family: "debian", Name: "12"}, Packages: []pkg{dpkg("filler-00007", "x", "1", "1")}}
	if r, err := d.Match(t.Context(), img, match.Options{Now: now}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v, %v", lines(r), err)
	}
	if err := d.Check(t.Context()); err == nil {
		t.Error("it was found whole")
	}
}

func TestTheContextEnds(t *testing.T) {
	d := open(t, distributions())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Match(ctx, inventory.Image{}, match.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("match: %v", err)
	}
	if err := d.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("check: %v", err)
	}
}

// TestArchive: both files come out of the archive as they went in.
func TestArchive(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	if err := matchtest.Write(dir, distributions()); err != nil {
		t.Fatal(err)
	}
	b, err := matchtest.Archive(dir)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(out, filepath.Base(h.Name)), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := match.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Check(t.Context()), d.Close()); err != nil {
		t.Error(err)
	}
}

// TestTrivyIsQuiet: what Trivy logs does not come out, what others log through the default does.
func TestTrivyIsQuiet(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	var out bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	d := open(t, distributions())
	find(t, d, inventory.Image{OS: inventory.OS{Family: "debian", Name: "12"}, Packages: []pkg{dpkg("openssl", "x", ":", "1"), {Type: inventory.Npm, Name: "it", Version: "|"}}})
	slog.Info("ours")
	slog.With("a", "b").WithGroup("c").Info("ours too", "d", "e")
	if got := strings.Count(out.String(), "\n"); got != 2 || !strings.Contains(out.String(), "ours too") {
		t.Errorf("logged:\n%s", &out)
	}
}

// TestAtTheSameTime: matching, checking and closing, all at once.
func TestAtTheSameTime(t *testing.T) {
	dir := t.TempDir()
	if err := matchtest.Write(dir, distributions()); err != nil {
		t.Fatal(err)
	}
	d, err := match.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				r, err := d.Match(t.Context(), inventory.Image{OS: inventory.OS{Family: "debian", Name: "12"}, Packages: []pkg{dpkg("openssl", "x", "3.0.9", "1")}}, match.Options{Now: now})
				if err != nil {
					if i == 0 {
						t.Error(err)
						started <- struct{}{}
					}
					return // closed
				}
				if len(r.Matches) != 3 {
					t.Error(lines(r))
				}
				if i == 0 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	if err := errors.Join(d.Check(t.Context()), d.Close()); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

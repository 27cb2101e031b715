package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// TestThereAndBack: a deployment comes back as it was, in every shape, and from
// there into the first one.
func TestThereAndBack(t *testing.T) {
	w := deployment(t, 100)
	want := w.state()
	d := backups(t)
	m := made(t, d, w)
	if m.Objects != 100 || m.Copied != 100 || m.Missing != 0 || m.Rows["blob"] != 100 {
		t.Errorf("made %+v", m)
	}
	if v, problems := verified(t, d); v.Objects != 100 || problems != "" {
		t.Errorf("verified %+v\n%s", v, problems)
	}
	for path, mode := range files(t, d.path) {
		if mode&0o077 != 0 {
			t.Errorf("others can use %s (%o)", path, mode)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for shape, change := range shapes() {
		t.Run(shape, func(t *testing.T) {
			d := d
			there := restored(t, d, settings(t, func(c *config.Config) { change(c, t) }), "")
			if got := there.state(); got != want {
				t.Fatalf("it came back as\n%.2000s\nand was\n%.2000s", got, want)
			}
			back := backups(t)
			made(t, back, there)
			if got := restored(t, back, settings(t), "").state(); got != want {
				t.Error("it did not survive the way back")
			}
		})
	}
}

// TestWithin: layers whose bytes stand in their rows come back with the rows, and
// are in the list of regions.
func TestWithin(t *testing.T) {
	inline := func(c *config.Config) { c.Blobs.InlineBytes = 16 << 10 }
	w := deployment(t, 100, inline)
	d := backups(t)
	m := made(t, d, w)
	if m.Rows["blob"] != 100 || m.Objects >= 90 || m.Objects < 50 || m.Missing != 0 || len(m.Regions) != 2 {
		t.Errorf("made %+v", m)
	}
	if v, problems := verified(t, d); v.Objects != m.Objects || problems != "" {
		t.Errorf("verified %+v\n%s", v, problems)
	}
	if got := restored(t, d, settings(t), "").state(); got != w.state() {
		t.Error("it did not come back as it was")
	}
	for _, region := range []name.Region{w.cfg.Region, name.Public} {
		if got := slices.Contains(m.Regions, region); !got {
			t.Errorf("%s is not in the list of regions", region)
		}
	}
}

// TestOverTheSocket: a running server's deployment is copied the same.
func TestOverTheSocket(t *testing.T) {
	w := deployment(t, 20)
	want := w.state()
	mux := http.NewServeMux()
	w.Routes(mux)
	server := httptest.NewServer(mux)
	defer server.Close()
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	src := &Remote{HTTP: &http.Client{Transport: elsewhere{at.Host}}}
	// One object that is not there, one that is too short.
	w.push(2)
	for id, do := range map[int64]func(string) error{21: os.Remove, 22: func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }} {
		place := "archive"
		if id%3 != 0 {
			place = "blobs"
		}
		path := filepath.Join(w.cfg.Data, place, string(w.cfg.Region), string(w.cfg.Account), string(w.cfg.Region), fmt.Sprintf("%02x", id%7), fmt.Sprint("object-", id))
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := do(path); err != nil {
			t.Fatal(err)
		}
	}
	d := backups(t)
	if m := made(t, d, src); m.Objects != 20 || m.Missing != 2 || m.Account != w.cfg.Account {
		t.Errorf("made %+v", m)
	}
	if v, problems := verified(t, d); v.Missing != 2 || problems != "" {
		t.Errorf("verified %+v\n%s", v, problems)
	}
	w.remove(21)
	w.remove(22)
	made(t, d, src)
	w.push(1)
	if got := restored(t, d, settings(t), "").state(); got != want {
		t.Error("it did not come back as it was")
	}
	holds := 0
	id, err := src.Hold(t.Context(), "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(src.Extend(t.Context(), id, time.Hour), src.Release(t.Context(), id)); err != nil {
		t.Error(err)
	}
	if src.Release(t.Context(), id) == nil || src.Extend(t.Context(), id, time.Hour) == nil {
		t.Error("a hold that was released is still there")
	}
	err = w.Backends.Durable.View(t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM layer_hold`).Scan(&holds)
	})
	if err != nil || holds != 0 {
		t.Errorf("%d holds are left, %v", holds, err)
	}
}

// elsewhere sends all requests to one address.
type elsewhere struct{ host string }

func (e elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = e.host
	return http.DefaultTransport.RoundTrip(r)
}

// TestIncremental: an object is copied once, and goes with the last snapshot that
// has it.
func TestIncremental(t *testing.T) {
	w := deployment(t, 70)
	d := backups(t)
	src := &counted{Source: w}
	first, before := made(t, d, src), w.state()
	w.remove(3)
	w.remove(69)
	w.push(10)
	// An object moves to the other place, under another key.
	w.exec(`UPDATE blob SET object_key = object_key || '-moved', archived = TRUE WHERE id = 1`)
	w.copyObject(1)
	second, between := made(t, d, src), w.state()
	if second.Objects != 78 || second.Copied != 11 || src.objects.Load() != 81 {
		t.Errorf("the second backup: %d objects, %d copied, %d asked for in all", second.Objects, second.Copied, src.objects.Load())
	}
	third := made(t, d, src)
	if third.Copied != 0 || src.objects.Load() != 81 {
		t.Errorf("the third backup copied %d objects", third.Copied)
	}
	if got := restored(t, d, settings(t), first.ID).state(); got != before {
		t.Error("the first snapshot is not what was there")
	}
	p, err := d.Prune(t.Context(), 2)
	if err != nil || p.Snapshots != 1 || p.Objects != 3 {
		t.Errorf("pruned %+v, %v", p, err)
	}
	if n := len(files(t, d.file(dirObjects))); n != 78 {
		t.Errorf("%d objects are left", n)
	}
	if v, problems := verified(t, d); v.Snapshots != 2 || v.Objects != 78 || problems != "" {
		t.Errorf("verified %+v\n%s", v, problems)
	}
	if got := restored(t, d, settings(t), second.ID).state(); got != between {
		t.Error("the second snapshot is not what was there")
	}
	if _, err := d.Restore(t.Context(), settings(t), restoring(first.ID)); err == nil {
		t.Error("a snapshot that was removed can be restored")
	}
	if _, err := d.Prune(t.Context(), 0); err == nil {
		t.Error("all snapshots were removed")
	}
}

// copyObject puts a copy of a blob's first object where its row says now.
func (w *world) copyObject(id int64) {
	w.t.Helper()
	base := filepath.Join(string(w.cfg.Region), string(w.cfg.Account), string(w.cfg.Region), fmt.Sprintf("%02x", id%7), fmt.Sprint("object-", id))
	text, err := os.ReadFile(filepath.Join(w.cfg.Data, "blobs", base))
	if err == nil {
		path := filepath.Join(w.cfg.Data, "archive", base+"-moved")
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, text, 0o600))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// counted counts what is asked for, and fails on demand.
type counted struct {
	Source
	objects atomic.Int64
	// until is how many objects come before an error; 0: there is none.
	until   int64
	release error
	keyring error
}

var errCut = errors.New("cut")

func (c *counted) Object(ctx context.Context, r Ref) (io.ReadCloser, error) {
	if n := c.objects.Add(1); c.until > 0 && n > c.until {
		return nil, errCut
	}
	return c.Source.Object(ctx, r)
}

func (c *counted) Keyring(ctx context.Context) ([]byte, error) {
	if c.keyring != nil {
		return nil, c.keyring
	}
	return c.Source.Keyring(ctx)
}

func (c *counted) Release(ctx context.Context, id string) error {
	return errors.Join(c.release, c.Source.Release(ctx, id))
}

// TestCut: a backup that does not come to its end is none, and what it has copied
// is not copied again.
func TestCut(t *testing.T) {
	w := deployment(t, 200)
	path := filepath.Join(t.TempDir(), "backups")
	d := backupsAt(t, path)
	for _, c := range []struct {
		name string
		src  *counted
	}{
		{"an object", &counted{Source: w, until: 130}}, // first: later ones find all objects there
		{"the hold", &counted{Source: w, release: errCut}},
		{"the keyring", &counted{Source: w, keyring: errCut}},
	} {
		name, src := c.name, c.src
		if _, err := d.Make(t.Context(), src, "test", nil); !errors.Is(err, errCut) {
			t.Errorf("%s: %v", name, err)
		}
		if all, err := d.Snapshots(); err != nil || len(all) != 0 {
			t.Errorf("%s: there are %d snapshots, %v", name, len(all), err)
		}
		if _, err := d.Restore(t.Context(), settings(t), restoring("")); err == nil {
			t.Errorf("%s: it can be restored", name)
		}
	}
	// As a kill would leave it.
	for _, dir := range []string{d.file(dirSnapshots, partial+"new"), d.file(dirTemporary)} {
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "left"), []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Create(path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("two write to one directory: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = backupsAt(t, path)
	src := &counted{Source: w}
	if m := made(t, d, src); m.Objects != 200 || src.objects.Load() != 0 {
		t.Errorf("%d objects, of which %d were copied again", m.Objects, src.objects.Load())
	}
	if got := restored(t, d, settings(t), "").state(); got != w.state() {
		t.Error("it did not come back as it was")
	}
	for path := range files(t, d.path) {
		if strings.Contains(path, "left") {
			t.Errorf("%s is left", path)
		}
	}
}

// TestDamage: Verify sees whatever is different, and Restore does not bring it in.
func TestDamage(t *testing.T) {
	w := deployment(t, 10)
	d := backups(t)
	m := made(t, d, w)
	flip := func(path string) error {
		text, err := os.ReadFile(path)
		if err == nil {
			text[len(text)/2] ^= 1
			err = os.WriteFile(path, text, 0o600)
		}
		return err
	}
	cut := func(path string) error {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Truncate(path, info.Size()-1)
		}
		return err
	}
	var paths []string
	for path := range files(t, d.file(dirObjects)) {
		paths = append(paths, path)
		break
	}
	for _, f := range []string{fileKeyring, fileMetadata, fileObjects} {
		paths = append(paths, d.file(dirSnapshots, m.ID, f))
	}
	for _, path := range paths {
		for name, damage := range map[string]func(string) error{"flipped": flip, "cut": cut, "removed": os.Remove} {
			good, err := os.ReadFile(path)
			if err == nil {
				err = damage(path)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, problems := verified(t, d); problems == "" {
				t.Errorf("%s, %s: nothing was found", path, name)
			}
			cfg := settings(t)
			if _, err := d.Restore(t.Context(), cfg, restoring("")); err == nil {
				t.Errorf("%s, %s: it was restored", path, name)
			}
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
			// What was cut off can be brought to its end now.
			if got := restored(t, d, cfg, "").state(); got != w.state() {
				t.Errorf("%s, %s: it did not come back in the second try", path, name)
			}
		}
	}
}

// TestRestoreIsCut: while a restore is not finished no server starts, only the same
// backup goes on, and it copies only what is not there.
func TestRestoreIsCut(t *testing.T) {
	w := deployment(t, 150)
	d := backups(t)
	first := made(t, d, w)
	w.push(1)
	second := made(t, d, w)
	for shape, change := range shapes() {
		t.Run(shape, func(t *testing.T) {
			cfg := settings(t, func(c *config.Config) { change(c, t) })
			hidden := d.objectFile(Ref{Region: w.cfg.Region, Place: placeMain, Key: fmt.Sprintf("%s/%s/%02x/object-%d", w.cfg.Account, w.cfg.Region, 148%7, 148)})
			if err := os.Rename(hidden, hidden+"-hidden"); err != nil {
				t.Fatal(err)
			}
			_, err := d.Restore(t.Context(), cfg, restoring(second.ID))
			if err := errors.Join(os.Rename(hidden+"-hidden", hidden)); err != nil {
				t.Fatal(err)
			}
			if err == nil {
				t.Fatal("it was restored without an object")
			}
			if err := CheckFinished(cfg.Data); err == nil || !strings.Contains(err.Error(), second.ID) {
				t.Errorf("a server may start: %v", err)
			}
			if _, err := d.Restore(t.Context(), cfg, restoring(first.ID)); err == nil || !strings.Contains(err.Error(), second.ID) {
				t.Errorf("another backup was restored in between: %v", err)
			}
			// An object whose copying was cut.
			half := filepath.Join(cfg.Data, "blobs", string(w.cfg.Region), string(w.cfg.Account), string(w.cfg.Region), fmt.Sprintf("%02x", 4), "object-4")
			if err := errors.Join(os.Chmod(half, 0o600), os.Truncate(half, 5)); err != nil {
				t.Fatal(err)
			}
			done, err := d.Restore(t.Context(), cfg, restoring(second.ID))
			if err != nil || done.Copied == 0 || done.Copied > 20 {
				t.Errorf("the second run copied %d objects, %v", done.Copied, err)
			}
			if err := CheckFinished(cfg.Data); err != nil {
				t.Error(err)
			}
			if got := open(t, cfg).state(); got != w.state() {
				t.Error("it did not come back as it was")
			}
		})
	}
}

// TestRestoreAfterTheRows: a run that was cut after its rows were in is finished by
// the next one.
func TestRestoreAfterTheRows(t *testing.T) {
	w := deployment(t, 10)
	d := backups(t)
	m := made(t, d, w)
	cfg := settings(t)
	restored(t, d, cfg, "").close()
	if err := begin(cfg.Data, unfinished{Snapshot: m.ID, Metadata: m.Files[fileMetadata]}); err != nil {
		t.Fatal(err)
	}
	if got := restored(t, d, cfg, "").state(); got != w.state() {
		t.Error("it did not come back as it was")
	}
	if err := CheckFinished(cfg.Data); err != nil {
		t.Error(err)
	}
}

// TestRestoreRefuses: whatever would end in half a deployment is refused before
// anything is changed, with words.
func TestRestoreRefuses(t *testing.T) {
	w := deployment(t, 5)
	d := backups(t)
	made(t, d, w)
	for _, c := range []struct {
		words string
		cfg   config.Config
	}{
		{"its table account has rows", func() config.Config {
			other := deployment(t, 0)
			other.close()
			return other.cfg
		}()},
		{"--regions", settings(t, func(c *config.Config) { c.Region = "eu-west-1" })},
		{"--account 000000000000 --region us-east-1", settings(t, func(c *config.Config) { c.Account = "123456789012" })},
	} {
		if _, err := d.Restore(t.Context(), c.cfg, restoring("")); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("got %v, want %q", err, c.words)
		}
		if err := CheckFinished(c.cfg.Data); err != nil {
			t.Error(err)
		}
	}
	running := deployment(t, 0)
	if _, err := d.Restore(t.Context(), running.cfg, restoring("")); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("beside a running server: %v", err)
	}
}

// TestOlderForm: rows that were written in an older form are brought to this one.
func TestOlderForm(t *testing.T) {
	const older = 8 // before users, layers' holds and much more
	for shape, change := range shapes() {
		t.Run(shape, func(t *testing.T) {
			db := sqldbtest.SQLite(t)
			if at, err := backends.MigrateTo(t.Context(), db, older); err != nil || at != older {
				t.Fatalf("form %d, %v", at, err)
			}
			src := open(t, settings(t))
			b := *src.Backends
			b.Durable = db
			err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
				for _, query := range []string{
					`INSERT INTO account (id, name, created_at) VALUES ('000000000000', 'old', 1)`,
					`INSERT INTO access_key (id, account_id, principal, secret, enabled, created_at) VALUES ('AKIAOLD', '000000000000', 'root', x'0102', TRUE, 1)`,
				} {
					if _, err := tx.Exec(t.Context(), query); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			d := backups(t)
			if m := made(t, d, noHolds{&Local{Backends: &b, Clock: src.Clock, Log: src.Log, Header: src.Header}}); m.Version != older || len(m.Accounts) != 1 || m.Accounts[0] != name.AccountID("000000000000") {
				t.Errorf("made %+v", m)
			}
			w := restored(t, d, settings(t, func(c *config.Config) { change(c, t) }), "")
			var secret []byte
			var user string
			err = w.Backends.Durable.View(t.Context(), func(tx *sqldb.Tx) error {
				return tx.QueryRow(t.Context(), `SELECT secret, user_id FROM access_key WHERE id = 'AKIAOLD' AND enabled`).Scan(&secret, &user)
			})
			if err != nil || !bytes.Equal(secret, []byte{1, 2}) || user != "" {
				t.Errorf("%x %q %v", secret, user, err)
			}
		})
	}
}

// noHolds is a deployment of a time when there were none.
type noHolds struct{ *Local }

func (noHolds) Hold(context.Context, string, time.Duration) (string, error) { return "", nil }
func (noHolds) Extend(context.Context, string, time.Duration) error         { return nil }
func (noHolds) Release(context.Context, string) error                       { return nil }

// TestNotADirectoryOfBackups: what holds something else is left alone.
func TestNotADirectoryOfBackups(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil {
		t.Error("an empty directory was opened")
	}
	if err := os.WriteFile(filepath.Join(dir, "letter"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir); err == nil || !strings.Contains(err.Error(), "letter") {
		t.Errorf("got %v", err)
	}
	if n := len(files(t, dir)); n != 1 {
		t.Errorf("%d files are there now", n)
	}
}

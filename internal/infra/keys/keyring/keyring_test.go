package keyring

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/keys/keystest"
)

const (
	account = "123456789012"
	region  = "eu-west-1"
)

var start = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

func openFile(t *testing.T, path string) *Keyring {
	t.Helper()
	k, err := Open(path, clock.NewFake(start))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "keys", "keyring.json") }

func TestManager(t *testing.T) {
	keystest.Run(t, func(t *testing.T) keys.Manager { return openFile(t, newPath(t)) })
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// TestReopened: everything stands in the file.
func TestReopened(t *testing.T) {
	path := newPath(t)
	k := openFile(t, path)
	if got := mode(t, path); got != 0o600 {
		t.Errorf("the file has mode %o", got)
	}
	if got := mode(t, filepath.Dir(path)); got != 0o700 {
		t.Errorf("its directory has mode %o", got)
	}
	key, err := k.Create(t.Context(), account, region, "alias/a")
	if err != nil {
		t.Fatal(err)
	}
	first, err := k.Wrap(t.Context(), key.ID, []byte("data key"), []byte("c"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	standard, err := k.Wrap(t.Context(), "", []byte("data key"), []byte("c"))
	if err != nil {
		t.Fatal(err)
	}
	derived, err := k.Derive("tokens", 32)
	if err != nil {
		t.Fatal(err)
	}

	again := openFile(t, path)
	if got := mode(t, path); got != 0o600 {
		t.Errorf("the changed file has mode %o", got)
	}
	got, err := again.Resolve(t.Context(), account, region, "alias/a")
	if err != nil || got.ID != key.ID || got.Versions != 2 || !got.CreatedAt.Equal(start) {
		t.Errorf("reopened: %+v, %v", got, err)
	}
	for _, wrapped := range [][]byte{first, standard} {
		if plain, err := again.Unwrap(t.Context(), wrapped, []byte("c")); err != nil || string(plain) != "data key" {
			t.Errorf("unwrapped %q, %v", plain, err)
		}
	}
	if b, err := again.Derive("tokens", 32); err != nil || !bytes.Equal(b, derived) {
		t.Errorf("derived something else, %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "keyring.json" && e.Name() != "keyring.json.lock" {
			t.Errorf("%s was left", e.Name())
		}
	}
}

// TestDamaged: whatever is wrong with the file, it is refused, left as it is
// and the error says what to do.
func TestDamaged(t *testing.T) {
	path := newPath(t)
	k := openFile(t, path)
	if _, err := k.Create(t.Context(), account, region, "alias/a"); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	replaced := func(old, with string) string {
		t.Helper()
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("the file has no %q", old)
		}
		return strings.Replace(string(good), old, with, 1)
	}
	material := string(good)[strings.Index(string(good), `"material": "`)+len(`"material": "`):][:8]
	for name, text := range map[string]string{
		"empty":              "",
		"no JSON":            "garbage",
		"null":               "null",
		"no object":          "[]",
		"nothing in it":      "{}",
		"cut off":            string(good[:len(good)/2]),
		"last brace missing": string(good[:len(good)-2]),
		"something behind":   string(good) + "{}",
		"newer format":       replaced(`"format": 1`, `"format": 2`),
		"unknown member":     replaced(`"format": 1`, `"format": 1, "purpose": 1`),
		"no default":         replaced(`"default": "`, `"default": "0`),
		"bad id":             strings.ReplaceAll(string(good), k.ring.Load().standard.form.ID, "0"),
		"altered material":   replaced(material, "AAAAAAAA"),
		"short material":     replaced(material, ""),
		"bad base64":         replaced(material, "!!!!!!!!"),
		"altered check":      replaced(`"check": "`, `"check": "0`),
		"default disabled":   replaced(`"enabled": true`, `"enabled": false`),
		"bad alias":          replaced(`"alias/a"`, `"a"`),
		"alias twice":        replaced(`"alias/a"`, `"alias/a", "alias/a"`),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, clock.NewFake(start))
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "backup") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(text, material) && err != nil && strings.Contains(err.Error(), material) {
			t.Errorf("%s: the error shows a key", name)
		}
		// Nor does a process that has it open write over it.
		if _, err := k.Create(t.Context(), account, region, "alias/b"); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s, and a change: %v", name, err)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != text {
			t.Errorf("%s: the file was changed, %v", name, err)
		}
	}
	// Keys in use stay usable, and the file is taken again once it is whole.
	if _, err := k.Wrap(t.Context(), "", []byte("data key"), nil); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Create(t.Context(), account, region, "alias/b"); err != nil {
		t.Error(err)
	}
}

func TestGone(t *testing.T) {
	path := newPath(t)
	k := openFile(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Create(t.Context(), account, region, "alias/a"); !errors.Is(err, ErrDamaged) {
		t.Errorf("create without the file: %v", err)
	}
	if _, err := k.Wrap(t.Context(), "", []byte("data key"), nil); err != nil {
		t.Errorf("wrap without the file: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there again: %v", err)
	}
}

func TestExposed(t *testing.T) {
	path := newPath(t)
	k := openFile(t, path)
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o601, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, clock.NewFake(start))
		if !errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), "chmod 600 ") {
			t.Errorf("mode %o: %v", mode, err)
		}
		if _, err := k.Create(t.Context(), account, region, "alias/a"); !errors.Is(err, ErrExposed) {
			t.Errorf("a change with mode %o: %v", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		openFile(t, path)
	}
}

func TestLinks(t *testing.T) {
	dir := t.TempDir()
	path, target := filepath.Join(dir, "link"), filepath.Join(dir, "target")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, clock.NewFake(start)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a link to nothing: %v", err)
	}
	openFile(t, target)
	k := openFile(t, path)
	key, err := k.Create(t.Context(), account, region, "alias/a")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	if got, err := openFile(t, target).Resolve(t.Context(), account, region, key.ID); err != nil || got.ID != key.ID {
		t.Errorf("the target has %+v, %v", got, err)
	}
}

// TestProcesses: two processes over one file lose nothing of each other.
func TestProcesses(t *testing.T) {
	path := newPath(t)
	clk := clock.NewFake(start)
	a, b := openFile(t, path), openFile(t, path)
	b.clock = clk
	ctx := t.Context()
	fromA, err := a.Create(ctx, account, region, "alias/a")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Create(ctx, account, region, "alias/a"); err != nil || got.ID != fromA.ID {
		t.Errorf("the second process created %+v, %v", got, err)
	}
	fromB, err := b.Create(ctx, account, region, "alias/b")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.Resolve(ctx, account, region, "alias/b"); err != nil || got.ID != fromB.ID {
		t.Errorf("the first process found %+v, %v", got, err)
	}

	// A version that one process does not know yet.
	if _, err := a.Rotate(ctx, fromB.ID); err != nil {
		t.Fatal(err)
	}
	wrapped, err := a.Wrap(ctx, fromB.ID, []byte("data key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Unwrap(ctx, wrapped, nil); err != nil || string(got) != "data key" {
		t.Errorf("unwrapped %q, %v", got, err)
	}

	// Being disabled is seen after a second.
	if _, err := a.SetEnabled(ctx, fromB.ID, false); err != nil {
		t.Fatal(err)
	}
	clk.Advance(refreshPeriod)
	if _, err := b.Unwrap(ctx, wrapped, nil); !errors.Is(err, keys.ErrDisabled) {
		t.Errorf("unwrap under a key that another process disabled: %v", err)
	}
}

// TestManyFirst: of many that find no file, one makes it.
func TestManyFirst(t *testing.T) {
	path := newPath(t)
	var group sync.WaitGroup
	derived := make([][]byte, 10)
	for i := range derived {
		group.Go(func() {
			k, err := Open(path, clock.NewFake(start))
			if err != nil {
				t.Error(err)
				return
			}
			if derived[i], err = k.Derive("tokens", 32); err != nil {
				t.Error(err)
			}
			if _, err := k.Create(t.Context(), account, region, ""); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, d := range derived {
		if !bytes.Equal(d, derived[0]) {
			t.Error("two default keys were made")
		}
	}
	list, err := openFile(t, path).List(t.Context())
	if err != nil || len(list) != 1+len(derived) {
		t.Errorf("%d keys are there, %v", len(list), err)
	}
}

func TestLockHeld(t *testing.T) {
	path := newPath(t)
	k := openFile(t, path)
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := k.Rotate(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a change while another process changes: %v", err)
	}
	unlock()
	if _, err := k.Rotate(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

// TestUnwritable: a change that cannot be written is no change.
func TestUnwritable(t *testing.T) {
	path := newPath(t)
	k := openFile(t, path)
	// Something that is not a file stands where the new one is to be written.
	if err := os.MkdirAll(filepath.Join(path+".tmp", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Create(t.Context(), account, region, "alias/a"); err == nil {
		t.Error("created a key that is nowhere")
	}
	if _, err := k.Resolve(t.Context(), account, region, "alias/a"); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("resolve: %v", err)
	}
	if err := os.RemoveAll(path + ".tmp"); err != nil {
		t.Fatal(err)
	}
	// What a crash left is overwritten.
	if err := os.WriteFile(path+".tmp", []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Create(t.Context(), account, region, "alias/a"); err != nil {
		t.Error(err)
	}
	if got := mode(t, path); got != 0o600 {
		t.Errorf("the file has mode %o", got)
	}
}

// TestOldKeyring opens a file and a wrapped key that an earlier build wrote:
// this must go on for ever.
func TestOldKeyring(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	if err := os.WriteFile(path, []byte(oldKeyring), 0o600); err != nil {
		t.Fatal(err)
	}
	k := openFile(t, path)
	if got, err := k.Unwrap(t.Context(), []byte(oldWrapped), []byte("context")); err != nil || string(got) != "data key" {
		t.Errorf("unwrapped %q, %v", got, err)
	}
	if got, err := k.Derive("tokens", 8); err != nil || string(got) != oldDerived {
		t.Errorf("derived %q, %v", got, err)
	}
}

func FuzzUnwrap(f *testing.F) {
	k, err := Open(filepath.Join(f.TempDir(), "keyring.json"), clock.NewFake(start))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(nil), []byte(nil))
	f.Add([]byte(oldWrapped), []byte("context"))
	f.Fuzz(func(t *testing.T, wrapped, context []byte) {
		got, err := k.Unwrap(t.Context(), wrapped, context)
		if !errors.Is(err, keys.ErrUnwrap) && !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("unwrapped %x, %v", got, err)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(oldKeyring))
	f.Add([]byte(`{"format":1,"default":"","keys":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		form, err := decode(data)
		if err != nil {
			return
		}
		r, err := prepare(form)
		if err != nil {
			return
		}
		// What is accepted can be used.
		context := []byte("context")
		wrapped := r.standard.wrap([]byte("data key"), context)
		h, err := parseHeader(wrapped)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.byID[h.id].unwrap(h, wrapped, context); err != nil || string(got) != "data key" {
			t.Fatalf("unwrapped %q, %v", got, err)
		}
	})
}

package file_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/file"
	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
)

func open(t *testing.T, dir, path string) eventsink.Sink {
	t.Helper()
	s, err := file.New(file.Settings{Directory: dir, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// lines are the lines of files, in turns.
func lines(t *testing.T, paths ...string) (all []string) {
	t.Helper()
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		scanner := bufio.NewScanner(strings.NewReader(string(b)))
		scanner.Buffer(nil, len(b)+1)
		for scanner.Scan() {
			all = append(all, scanner.Text())
		}
	}
	return all
}

func TestSuite(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		base := t.TempDir()
		dir := filepath.Join(base, "events")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		move := func(from, to string) func() {
			return func() {
				if err := os.Rename(from, to); err != nil {
					t.Fatal(err)
				}
			}
		}
		away := filepath.Join(base, "away")
		return sinktest.Target{
			New: func(t *testing.T) eventsink.Sink { return open(t, dir, "team/images.jsonl") },
			Received: func() (all []sinktest.Received) {
				for _, line := range lines(t, filepath.Join(dir, "team", "images.jsonl")) {
					all = append(all, sinktest.Received{Body: line})
				}
				return all
			},
			Body: func(m eventsink.Message) string {
				if json.Valid(m.Body) {
					return string(m.Body)
				}
				text, _ := json.Marshal(string(m.Body)) // a string has JSON
				return string(text)
			},
			Down: move(dir, away), Up: move(away, dir), Anonymous: true,
		}
	})
}

func send(t *testing.T, s eventsink.Sink, body string) {
	t.Helper()
	if err := s.Send(t.Context(), sinktest.With(sinktest.Message("a", 1), body)); err != nil {
		t.Fatal(err)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "events.jsonl")
	s := open(t, dir, "events.jsonl")
	send(t, s, "{\n  \"n\": 1\n}")
	if err := os.Rename(at, at+".1"); err != nil {
		t.Fatal(err)
	}
	send(t, s, `{"n":2}`)
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	send(t, s, `{"n":3}`)
	if err := os.Truncate(at, 0); err != nil { // as copytruncate does
		t.Fatal(err)
	}
	send(t, s, `{"n":4}`)
	// Another has made the file anew.
	if err := errors.Join(os.Rename(at, at+".2"), os.WriteFile(at, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	send(t, s, `{"n":5}`)
	if got := strings.Join(lines(t, at+".1", at+".2", at), " "); got != `{"n":1} {"n":4} {"n":5}` {
		t.Error(got)
	}
}

func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "events.jsonl")
	if err := os.WriteFile(at, []byte("{\"n\":1}\n{\"n\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, "events.jsonl")
	send(t, s, `{"n":2}`)
	send(t, s, `{"n":3}`)
	if got := strings.Join(lines(t, at), " "); got != `{"n":1} {"n": {"n":2} {"n":3}` {
		t.Error(got)
	}
}

func TestPaths(t *testing.T) {
	for _, path := range []string{"", ".", "..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/", "./a", "a\x00b", "a\nb", `a\b`, "\xff", strings.Repeat("a/", 300) + "a"} {
		if _, err := file.New(file.Settings{Directory: t.TempDir(), Path: path}); err == nil {
			t.Errorf("%q is taken", path)
		}
	}
	if _, err := file.New(file.Settings{Path: "a"}); err == nil || !strings.Contains(err.Error(), "configure the directory") {
		t.Error(err)
	}
}

func TestLinksAndOtherKinds(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(outside, "secret"), []byte("s\n"), 0o600), os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")),
		os.Symlink(outside, filepath.Join(dir, "out")), os.Mkdir(filepath.Join(dir, "sub"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"link", "out/new", "out/deep/new", "sub"} {
		err := open(t, dir, path).Send(t.Context(), sinktest.Message("a", 1))
		if err == nil || eventsink.IsPermanent(err) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got := lines(t, filepath.Join(outside, "secret")); len(got) != 1 {
		t.Error(got)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
}

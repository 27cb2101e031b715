package backup

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/test/contract/harness"
)

// sourceConfig has layers that nothing names collected at once, and lifecycle
// policies so late that their jobs wait.
const sourceConfig = "layer_grace: 1s\nlifecycle_delay: 1h\n"

// TestFromShapeToShape backs up a server that is worked on, kills it, and restores
// it into a deployment of another shape.
func TestFromShapeToShape(t *testing.T) {
	for _, c := range []struct{ from, to harness.Shape }{
		{harness.Embedded, harness.Embedded},
		{harness.Embedded, harness.ScaleOut},
		{harness.ScaleOut, harness.Embedded},
		{harness.PostgresFiles, harness.SQLiteS3},
	} {
		t.Run(string(c.from)+" to "+string(c.to), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Shape: c.from, Config: sourceConfig})
			w := fill(t, s)
			w.settle()
			dir := filepath.Join(t.TempDir(), "backups")
			stop := w.busy(t.Context())
			for range 4 {
				berth(t, s, "backup", dir, "--data", s.Data, "--prune", "2")
			}
			stop()
			s.Kill()
			if out := berth(t, s, "backup", "verify", dir); !strings.Contains(out, "2 snapshots") || !strings.Contains(out, " 0 problems") {
				t.Errorf("verify: %s", out)
			}
			target := newTarget(t, w, c.to)
			out := berth(t, target, "restore", dir, "--data", target.Data)
			if !strings.Contains(out, " 0 problems") {
				t.Errorf("restore: %s", out)
			}
			if err := target.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			target.MustFsck(t)
			w.check(target)
			refused(t, target, "", "restore", dir, "--data", target.Data)
		})
	}
}

// TestWithoutAServer backs up a deployment that nobody serves.
func TestWithoutAServer(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Config: sourceConfig})
	w := fill(t, s)
	w.settle()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "backups")
	berth(t, s, "backup", dir, "--data", s.Data)
	target := newTarget(t, w, harness.ShapeOfRun(t))
	berth(t, target, "restore", dir, "--data", target.Data, "--verify", "fast")
	refused(t, target, "there is a deployment here already", "restore", dir, "--data", target.Data)
	if err := target.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.check(target)
}

// killed starts a command, kills it once the sign is there, and says whether it was
// killed before its end.
func killed(t *testing.T, s *harness.Server, sign func() bool, args ...string) bool {
	t.Helper()
	cmd := s.Command(t.Context(), args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if sign() {
			_ = cmd.Process.Kill() // it may have ended just now
			return <-ended != nil
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("berth %s: %v", strings.Join(args, " "), err)
			}
			return false
		case <-time.After(time.Millisecond):
		}
	}
}

// holdsFile says whether there is a file somewhere in a directory.
func holdsFile(dir string) bool {
	found := errors.New("found")
	return errors.Is(filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			return found
		}
		return nil // gone, or not there yet
	}), found)
}

func exists(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return err == nil
	}
}

// TestKilled kills backups and restores in the middle.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Config: sourceConfig})
	w := fill(t, s)
	w.settle()
	for i := range 150 {
		s.Registry(t).PushImage(t, "busy", "", uint64(10_000+i), 200_000)
	}
	const tries = 10 // for a kill that comes too late

	var dir string
	partial := func() string { return filepath.Join(dir, "snapshots", ".partial-new") }
	for try := 0; ; try++ {
		if try == tries {
			t.Fatal("no backup could be killed before its end")
		}
		dir = filepath.Join(t.TempDir(), "backups")
		if killed(t, s, func() bool { return holdsFile(filepath.Join(dir, "objects")) }, "backup", dir, "--data", s.Data, "-q") && exists(partial())() {
			break
		}
	}
	if out := berth(t, s, "backup", "list", "--json", dir); strings.TrimSpace(out) != "[]" {
		t.Errorf("a killed backup left a snapshot: %s", out)
	}
	target := newTarget(t, w, harness.ShapeOfRun(t))
	refused(t, target, "holds no finished snapshot", "restore", dir, "--data", target.Data)
	var made struct{ Objects, Copied int64 }
	cmd := s.Command(t.Context(), "backup", dir, "--data", s.Data, "--json", "-q")
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &made)
	}
	if err != nil || made.Objects < 150 || made.Copied >= made.Objects {
		t.Fatalf("%s, %v", out, err)
	}
	t.Logf("of %d objects the killed backup left %d to copy", made.Objects, made.Copied)
	s.Kill()

	for try := 0; ; try++ {
		if try == tries {
			t.Fatal("no restore could be killed before its end")
		}
		target = newTarget(t, w, harness.ShapeOfRun(t))
		unfinished := exists(filepath.Join(target.Data, "restore.json"))
		sign := func() bool { return holdsFile(filepath.Join(target.Data, "blobs")) }
		if target.Backing.Shape.S3() {
			sign = unfinished
		}
		if killed(t, target, sign, "restore", dir, "--data", target.Data, "--verify", "fast", "-q") && unfinished() {
			break
		}
	}
	if err := target.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "was not restored to the end") {
		t.Errorf("a server starts on half a restore: %v", err)
	}
	berth(t, target, "restore", dir, "--data", target.Data)
	if err := target.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.check(target)
}

// TestHold: what a hold keeps is there until it is released.
func TestHold(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Config: sourceConfig})
	id := strings.TrimSpace(berth(t, s, "backup", "hold", "--for", "6h", "--data", s.Data))
	if out := berth(t, s, "gc", "status", "--data", s.Data); !strings.Contains(out, "berth backup hold") {
		t.Errorf("gc status: %s", out)
	}
	berth(t, s, "backup", "release", id, "--data", s.Data)
	refused(t, s, "expired", "backup", "release", id, "--data", s.Data)
	refused(t, s, "24h", "backup", "hold", "--for", "48h", "--data", s.Data)
}

package harness

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// Root is the project's directory.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "berth", "main.go")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("the test does not run inside the project's directory")
		}
		dir = parent
	}
}

// built is the program as this process built it.
var built struct {
	sync.Once
	path string
	err  error
}

// Binary builds berth from the sources as they are, once in a process, and returns
// its path. The go command sees by itself when nothing has changed.
func Binary(t testing.TB) string {
	t.Helper()
	root := Root(t)
	built.Do(func() { built.path, built.err = build(root) })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func build(root string) (path string, err error) {
	if err := lookAtSources(root); err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".tools", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Packages are tested side by side, each in its own process.
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }() // which also unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	path = filepath.Join(dir, "berth")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/berth")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("berth cannot be built: %w\n%s", err, out)
	}
	return path, nil
}

// lookAtSources opens the directories that berth is built from. The go command
// keeps a test's result until a file changes that the test has looked at itself;
// what the build looks at, it does not see.
func lookAtSources(root string) error {
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			return err
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			return err
		}
	}
	return nil
}

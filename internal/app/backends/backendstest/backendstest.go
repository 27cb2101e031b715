// Package backendstest spares tests the making of tables, which takes far longer
// than most of them do.
//
// It is test support. It owns no form: the files are those that backends makes.
package backendstest

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/config"
)

// made are the files of empty SQLite databases in the program's form, by name,
// once a test of this process asked for them.
var made struct {
	sync.Mutex
	files map[string][]byte
}

// Prepare puts the files of empty databases in the program's form into the data
// directory, unless there are databases already or elsewhere. What opens them
// finds nothing left to migrate.
func Prepare(t testing.TB, cfg config.Config) {
	t.Helper()
	if cfg.Database.Postgres() {
		return
	}
	made.Lock()
	defer made.Unlock()
	if made.files == nil {
		cfg := config.Default()
		cfg.Data = t.TempDir()
		durable, volatile, err := backends.Databases(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(backends.Migrate(t.Context(), durable, volatile), volatile.Close(), durable.Close()); err != nil {
			t.Fatal(err)
		}
		all, err := filepath.Glob(filepath.Join(cfg.Data, "*.db"))
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		for _, path := range all { // closing has moved the logs into them
			if files[filepath.Base(path)], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
		made.files = files
	}
	if there, err := filepath.Glob(filepath.Join(cfg.Data, "*.db")); err != nil || len(there) > 0 {
		return
	}
	for name, content := range made.files {
		if err := os.WriteFile(filepath.Join(cfg.Data, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

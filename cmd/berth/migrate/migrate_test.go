package migrate

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// settings are those of a configuration file with the text given.
func settings(t *testing.T, text string) config.Settings {
	t.Helper()
	file := filepath.Join(t.TempDir(), "berth.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Settings{Config: file}
}

func TestStatusAndUp(t *testing.T) {
	for name, text := range map[string]string{
		"sqlite":   "data: " + t.TempDir() + "\n",
		"postgres": "data: " + t.TempDir() + "\ndatabase: '" + sqldbtest.PostgresURL(t) + "'\n",
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := settings(t, text)
			err := statusCommand{Settings: s}.Run(t.Context(), &out)
			if err == nil || !strings.Contains(err.Error(), "berth migrate up") || !strings.Contains(out.String(), "0002_principal_accounts.sql") {
				t.Fatalf("before: %v\n%s", err, out.String())
			}
			out.Reset()
			if err := (upCommand{Settings: s}).Run(t.Context(), &out); err != nil || strings.Contains(out.String(), ".sql") {
				t.Fatalf("up: %v\n%s", err, out.String())
			}
			out.Reset()
			if err := (statusCommand{Settings: s, JSON: true}).Run(t.Context(), &out); err != nil || !strings.Contains(out.String(), `"database": "uploads"`) {
				t.Fatalf("afterwards: %v\n%s", err, out.String())
			}
		})
	}
}

func TestNoDataDirectory(t *testing.T) {
	var out bytes.Buffer
	s := settings(t, "data: "+filepath.Join(t.TempDir(), "missing")+"\n")
	if err := (statusCommand{Settings: s}).Run(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "no data directory") {
		t.Errorf("%v", err)
	}
}

package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/backup"
	"github.com/berth-registry/berth/internal/config"
)

// run parses a command line as the program does, and runs it.
func run(t *testing.T, p Program, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	parser, err := kong.New(&struct {
		Backup  Command `cmd:""`
		Restore Restore `cmd:""`
	}{}, kong.BindTo(t.Context(), (*context.Context)(nil)), kong.BindTo(&out, (*io.Writer)(nil)), kong.Bind(p))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return "", err
	}
	err = parsed.Run()
	return out.String(), err
}

// TestCommands goes from nothing to a backup and back, without a server.
func TestCommands(t *testing.T) {
	var checked []string
	p := Program{
		Version: "test",
		Log:     func(io.Writer, config.Log) *slog.Logger { return slog.New(slog.DiscardHandler) },
		Fsck: func(_ context.Context, cfg config.Config) error {
			checked = append(checked, cfg.Data)
			return nil
		},
	}
	ok := func(want string, args ...string) string {
		t.Helper()
		out, err := run(t, p, args...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("berth %s: %v\n%s\nwant %q", strings.Join(args, " "), err, out, want)
		}
		return out
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if out, err := run(t, p, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("berth %s: %v, want %q\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	data, dir, to := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backups"), filepath.Join(t.TempDir(), "to")
	refused("there is no deployment here yet", "backup", dir, "--data", data, "-q")

	cfg := config.Default()
	cfg.Data = data
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	ok("0 objects", "backup", dir, "--data", data, "-q")
	var made backup.Made
	if err := json.Unmarshal([]byte(ok("{", "backup", "create", dir, "--data", data, "-q", "--json")), &made); err != nil || made.ID == "" || made.Program != "test" || made.Rows["account"] != 1 {
		t.Errorf("%+v, %v", made, err)
	}
	ok("removed 1 snapshots", "backup", dir, "--data", data, "-q", "--prune", "2")
	ok(made.ID, "backup", "list", dir)
	ok("2 snapshots", "backup", "verify", dir, "-q")
	ok("1 snapshots", "backup", "verify", dir, "-q", "--snapshot", made.ID)
	ok("is restored", "restore", dir, "--data", to, "-q", "--snapshot", made.ID)
	if len(checked) != 1 || checked[0] != to {
		t.Errorf("checked %v", checked)
	}
	refused("there is a deployment here already", "restore", dir, "--data", to, "-q")
	ok("is restored", "restore", dir, "--data", to+"2", "-q", "--verify", "fast")
	if len(checked) != 1 {
		t.Errorf("checked %v", checked)
	}
	ok("removed 1 snapshots", "backup", "prune", dir, "--keep", "1")
	refused("no snapshot "+made.ID, "restore", dir, "--data", to+"3", "-q", "--snapshot", made.ID)
	refused("at least one", "backup", dir, "--data", data, "--prune=-1")
	refused("not a backup directory", "backup", "list", data)
	refused("no server is running", "backup", "hold", "--for", "1h", "--data", data)
	refused("no server is running", "backup", "release", "x", "--data", data)
	refused("--verify", "restore", dir, "--verify", "never")
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1 << 62: "4096.0 PiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

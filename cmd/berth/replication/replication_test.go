package replication

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/berth-registry/berth/internal/app/replicationadmin"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/replication/backfill"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

var (
	here  = name.Registry{Account: "111111111111", Region: "us-east-1"}
	there = name.Registry{Account: "111111111111", Region: "eu-west-1"}
	away  = name.Registry{Account: "222222222222", Region: "eu-west-1"}
)

// serve serves the administration socket of a data directory, over real services
// whose destinations cannot be reached and whose jobs do not run.
func serve(t *testing.T) (data string, s replicationadmin.Service, db *sqldb.DB) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, clk, log := t.Context(), clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), slog.New(slog.DiscardHandler)
	db = sqldbtest.SQLite(t)
	must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	must(err)
	principals, err := principal.New(db, ring, clk)
	must(err)
	must(principals.EnsureAccount(ctx, here.Account))
	registries := registry.New(db, clk, []name.Region{here.Region, there.Region})
	repositories := repository.New(repository.Config{DB: db, Clock: clk, Registries: registries, Keys: ring, Quotas: quota.Fixed(quota.Default())})
	queue := jobs.New(db, clk, log, jobs.Options{})
	store := memory.New()
	layers := layer.New(layer.Config{
		Durable: db, Volatile: db, Repositories: repositories, Clock: clk, Log: log, Quotas: quota.Fixed(quota.Default()), Jobs: queue,
		Store:   func(name.Region) (blobstore.Store, bool) { return store, true },
		Archive: func(name.Region) (blobstore.Store, bool) { return store, true },
	})
	images := image.New(image.Config{Durable: db, Repositories: repositories, Layers: layers, Outbox: event.NewOutbox(), Clock: clk, Log: log, Quotas: quota.Fixed(quota.Default())})
	s = replicationadmin.Service{Principals: principals, Registries: registries, Default: here}
	s.Replication = replication.New(replication.Config{
		Durable: db, Registries: registries, Repositories: repositories, Images: images, Layers: layers, Entities: entity.New(principals), Outbox: event.NewOutbox(), Clock: clk, Log: log, Jobs: queue,
		Served: registries.Enabled, Destination: func(name.Region) (replication.Destination, bool) { return nil, false },
	})
	s.Backfills = backfill.New(backfill.Config{DB: db, Clock: clk, Log: log, Registries: registries, Repositories: repositories, Images: images, Jobs: queue, Queue: s.Replication})

	data = t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(data, "admin.sock"))
	must(err)
	mux := http.NewServeMux()
	s.Routes(mux)
	server := &http.Server{Handler: mux}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		must(server.Close())
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return data, s, db
}

// run runs a command line and returns what it prints.
func run(t *testing.T, data string, args ...string) (string, error) {
	t.Helper()
	var c Command
	parser, err := kong.New(&c, kong.Name("berth"), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(append(args, "--data", data))
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	switch parsed.Command() {
	case "list":
		err = c.List.Run(t.Context(), &out)
	case "options":
		err = c.Options.Run(t.Context(), &out)
	default:
		t.Fatalf("the command is %q", parsed.Command())
	}
	return out.String(), err
}

func TestOptions(t *testing.T) {
	data, s, _ := serve(t)
	for _, step := range []struct {
		args string
		want string
	}{
		{"--to eu-west-1", "Options of us-east-1/111111111111 for eu-west-1/111111111111: none; they wait until the registry's replication configuration names it\n"},
		{"--to eu-west-1 --tags v*,release-* --deletes", "--tags v*,release-* --deletes;"},
		{"--to eu-west-1 --untags --only app,team/web", "--tags v*,release-* --only app,team/web --deletes --untags;"},
		{"--to eu-west-1 --no-deletes --tags= --exclude dev/*", "--only app,team/web --exclude dev/* --untags;"},
		{"--to eu-west-1/222222222222", "for eu-west-1/222222222222: none;"},
		{"--to eu-west-1 --clear --tags v1", ": --tags v1;"},
		{"--to eu-west-1 --json", `"tags": [`},
		{"--to eu-west-1 --clear", ": none;"},
		{"--account 111111111111 --region eu-west-1 --to us-east-1 --untags", "Options of eu-west-1/111111111111 for us-east-1/111111111111: --untags;"},
	} {
		got, err := run(t, data, append([]string{"options"}, strings.Fields(step.args)...)...)
		if err != nil || !strings.Contains(got, step.want) {
			t.Errorf("%s: %q %v, want %q", step.args, got, err, step.want)
		}
	}
	for args, want := range map[string]string{
		"":                                      "missing flags: --to",
		"--to moon-west-9 --untags":             "is served neither by this deployment nor by one of its peers",
		"--to us-east-1 --untags":               "Replication destination cannot be the same as the source registry",
		"--to eu-west-1/12 --untags":            `"12" is no account: an account id has 12 digits.`,
		"--to eu-west-1 --only Bad --clear":     "'Bad' is not the name of a repository",
		"--account 333333333333 --to eu-west-1": "There is no account 333333333333; berth account list shows them.",
		"--region moon-west-9 --to eu-west-1":   `The region "moon-west-9" is not served here; the regions are us-east-1, eu-west-1.`,
	} {
		if _, err := run(t, data, append([]string{"options"}, strings.Fields(args)...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	if err := s.Replication.Put(t.Context(), here, replication.Configuration{Rules: []replication.Rule{{Destinations: []name.Registry{there}}}}); err != nil {
		t.Fatal(err)
	}
	if got, err := run(t, data, "options", "--to", "eu-west-1"); err != nil || strings.Contains(got, "wait") {
		t.Errorf("%q %v", got, err)
	}
}

func TestList(t *testing.T) {
	data, s, db := serve(t)
	ctx := t.Context()
	if got, err := run(t, data, "list"); err != nil || !strings.Contains(got, "No registry replicates") {
		t.Errorf("%q %v", got, err)
	}
	err := s.Replication.Put(ctx, here, replication.Configuration{Rules: []replication.Rule{
		{Destinations: []name.Registry{there, away}, Filters: []string{"prod", "team/"}}, {Destinations: []name.Registry{away}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, data, "options", "--to", "eu-west-1", "--untags"); err != nil {
		t.Fatal(err)
	}
	b, err := s.Backfills.Start(ctx, here, there)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Replication.Repositories.Create(ctx, repository.Create{Registry: here, Name: "prod/app", Mutability: repository.Mutability{Setting: repository.Mutable}})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(ctx, func(tx *sqldb.Tx) error {
		return s.Replication.EnqueueTx(ctx, tx, r, there, name.SHA256([]byte("image")), "v1", b.ID)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := run(t, data, "list")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(got) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"FROM TO REPOSITORIES WAITING OLDEST OPTIONS",
		"us-east-1/111111111111 eu-west-1/111111111111 prod*,team/* 1 2026-01-02 03:04 --untags",
		"us-east-1/111111111111 eu-west-1/222222222222 all 0 - none",
		"",
		"BACKFILL FROM TO STATUS STARTED PROGRESS FAILURES",
		b.ID + " us-east-1/111111111111 eu-west-1/111111111111 PREPARING 2026-01-02 03:04 - -",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("printed\n%s", got)
	}
	// What waits for a destination that is no longer configured is shown too.
	if err := s.Replication.Put(ctx, here, replication.Configuration{}); err != nil {
		t.Fatal(err)
	}
	if got, err = run(t, data, "list"); err != nil || !strings.Contains(got, "not configured any more") {
		t.Errorf("%q %v", got, err)
	}
	if got, err = run(t, data, "list", "--json"); err != nil || !strings.Contains(got, `"routes": []`) || !strings.Contains(got, `"items": 1`) || !strings.Contains(got, `"status": "PREPARING"`) {
		t.Errorf("%q %v", got, err)
	}
	if _, err := run(t, t.TempDir(), "list"); err == nil || !strings.Contains(err.Error(), "no server is running on") {
		t.Errorf("without a server: %v", err)
	}
}

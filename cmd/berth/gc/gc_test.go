package gc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/app/gcadmin"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
)

// start runs the program on a data directory, with hardly any grace period.
func start(t *testing.T) (data, url string) {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	cfg.Regions = []name.Region{cfg.Region}
	cfg.RootAccessKeyID, cfg.RootSecretAccessKey = apptest.AccessKeyID, apptest.SecretAccessKey
	cfg.LayerGrace = config.Duration(time.Millisecond)
	cfg.Blobs.InlineBytes = 0 // each layer is an object
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan app.ServerInfo, 1), make(chan error, 1)
	go func() { ended <- a.Run(ctx, func(i app.ServerInfo) { ready <- i }) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, a.Close()); err != nil {
			t.Error(err)
		}
	})
	select {
	case info := <-ready:
		return cfg.Data, info.Endpoint
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return "", ""
}

func TestCommands(t *testing.T) {
	data, url := start(t)
	region := string(config.Default().Region)
	s := &apptest.Server{URL: url, ECR: apptest.Client(url, region)}
	s.CreateRepository(t, "app")
	c := common{Data: data}
	ctx := t.Context()
	run := func(do func(context.Context, *bytes.Buffer) error) string {
		t.Helper()
		var out bytes.Buffer
		if err := do(ctx, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	status := func() string {
		return run(func(ctx context.Context, out *bytes.Buffer) error { return statusCommand{c}.Run(ctx, out) })
	}
	want := func(text string, patterns ...string) {
		t.Helper()
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(text) {
				t.Errorf("%s\nhas no %s", text, p)
			}
		}
	}
	want(status(), `Waiting for review +0 layers; 0 of them due\n`, `Garbage +0 objects, about 0 B\n`, `Last run +none yet\n`, `Comparison +of stores and rows not begun yet\n`, `Missing objects +0\n`)

	apptest.PushBlob(t, url, s.Authorization(t), "app", make([]byte, 3000), nil)
	time.Sleep(5 * time.Millisecond) // the grace period, by the machine's clock
	want(status(), `1 layers; 1 of them due, the first since 20`)
	want(run(func(ctx context.Context, out *bytes.Buffer) error {
		return runCommand{common: c, Quiet: true}.Run(ctx, out)
	}),
		`^1 reviews, 1 layers taken away, 1 blobs given up \(2\.9 KiB\), 1 objects deleted, (2\.9|3\.\d) KiB freed\n$`)
	want(status(), `Last run +began 20[^:]*:\d\d, took [0-9.]+m?s: 1 reviews, 1 layers`, `Freed in all +\d\.\d KiB in 1 objects since 20`)

	// A blob whose object somebody has removed.
	apptest.PushBlob(t, url, s.Authorization(t), "app", []byte("gone"), nil)
	err := filepath.WalkDir(filepath.Join(data, "blobs"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			return os.Remove(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	text := run(func(ctx context.Context, out *bytes.Buffer) error {
		return runCommand{common: common{Data: data, JSON: true}, Reconcile: true}.Run(ctx, out)
	})
	var sum gcadmin.Sum
	if err := json.Unmarshal([]byte(text), &sum); err != nil || len(sum.Rounds) != 1 || sum.Rounds[0].Pages != 256 || sum.Rounds[0].Blobs != 1 || sum.Reviews != 1 || sum.Freed != 0 {
		t.Errorf("%s %v", text, err)
	}
	want(status(), `Comparison +`+region+`: 256 of 256 pages, ended 20[^;]*; \d objects and 1 blobs, 0 objects that no row named \(0 B\)\n`)
	var st gcadmin.Status
	text = run(func(ctx context.Context, out *bytes.Buffer) error {
		return statusCommand{common{Data: data, JSON: true}}.Run(ctx, out)
	})
	if err := json.Unmarshal([]byte(text), &st); err != nil || len(st.Runs) != 2 || st.Total.Objects != 2 || !strings.Contains(text, `"findings": []`) {
		t.Errorf("%s %v", text, err)
	}

	if err := (statusCommand{common{Data: t.TempDir()}}).Run(ctx, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "no server is running on") {
		t.Errorf("got %v", err)
	}
}

func TestStatusShowsTrouble(t *testing.T) {
	const text = `{"reviews":100000,"garbage":3,"garbageBytes":5368709120,"missing":102,"holds":1,
		"last":{"started":"2026-03-01T12:00:00Z","seen":"2026-03-01T12:01:00Z","held":true,"error":"the store\nis away"},
		"liveHolds":[{"owner":"backup","created":"2026-03-01T11:00:00Z","expires":"2026-03-01T13:00:00Z"}],
		"findings":[{"account":"123456789012","region":"eu-west-1","digest":"sha256:ab","object":"k","archived":true,"found":"2026-02-01T00:00:00Z"}],
		"reconciliation":[{"region":"eu-west-1","pages":3,"allPages":256,"started":"2026-03-01T00:00:00Z","objects":7,"blobs":5,"strays":2,"strayBytes":2048}]}`
	var st gcadmin.Status
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := printStatus(&out, st); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"100000 or more layers", "3 objects, about 5.0 GiB", "began 2026-03-01 12:00, last heard of 2026-03-01 12:01:", "a hold kept objects", "the store\n",
		"by backup, since 2026-03-01 11:00, until 2026-03-01 13:00", "eu-west-1: 3 of 256 pages since 2026-03-01 00:00; 7 objects and 5 blobs, 2 objects that no row named (2.0 KiB)",
		"sha256:ab of account 123456789012: object k is not in the archive of eu-west-1, found 2026-02-01 00:00", "and 101 more",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s\nhas no %q", &out, want)
		}
	}
}

package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/berth-registry/berth/internal/app/scanadmin"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/gate"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/tagrule"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

var reg = name.Registry{Account: "111122223333", Region: "eu-west-1"}

// server is a server's administration of scans, with images in memory.
type server struct {
	t      *testing.T
	clk    *clock.Fake
	admin  http.Handler
	images []image.Detail
	scans  map[name.Digest]scan.Summary
	holds  map[name.Digest]inventory.Image
	// waiting is the backlog.
	waiting int64
}

func start(t *testing.T) *server {
	t.Helper()
	db := sqldbtest.SQLite(t)
	ctx := t.Context()
	if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3)`, string(reg.Account), "", 1)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, clk: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), scans: map[name.Digest]scan.Summary{}, holds: map[name.Digest]inventory.Image{}}
	registries := registry.New(db, s.clk, []name.Region{reg.Region})
	mux := http.NewServeMux()
	scanadmin.Service{
		Scans: s, Images: s, Repositories: s, Gate: gate.New(gate.Config{DB: db, Clock: s.clk, Registries: registries}), // no pull is decided here
		Tags: tagrule.New(tagrule.Config{DB: db, Clock: s.clk, Registries: registries}), Clock: s.clk, Default: reg, Version: "v1",
		Host: func(name.Registry) string { return "registry.example" },
	}.Routes(mux)
	s.admin = mux
	return s
}

func (s *server) Backlog(context.Context) (int64, time.Time, error) {
	if s.waiting == 0 {
		return 0, time.Time{}, nil
	}
	return s.waiting, s.clk.Now(), nil
}

func (s *server) Get(_ context.Context, r name.Registry, repo name.Repository) (repository.Repository, error) {
	if r != reg || repo != "team/app" {
		return repository.Repository{}, errs.New(errs.RepositoryNotFound, "The repository with name '%s' does not exist", repo)
	}
	return repository.Repository{ID: 1, Registry: r, Name: repo}, nil
}

func (s *server) find(ref image.Ref) (image.Detail, error) {
	for _, d := range s.images {
		if d.Digest == ref.Digest || ref.Tag != "" && len(d.Tags) > 0 && d.Tags[0] == ref.Tag {
			return d, nil
		}
	}
	return image.Detail{}, errs.New(errs.ImageNotFound, "There is no such image")
}

func (s *server) Summary(_ context.Context, _ repository.Repository, ref image.Ref) (scan.Summary, error) {
	found, ok := s.scans[ref.Digest]
	if !ok {
		return found, errs.New(errs.ScanNotFound, "no scan")
	}
	return found, nil
}

func (s *server) Inventory(_ context.Context, _ repository.Repository, ref image.Ref) (image.Detail, inventory.Image, error) {
	d, err := s.find(ref)
	if err != nil {
		return d, inventory.Image{}, err
	}
	img, ok := s.holds[d.Digest]
	if !ok {
		return d, img, errs.New(errs.ImageTypeUnsupported, "an index")
	}
	return d, img, nil
}

// Describe has pages of two.
func (s *server) Describe(_ context.Context, _ repository.Repository, q image.DescribeQuery) ([]image.Detail, image.Cursor, error) {
	if len(q.Refs) > 0 {
		d, err := s.find(q.Refs[0])
		return []image.Detail{d}, "", err
	}
	from := len(q.After)
	if end := from + 2; end < len(s.images) {
		return s.images[from:end], image.Cursor(strings.Repeat("x", end)), nil
	}
	return s.images[from:], "", nil
}

// call is an Admin.
func (s *server) call(ctx context.Context, _, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	w := httptest.NewRecorder()
	s.admin.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, path, bytes.NewReader(body)))
	if w.Code != http.StatusOK {
		return errors.New(strings.TrimSpace(w.Body.String()))
	}
	return json.Unmarshal(w.Body.Bytes(), out)
}

// run runs a command line, as the program does.
func (s *server) run(args ...string) (string, error) {
	s.t.Helper()
	var out bytes.Buffer
	var root struct {
		Scan Command `cmd:""`
		SBOM SBOM    `cmd:"" name:"sbom"`
	}
	parser, err := kong.New(&root, kong.BindTo(s.t.Context(), (*context.Context)(nil)), kong.BindTo(io.Writer(&out), (*io.Writer)(nil)), kong.Bind(Admin(s.call)))
	if err != nil {
		s.t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return "", err
	}
	err = parsed.Run()
	return out.String(), err
}

func (s *server) must(args ...string) string {
	s.t.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.t.Fatalf("berth %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (s *server) has(out string, want ...string) {
	s.t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			s.t.Errorf("%s\nhas no %q", out, w)
		}
	}
}

func (s *server) refused(want string, args ...string) {
	s.t.Helper()
	if out, err := s.run(args...); err == nil || !strings.Contains(err.Error(), want) {
		s.t.Errorf("berth %s: %q %v, want %q", strings.Join(args, " "), out, err, want)
	}
}

// TestGate goes through docs/scan-gate.md.
func TestGate(t *testing.T) {
	s := start(t)
	s.has(s.must("scan", "gate", "list"), "There are no rules: every image can be pulled.\n")
	s.has(s.must("scan", "gate", "except", "list"), "There are no exceptions.\n")
	s.has(s.must("scan", "gate", "set", "prod", "--repositories", "prod/*,team/app", "--severity", "high", "--fixable", "--grace", "14", "--unscanned", "block", "--wait", "2h", "--exempt", "arn:aws:iam::*:role/ci-*"),
		"The rule prod is for: prod/*, team/app.\nIt holds images back with findings that are: HIGH or worse, with a fix, known for 14 days.\n",
		"Images without a completed scan: block for 2h0m0s. See that these repositories are scanned on push", "It does not hold up: arn:aws:iam::*:role/ci-*.\n")
	s.must("scan", "gate", "set", "a", "--unscanned", "strict")
	if out, want := s.must("scan", "gate", "list"), `RULE  REPOSITORIES       FINDINGS                                    NOT SCANNED       EXEMPT
a     *                  -                                           strict            -
prod  prod/*, team/app   HIGH or worse, with a fix, known for 14 days  block for 2h0m0s  arn:aws:iam::*:role/ci-*
`; regexp.MustCompile(` +`).ReplaceAllString(out, " ") != regexp.MustCompile(` +`).ReplaceAllString(want, " ") {
		t.Errorf("%s", out)
	}
	var rules scanadmin.GateRules
	if err := json.Unmarshal([]byte(s.must("scan", "gate", "list", "--json")), &rules); err != nil || len(rules.Rules) != 2 || rules.Rules[1].WaitSeconds != 7200 || rules.Rules[1].Severity != finding.High || rules.Rules[0].Exempt == nil {
		t.Errorf("%+v %v", rules, err)
	}
	s.has(s.must("scan", "gate", "delete", "a"), "Deleted the rule a.")
	s.refused(`no rule "a" of the pull gate`, "scan", "gate", "delete", "a")
	s.refused("would hold nothing back", "scan", "gate", "set", "x")
	s.refused(`"SEVERE" is no severity`, "scan", "gate", "set", "x", "--severity", "severe")
	s.refused(`"soon" is no length of time`, "scan", "gate", "set", "x", "--unscanned", "block", "--wait", "soon")
	s.refused("must be one of", "scan", "gate", "set", "x", "--unscanned", "maybe")
	s.refused("does not exist in region", "scan", "gate", "set", "x", "--severity", "LOW", "--account", "999999999999")

	out := s.must("scan", "gate", "except", "add", "CVE-2026-1", "--repository", "team/*", "--package", "openssl", "--until", "30d", "--reason", "not\nreachable")
	s.has(out, "The gate does not count CVE-2026-1 until 2026-03-31 12:00 UTC, in team/*, package openssl. The exception has the number ")
	number := regexp.MustCompile(`number (\d+)\.`).FindStringSubmatch(out)[1]
	s.has(s.must("scan", "gate", "except", "add", "CVE-2026-2", "--until", "2026-03-01", "--reason", "x"), "until 2026-03-02 00:00 UTC, in all repositories.")
	s.clk.Advance(12 * time.Hour)
	s.has(s.must("scan", "gate", "except", "list"), "in team/*, package openssl  2026-03-31 12:00          not reachable", "2026-03-02 00:00 (ended)  x")
	s.has(s.must("scan", "gate", "except", "list", "--json"), `"number": "`+number+`"`, `"ended": true`)
	s.has(s.must("scan", "gate", "except", "remove", number), "The gate counts CVE-2026-1 again, in team/*, package openssl.\n")
	s.refused("no exception with the number", "scan", "gate", "except", "remove", number)
	s.refused("ended already", "scan", "gate", "except", "add", "CVE-2026-1", "--until", "2026-02-27", "--reason", "x")
	s.refused("at the latest in a year", "scan", "gate", "except", "add", "CVE-2026-1", "--until", "400d", "--reason", "x")
	s.refused(`"never" is no end of an exception`, "scan", "gate", "except", "add", "CVE-2026-1", "--until", "never", "--reason", "x")
	s.refused(`"-3d" is no end of an exception`, "scan", "gate", "except", "add", "CVE-2026-1", "--until=-3d", "--reason", "x")
	s.refused("missing flags: --reason=TEXT, --until=TIME", "scan", "gate", "except", "add", "CVE-2026-1")
}

func TestTags(t *testing.T) {
	s := start(t)
	s.has(s.must("scan", "tags", "list"), "There are no rules")
	s.has(s.must("scan", "tags", "set", "team/*", "v*", "latest"), "Pushes into team/* are scanned from now on when they set one of: v*, latest.\n")
	s.has(s.must("scan", "tags", "list"), "REPOSITORIES  TAGS\nteam/*        v*, latest\n")
	s.has(s.must("scan", "tags", "list", "--json"), `"repository": "team/*"`)
	s.has(s.must("scan", "tags", "delete", "team/*"), "Deleted the rule of team/*.\n")
	s.refused(`no tag rule for "team/*"`, "scan", "tags", "delete", "team/*")
	s.refused(`"v 1" cannot be a pattern of tags`, "scan", "tags", "set", "team/*", "v 1")
}

func TestStatus(t *testing.T) {
	s := start(t)
	s.has(s.must("scan", "status"), "No image waits for a scan.\n")
	s.waiting = 3
	s.has(s.must("scan", "status"), "Images that wait for a scan or are being scanned: 3, the first since 2026-03-01 12:00.\n")
	s.has(s.must("scan", "status", "team/app"), "The repository has no images.\n")
	for _, tag := range []name.Tag{"one", "two", "three", "", "five"} {
		d := image.Detail{Digest: name.SHA256([]byte(tag)), PushedAt: s.clk.Now()}
		if tag != "" {
			d.Tags = []name.Tag{tag}
		}
		s.images = append(s.images, d)
	}
	s.scans[s.images[0].Digest] = scan.Summary{State: scan.State{Status: scan.Complete, Description: "The scan was completed."}, CompletedAt: s.clk.Now(), Counts: map[finding.Severity]int64{finding.Low: 2, finding.Critical: 1}}
	s.scans[s.images[1].Digest] = scan.Summary{State: scan.State{Status: scan.Complete}, CompletedAt: s.clk.Now()}
	s.scans[s.images[2].Digest] = scan.Summary{State: scan.State{Status: scan.Failed, Description: "bad \x1b[31mname"}}
	row := func(i int) string { return string(s.images[i].Digest) }
	out := regexp.MustCompile(` +`).ReplaceAllString(s.must("scan", "status", "team/app"), " ")
	s.has(out, row(0)+" one COMPLETE 2026-03-01 12:00 1 CRITICAL, 2 LOW\n", row(1)+" two COMPLETE 2026-03-01 12:00 none\n", row(2)+" three FAILED - -\n", row(3)+" - not scanned - -\n", row(4)+" five not scanned - -\n")
	s.has(s.must("scan", "status", "team/app:one"), row(0), "\n\nThe scan was completed.\n")
	s.has(s.must("scan", "status", "team/app@"+row(2)), "FAILED", "\n\nbad \ufffd[31mname\n")
	var all scanadmin.Status
	if err := json.Unmarshal([]byte(s.must("scan", "status", "team/app", "--json")), &all); err != nil || len(all.Images) != 5 || all.Images[0].Counts["CRITICAL"] != 1 || all.Backlog != nil {
		t.Errorf("%+v %v", all, err)
	}
	s.refused("There is no such image", "scan", "status", "team/app:four")
	s.refused("does not exist", "scan", "status", "team/other")
	s.refused("does not exist", "scan", "status", "team/app", "--region", "us-east-1")
	s.refused("what follows the @ is no digest", "scan", "status", "team/app@sha256:1")
	s.refused("what follows the colon is no tag", "scan", "status", "team/app:")
	s.refused("without the registry's host", "scan", "status", "localhost:5000/team/app")
}

func TestSBOM(t *testing.T) {
	s := start(t)
	d := name.SHA256([]byte("image"))
	s.images = []image.Detail{{Digest: d, Tags: []name.Tag{"latest"}, PushedAt: s.clk.Now()}, {Digest: name.SHA256([]byte("index")), Tags: []name.Tag{"all"}}}
	s.holds[d] = inventory.Image{OS: inventory.OS{Family: "alpine", Name: "3.20.3"}, Packages: []inventory.Package{{Type: inventory.Apk, Name: "musl", Version: "1.2.5-r0"}}}
	one := s.must("sbom", "team/app")
	s.has(one, `"specVersion": "1.6"`, `pkg:apk/alpine/musl@1.2.5-r0?distro=alpine-3.20.3`, `"name": "registry.example/team/app"`, `"version": "v1"`)
	if two := s.must("sbom", "team/app@"+string(d), "--format", "cyclonedx"); two != one {
		t.Errorf("%s\nis not\n%s", two, one)
	}
	file := filepath.Join(t.TempDir(), "sbom.json")
	s.has(s.must("sbom", "team/app:latest", "--format", "spdx", "-o", file), "Wrote the bill of materials of "+string(d)+" (application/spdx+json) to "+file+".\n")
	b, err := os.ReadFile(file)
	if err != nil || !json.Valid(b) || !strings.Contains(string(b), `"spdxVersion": "SPDX-2.3"`) {
		t.Errorf("%s %v", b, err)
	}
	s.refused("There is no bill of materials of team/app:all. For an index name one of its images, by digest: an index", "sbom", "team/app:all")
	s.refused("There is no such image", "sbom", "team/app:2")
	s.refused("must be one of", "sbom", "team/app", "--format", "xml")
	s.refused("cannot be written", "sbom", "team/app", "-o", filepath.Join(file, "x"))
}

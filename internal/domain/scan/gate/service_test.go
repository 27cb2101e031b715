package gate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/gate"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

// reports are scans in memory, and count how often they are asked.
type reports struct {
	standing map[name.Digest]gate.Standing
	found    map[name.Digest]finding.Report
	err      error
	asked    [2]int // Standing, Report
}

func (r *reports) Standing(_ context.Context, _ repository.Repository, img image.Image) (gate.Standing, error) {
	r.asked[0]++
	return r.standing[img.Stored], r.err
}

func (r *reports) Report(_ context.Context, _ repository.Repository, d name.Digest) (finding.Report, map[string]time.Time, bool, time.Time, error) {
	r.asked[1]++
	found, ok := r.found[d]
	return found, nil, ok, r.standing[d].At, r.err
}

func (r *reports) scan(img image.Image, at time.Time, ids ...string) {
	var rep finding.Report
	for i, id := range ids {
		rep.Vulnerabilities = append(rep.Vulnerabilities, finding.Vulnerability{ID: id})
		rep.Matches = append(rep.Matches, finding.Match{Vulnerability: i, Severity: finding.High, Package: inventory.Package{Name: "x"}})
	}
	r.standing[img.Stored], r.found[img.Stored] = gate.Standing{State: gate.Scanned, At: at}, rep
}

// world is the gate of a registry on two nodes.
type world struct {
	t           *testing.T
	here, there *gate.Service
	clk         *clock.Fake
	reports     *reports
}

var (
	reg  = name.Registry{Account: "111111111111", Region: "us-east-1"}
	repo = repository.Repository{ID: 7, Registry: reg, Name: "team/app"}
	who  = principal.Principal{Account: reg.Account, ARN: "arn:aws:iam::111111111111:user/deploy"}
)

func newWorld(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
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
	w := &world{t: t, clk: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), reports: &reports{standing: map[name.Digest]gate.Standing{}, found: map[name.Digest]finding.Report{}}}
	c := gate.Config{DB: db, Clock: w.clk, Registries: registry.New(db, w.clk, []name.Region{reg.Region}), Reports: w.reports}
	w.here, w.there = gate.New(c), gate.New(c)
	return w
}

func (w *world) image(text string) image.Image {
	d := name.SHA256([]byte(text))
	return image.Image{Digest: d, Stored: d, PushedAt: w.clk.Now()}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// passes checks a pull: want is a part of the refusal, "" where it is to pass.
func (w *world) passes(s *gate.Service, img image.Image, want string) {
	w.t.Helper()
	err := s.Check(w.t.Context(), repo, img, who)
	if want == "" && err != nil || want != "" && (!errs.Is(err, errs.PullBlocked) || !strings.Contains(err.Error(), want)) {
		w.t.Errorf("%v, want %q", err, want)
	}
}

func TestCheck(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		img, other := w.image("a"), w.image("b")
		w.reports.scan(img, w.clk.Now(), "CVE-2026-1")
		w.passes(w.here, img, "")
		w.passes(w.there, img, "")
		w.passes(nil, img, "")
		if w.reports.asked != [2]int{} {
			t.Errorf("without rules the scans were asked %v times", w.reports.asked)
		}
		rule, err := w.here.Put(ctx, reg, gate.Rule{Name: "prod", Repositories: []string{"team/*"}, Severity: finding.High, Unscanned: gate.Block, Wait: time.Hour, Exempt: []string{"arn:aws:iam::*:user/ci"}})
		w.must(err)
		w.passes(w.here, img, "The rule 'prod' of the pull gate holds back the image "+string(img.Digest)+" of the repository team/app: 1 finding (1 HIGH), the worst: CVE-2026-1.")
		w.passes(w.there, img, "") // within CacheLife
		w.passes(w.here, other, "no scan of it has been completed")
		w.clk.Advance(gate.CacheLife)
		w.passes(w.there, img, "CVE-2026-1")

		// A decision holds as long as the report does.
		before := w.reports.asked
		for range 5 {
			w.passes(w.there, img, "CVE-2026-1")
			w.clk.Advance(gate.CacheLife)
		}
		if n := w.reports.asked; n[0]-before[0] != 4 || n[1] != before[1] {
			t.Errorf("asked %v, then %v times", before, n)
		}
		// A new scan counts within CacheLife.
		w.reports.scan(img, w.clk.Now())
		w.passes(w.there, img, "")
		w.reports.scan(other, w.clk.Now(), "CVE-2026-2", "CVE-2026-3")
		w.clk.Advance(gate.CacheLife)
		w.passes(w.here, other, "2 findings (2 HIGH), the worst: CVE-2026-3, CVE-2026-2.")

		if err := w.here.Check(ctx, repo, other, principal.Principal{ARN: "arn:aws:iam::999999999999:user/ci"}); err != nil {
			t.Errorf("one who is exempt: %v", err)
		}
		elsewhere := repo
		elsewhere.ID, elsewhere.Name = 8, "other"
		if err := w.here.Check(ctx, elsewhere, other, who); err != nil {
			t.Errorf("another repository: %v", err)
		}
		// The wait ends by itself, and so does an exception.
		waiting := w.image("c")
		w.passes(w.here, waiting, "no scan")
		e1, err := w.here.Except(ctx, reg, gate.Exception{Vulnerability: "CVE-2026-2", Reason: "not reachable", Until: w.clk.Now().Add(2 * time.Hour)})
		w.must(err)
		_, err = w.here.Except(ctx, reg, gate.Exception{Vulnerability: "cve-2026-3", Repository: "team/app", Package: "x", Reason: "fixed here", Until: w.clk.Now().Add(90 * time.Minute)})
		w.must(err)
		w.passes(w.here, other, "")
		w.clk.Advance(time.Hour)
		w.passes(w.here, waiting, "")
		w.passes(w.here, other, "")
		w.clk.Advance(31 * time.Minute)
		w.passes(w.here, other, "1 finding (1 HIGH), the worst: CVE-2026-3.")
		if gone, err := w.here.Revoke(ctx, reg, e1.ID); err != nil || gone.Vulnerability != "CVE-2026-2" || gone.Reason != "not reachable" {
			t.Errorf("%+v %v", gone, err)
		}
		w.passes(w.here, other, "2 findings")

		// Several images of one call.
		passed, failures, err := w.here.Filter(ctx, repo, who, []image.Image{img, other}, []image.Failure{{Code: image.NotFound}})
		if err != nil || len(passed) != 1 || passed[0].Digest != img.Digest || len(failures) != 2 || failures[1].Code != image.Inaccessible || failures[1].Ref.Digest != other.Digest || !strings.Contains(failures[1].Reason, "2 findings") {
			t.Errorf("%v %v %v", passed, failures, err)
		}
		// What cannot be read is not handed out.
		w.reports.err = errors.New("the disk is gone")
		w.clk.Advance(gate.CacheLife)
		if err := w.here.Check(ctx, repo, img, who); !errors.Is(err, w.reports.err) {
			t.Errorf("got %v", err)
		}
		if _, _, err := w.here.Filter(ctx, repo, who, []image.Image{img}, nil); !errors.Is(err, w.reports.err) {
			t.Errorf("got %v", err)
		}
		w.reports.err = nil

		w.must(w.here.Delete(ctx, reg, rule.Name))
		w.passes(w.here, other, "")
		w.clk.Advance(gate.CacheLife)
		w.passes(w.there, other, "")
	})
}

func TestRows(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		r := gate.Rule{Name: "b", Repositories: []string{"x", "y/*"}, Severity: finding.Critical, FixableOnly: true, Grace: 14, Unscanned: gate.Strict, Wait: 90 * time.Minute, Exempt: []string{"arn:aws:iam::*:role/a"}}
		made, err := w.here.Put(ctx, reg, r)
		w.must(err)
		w.clk.Advance(time.Hour)
		r.Severity, r.Exempt = finding.Low, nil
		changed, err := w.here.Put(ctx, reg, r)
		w.must(err)
		_, err = w.here.Put(ctx, reg, gate.Rule{Name: "a", Repositories: []string{"*"}, Unscanned: gate.Block})
		w.must(err)
		all, err := w.here.Rules(ctx, reg)
		w.must(err)
		if len(all) != 2 || all[0].Name != "a" || fmt.Sprint(all[1]) != fmt.Sprint(changed) || !changed.CreatedAt.Equal(made.CreatedAt) || !changed.UpdatedAt.Equal(w.clk.Now()) || changed.Wait != 90*time.Minute || !changed.FixableOnly || changed.Grace != 14 || len(all[1].Repositories) != 2 {
			t.Errorf("%+v\n%+v\n%+v", all, made, changed)
		}
		if all, err := w.here.Rules(ctx, name.Registry{Account: "222222222222", Region: reg.Region}); err != nil || len(all) != 0 {
			t.Errorf("%v %v", all, err)
		}
		refused := func(err error, code errs.Code, want string) {
			t.Helper()
			if !errs.Is(err, code) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		_, err = w.here.Put(ctx, reg, gate.Rule{Name: "c"})
		refused(err, errs.InvalidParameter, "filters")
		_, err = w.here.Put(ctx, name.Registry{Account: "222222222222", Region: reg.Region}, r)
		refused(err, errs.InvalidParameter, "does not exist")
		refused(w.here.Delete(ctx, reg, "none"), errs.InvalidParameter, `no rule "none"`)
		for i := range gate.MaxRules - 2 {
			r.Name = fmt.Sprintf("r%d", i)
			_, err := w.here.Put(ctx, reg, r)
			w.must(err)
		}
		r.Name = "one-more"
		_, err = w.here.Put(ctx, reg, r)
		refused(err, errs.LimitExceeded, "has 100 rules")
		r.Name = "b"
		_, err = w.here.Put(ctx, reg, r)
		w.must(err)

		e, err := w.here.Except(ctx, reg, gate.Exception{Vulnerability: "CVE-1", Repository: "x", Package: "p", Reason: "é", Until: w.clk.Now().Add(time.Hour)})
		w.must(err)
		if all, err := w.there.Exceptions(ctx, reg); err != nil || len(all) != 1 || fmt.Sprint(all[0]) != fmt.Sprint(e) || e.ID == 0 {
			t.Errorf("%+v %+v %v", all, e, err)
		}
		_, err = w.here.Except(ctx, reg, gate.Exception{Vulnerability: "CVE-1", Reason: "x", Until: w.clk.Now()})
		refused(err, errs.InvalidParameter, "ended already")
		_, err = w.here.Revoke(ctx, reg, e.ID+1)
		refused(err, errs.InvalidParameter, "no exception with the number")

		// One that has ended stays to be seen for a while.
		w.clk.Advance(30 * 24 * time.Hour)
		next := gate.Exception{Vulnerability: "CVE-2", Reason: "x", Until: w.clk.Now().Add(time.Hour)}
		_, err = w.here.Except(ctx, reg, next)
		w.must(err)
		if all, err := w.here.Exceptions(ctx, reg); err != nil || len(all) != 2 {
			t.Errorf("%+v %v", all, err)
		}
		w.clk.Advance(2 * time.Hour)
		next.Until = w.clk.Now().Add(time.Hour)
		_, err = w.here.Except(ctx, reg, next)
		w.must(err)
		if all, err := w.here.Exceptions(ctx, reg); err != nil || len(all) != 2 || all[0].Vulnerability != "CVE-2" {
			t.Errorf("%+v %v", all, err)
		}
	})
}

package increase_test

import (
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/quota/increase"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const (
	account = name.AccountID("123456789012")
	caller  = "arn:aws:iam::123456789012:user/alice"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

func desk(t *testing.T, db *sqldb.DB) (*increase.Desk, *quota.Service) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO account (id, name, created_at) VALUES ($1, 'one', 0)`, string(account))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	clk := clock.NewFake(time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC))
	quotas := quota.New(quota.Config{DB: db, Clock: clk, Log: slog.New(slog.DiscardHandler), Limits: quota.Default()})
	return increase.New(increase.Config{DB: db, Clock: clk, Quotas: quotas}), quotas
}

func code(t *testing.T, err error, want errs.Code) {
	t.Helper()
	if !errs.Is(err, want) {
		t.Errorf("got %v, want the code %v", err, want)
	}
}

// TestEntries: every quota has a code of its own, a value, and stands in order; those
// that can be adjusted are values of package quota.
func TestEntries(t *testing.T) {
	for _, s := range increase.Services() {
		all := increase.Entries(s.Code)
		codes := map[string]bool{}
		for _, e := range all {
			if !regexp.MustCompile(`^L-[0-9A-F]{8}$`).MatchString(e.Code) || codes[e.Code] {
				t.Errorf("%s %q: the code %q", s.Code, e.Title, e.Code)
			}
			codes[e.Code] = true
			if e.Default() <= 0 || e.Description == "" || e.Service != s.Code {
				t.Errorf("%s %q: %v %q", s.Code, e.Title, e.Default(), e.Description)
			}
			if e.Adjustable && e.Quota == "" {
				t.Errorf("%s %q: can be adjusted, and is no value", s.Code, e.Title)
			}
		}
		if !slices.IsSortedFunc(all, func(a, b increase.Entry) int {
			return strings.Compare(strings.ToLower(a.Title), strings.ToLower(b.Title))
		}) {
			t.Errorf("%s: not in the order of titles", s.Code)
		}
	}
	if e, err := increase.Find("ecr", "L-CFEB8E8D"); err != nil || e.Title != "Registered repositories" || e.Default() != 100_000 {
		t.Errorf("got %+v, %v", e, err)
	}
	if e, err := increase.Find("ecr", "L-AD52DFB2"); err != nil || e.Title != "Rate of PutImage requests" || e.Default() != 10 {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := increase.Find("s3", "L-CFEB8E8D"); !errs.Is(err, errs.QuotaNotFound) {
		t.Errorf("got %v", err)
	}
}

// TestEveryValueIsListed: no value that operators can set is missing.
func TestEveryValueIsListed(t *testing.T) {
	listed := map[string]bool{"part-size": true} // a recommendation, which bounds nothing
	for _, s := range increase.Services() {
		for _, e := range increase.Entries(s.Code) {
			listed[e.Quota] = true
		}
	}
	for _, q := range quota.All() {
		if !listed[q.Name] {
			t.Errorf("%s is in no service's list", q.Name)
		}
	}
	for action := range quota.ECRRates() {
		if !listed["rate:"+action] && action != quota.AnonymousPull && action != quota.WorkloadPull {
			t.Errorf("the rate of %s is in no service's list", action)
		}
	}
}

func TestRequest(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		d, quotas := desk(t, db)
		ctx := t.Context()
		const images = "L-03A36CE1"
		r, err := d.Ask(ctx, account, "eu-west-1", caller, "ecr", images, 200_000)
		if err != nil || r.Status != increase.Pending || r.Desired != 200_000 {
			t.Fatalf("got %+v, %v", r, err)
		}
		_, err = d.Ask(ctx, account, "eu-west-1", caller, "ecr", images, 300_000)
		code(t, err, errs.QuotaRequestOpen)
		if now, err := d.Get(ctx, account, "ecr", images); err != nil || now.Value != 100_000 {
			t.Errorf("before it is approved: %+v, %v", now, err)
		}
		if r, err = d.Decide(ctx, r.ID, true); err != nil || r.Status != increase.Approved {
			t.Fatalf("got %+v, %v", r, err)
		}
		if now, err := d.Get(ctx, account, "ecr", images); err != nil || now.Value != 200_000 {
			t.Errorf("approved: %+v, %v", now, err)
		}
		if l, err := quotas.Limits(ctx, account); err != nil || l.ImagesPerRepository != 200_000 {
			t.Errorf("what is enforced: %d, %v", l.ImagesPerRepository, err)
		}
		_, err = d.Decide(ctx, r.ID, false)
		code(t, err, errs.InvalidParameter)
		_, err = d.Ask(ctx, account, "eu-west-1", caller, "ecr", images, 150_000)
		code(t, err, errs.InvalidParameter)

		second, err := d.Ask(ctx, account, "eu-west-1", caller, "ecr", images, 300_000)
		if err != nil {
			t.Fatal(err)
		}
		if second, err = d.Decide(ctx, second.ID, false); err != nil || second.Status != increase.Denied {
			t.Fatalf("got %+v, %v", second, err)
		}
		if now, err := d.Get(ctx, account, "ecr", images); err != nil || now.Value != 200_000 {
			t.Errorf("denied: %+v, %v", now, err)
		}
		// A rate has no limit until one is set, and a size counts MiB.
		rate, err := d.Get(ctx, account, "ecr", "L-AD52DFB2")
		if err != nil || rate.Value != increase.NoLimit {
			t.Errorf("got %+v, %v", rate, err)
		}
		if err := quotas.Set(ctx, account, "", "rate:PutImage", 7); err != nil {
			t.Fatal(err)
		}
		if rate, err = d.Get(ctx, account, "ecr", "L-AD52DFB2"); err != nil || rate.Value != 7 {
			t.Errorf("got %+v, %v", rate, err)
		}
		all, err := d.List(ctx, account, "ecr")
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range all {
			if q.Title == "Maximum layer size" && q.Value != 52_000 {
				t.Errorf("got %v MiB", q.Value)
			}
		}

		// The newest first, a page at a time, and nobody else's.
		page, next, err := d.Requests(ctx, increase.Filter{Account: account, Region: "eu-west-1"}, "", 1)
		if err != nil || len(page) != 1 || page[0].ID != second.ID || next == "" {
			t.Fatalf("got %+v %q %v", page, next, err)
		}
		page, next, err = d.Requests(ctx, increase.Filter{Account: account}, next, 1)
		if err != nil || len(page) != 1 || page[0].ID != r.ID || page[0].Requester != caller || next != "" {
			t.Errorf("got %+v %q %v", page, next, err)
		}
		if page, _, err = d.Requests(ctx, increase.Filter{Account: account, Status: increase.Denied}, "", 5); err != nil || len(page) != 1 {
			t.Errorf("got %+v %v", page, err)
		}
		_, err = d.Request(ctx, "222222222222", r.ID)
		code(t, err, errs.QuotaNotFound)
		_, _, err = d.Requests(ctx, increase.Filter{}, "no cursor", 5)
		code(t, err, errs.InvalidInput)
	})
}

func TestRefused(t *testing.T) {
	d, _ := desk(t, sqldbtest.SQLite(t))
	for _, tt := range []struct {
		service, code string
		desired       float64
		want          errs.Code
	}{
		{"ecr", "L-00000000", 5, errs.QuotaNotFound},
		{"ec2", "L-CFEB8E8D", 5, errs.QuotaNotFound},
		{"ecr", "L-CFEB8E8D", 100_000, errs.InvalidParameter},   // what holds already
		{"ecr", "L-CFEB8E8D", 200_000.5, errs.InvalidParameter}, // no whole number
		{"ecr", "L-CFEB8E8D", 1e19, errs.InvalidParameter},
	} {
		_, err := d.Ask(t.Context(), account, "eu-west-1", caller, tt.service, tt.code, tt.desired)
		code(t, err, tt.want)
	}
	for _, e := range increase.Entries("ecr") {
		if !e.Adjustable {
			_, err := d.Ask(t.Context(), account, "eu-west-1", caller, "ecr", e.Code, e.Default()*2)
			code(t, err, errs.InvalidParameter)
		}
	}
}

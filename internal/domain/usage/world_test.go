package usage

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/domain/usage/metric"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	us   = name.AccountID("111122223333")
	them = name.AccountID("444455556666")
	east = name.Region("us-east-1")
	west = name.Region("eu-west-1")
)

var (
	here   = name.Registry{Account: us, Region: east}
	public = name.PublicRegistry(us)
)

// world is nodes on one database, with real repositories.
type world struct {
	t            *testing.T
	db           *sqldb.DB
	clk          *clock.Fake
	log          bytes.Buffer
	repositories *repository.Service
	s            *Service
}

func each(t *testing.T, fn func(w *world)) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := &world{t: t, db: db, clk: clock.NewFake(time.Date(2026, 3, 10, 12, 2, 30, 0, time.UTC))}
		w.must(db.Migrate(t.Context(), "schema_version", schema.Durable()...))
		keys, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
		w.must(err)
		principals, err := principal.New(db, keys, w.clk)
		w.must(err)
		w.must(principals.EnsureAccount(t.Context(), us))
		w.must(principals.EnsureAccount(t.Context(), them))
		registries := registry.New(db, w.clk, []name.Region{east, west})
		w.repositories = repository.New(repository.Config{DB: db, Clock: w.clk, Registries: registries, Keys: keys, Quotas: quota.Fixed(quota.Default())})
		w.s = w.node()
		fn(w)
	})
}

func (w *world) node() *Service {
	return New(Config{DB: w.db, Clock: w.clk, Log: slog.New(slog.NewTextHandler(&w.log, nil)), Repositories: 2})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// exec changes the database behind everybody's back.
func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	w.must(w.db.Update(w.t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.t.Context(), query, args...)
		return err
	}))
}

// number reads one number of the database.
func (w *world) number(query string, args ...any) (n int64) {
	w.t.Helper()
	w.must(w.db.View(w.t.Context(), func(tx *sqldb.Tx) error { return tx.QueryRow(w.t.Context(), query, args...).Scan(&n) }))
	return n
}

// make makes a repository, with tags given as key, value.
func (w *world) make(reg name.Registry, repo name.Repository, tags ...string) repository.Repository {
	w.t.Helper()
	set := map[string]string{}
	for i := 0; i < len(tags); i += 2 {
		set[tags[i]] = tags[i+1]
	}
	r, err := w.repositories.Create(w.t.Context(), repository.Create{Registry: reg, Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable}, Tags: set})
	w.must(err)
	return r
}

// blob makes a layer of a registry, held by some repositories.
func (w *world) blob(reg name.Registry, size int64, archived bool, in ...repository.Repository) {
	w.t.Helper()
	id := sqldb.NewID()
	digest := string(name.SHA256(fmt.Append(nil, id)))
	w.exec(`INSERT INTO blob (id, account_id, region, key_id, digest, size, object_key, seal, created_at, archived) VALUES ($1, $2, $3, '', $4, $5, $6, $7, 0, $8)`,
		id, string(reg.Account), string(reg.Region), digest, size, fmt.Sprint(id), []byte{}, archived)
	for _, r := range in {
		w.exec(`INSERT INTO layer (repository_id, digest, blob_id, created_at) VALUES ($1, $2, $3, 0)`, r.ID, digest, id)
	}
}

// images sets how many images a repository's row says that it has.
func (w *world) images(r repository.Repository, n int64) {
	w.t.Helper()
	w.exec(`UPDATE repository SET images = $1 WHERE id = $2`, n, r.ID)
}

func (w *world) flush(s *Service) {
	w.t.Helper()
	w.must(s.Flush(w.t.Context()))
}

func (w *world) sample() {
	w.t.Helper()
	w.must(w.s.Sample(w.t.Context()))
}

func series(t *testing.T, namespace, named string, dimensions ...string) metric.Series {
	t.Helper()
	m := metric.Series{Namespace: namespace, Name: named}
	for i := 0; i < len(dimensions); i += 2 {
		m.Dimensions = append(m.Dimensions, metric.Dimension{Name: dimensions[i], Value: dimensions[i+1]})
	}
	return m
}

func (w *world) callsOf(operation string) metric.Series {
	return series(w.t, NamespaceUsage, CallCount, "Class", "None", "Resource", operation, "Service", "ECR", "Type", "API")
}

func (w *world) pullsOf(repo string) metric.Series {
	return series(w.t, NamespaceECR, RepositoryPullCount, "RepositoryName", repo)
}

func (w *world) imagesOf(repo string) metric.Series {
	return series(w.t, NamespaceUsage, ResourceCount, "Class", "None", "Resource", ImagesPerRepositoryCount, "ResourceId", "repository/"+repo, "Service", "ECR", "Type", "RESOURCE")
}

// points are those of a series since a time, one "15:04 samples sum minimum maximum" each.
func (w *world) points(account name.AccountID, region name.Region, m metric.Series, from time.Time, period time.Duration) string {
	w.t.Helper()
	all, err := w.s.Points(w.t.Context(), account, region, m, from, w.clk.Now().Add(time.Hour), period)
	w.must(err)
	text := make([]string, len(all))
	for i, p := range all {
		text[i] = fmt.Sprintf("%s %v %v %v %v", p.Start.Format("15:04"), p.Samples, p.Sum, p.Minimum, p.Maximum)
	}
	return strings.Join(text, ", ")
}

func (w *world) wants(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// text is a series on one line.
func text(m metric.Series) string {
	var b strings.Builder
	b.WriteString(m.Namespace + " " + m.Name)
	for _, d := range m.Dimensions {
		b.WriteString(" " + d.Name + "=" + d.Value)
	}
	return b.String()
}

// list are all series that a filter finds, read in pages of a size.
func (w *world) list(account name.AccountID, region name.Region, f metric.Filter, page int) (all []string) {
	w.t.Helper()
	for after := ""; ; {
		found, next, err := w.s.List(w.t.Context(), account, region, f, after, page)
		w.must(err)
		if len(found) > page {
			w.t.Fatalf("a page of %d series", len(found))
		}
		for _, m := range found {
			all = append(all, text(m))
		}
		if after = next; after == "" {
			return all
		}
	}
}

// report is a report, a row a line.
func (w *world) report(q Query) string {
	w.t.Helper()
	report, err := w.s.Report(w.t.Context(), q)
	w.must(err)
	lines := make([]string, len(report.Rows))
	for i, r := range report.Rows {
		group := strings.Trim(fmt.Sprintf("%s %s %s %s %s", r.Period, r.Account, r.Region, r.Repository, r.Tag), " ")
		if r.Untagged {
			group += "(untagged)"
		}
		lines[i] = fmt.Sprintf("%s: stored %v, archived %v, hours %v+%v of %d, sent %d, received %d, pulls %d, pushes %d", strings.Join(strings.Fields(group), " "),
			r.StoredBytes, r.ArchivedBytes, r.ByteHours, r.ArchivedByteHours, r.Samples, r.SentBytes, r.ReceivedBytes, r.Pulls, r.Pushes)
	}
	return strings.Join(lines, "\n")
}

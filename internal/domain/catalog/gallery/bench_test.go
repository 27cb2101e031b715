package gallery_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	web "github.com/berth-registry/berth/internal/web/gallery"
)

func sqlite(t testing.TB) *sqldb.DB { return sqldbtest.SQLite(t) }

// fill makes n repositories of one account that has a public registry, with rows only.
func fill(w *world, n int) {
	w.t.Helper()
	stems := []string{"nginx", "redis", "postgres", "python", "node", "golang", "spark", "kafka", "grafana", "prometheus", "envoy", "istio", "operator", "exporter"}
	syllables := []string{"ba", "ko", "ri", "tu", "mel", "san", "dor", "vik", "lo", "pen", "qua"}
	made := func(i int) string {
		return syllables[i%11] + syllables[i/11%11] + syllables[i/121%11] + syllables[i/1331%11]
	}
	now := w.clk.Now().UnixMicro()
	w.must(w.db.Update(w.ctx, func(tx *sqldb.Tx) error {
		for i := range n {
			id := int64(i+1) << 30
			repo := fmt.Sprintf("%s/%s-%d", made(i), stems[i*7%len(stems)], i)
			_, err := tx.Exec(w.ctx, `INSERT INTO repository (id, account_id, region, name, created_at, tag_mutability, mutability_filters, scan_on_push, encryption, kms_key, key_id, data_key, images)
				VALUES ($1, $2, $3, $4, $5, 'MUTABLE', '', $6, 'AES256', '', '', $7, 1)`, id, string(us), string(name.Public), repo, now, false, []byte{})
			if err != nil {
				return err
			}
			_, err = tx.Exec(w.ctx, `INSERT INTO catalog_data (repository_id, description, about, usage, architectures, operating_systems, logo, updated_at)
				VALUES ($1, $2, $3, 'docker run it', '["x86-64","ARM 64"]', '["Linux"]', '', 1)`,
				id, fmt.Sprintf("A made image of %s for %s, ready to run with %s", stems[i*5%len(stems)], made(i*3), stems[i*11%len(stems)]), "# About\n\nMuch is to be said.")
			if err != nil {
				return err
			}
			if _, err = tx.Exec(w.ctx, `INSERT INTO catalog_entry (repository_id, changed_at, pushed_at, downloads) VALUES ($1, $2, $2, $3)`, id, now, i*7919%100_003); err != nil {
				return err
			}
		}
		return nil
	}))
}

// BenchmarkPage is what the server does for a page of the gallery, but for the HTML: the
// search with its counts, and the rows of 24 repositories, at 100,000 of them.
func BenchmarkPage(b *testing.B) {
	w := open(b, sqlite(b))
	w.repo(us, "first", nil)
	fill(w, 100_000)
	w.clk.Advance(10 * time.Second)
	began := time.Now()
	w.must(w.here.Refresh(w.ctx))
	loaded := time.Since(began)
	for title, q := range map[string]gallery.Query{
		"word": {Text: "nginx"}, "two words": {Text: "redis operator"}, "common": {Text: "image"}, "typo": {Text: "prometeus"},
		"all": {}, "by name": {Sort: gallery.Name}, "filters": {Text: "kafka", OperatingSystems: []string{"Linux"}}, "deep": {Text: "image", Offset: gallery.MaxOffset},
		"publisher": {Account: us},
	} {
		q.Limit = 24
		b.Run(title, func(b *testing.B) {
			for b.Loop() {
				r, err := w.here.Search(w.ctx, q)
				w.must(err)
				if len(r.Repositories) != 24 {
					b.Fatalf("%d repositories", len(r.Repositories))
				}
			}
		})
	}
	b.Run("home", func(b *testing.B) {
		for b.Loop() {
			_, _, _, err := w.here.Home(w.ctx)
			w.must(err)
		}
	})
	b.Run("refresh", func(b *testing.B) {
		for b.Loop() {
			w.must(w.here.Refresh(w.ctx))
		}
		b.ReportMetric(loaded.Seconds(), "s-to-load")
	})
}

// BenchmarkSite is whole pages of the website at 100,000 repositories, from the request to
// the last byte of HTML.
func BenchmarkSite(b *testing.B) {
	w := open(b, sqlite(b))
	w.repo(us, "first", nil)
	fill(w, 100_000)
	w.clk.Advance(10 * time.Second)
	w.must(w.here.Refresh(w.ctx))
	site, err := web.New(web.Config{
		Gallery: w.here, Registry: func(*http.Request) string { return "public.ecr.aws" }, Prefix: func(*http.Request) string { return "" },
		Logo: w.here.Catalog.Logo, Log: slog.New(slog.DiscardHandler), Clock: w.clk,
	})
	w.must(err)
	one, err := w.here.Search(w.ctx, gallery.Query{Text: "nginx", Limit: 1})
	w.must(err)
	r := one.Repositories[0]
	for title, path := range map[string]string{
		"home": "/", "search": "/search?searchTerm=nginx", "typo": "/search?searchTerm=prometeus", "common word": "/search?searchTerm=image&operatingSystems=Linux",
		"all": "/search?sort=updated", "last page": "/search?searchTerm=image&page=400", "publisher": "/" + string(r.Alias), "repository": "/" + string(r.Alias) + "/" + string(r.Name),
		"tags": "/" + string(r.Alias) + "/" + string(r.Name) + "?tab=tags",
	} {
		b.Run(title, func(b *testing.B) {
			for b.Loop() {
				answer := httptest.NewRecorder()
				site.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
				if answer.Code != http.StatusOK {
					b.Fatalf("%s: %d", path, answer.Code)
				}
			}
		})
	}
}

package gallery_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

func wants(t *testing.T, err error, code errs.Code) {
	t.Helper()
	if !errs.Is(err, code) {
		t.Errorf("got %v, want the code %d", err, code)
	}
}

func TestRepositoriesShowOnceTheyHaveAnImage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.expect(w.here, "")
		w.expect(w.there, "")
		r := w.repo(us, "team/web-app", &catalog.DataInput{
			Description: "Serves pages", About: "# About", Usage: "run it", Architectures: []string{"x86-64", "RISC-V"}, OperatingSystems: []string{"linux"},
		})
		alias := w.alias(us)
		_, err := w.here.Repository(w.ctx, alias, "team/web-app")
		wants(t, err, errs.RepositoryNotFound)
		w.expect(w.here, "web")

		w.clk.Advance(time.Hour)
		d := w.push(r, w.on("linux", "amd64", "", "1"), "v1")
		w.expect(w.here, "web", "team/web-app") // at once on the node of the push
		w.expect(w.there, "web")
		w.must(w.there.Refresh(w.ctx))
		for _, node := range []*gallery.Service{w.here, w.there} {
			for _, text := range []string{"web", "team/web-app", "pages", alias, "srves", ""} {
				w.expect(node, text, "team/web-app")
			}
		}
		got, err := w.there.Repository(w.ctx, alias, "team/web-app")
		w.must(err)
		if got.ID != r.ID || got.Account != us || string(got.Alias) != alias || got.Name != r.Name || got.Images != 1 || !got.CreatedAt.Equal(r.CreatedAt) ||
			!got.PushedAt.Equal(w.clk.Now()) || !got.Data.Set || got.Data.About != "# About" || got.Data.Usage != "run it" || got.Data.Description != "Serves pages" ||
			!slices.Equal(got.Data.Architectures, []string{"x86-64", "RISC-V"}) || !slices.Equal(got.Data.OperatingSystems, []string{"linux"}) || got.Verified || got.DisplayName != "" {
			t.Errorf("%+v", got)
		}
		found, err := w.there.Search(w.ctx, gallery.Query{Text: "web", Limit: 1, OperatingSystems: []string{"Linux"}, Architectures: []string{"x86-64"}})
		w.must(err)
		if f := fmt.Sprint(found.Total, found.Verified, found.OperatingSystems, found.Architectures); f != "1 0 [{Linux 1} {Windows 0}] [{ARM 0} {ARM 64 0} {x86 0} {x86-64 1}]" {
			t.Error(f)
		}
		got.Data.About, got.Data.Usage = "", ""
		if len(found.Repositories) != 1 || fmt.Sprint(found.Repositories[0]) != fmt.Sprint(got) {
			t.Errorf("found %+v, which is %+v", found.Repositories, got)
		}

		w.remove(r, image.Ref{Digest: d})
		w.expect(w.here, "web")
		w.must(w.there.Refresh(w.ctx))
		if n := w.there.Indexed(); n != 0 {
			t.Errorf("%d documents on the other node", n)
		}
		_, err = w.here.Repository(w.ctx, alias, "team/web-app")
		wants(t, err, errs.RepositoryNotFound)
	})
}

// Repositories of private registries are none of the gallery's business.
func TestPrivateRepositoriesDoNotShow(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r, err := w.repos.Create(w.ctx, repository.Create{Registry: name.Registry{Account: us, Region: "us-east-1"}, Name: "secret", Mutability: repository.Mutability{Setting: repository.Mutable}})
		w.must(err)
		w.push(r, w.on("linux", "amd64", "", "1"), "v1")
		w.push(w.repo(us, "open", nil), w.on("linux", "amd64", "", "1"), "v1")
		w.expect(w.here, "", "open")
		if n := w.number(`SELECT count(*) FROM catalog_entry`); n != 1 {
			t.Errorf("%d entries", n)
		}
		_, err = w.here.Repository(w.ctx, w.alias(us), "secret")
		wants(t, err, errs.RepositoryNotFound)
	})
}

func TestPublishers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.push(w.repo(us, "one", nil), w.on("linux", "amd64", "", "1"), "v1")
		w.push(w.repo(us, "two", nil), w.on("linux", "amd64", "", "1"), "v1")
		w.push(w.repo(them, "one", nil), w.on("linux", "amd64", "", "1"), "v1")
		w.must(w.there.Refresh(w.ctx))
		first := w.alias(us)
		w.must(w.catalog.SetDisplayName(w.ctx, us, "Große Werkstatt"))
		w.must(w.catalog.SetVerified(w.ctx, us, true))
		_, err := w.catalog.RequestAlias(w.ctx, us, "werkbank")
		w.must(err)
		_, err = w.here.Publisher(w.ctx, "werkbank")
		wants(t, err, errs.RegistryNotFound)
		_, err = w.catalog.Approve(w.ctx, "werkbank", true)
		w.must(err)
		_, err = w.catalog.SetPrimary(w.ctx, "werkbank")
		w.must(err)
		w.must(w.there.Refresh(w.ctx))

		for _, text := range []string{"werkbank", first, "große", "GROẞE werkst"} {
			if got, _ := w.find(w.there, gallery.Query{Text: text, Sort: gallery.Name}); !slices.Equal(got, []string{"one", "two"}) {
				t.Errorf("%q: %v", text, got)
			}
		}
		if got, _ := w.find(w.there, gallery.Query{Account: them}); !slices.Equal(got, []string{"one"}) {
			t.Errorf("their own: %v", got)
		}
		if got, total := w.find(w.there, gallery.Query{Text: "one", Verified: true}); !slices.Equal(got, []string{"one"}) || total != 1 {
			t.Errorf("verified: %v of %d", got, total)
		}
		for _, alias := range []string{"werkbank", first} {
			p, err := w.here.Publisher(w.ctx, alias)
			w.must(err)
			if p.Account != us || p.Alias != "werkbank" || !slices.Equal(p.Aliases, []name.Alias{name.Alias(first), "werkbank"}) || p.DisplayName != "Große Werkstatt" || !p.Verified {
				t.Errorf("%+v", p)
			}
			r, err := w.here.Repository(w.ctx, alias, "two")
			w.must(err)
			if r.Alias != "werkbank" || r.DisplayName != "Große Werkstatt" || !r.Verified || r.Data.Set {
				t.Errorf("%+v", r)
			}
		}
		_, err = w.here.Repository(w.ctx, "nobody", "two")
		wants(t, err, errs.RegistryNotFound)
		for _, repo := range []name.Repository{"three", "", "\xff", "Two", name.Repository(strings.Repeat("x", 500))} {
			_, err = w.here.Repository(w.ctx, first, repo)
			wants(t, err, errs.RepositoryNotFound)
		}
	})
}

// What goes without a trace for the index does not show, and leaves it.
func TestWhatVanishesDoesNotShow(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i := range 5 {
			w.push(w.repo(us, name.Repository(fmt.Sprint("app", i)), nil), w.on("linux", "amd64", "", "1"), "v1")
		}
		w.must(w.there.Refresh(w.ctx))
		w.exec(`DELETE FROM repository WHERE name = 'app1'`)
		w.exec(`UPDATE repository SET deleted_name = name, name = 'deleted:7', deleted_at = 1, expires_at = 2 WHERE name = 'app3'`)
		for _, node := range []*gallery.Service{w.here, w.there} {
			if got, total := w.find(node, gallery.Query{Limit: 2, Sort: gallery.Name}); !slices.Equal(got, []string{"app0", "app2"}) || total > 4 {
				t.Errorf("%v of %d", got, total)
			}
			w.expect(node, "app3")
			if n := node.Indexed(); n != 3 {
				t.Errorf("%d documents", n)
			}
		}
		w.exec(`DELETE FROM repository WHERE name = 'app0'`)
		w.clk.Advance(gallery.RebuildEvery)
		w.must(w.there.Refresh(w.ctx))
		if n := w.there.Indexed(); n != 2 {
			t.Errorf("%d documents after everything was read", n)
		}
	})
}

// A repository that was restored shows with the next search.
func TestTouch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.repo(us, "app", nil)
		w.push(r, w.on("linux", "amd64", "", "1"), "v1")
		w.expect(w.here, "app", "app")
		w.exec(`UPDATE repository SET deleted_name = name, name = 'deleted:7', deleted_at = 1, expires_at = 2 WHERE name = 'app'`)
		w.expect(w.here, "app")
		w.clk.Advance(time.Minute)
		w.must(w.here.Refresh(w.ctx))
		w.exec(`UPDATE repository SET name = deleted_name, deleted_name = '', deleted_at = 0, expires_at = 0 WHERE deleted_name = 'app'`)
		w.expect(w.here, "app")
		w.here.Touch(w.ctx, r.ID)
		w.expect(w.here, "app", "app")
	})
}

// Two changes of a repository under one time are both found.
func TestChangesAtOneTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.push(w.repo(us, "app", nil), w.on("linux", "amd64", "", "1"), "v1")
		for _, text := range []string{"first", "second", "third"} {
			_, err := w.catalog.PutData(w.ctx, name.PublicRegistry(us), "app", catalog.DataInput{Description: text})
			w.must(err)
			w.must(w.there.Refresh(w.ctx))
			w.expect(w.there, text, "app")
		}
	})
}

// A change that was committed late, or under a clock that is slow, is found all the same.
func TestLateChangesAreFound(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.repo(us, "app", nil)
		w.push(r, w.on("linux", "amd64", "", "1"), "v1")
		w.clk.Advance(time.Hour)
		w.must(w.there.Refresh(w.ctx))
		w.must(w.there.Refresh(w.ctx))
		w.exec(`INSERT INTO catalog_data (repository_id, description, about, usage, architectures, operating_systems, logo, updated_at) VALUES ($1, 'belated', '', '', '[]', '[]', '', 0)`, r.ID)
		w.must(w.there.Refresh(w.ctx))
		w.expect(w.there, "belated")
		w.exec(`UPDATE catalog_entry SET changed_at = $1`, w.clk.Now().Add(-gallery.Overlap+time.Second).UnixMicro())
		w.must(w.there.Refresh(w.ctx))
		w.expect(w.there, "belated", "app")
	})
}

func TestManyChanges(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.push(w.repo(us, "app", nil), w.on("linux", "amd64", "", "1"), "v1")
		w.must(w.there.Refresh(w.ctx))
		fill(w, 6000)
		w.must(w.there.Refresh(w.ctx)) // more than one read of entries, and of documents
		if n := w.there.Indexed(); n != 6001 {
			t.Errorf("%d documents", n)
		}
		w.clk.Advance(time.Second)
		w.must(w.there.Refresh(w.ctx)) // so many that everything is read
		if n := w.there.Indexed(); n != 6001 {
			t.Errorf("%d documents", n)
		}
		if _, total := w.find(w.there, gallery.Query{Text: "made", Offset: 5999, Limit: 5}); total != 6000 {
			t.Errorf("%d found", total)
		}
	})
}

// More changes than a refresh takes are left to a rebuild, and no search waits for them.
func TestTooManyChanges(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.push(w.repo(us, "app", nil), w.on("linux", "amd64", "", "1"), "v1")
		w.expect(w.here, "", "app")
		w.here.SetMany(3)
		for i := range 4 {
			w.push(w.repo(us, name.Repository(fmt.Sprint("new", i)), nil), w.on("linux", "amd64", "", "1"), "v1")
		}
		w.expect(w.here, "new")
		w.expect(w.here, "", "app")
		w.clk.Advance(time.Minute)
		w.must(w.here.Refresh(w.ctx))
		w.expect(w.here, "new", "new0", "new1", "new2", "new3")
		w.push(w.repo(us, "new4", nil), w.on("linux", "amd64", "", "1"), "v1")
		w.expect(w.here, "new4", "new4")
	})
}

// A push is found at once while everything is read anew, again and again, and afterwards.
func TestPushesDuringRebuilds(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.repo(us, "first", nil)
		fill(w, 600)
		w.must(w.here.Rebuild(w.ctx))
		stop, done := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if err := w.here.Rebuild(w.ctx); err != nil {
					done <- err
					return
				}
			}
		}()
		for i := range 12 {
			app := fmt.Sprintf("fresh-z%03d", i)
			d := w.push(w.repo(us, name.Repository(app), nil), w.on("linux", "amd64", "", "1"), "v1")
			for range 3 {
				w.expect(w.here, fmt.Sprintf("z%03d", i), app)
			}
			if i%2 == 0 {
				r, err := w.repos.Get(w.ctx, name.PublicRegistry(us), name.Repository(app))
				w.must(err)
				w.remove(r, image.Ref{Digest: d})
				w.expect(w.here, fmt.Sprintf("z%03d", i))
			}
		}
		close(stop)
		w.must(<-done)
		if _, total := w.find(w.here, gallery.Query{Text: "fresh"}); total != 6 {
			t.Errorf("%d at the end", total)
		}
	})
}

func TestDownloads(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.repo(us, "aa", nil), w.repo(us, "bb", nil)
		w.push(a, w.on("linux", "amd64", "", "1"), "v1")
		w.push(b, w.on("linux", "amd64", "", "1"), "v1")
		empty := w.repo(us, "empty", nil)
		w.must(w.there.Refresh(w.ctx))
		w.expect(w.here, "", "aa", "bb")
		changed := w.number(`SELECT sum(changed_at - $1) FROM catalog_entry`, 0)
		for range 3 {
			w.here.Downloaded(b.ID)
			w.here.Downloaded(empty.ID)
			w.there.Downloaded(b.ID)
		}
		w.here.Downloaded(a.ID)
		w.here.Downloaded(12345)
		gone, cancel := context.WithCancel(w.ctx)
		cancel()
		if err := w.here.Flush(gone); err == nil {
			t.Error("written without a database")
		}
		w.clk.Advance(time.Second)
		w.must(w.here.Flush(w.ctx))
		w.must(w.here.Flush(w.ctx))
		w.must(w.there.Flush(w.ctx))
		for repo, want := range map[name.Repository]int64{"aa": 1, "bb": 6} {
			r, err := w.here.Repository(w.ctx, w.alias(us), repo)
			w.must(err)
			if r.Downloads != want {
				t.Errorf("%s: %d downloads", repo, r.Downloads)
			}
		}
		w.expect(w.here, "", "bb", "aa")
		w.expect(w.there, "", "bb", "aa")
		if now := w.number(`SELECT sum(changed_at - $1) FROM catalog_entry`, 0); now != changed {
			t.Error("a download changes what the index reads")
		}
		if n := w.number(`SELECT count(*) FROM catalog_entry`); n != 2 {
			t.Errorf("%d entries", n)
		}
	})
}

func TestHome(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i := range gallery.HomeSize + 2 {
			r := w.repo(us, name.Repository(fmt.Sprintf("app-%02d", i)), nil)
			w.clk.Advance(time.Minute)
			w.push(r, w.on("linux", "amd64", "", "1"), "v1")
			for range 100 - i {
				w.here.Downloaded(r.ID)
			}
		}
		w.must(w.here.Flush(w.ctx))
		popular, updated, total, err := w.here.Home(w.ctx)
		w.must(err)
		if total != gallery.HomeSize+2 || len(popular) != gallery.HomeSize || len(updated) != gallery.HomeSize || popular[0].Name != "app-00" || updated[0].Name != "app-13" || popular[11].Name != "app-11" {
			t.Errorf("%d: %v, %v", total, popular, updated)
		}
		w.exec(`DELETE FROM repository WHERE name = 'app-00' OR name = 'app-13'`)
		popular, updated, total, err = w.here.Home(w.ctx)
		w.must(err)
		if total != gallery.HomeSize || popular[0].Name != "app-01" || updated[0].Name != "app-12" {
			t.Errorf("%d: %v, %v", total, popular, updated)
		}
	})
}

func TestQueriesAreChecked(t *testing.T) {
	w := open(t, sqlite(t))
	for i, q := range []gallery.Query{{}, {Limit: 101}, {Limit: -1}, {Limit: 1, Offset: -1}, {Limit: 1, Offset: gallery.MaxOffset + 1}, {Limit: 1, Sort: "best"}} {
		_, err := w.here.Search(w.ctx, q)
		if !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%d: %v", i, err)
		}
	}
	for i, q := range []gallery.TagQuery{{}, {Limit: 101}, {Limit: 1, After: "x"}, {Limit: 1, After: "zz:"}, {Limit: 1, After: "-1:v"}, {Limit: 1, After: "1:%"}} {
		_, _, err := w.here.Tags(w.ctx, gallery.Repository{ID: 1}, q)
		if !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("tags %d: %v", i, err)
		}
	}
}

// Run loads the index, keeps it, and writes downloads at its end.
func TestRun(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.repo(us, "app", nil)
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- w.there.Run(ctx) }()
		w.push(r, w.on("linux", "amd64", "", "1"), "v1")
		w.eventually("the other node knows of the push", func() bool { return w.there.Indexed() == 1 })
		w.there.Downloaded(r.ID)
		cancel()
		w.must(<-done)
		if n := w.number(`SELECT downloads FROM catalog_entry`); n != 1 {
			t.Errorf("%d downloads", n)
		}
	})
}

// A failed refresh is made up for.
func TestRefreshAfterFailure(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.repo(us, "app", nil)
		gone, cancel := context.WithCancel(w.ctx)
		cancel()
		if _, err := w.here.Search(gone, gallery.Query{Limit: 1}); err == nil {
			t.Error("searched without an index")
		}
		w.expect(w.here, "")
		w.push(r, w.on("linux", "amd64", "", "1"), "v1")
		if _, err := w.here.Search(gone, gallery.Query{Limit: 1}); err == nil {
			t.Error("searched without what was pushed")
		}
		w.expect(w.here, "", "app")
	})
}

// A push that is undone leaves nothing.
func TestUndonePush(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.repo(us, "app", nil)
		undone := fmt.Errorf("undone")
		err := w.db.Update(w.ctx, func(tx *sqldb.Tx) error {
			w.must(w.here.Subscribe(w.ctx, tx, pushed(r, name.SHA256([]byte("x")))))
			return undone
		})
		if err == nil || w.number(`SELECT count(*) FROM catalog_entry`) != 0 || w.number(`SELECT count(*) FROM job WHERE kind = $1`, gallery.JobPlatforms) != 0 {
			t.Errorf("%v", err)
		}
	})
}

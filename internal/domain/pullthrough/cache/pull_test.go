package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
)

func TestFirstPull(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		n := w.node()
		one, two := random(300_000), random(100)
		want := w.up.PushImage("app", "v1", one, two)
		img, r := n.pull("hub/app", "v1")
		if string(img.Digest) != want.Digest() || string(img.Manifest) != string(want.Body) || img.Tag != "v1" {
			t.Errorf("got %+v", img)
		}
		if r.Mutability.Setting != repository.Mutable || r.Encryption.Type != repository.AES256 {
			t.Errorf("made %+v", r)
		}
		l, err := n.Stat(t.Context(), r, name.Digest(want.Layers[0].Digest))
		if err != nil || l.Size != int64(len(one)) {
			t.Errorf("Stat: %+v %v", l, err)
		}
		n.is(r, want, one, two)
		w.arrived()
		n.whole(r, want, "v1")
		n.is(r, want, one, two)
		w.eventually("the event is told", func() bool { return len(w.attempts()) > 0 }) // after its commit
		if got := w.attempts(); !slices.Equal(got, []string{"SUCCESS v1"}) {
			t.Errorf("events: %v", got)
		}
		w.eventually("the pull is noted", func() bool {
			w.must(n.Images.Flush(t.Context()))
			return w.count(`SELECT count(*) FROM image WHERE repository_id = $1`, r.ID) == 1 && w.pulledAt(n, r, want) == w.clk.Now().UnixMicro()
		})
		// By now everything is here: nothing is asked any more.
		w.up.ResetRequests()
		for _, ref := range []string{"v1", want.Digest()} {
			if img, _ := n.pull("hub/app", ref); string(img.Digest) != want.Digest() {
				t.Errorf("%s: got %s", ref, img.Digest)
			}
		}
		n.is(r, want, one, two)
		if got := w.up.Count(upstreamtest.Any); got != 0 {
			t.Errorf("the upstream was asked %d times", got)
		}
	})
}

func (w *world) pulledAt(n *node, r repository.Repository, i upstreamtest.Image) int64 {
	details, _, err := n.Images.Describe(context.Background(), r, image.DescribeQuery{Refs: []image.Ref{{Digest: name.Digest(i.Digest())}}, Limit: 1})
	w.must(err)
	return details[0].LastPulledAt.UnixMicro()
}

// TestOnce: however many clients and nodes, the upstream is asked once for everything.
func TestOnce(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		for _, nodes := range []int{1, 2} {
			t.Run(fmt.Sprint(nodes), func(t *testing.T) {
				w := newWorldOn(t, db, nodes)
				var all []*node
				for range nodes {
					all = append(all, w.node())
				}
				repo := fmt.Sprintf("app%d", nodes)
				one, two := random(700_000), random(90_000)
				want := w.up.PushImage(repo, "v1", one, two)
				var clients sync.WaitGroup
				for i := range 100 {
					n := all[i%nodes]
					clients.Go(func() {
						img, r, err := n.Image(t.Context(), pull(name.Repository("hub/"+repo), "v1"))
						if err != nil || string(img.Digest) != want.Digest() {
							t.Errorf("got %s, %v", img.Digest, err)
							return
						}
						n.is(r, want, one, two)
					})
				}
				clients.Wait()
				w.arrived()
				if got := w.up.Count(upstreamtest.Manifest); got != 1 {
					t.Errorf("%d GETs of the manifest", got)
				}
				for _, d := range []string{want.Config.Digest.String(), want.Layers[0].Digest.String(), want.Layers[1].Digest.String()} {
					if got := w.up.CountPath(upstreamtest.Blob, d); got != 1 {
						t.Errorf("%d GETs of %s", got, d)
					}
				}
				w.eventually("the event is told", func() bool { return len(w.attempts()) > 0 }) // after its commit
				if got := w.attempts(); !slices.Equal(got, []string{"SUCCESS v1"}) {
					t.Errorf("events: %v", got)
				}
			})
		}
	})
}

func TestRefresh(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		n := w.node()
		first := w.up.PushImage("app", "v1", random(1000))
		n.pull("hub/app", "v1")
		w.arrived()
		second := w.up.PushImage("app", "v1", random(1001))
		w.up.ResetRequests()

		w.clk.Advance(24*time.Hour - time.Second)
		if img, _ := n.pull("hub/app", "v1"); string(img.Digest) != first.Digest() || w.up.Count(upstreamtest.Any) != 0 {
			t.Errorf("before a day: %s after %d requests", img.Digest, w.up.Count(upstreamtest.Any))
		}
		w.clk.Advance(2 * time.Second)
		img, r := n.pull("hub/app", "v1")
		if string(img.Digest) != second.Digest() {
			t.Errorf("after a day: %s", img.Digest)
		}
		w.arrived()
		n.whole(r, second, "v1")
		n.whole(r, first)
		// The same digest costs a HEAD.
		w.clk.Advance(25 * time.Hour)
		w.up.ResetRequests()
		for range 2 {
			if img, _ := n.pull("hub/app", "v1"); string(img.Digest) != second.Digest() {
				t.Errorf("unchanged: %s", img.Digest)
			}
		}
		if head, all := w.up.Count(upstreamtest.Head), w.up.Count(upstreamtest.Any); head != 1 || all != 1 {
			t.Errorf("%d HEADs of %d requests", head, all)
		}
		// A tag that goes back to what is here whole is there at once.
		w.up.Tag("app", "v1", first.Digest())
		w.clk.Advance(25 * time.Hour)
		n.pull("hub/app", "v1")
		n.whole(r, first, "v1")
		// One that was deleted here comes again.
		_, _, err := n.Images.Delete(t.Context(), r, []image.Ref{{Tag: "v1"}})
		w.must(err)
		n.pull("hub/app", "v1")
		w.arrived()
		n.whole(r, first, "v1")
	})
}

// TestStale: whatever the upstream does, what is here is served, and counted.
func TestStale(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		n := w.node()
		want := w.up.PushImage("app", "v1", random(1000))
		n.pull("hub/app", "v1")
		w.arrived()
		counts := map[string]int64{}
		for _, c := range []struct {
			reason string
			fault  upstreamtest.Fault
		}{
			{"unavailable", upstreamtest.Fault{Status: 500}},
			{"too-many-requests", upstreamtest.Fault{Status: 429}},
			{"unauthorized", upstreamtest.Fault{Status: 403}},
			{"not-found", upstreamtest.Fault{Status: 404}},
			{"refused", upstreamtest.Fault{Redirect: "http://127.0.0.1:1/"}},
			{"invalid", upstreamtest.Fault{Status: 200, Header: http.Header{"Content-Type": {"text/html"}}}},
		} {
			w.clk.Advance(25 * time.Hour)
			remove := w.up.Inject(c.fault)
			w.up.ResetRequests()
			var asked int
			for i := range 3 {
				if img, _ := n.pull("hub/app", "v1"); string(img.Digest) != want.Digest() {
					t.Errorf("%s: got %s", c.reason, img.Digest)
				}
				if i == 0 {
					asked = w.up.Count(upstreamtest.Any)
				}
			}
			if got := w.up.Count(upstreamtest.Any); got != asked || asked == 0 {
				t.Errorf("%s: the upstream was asked %d times, then %d", c.reason, asked, got)
			}
			if counts[c.reason] += 3; !maps.Equal(n.Stats().Stale, counts) {
				t.Errorf("%s: counted %v", c.reason, n.Stats().Stale)
			}
			if !strings.Contains(w.log(), "reason="+c.reason) {
				t.Errorf("%s is not in the log", c.reason)
			}
			// After a minute it is tried again.
			remove()
			w.clk.Advance(61 * time.Second)
			n.pull("hub/app", "v1")
			if w.up.Count(upstreamtest.Any) == asked {
				t.Errorf("%s: not asked again", c.reason)
			}
			if !maps.Equal(n.Stats().Stale, counts) {
				t.Errorf("%s: counted %v afterwards", c.reason, n.Stats().Stale)
			}
		}
		if got := strings.Count(w.log(), "the cached copies are served"); got != len(counts) {
			t.Errorf("logged %d times", got)
		}
		// The upstream is away.
		w.clk.Advance(25 * time.Hour)
		w.up.Server.Close()
		if img, _ := n.pull("hub/app", "v1"); string(img.Digest) != want.Digest() {
			t.Errorf("away: got %s", img.Digest)
		}
	})
}

// TestSlow: a pull for which there is a copy does not wait for a silent upstream.
func TestSlow(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	n := w.node(func(c *Config) { c.Limits.Slow = 10 * time.Millisecond })
	want := w.up.PushImage("app", "v1", random(1000))
	n.pull("hub/app", "v1")
	w.arrived()
	w.clk.Advance(25 * time.Hour)
	hold := make(chan struct{})
	w.up.Inject(upstreamtest.Fault{Hold: hold})
	for range 3 {
		if img, _ := n.pull("hub/app", "v1"); string(img.Digest) != want.Digest() {
			t.Errorf("got %s", img.Digest)
		}
	}
	if got := n.Stats().Stale["slow"]; got != 3 {
		t.Errorf("counted %v", n.Stats().Stale)
	}
	// The question goes on, and its answer counts.
	close(hold)
	w.eventually("the tag is fresh", func() bool {
		_, err := n.Repositories.Get(t.Context(), testRegistry, "hub/app")
		return err == nil && w.count(`SELECT count(*) FROM pullthrough_check WHERE ref = 'v1' AND checked_at = $1`, w.clk.Now().UnixMicro()) == 1
	})
}

// TestNothingHere: what a client is told that asks for what is not here.
func TestNothingHere(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	n := w.node()
	w.up.PushImage("app", "v1", random(1000))
	for _, c := range []struct {
		fault upstreamtest.Fault
		code  errs.Code
		says  string
	}{
		{upstreamtest.Fault{Status: 404}, errs.ImageNotFound, "Requested image not found"},
		{upstreamtest.Fault{Status: 401}, errs.UpstreamImageFailed, "refused the rule's credentials"},
		{upstreamtest.Fault{Status: 503}, errs.UpstreamImageFailed, "cannot be reached"},
		{upstreamtest.Fault{Corrupt: true}, errs.UpstreamImageFailed, "damaged"},
		{upstreamtest.Fault{Endless: true, Kind: upstreamtest.Manifest}, errs.UpstreamImageFailed, ""},
		{upstreamtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, errs.Throttled, "too many requests"},
	} {
		remove := w.up.Inject(c.fault)
		_, _, err := n.Image(t.Context(), pull("hub/app", "v1"))
		remove()
		var e *errs.Error
		if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.says) {
			t.Errorf("%+v: got %v", c.fault, err)
		} else if c.code == errs.UpstreamImageFailed && !strings.Contains(e.Message, w.up.Host()) {
			t.Errorf("%q does not name the upstream", e.Message)
		}
		if c.code == errs.Throttled && e.Detail[quota.RetryAfter] == nil {
			t.Errorf("%+v does not say when to come again", e)
		}
		if w.count(`SELECT count(*) FROM repository`) != 0 {
			t.Error("a repository was made")
		}
	}
	// An upstream that gets too many requests is not asked again for a while.
	w.up.ResetRequests()
	_, _, err := n.Image(t.Context(), pull("hub/app", "v1"))
	w.code(err, errs.Throttled)
	if w.up.Count(upstreamtest.Any) != 0 {
		t.Error("the upstream was asked in spite of 429")
	}
	w.clk.Advance(2 * time.Minute)
	n.pull("hub/app", "v1")
	if got := w.attempts(); len(got) < 6 || got[0] != "FAILED v1" {
		t.Errorf("events: %v", got)
	}
	w.endpoint = errs.New(errs.SecretNotFound, "The secret is gone.")
	_, _, err = n.Image(t.Context(), pull("hub/other", "v1"))
	if w.code(err, errs.UpstreamImageFailed); err != nil && !strings.Contains(err.Error(), "The secret is gone.") {
		t.Error(err)
	}
}

func TestPermissions(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		made := 0
		n := w.node(func(c *Config) {
			c.Tags = func(context.Context, name.Registry, name.Repository) (map[string]string, error) {
				return map[string]string{"team": "blue"}, nil
			}
			c.Make = func(ctx context.Context, reg name.Registry, repo name.Repository) (repository.Repository, error) {
				made++
				if repo == "hub/plain" {
					return repository.Repository{}, errs.New(errs.TemplateNotFound, "none")
				}
				return c.Repositories.Create(ctx, repository.Create{Registry: reg, Name: repo, Mutability: repository.Mutability{Setting: repository.Immutable}})
			}
		})
		for _, repo := range []string{"app", "plain"} {
			w.up.PushImage(repo, "v1", random(100))
			w.up.PushImage(repo, "v2", random(101))
		}
		no := func(context.Context) (bool, error) { return false, nil }
		imports, creates := 0, 0
		ask := func(may, create bool) Pull {
			p := pull("hub/app", "v1")
			p.MayImport = func(context.Context) (bool, error) { imports++; return may, nil }
			p.MayCreate = func(_ context.Context, tags map[string]string) (bool, error) {
				creates++
				if tags["team"] != "blue" {
					t.Errorf("asked about tags %v", tags)
				}
				return create, nil
			}
			return p
		}
		for _, c := range []struct{ may, create bool }{{false, false}, {false, true}, {true, false}} {
			_, _, err := n.Image(t.Context(), ask(c.may, c.create))
			w.code(err, errs.RepositoryNotFound)
		}
		if imports != 3 || creates != 1 || w.up.Count(upstreamtest.Any) != 0 || made != 0 {
			t.Errorf("asked %d and %d times, the upstream %d", imports, creates, w.up.Count(upstreamtest.Any))
		}
		_, r, err := n.Image(t.Context(), ask(true, true))
		if err != nil || r.Mutability.Setting != repository.Immutable || made != 1 {
			t.Errorf("%+v %v", r, err)
		}
		w.arrived()
		// There is a repository now: the tag of another image needs one permission only.
		p := pull("hub/app", "v2")
		p.MayImport, p.MayCreate = no, nil
		_, _, err = n.Image(t.Context(), p)
		w.code(err, errs.ImageNotFound)
		p.MayImport = yes
		_, _, err = n.Image(t.Context(), p)
		w.must(err)
		w.arrived()
		// What is here needs none.
		w.clk.Advance(100 * time.Hour)
		p.MayImport = no
		_, _, err = n.Image(t.Context(), p)
		w.must(err)
		p.MayImport = func(context.Context) (bool, error) { return false, errors.New("must not be asked") }
		p.Ref = image.Ref{Digest: mustDigest(t, n, "hub/app", "v2")}
		_, _, err = n.Image(t.Context(), p)
		w.must(err)
		// Without a template the defaults hold.
		if _, r := n.pull("hub/plain", "v1"); r.Mutability.Setting != repository.Mutable {
			t.Errorf("made %+v", r)
		}
		w.arrived()
		// What no upstream can have is asked for nowhere.
		w.up.ResetRequests()
		for _, ref := range []string{"a tag", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:12", "sha256:x y"} {
			if _, _, err := n.Image(t.Context(), pull("hub/plain", ref)); err == nil {
				t.Errorf("%q was found", ref)
			}
			_, _, err := n.Image(t.Context(), pull("hub/missing", ref))
			w.code(err, errs.RepositoryNotFound)
		}
		if w.up.Count(upstreamtest.Any) != 0 {
			t.Errorf("asked for %v", w.up.Requests())
		}
		// And a repository that no rule covers is none of the cache's.
		_, _, err = n.Image(t.Context(), pull("other/app", "v1"))
		w.code(err, errs.RepositoryNotFound)
	})
}

func mustDigest(t *testing.T, n *node, repo name.Repository, tag string) name.Digest {
	t.Helper()
	img, _ := n.pull(repo, tag)
	return img.Digest
}

func TestImmutableTag(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		n := w.node()
		first := w.up.PushImage("app", "v1", random(100))
		_, r := n.pull("hub/app", "v1")
		w.arrived()
		_, err := n.Repositories.SetMutability(t.Context(), testRegistry, "hub/app", repository.Mutability{Setting: repository.Immutable})
		w.must(err)
		w.up.PushImage("app", "v1", random(101))
		w.clk.Advance(100 * time.Hour)
		w.up.ResetRequests()
		if img, _ := n.pull("hub/app", "v1"); string(img.Digest) != first.Digest() || w.up.Count(upstreamtest.Any) != 0 {
			t.Errorf("got %s after %d requests", img.Digest, w.up.Count(upstreamtest.Any))
		}
		// It can become immutable while its new image is on its way: then it stays.
		_, err = n.Repositories.SetMutability(t.Context(), testRegistry, "hub/app", repository.Mutability{Setting: repository.Mutable})
		w.must(err)
		hold := make(chan struct{})
		w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Hold: hold})
		img, _ := n.pull("hub/app", "v1")
		_, err = n.Repositories.SetMutability(t.Context(), testRegistry, "hub/app", repository.Mutability{Setting: repository.Immutable})
		w.must(err)
		close(hold)
		w.arrived()
		n.whole(r, first, "v1")
		n.whole(r, upstreamtest.Image{Descriptor: descriptor(img)})
	})
}

// TestIndex: an index comes without its children, which come by their digests.
func TestIndex(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		n := w.node()
		contents := [][]byte{random(2000), random(2001), random(2002)}
		var children []upstreamtest.Image
		for _, c := range contents {
			children = append(children, w.up.PushImage("app", "", c))
		}
		index := w.up.PushIndex("app", "v1", children...)
		img, r := n.pull("hub/app", "v1")
		if img.MediaType != manifest.OCIIndex || string(img.Digest) != index.Digest() {
			t.Errorf("got %+v", img)
		}
		n.whole(r, index, "v1")
		if got := w.up.Count(upstreamtest.Blob); got != 0 {
			t.Errorf("%d blobs were fetched", got)
		}
		n.pull("hub/app", children[1].Digest())
		n.is(r, children[1], contents[1])
		w.arrived()
		n.whole(r, children[1])
		if got := w.count(`SELECT count(*) FROM image WHERE repository_id = $1`, r.ID); got != 2 {
			t.Errorf("%d images are here", got)
		}
		if got := w.up.CountPath(upstreamtest.Blob, children[0].Layers[0].Digest.String()); got != 0 {
			t.Error("a child came that nobody asked for")
		}
		// Whole, for who needs it so.
		w.must(n.Complete(t.Context(), r, name.Digest(index.Digest())))
		for i, c := range children {
			n.whole(r, c)
			n.is(r, c, contents[i])
		}
		if w.imports() != 0 {
			t.Error("Complete did not wait")
		}
		w.code(n.Complete(t.Context(), r, name.SHA256([]byte("none"))), errs.ImageNotFound)
	})
}

// TestTranslated: a client gets the form that it understands from what is on its way
// as from what is here.
func TestTranslated(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	n := w.node()
	hold := make(chan struct{})
	w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Hold: hold})
	w.up.PushImage("app", "v1", random(1000))
	get := func() image.Image {
		p := pull("hub/app", "v1")
		p.Accept = []string{manifest.DockerSchema2}
		img, r, err := n.Image(t.Context(), p)
		w.must(err)
		byDigest, _, err := n.Image(t.Context(), pull(r.Name, string(img.Digest)))
		if err != nil || string(byDigest.Manifest) != string(img.Manifest) {
			t.Errorf("by its digest: %+v %v", byDigest, err)
		}
		return img
	}
	coming := get()
	p := pull("hub/app", "v1")
	p.Accept = []string{manifest.OCIIndex}
	_, _, err := n.Image(t.Context(), p)
	w.code(err, errs.ManifestUntranslated)
	p.Accept, p.Ref.Digest = nil, name.SHA256([]byte("other"))
	_, _, err = n.Image(t.Context(), p)
	w.code(err, errs.ImageNotFound)
	close(hold)
	w.arrived()
	here := get()
	if coming.MediaType != manifest.DockerSchema2 || coming.Digest != here.Digest || string(coming.Manifest) != string(here.Manifest) || coming.Stored != here.Stored {
		t.Errorf("on its way %+v\nhere %+v", coming, here)
	}
}

func TestReferrers(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		n := w.node()
		want := w.up.PushImage("app", "v1", random(1000))
		signature := w.up.PushReferrer(want, "application/vnd.example.signature", random(300))
		_, r := n.pull("hub/app", "v1")
		w.arrived()
		subject := name.Digest(want.Digest())
		var clients sync.WaitGroup
		for range 10 {
			clients.Go(func() {
				if err := n.Referrers(t.Context(), r, subject); err != nil {
					t.Error(err)
				}
			})
		}
		clients.Wait()
		found, _, err := n.Images.Referrers(t.Context(), r, subject, image.ReferrersQuery{Limit: 10})
		if err != nil || len(found) != 1 || string(found[0].Digest) != signature.Digest() || found[0].ArtifactType != "application/vnd.example.signature" {
			t.Errorf("%+v %v", found, err)
		}
		if got := w.up.Count(upstreamtest.Referrers); got != 1 {
			t.Errorf("listed %d times", got)
		}
		w.clk.Advance(25 * time.Hour)
		remove := w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Referrers, Status: 503})
		w.code(n.Referrers(t.Context(), r, subject), errs.UpstreamReferrersFailed)
		w.must(n.Referrers(t.Context(), r, subject)) // it rests
		remove()
		w.clk.Advance(2 * time.Minute)
		w.must(n.Referrers(t.Context(), r, subject))
		// Nobody is asked about what is not here.
		w.up.ResetRequests()
		w.must(n.Referrers(t.Context(), r, name.SHA256([]byte("none"))))
		if w.up.Count(upstreamtest.Any) != 0 {
			t.Error("the upstream was asked")
		}
	})
}

package replication_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/repository"
)

func TestConfiguration(t *testing.T) {
	on(t, func(w *world) {
		ctx := w.t.Context()
		if c, err := w.Get(ctx, home); err != nil || len(c.Rules) != 0 {
			w.t.Errorf("%+v, %v", c, err)
		}
		const service = "replication.ecr.amazonaws.com"
		w.put(home, replication.Configuration{})
		if regions, err := w.InUse(ctx, ours, service); err != nil || len(regions) != 0 {
			w.t.Errorf("in use in %v, %v", regions, err)
		}
		c := replication.Configuration{Rules: []replication.Rule{
			{Destinations: []name.Registry{away, foreign}, Filters: []string{"prod", "team/"}},
			{Destinations: []name.Registry{away, third}},
		}}
		w.put(home, c)
		if got, err := w.Get(ctx, home); err != nil || fmt.Sprint(got) != fmt.Sprint(c) {
			w.t.Errorf("%+v, %v", got, err)
		}
		for repo, want := range map[name.Repository][]name.Registry{"prodigy": {away, foreign, third}, "team/x": {away, foreign, third}, "team": {away, third}, "": {away, foreign, third}} {
			if got := c.For(repo); !slices.Equal(got, want) {
				w.t.Errorf("%q goes to %v, want %v", repo, got, want)
			}
		}
		if regions, err := w.InUse(ctx, ours, service); err != nil || !slices.Equal(regions, []name.Region{home.Region}) {
			w.t.Errorf("in use in %v, %v", regions, err)
		}
		if regions, err := w.InUse(ctx, ours, "ecr.amazonaws.com"); err != nil || len(regions) != 0 {
			w.t.Errorf("in use in %v, %v", regions, err)
		}
		var many, wide []replication.Rule
		var filters []string
		for n := range 101 {
			filters = append(filters, fmt.Sprintf("p%d", n))
		}
		for range 11 {
			many = append(many, replication.Rule{Destinations: []name.Registry{away}})
		}
		for n := range 26 {
			wide = append(wide[:0:0], replication.Rule{Destinations: append(slices.Clone(append(wide, replication.Rule{})[0].Destinations), name.Registry{Account: name.AccountID(fmt.Sprintf("3000000000%02d", n)), Region: away.Region})})
		}
		for text, bad := range map[string]replication.Configuration{
			"Replication destination cannot be the same as the source registry":      to(away, home),
			"A replication configuration can contain at most 10 rules":               {Rules: many},
			"A replication configuration can contain at most 25 unique destinations": {Rules: wide},
			"A replication rule can contain at most 100 repository filters":          {Rules: []replication.Rule{{Destinations: []name.Registry{away}, Filters: filters}}},
			"is in another partition than the source registry":                       to(name.Registry{Account: ours, Region: "cn-north-1"}),
			"is served neither by this deployment nor by one of its peers":           to(name.Registry{Account: ours, Region: "ap-south-1"}),
			"The replication destination 'x' is not the id of a registry":            to(name.Registry{Account: "x", Region: away.Region}),
		} {
			err := w.Put(ctx, home, bad)
			if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), text) || !strings.HasPrefix(err.Error(), "Invalid parameter at 'replicationConfiguration' failed to satisfy constraint: '") {
				w.t.Errorf("%v, want %q", err, text)
			}
		}
		if got, err := w.Get(ctx, home); err != nil || fmt.Sprint(got) != fmt.Sprint(c) {
			w.t.Errorf("a refused configuration has changed it to %+v, %v", got, err)
		}
		for i := range wide[0].Destinations[:25] {
			wide[0].Destinations[i].Region = away.Region
		}
		w.put(home, replication.Configuration{Rules: []replication.Rule{{Destinations: wide[0].Destinations[:25], Filters: filters[:100]}}})
	})
}

func TestCopies(t *testing.T) {
	on(t, func(w *world) {
		before := w.push("app", "before", "early")
		w.put(home, to(away))
		if _, err := w.entities.Get(w.t.Context(), ours, "role", "AWSServiceRoleForECRReplication"); err != nil {
			w.t.Errorf("the service-linked role: %v", err)
		}
		img := w.push("app", "v1", "one", "two")
		w.status("app", before.Digest, "")
		w.settle()
		w.status("app", img.Digest, "111111111111/us-east-1 COMPLETE")
		w.has(away, "app", at("v1", img))
		w.whole(away, "app", img.Digest)
		r := w.repo(away, "app")
		if r.Mutability.Setting != repository.Mutable || r.ScanOnPush || r.Encryption.Type != repository.AES256 {
			w.t.Errorf("%+v", r)
		}
		// Another tag on it, and an untagged one.
		w.store(w.repo(home, "app"), w.manifestOf(w.repo(home, "app"), nil, "one", "two"), "v2")
		plain := w.push("app", "", "three")
		w.settle()
		w.has(away, "app", at("v1", img), at("v2", img), at("", plain))
		equal(w.t, "events", w.replicated(), []string{
			"111111111111/us-east-1 111111111111/eu-west-1 app: SUCCESS ", "111111111111/us-east-1 111111111111/eu-west-1 app:v1 SUCCESS ", "111111111111/us-east-1 111111111111/eu-west-1 app:v2 SUCCESS ",
		})
		equal(w.t, "trail", w.recorded(), []string{
			"111111111111 us-east-1 CreateRepository", "111111111111 us-east-1 ReplicateImage", "111111111111 us-east-1 ReplicateImage", "111111111111 us-east-1 ReplicateImage",
		})
		e := w.trail[0]
		if e.Principal.ARN != "arn:aws:sts::111111111111:assumed-role/AWSServiceRoleForECRReplication/replication" || e.Principal.Type != "AssumedRole" || e.InvokedBy != "replication.ecr.amazonaws.com" {
			w.t.Errorf("%+v", e)
		}
		// Nothing configured any more: what is there stays, nothing comes.
		w.put(home, replication.Configuration{})
		w.push("app", "v3", "four")
		w.settle()
		w.has(away, "app", at("v1", img), at("v2", img), at("", plain))
	})
}

// TestOneHop: what has been copied is not copied on, also around a circle.
func TestOneHop(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, to(away))
		w.put(away, to(third, home))
		img := w.push("app", "v1", "one")
		w.settle()
		w.has(away, "app", at("v1", img))
		w.has(third, "app")
		equal(w.t, "events", w.replicated(), []string{"111111111111/us-east-1 111111111111/eu-west-1 app:v1 SUCCESS "})
		w.status("app", img.Digest, "111111111111/us-east-1 COMPLETE")
	})
}

func TestFiltersAndAccounts(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, replication.Configuration{Rules: []replication.Rule{{Destinations: []name.Registry{foreign}, Filters: []string{"prod/", "shared"}}, {Destinations: []name.Registry{third}}}})
		const denied, reached = "222222222222/us-east-1 FAILED AccessDenied", "222222222222/us-east-1 COMPLETE"
		const other = "111111111111/us-west-2 COMPLETE, "
		dev := w.push("dev/app", "v1", "dev")
		first := w.push("prod/app", "v1", "one")
		w.settle()
		w.status("dev/app", dev.Digest, strings.TrimSuffix(other, ", "))
		w.status("prod/app", first.Digest, other+denied)
		w.has(foreign, "prod/app")
		if got := w.recorded(); !slices.Contains(got, "222222222222 us-east-1 ReplicateImage AccessDenied") {
			w.t.Errorf("trail %q", got)
		}
		if got := w.replicated(); !slices.Contains(got, "222222222222/us-east-1 111111111111/eu-west-1 prod/app:v1 FAILED AccessDenied") {
			w.t.Errorf("events %q", got)
		}
		// To replicate is not to make repositories.
		w.allow(foreign, ours, "ecr:ReplicateImage")
		second := w.push("prod/app", "v2", "two")
		w.settle()
		w.status("prod/app", second.Digest, other+denied)
		if got := w.recorded(); !slices.Contains(got, "222222222222 us-east-1 CreateRepository AccessDenied") {
			w.t.Errorf("trail %q", got)
		}
		w.repo(foreign, "prod/app")
		w.push("prod/app", "v2-again", "two")
		w.settle()
		w.status("prod/app", second.Digest, other+reached)
		w.has(foreign, "prod/app", at("v2-again", second))
		w.allow(foreign, ours, "ecr:ReplicateImage", "ecr:CreateRepository")
		shared := w.push("shared", "v1", "shared")
		w.settle()
		w.has(foreign, "shared", at("v1", shared))
		w.whole(foreign, "shared", shared.Digest)
		// Taken away again.
		w.allow(foreign, ours, "ecr:CreateRepository")
		late := w.push("shared", "v2", "late")
		w.settle()
		w.status("shared", late.Digest, other+denied)
		w.has(foreign, "shared", at("v1", shared))
	})
}

func TestTemplates(t *testing.T) {
	on(t, func(w *world) {
		w.template = map[string]string{"stage": "prod"}
		w.put(home, to(foreign, away))
		w.allow(foreign, ours, "ecr:ReplicateImage", "ecr:CreateRepository")
		img := w.push("app", "v1", "one")
		w.settle()
		w.status("app", img.Digest, "111111111111/us-east-1 COMPLETE, 222222222222/us-east-1 FAILED AccessDenied")
		r := w.repo(away, "app")
		if tags, err := w.repositories.Tags(w.t.Context(), r); err != nil || tags["stage"] != "prod" || r.Mutability.Setting != repository.Immutable {
			w.t.Errorf("%v %+v, %v", tags, r, err)
		}
		w.allow(foreign, ours, "ecr:ReplicateImage", "ecr:CreateRepository", "ecr:TagResource")
		w.push("app", "v2", "one")
		w.settle()
		w.has(foreign, "app", at("v2", img))
	})
}

func TestImmutableTags(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, to(away))
		first := w.push("app", "v1", "one")
		w.settle()
		_, err := w.repositories.SetMutability(w.t.Context(), away, "app", repository.Mutability{Setting: repository.Immutable})
		w.must(err)
		second := w.push("app", "v1", "two")
		w.settle()
		w.has(away, "app", at("v1", first), at("", second))
		w.status("app", second.Digest, "111111111111/us-east-1 COMPLETE")
		w.whole(away, "app", second.Digest)
	})
}

// TestArchived: restored images are copied, and what is archived at the destination
// is active again once it comes anew.
func TestArchived(t *testing.T) {
	on(t, func(w *world) {
		ctx := w.t.Context()
		w.put(home, to(away))
		img := w.push("app", "v1", "one")
		w.settle()
		_, err := w.storage.Archive(ctx, w.repo(away, "app"), image.Ref{Tag: "v1"})
		w.must(err)
		w.push("app", "v2", "one")
		w.settle()
		w.has(away, "app", at("v1", img), at("v2", img))
		w.eventually("the image to be whole", func() bool { return w.broken(w.repo(away, "app"), img.Digest) == nil })

		old := w.push("old", "", "two")
		_, err = w.storage.Archive(ctx, w.repo(home, "old"), image.Ref{Digest: old.Digest})
		w.must(err)
		w.settle()
		w.has(home, "old", at("", old))
		r := w.repo(away, "old")
		_, _, err = w.images.Delete(ctx, r, []image.Ref{{Digest: old.Digest}})
		w.must(err)
		_, err = w.storage.Restore(ctx, w.repo(home, "old"), image.Ref{Digest: old.Digest})
		w.must(err)
		w.eventually("the restored image to be copied", func() bool { return w.tagsIn(away, "old")[at("", old)] })
		w.settle()
		w.whole(away, "old", old.Digest)
	})
}

func TestIndexes(t *testing.T) {
	on(t, func(w *world) {
		var partial error
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, after: func() {
				if err := w.nothingPartial(away); err != nil {
					partial = errors.Join(partial, err)
				}
			}}
		}
		r := w.repo(home, "app")
		amd, arm := w.push("app", "", "amd"), w.push("app", "", "arm")
		w.put(home, to(away))
		index := w.store(r, w.indexOf(amd, arm), "multi")
		outer := w.store(r, w.indexOf(index), "outer")
		signature := w.store(r, w.manifestOf(r, &index, "signature"), "")
		w.settle()
		w.has(away, "app", at("multi", index), at("outer", outer), at("", amd), at("", arm), at("", signature))
		w.whole(away, "app", outer.Digest)
		w.whole(away, "app", signature.Digest)
		w.mu.Lock()
		defer w.mu.Unlock()
		if partial != nil {
			w.t.Error(partial)
		}
	})
}

// TestSparseIndexes: children that the cache has not needed are asked for.
func TestSparseIndexes(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, to(away))
		r, other := w.repo(home, "cached"), w.repo(home, "upstream")
		child := w.store(other, w.manifestOf(other, nil, "child"), "")
		sparse := w.indexOf(child)
		put := func(tag name.Tag) image.Image {
			img, _, err := w.images.Put(w.t.Context(), r, image.Put{Manifest: sparse, Tag: tag, Sparse: true, Origin: event.OriginPullThrough})
			w.must(err)
			return img
		}
		index := put("v1")
		w.settle()
		w.status("cached", index.Digest, "111111111111/us-east-1 FAILED ReferencedImagesNotFound")
		w.has(away, "cached")
		w.complete = func(_ context.Context, into repository.Repository, d name.Digest) error {
			if into.ID != r.ID || d != child.Digest {
				return errs.New(errs.ImageNotFound, "asked for %s", d)
			}
			w.store(into, w.manifestOf(into, nil, "child"), "")
			return nil
		}
		put("v2")
		w.settle()
		w.has(away, "cached", at("v2", index), at("", child))
		w.whole(away, "cached", index.Digest)
	})
}

// TestTagOrder: whatever comes late or twice, a tag ends where its source has it.
func TestTagOrder(t *testing.T) {
	on(t, func(w *world) {
		ctx := w.t.Context()
		w.put(home, to(away))
		type sent struct {
			p replication.Place
			m replication.Manifest
		}
		var all []sent
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, image: func(p replication.Place, m replication.Manifest) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				all = append(all, sent{p, m})
				return nil
			}}
		}
		var last image.Image
		for n := range 5 {
			last = w.push("app", "latest", fmt.Sprintf("number %d", n%3))
		}
		w.settle()
		check := func() {
			w.t.Helper()
			if got := w.tagsIn(away, "app"); !got[at("latest", last)] || len(got) != 3 {
				w.t.Errorf("got %v, want latest at %s", got, last.Digest)
			}
		}
		check()
		if !slices.IsSortedFunc(all, func(a, b sent) int { return int(a.m.Seq - b.m.Seq) }) || len(all) != 5 {
			w.t.Errorf("%d were sent, out of order", len(all))
		}
		for _, one := range slices.Backward(all) {
			_, err := w.receiver.PutImage(ctx, one.p, one.m)
			w.must(err)
			check()
		}
		// The destination's own tag stays where it is, too.
		own := w.repo(away, "app")
		mine := w.store(own, w.manifestOf(own, nil, "number 0"), "latest")
		if tagged, err := w.receiver.PutImage(ctx, all[4].p, all[4].m); err != nil || !tagged {
			w.t.Errorf("%t, %v", tagged, err)
		}
		if tagged, err := w.receiver.PutImage(ctx, all[3].p, all[3].m); err != nil || tagged {
			w.t.Errorf("%t, %v", tagged, err)
		}
		if !w.tagsIn(away, "app")[at("latest", mine)] {
			w.t.Error("a late duplicate has moved the tag")
		}
	})
}

func TestDeletedBeforeItsTurn(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, to(away))
		held := make(chan struct{})
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, first: func(context.Context) error { <-held; return nil }}
		}
		one, two := w.push("app", "latest", "one"), w.push("app", "latest", "two")
		_, _, err := w.images.Delete(w.t.Context(), w.repo(home, "app"), []image.Ref{{Digest: two.Digest}})
		w.must(err)
		close(held)
		w.settle()
		w.has(away, "app", at("latest", one))
		if got := w.replicated(); !slices.Contains(got, "111111111111/us-east-1 111111111111/eu-west-1 app:latest FAILED ImageNotFound") {
			w.t.Errorf("events %q", got)
		}
	})
}

func TestOptions(t *testing.T) {
	on(t, func(w *world) {
		ctx := w.t.Context()
		w.put(home, to(away))
		if err := w.SetOptions(ctx, home, away, replication.Options{Repositories: []string{"No"}}); !errs.Is(err, errs.InvalidParameter) {
			w.t.Errorf("%v", err)
		}
		o := replication.Options{Tags: []string{"v*"}, Repositories: []string{"app", "app/test", "lib"}, Exclude: []string{"app/*t", "li"}, Deletes: true, Untags: true}
		w.must(w.SetOptions(ctx, home, away, o))
		if all, err := w.Options(ctx, home); err != nil || fmt.Sprint(all[away]) != fmt.Sprint(o) {
			w.t.Errorf("%+v, %v", all, err)
		}
		w.push("lib", "v1", "one")
		w.push("app/test", "v1", "one")
		w.push("other", "v1", "one")
		r := w.repo(home, "app")
		amd, loose := w.push("app", "", "amd"), w.push("app", "dev", "loose")
		early := w.store(r, w.manifestOf(r, &loose, "early signature"), "")
		onChild := w.store(r, w.manifestOf(r, &amd, "attestation"), "")
		index := w.store(r, w.indexOf(amd), "v1")
		late := w.store(r, w.manifestOf(r, &index, "late signature"), "")
		w.settle()
		for _, repo := range []name.Repository{"lib", "app/test", "other"} {
			w.has(away, repo)
		}
		w.has(away, "app", at("v1", index), at("", amd), at("", late), at("", onChild))
		w.status("app", loose.Digest, "")
		w.status("app", index.Digest, "111111111111/us-east-1 COMPLETE")
		// Tagged later, it comes with what refers to it.
		w.store(r, loose.Manifest, "v0")
		w.settle()
		w.has(away, "app", at("v1", index), at("", amd), at("", late), at("", onChild), at("v0", loose), at("", early))

		// Deletions: only of what has come from here, and not further than one hop.
		w.put(away, to(third))
		w.must(w.SetOptions(ctx, away, third, replication.Options{Deletes: true, Untags: true}))
		own := w.repo(away, "app")
		mine := w.store(own, w.manifestOf(own, nil, "mine"), "mine")
		w.store(own, loose.Manifest, "local")
		w.settle()
		w.has(third, "app", at("mine", mine), at("local", loose))
		elsewhere := w.repo(third, "app")
		w.store(elsewhere, w.manifestOf(elsewhere, nil, "loose"), "v0")
		before := w.tagsIn(third, "app")
		twin := w.push("app", "x", "mine")
		gone := func(refs ...image.Ref) {
			w.t.Helper()
			_, failures, err := w.images.Delete(ctx, r, refs)
			w.must(err)
			if len(failures) > 0 {
				w.t.Fatal(failures)
			}
			w.settle()
		}
		gone(image.Ref{Digest: twin.Digest})
		gone(image.Ref{Tag: "dev"}) // not its last tag
		w.has(away, "app", at("v1", index), at("", amd), at("", late), at("", onChild), at("v0", loose), at("local", loose), at("", early), at("mine", mine))
		w.store(r, loose.Manifest, "v00")
		gone(image.Ref{Tag: "v0"})
		w.has(away, "app", at("v1", index), at("", amd), at("", late), at("", onChild), at("v00", loose), at("local", loose), at("", early), at("mine", mine))
		gone(image.Ref{Digest: loose.Digest}, image.Ref{Digest: index.Digest}, image.Ref{Digest: amd.Digest})
		w.has(away, "app", at("", late), at("", onChild), at("", early), at("mine", mine))
		if after := w.tagsIn(third, "app"); len(after) != len(before) {
			w.t.Errorf("the third registry had %v and has %v", before, after)
		}
		// Pushed again, it comes again.
		w.store(r, w.manifestOf(r, nil, "loose"), "v0")
		w.settle()
		w.has(away, "app", at("v0", loose), at("", late), at("", onChild), at("", early), at("mine", mine))
		w.must(w.SetOptions(ctx, home, away, replication.Options{}))
		if all, err := w.Options(ctx, home); err != nil || len(all) != 0 {
			w.t.Errorf("%+v, %v", all, err)
		}
	})
}

func TestMounting(t *testing.T) {
	on(t, func(w *world) {
		w.mounts = true
		w.put(home, to(away))
		w.push("one", "v1", "shared")
		w.settle()
		n := 0
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, blob: func(replication.Part) { w.mu.Lock(); n++; w.mu.Unlock() }}
		}
		img := w.push("two", "v1", "shared")
		w.settle()
		w.whole(away, "two", img.Digest)
		if n != 0 {
			w.t.Errorf("%d blobs were sent", n)
		}
	})
}

func TestLimitAtTheDestination(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, to(away))
		w.push("app", "v1", "one")
		w.settle()
		r := w.repo(home, "app")
		body := w.manifestOf(r, nil, "two")
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, image: func(replication.Place, replication.Manifest) error { return errs.New(errs.LimitExceeded, "full") }}
		}
		img := w.store(r, body, "v2")
		w.settle()
		w.status("app", img.Digest, "111111111111/us-east-1 FAILED LimitExceeded")
		if got := w.recorded(); !slices.Contains(got, "111111111111 us-east-1 ReplicateImage LimitExceeded") {
			w.t.Errorf("trail %q", got)
		}
	})
}

// TestUnreachable: what waits for a region that is away waits there until it is
// back, or for too long.
func TestUnreachable(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, to(away))
		var down = true
		tries := 0
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, first: func(context.Context) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				if tries++; down {
					return errs.New(errs.Unavailable, "no route")
				}
				return nil
			}}
		}
		for n := range 20 {
			w.push(name.Repository(fmt.Sprintf("app%d", n)), "v1", "one")
		}
		w.eventually("a few tries", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return tries >= 8 })
		all, err := w.Backlog(w.t.Context())
		if err != nil || len(all) != 1 || all[0].Destination != away || all[0].Items != 20 || all[0].Oldest.IsZero() {
			w.t.Errorf("%+v, %v", all, err)
		}
		w.mu.Lock()
		down = false
		w.mu.Unlock()
		w.settle()
		for n := range 20 {
			if got := w.tagsIn(away, name.Repository(fmt.Sprintf("app%d", n))); len(got) != 1 {
				w.t.Errorf("app%d has %v", n, got)
			}
		}
		w.mu.Lock()
		down = true
		w.mu.Unlock()
		img, another := w.push("app0", "v2", "two"), w.push("app1", "v2", "three")
		w.eventually("a try", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return tries >= 29 })
		w.clk.Advance(replication.DefaultGiveUp)
		w.settle()
		for repo, img := range map[name.Repository]image.Image{"app0": img, "app1": another} {
			w.status(repo, img.Digest, "111111111111/us-east-1 FAILED DestinationUnavailable")
			if got := w.replicated(); !slices.Contains(got, "111111111111/eu-west-1 111111111111/eu-west-1 "+string(repo)+":v2 FAILED DestinationUnavailable") {
				w.t.Errorf("events %q", got)
			}
		}
	})
}

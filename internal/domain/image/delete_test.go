package image_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestDelete(t *testing.T) {
	unknown := name.SHA256([]byte("unknown"))
	for _, c := range []struct {
		name     string
		refs     func(one, two name.Digest) []image.Ref
		removed  func(one, two name.Digest) []image.Ref
		failures []image.Failure // without their refs
		left     func(one, two name.Digest) map[name.Digest]string
	}{
		{
			name:    "a tag of several",
			refs:    func(one, _ name.Digest) []image.Ref { return []image.Ref{{Tag: "b"}} },
			removed: func(one, _ name.Digest) []image.Ref { return []image.Ref{{Digest: one, Tag: "b"}} },
			left: func(one, two name.Digest) map[name.Digest]string {
				return map[name.Digest]string{one: "[a c]", two: "[]"}
			},
		},
		{
			name: "all tags",
			refs: func(one, _ name.Digest) []image.Ref { return []image.Ref{{Tag: "c"}, {Tag: "a"}, {Tag: "b"}} },
			removed: func(one, _ name.Digest) []image.Ref {
				return []image.Ref{{Digest: one, Tag: "c"}, {Digest: one, Tag: "a"}, {Digest: one, Tag: "b"}}
			},
			left: func(_, two name.Digest) map[name.Digest]string { return map[name.Digest]string{two: "[]"} },
		},
		{
			name: "by digest",
			refs: func(one, _ name.Digest) []image.Ref { return []image.Ref{{Digest: one}} },
			removed: func(one, _ name.Digest) []image.Ref {
				return []image.Ref{{Digest: one, Tag: "a"}, {Digest: one, Tag: "b"}, {Digest: one, Tag: "c"}}
			},
			left: func(_, two name.Digest) map[name.Digest]string { return map[name.Digest]string{two: "[]"} },
		},
		{
			name:    "untagged",
			refs:    func(_, two name.Digest) []image.Ref { return []image.Ref{{Digest: two}} },
			removed: func(_, two name.Digest) []image.Ref { return []image.Ref{{Digest: two}} },
			left:    func(one, _ name.Digest) map[name.Digest]string { return map[name.Digest]string{one: "[a b c]"} },
		},
		{
			name:    "digest and tag",
			refs:    func(one, _ name.Digest) []image.Ref { return []image.Ref{{Digest: one, Tag: "a"}} },
			removed: func(one, _ name.Digest) []image.Ref { return []image.Ref{{Digest: one, Tag: "a"}} },
			left: func(one, two name.Digest) map[name.Digest]string {
				return map[name.Digest]string{one: "[b c]", two: "[]"}
			},
		},
		{
			name: "everything that a listing gave",
			refs: func(one, two name.Digest) []image.Ref {
				return []image.Ref{{Digest: one, Tag: "a"}, {Digest: one, Tag: "b"}, {Digest: one, Tag: "c"}, {Digest: two}}
			},
			removed: func(one, two name.Digest) []image.Ref {
				return []image.Ref{{Digest: one, Tag: "a"}, {Digest: one, Tag: "b"}, {Digest: one, Tag: "c"}, {Digest: two}}
			},
			left: func(_, _ name.Digest) map[name.Digest]string { return map[name.Digest]string{} },
		},
		{
			name: "what cannot be deleted, beside what can",
			refs: func(one, two name.Digest) []image.Ref {
				return []image.Ref{{}, {Digest: "nonsense"}, {Tag: "no/tag"}, {Tag: "d"}, {Digest: unknown}, {Digest: two, Tag: "a"}, {Digest: unknown, Tag: "a"}, {Digest: one, Tag: "d"}, {Tag: "a"}, {Tag: "a"}}
			},
			removed: func(one, _ name.Digest) []image.Ref { return []image.Ref{{Digest: one, Tag: "a"}} },
			failures: []image.Failure{
				{Code: image.MissingRef, Reason: "Invalid request parameters: both tag and digest cannot be null"},
				{Code: image.InvalidDigest, Reason: "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"},
				{Code: image.InvalidTag, Reason: "Invalid request parameters: image tag should satisfy the regex '[a-zA-Z0-9-_.]+'"},
				{Code: image.NotFound, Reason: "Requested image not found"},
				{Code: image.NotFound, Reason: "Requested image not found"},
				{Code: image.TagMismatch, Reason: "Requested image tag and digest do not match"},
				{Code: image.TagMismatch, Reason: "Requested image tag and digest do not match"},
				{Code: image.NotFound, Reason: "Requested image not found"},
				{Code: image.NotFound, Reason: "Requested image not found"},
			},
			left: func(one, two name.Digest) map[name.Digest]string {
				return map[name.Digest]string{one: "[b c]", two: "[]"}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
				w, ctx := open(t, db, nil), t.Context()
				one, two := w.oci(w.app, "one", ""), w.oci(w.app, "two", "")
				for _, tag := range []name.Tag{"a", "b", "c"} {
					w.push(w.app, one, tag)
				}
				w.push(w.app, two, "")
				before := len(w.events())
				refs := c.refs(one.digest, two.digest)
				removed, failures, err := w.Delete(ctx, w.app, refs)
				w.must(err)
				if want := c.removed(one.digest, two.digest); !slices.Equal(removed, want) {
					t.Errorf("removed %v, want %v", removed, want)
				}
				for i := range failures {
					if !slices.Contains(refs, failures[i].Ref) {
						t.Errorf("a failure of %+v", failures[i].Ref)
					}
					failures[i].Ref = image.Ref{}
				}
				if !slices.Equal(failures, c.failures) {
					t.Errorf("failures %+v\nwant %+v", failures, c.failures)
				}
				if got, want := fmt.Sprint(w.state(w.app)), fmt.Sprint(c.left(one.digest, two.digest)); got != want {
					t.Errorf("left %s, want %s", got, want)
				}
				var want []string
				for _, r := range removed {
					want = append(want, fmt.Sprintf("ImageDeleted %s %s", short(r.Digest), r.Tag))
				}
				if got := w.events()[before:]; !slices.Equal(got, want) {
					t.Errorf("events %v, want %v", got, want)
				}
			})
		})
	}
}

func TestDeleteReleasesLayers(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		one := w.oci(w.app, "one", "")
		w.push(w.app, one, "a")
		w.push(w.app, one, "b")
		if _, _, err := w.Delete(ctx, w.app, []image.Ref{{Tag: "a"}}); err != nil || len(w.layers.released) != 0 {
			t.Errorf("the image is still there, and released %v: %v", w.layers.released, err)
		}
		_, _, err := w.Delete(ctx, w.app, []image.Ref{{Tag: "b"}})
		w.must(err)
		got, want := slices.Clone(w.layers.released), []name.Digest{one.config, one.layers[0], one.layers[1]}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("released %v, want %v", got, want)
		}
		if left := w.texts(`SELECT digest FROM image_layer UNION ALL SELECT digest FROM image_translation`); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	})
}

func TestDeleteOfWhatAnIndexNeeds(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		one, two := w.oci(w.app, "one", ""), w.oci(w.app, "two", "")
		w.push(w.app, one, "one")
		w.push(w.app, one, "also")
		w.push(w.app, two, "")
		first, second := index("first", one.digest, two.digest), index("second", one.digest)
		w.push(w.app, first, "first")
		w.push(w.app, second, "")

		reason := fmt.Sprintf("Requested image referenced by manifest list: [%s, %s]", first.digest, second.digest)
		removed, failures, err := w.Delete(ctx, w.app, []image.Ref{{Digest: one.digest}, {Tag: "also"}, {Tag: "one"}})
		w.must(err)
		// A tag that is not the last can go; the last one cannot.
		if !slices.Equal(removed, []image.Ref{{Digest: one.digest, Tag: "also"}}) {
			t.Errorf("removed %v", removed)
		}
		if !slices.Equal(failures, []image.Failure{{Ref: image.Ref{Digest: one.digest}, Code: image.Referenced, Reason: reason}, {Ref: image.Ref{Tag: "one"}, Code: image.Referenced, Reason: reason}}) {
			t.Errorf("failures %+v", failures)
		}
		// An index frees its children, in the same call already.
		removed, failures, err = w.Delete(ctx, w.app, []image.Ref{{Digest: second.digest}, {Digest: one.digest}, {Tag: "first"}, {Digest: one.digest}, {Digest: two.digest}})
		w.must(err)
		if len(failures) != 1 || failures[0].Reason != "Requested image referenced by manifest list: ["+string(first.digest)+"]" || len(removed) != 4 {
			t.Errorf("removed %v, failures %v", removed, failures)
		}
		if left := w.state(w.app); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	})
}

func TestDeleteStaysInItsRepository(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), context.Background()
		other := w.repo("other", w.app.Mutability)
		mine, theirs := w.oci(w.app, "one", ""), w.oci(other, "one", "")
		w.push(w.app, mine, "v1")
		w.push(other, theirs, "v1")
		w.push(other, index("x", theirs.digest), "multi")
		if removed, failures, err := w.Delete(ctx, w.app, []image.Ref{{Digest: mine.digest}}); err != nil || len(removed) != 1 || len(failures) != 0 {
			t.Errorf("%v %v %v", removed, failures, err)
		}
		if got := w.state(other); len(got) != 2 {
			t.Errorf("the other repository has %v", got)
		}
	})
}

package image_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// fill pushes five images: a with the tags 1 and 2, b, c with the tag 3, d, e
// with 4, B and _. It returns them in order.
func fill(w *world) []picture {
	w.Helper()
	tags := [][]name.Tag{{"2", "1"}, {""}, {"3"}, {""}, {"4", "_", "B"}}
	var all []picture
	for i, ts := range tags {
		p := w.oci(w.app, fmt.Sprint("image ", i), "")
		for _, tag := range ts {
			w.push(w.app, p, tag)
		}
		all = append(all, p)
	}
	return all
}

// pages reads a listing to its end, and calls between after each page.
func pages[T any](t *testing.T, page func(after image.Cursor) ([]T, image.Cursor, error), between func(int)) (all []T, sizes []int) {
	t.Helper()
	var after image.Cursor
	for {
		got, next, err := page(after)
		if err != nil {
			t.Fatal(err)
		}
		all, sizes = append(all, got...), append(sizes, len(got))
		if next == "" {
			return all, sizes
		}
		if len(sizes) > 100 {
			t.Fatal("the listing does not end")
		}
		after = next
		between(len(sizes))
	}
}

func TestList(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		all := fill(w)
		ref := func(i int, tag name.Tag) image.Ref { return image.Ref{Digest: all[i].digest, Tag: tag} }
		for _, c := range []struct {
			status image.TagStatus
			want   []image.Ref
		}{
			{image.AnyTags, []image.Ref{ref(0, "1"), ref(0, "2"), ref(1, ""), ref(2, "3"), ref(3, ""), ref(4, "4"), ref(4, "B"), ref(4, "_")}},
			{image.Tagged, []image.Ref{ref(0, "1"), ref(0, "2"), ref(2, "3"), ref(4, "4"), ref(4, "B"), ref(4, "_")}},
			{image.Untagged, []image.Ref{ref(1, ""), ref(3, "")}},
		} {
			for limit := 1; limit <= len(c.want)+1; limit++ {
				got, sizes := pages(t, func(after image.Cursor) ([]image.Ref, image.Cursor, error) {
					return w.List(ctx, w.app, image.ListQuery{TagStatus: c.status, After: after, Limit: limit})
				}, func(int) {})
				if !slices.Equal(got, c.want) {
					t.Errorf("status %d by %d: %v, want %v", c.status, limit, got, c.want)
				}
				if full := (len(c.want) + limit - 1) / limit; len(sizes) != full {
					t.Errorf("status %d by %d: pages of %v", c.status, limit, sizes)
				}
			}
		}
	})
}

func TestDescribePages(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		all := fill(w)
		for _, c := range []struct {
			status image.TagStatus
			want   []int
		}{{image.AnyTags, []int{0, 1, 2, 3, 4}}, {image.Tagged, []int{0, 2, 4}}, {image.Untagged, []int{1, 3}}} {
			for limit := 1; limit <= 6; limit++ {
				got, _ := pages(t, func(after image.Cursor) ([]image.Detail, image.Cursor, error) {
					return w.Describe(ctx, w.app, image.DescribeQuery{TagStatus: c.status, After: after, Limit: limit})
				}, func(int) {})
				var digests, want []name.Digest
				for _, d := range got {
					digests = append(digests, d.Digest)
				}
				for _, i := range c.want {
					want = append(want, all[i].digest)
				}
				if !slices.Equal(digests, want) {
					t.Errorf("status %d by %d: %v, want %v", c.status, limit, digests, want)
				}
			}
		}
	})
}

func TestDescribeRefs(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		all := fill(w)
		got, next, err := w.Describe(ctx, w.app, image.DescribeQuery{Refs: []image.Ref{{Tag: "4"}, {Digest: all[1].digest}, {Tag: "B"}, {Digest: all[4].digest, Tag: "_"}}})
		if err != nil || next != "" || len(got) != 2 || got[0].Digest != all[4].digest || fmt.Sprint(got[0].Tags) != "[4 B _]" || got[1].Tags != nil {
			t.Errorf("%+v %q %v", got, next, err)
		}
		const form = "The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name 'app' in the registry with id '123456789012'"
		for _, c := range []struct {
			ref  image.Ref
			want string
		}{
			{image.Ref{Tag: "no"}, fmt.Sprintf(form, "null", "no")},
			{image.Ref{Digest: name.SHA256(nil)}, fmt.Sprintf(form, name.SHA256(nil), "null")},
			{image.Ref{Digest: all[0].digest, Tag: "4"}, fmt.Sprintf(form, all[0].digest, "4")},
		} {
			_, _, err := w.Describe(ctx, w.app, image.DescribeQuery{Refs: []image.Ref{{Tag: "1"}, c.ref}})
			expect(t, err, errs.ImageNotFound, c.want)
		}
		_, _, err = w.Describe(ctx, w.app, image.DescribeQuery{Refs: []image.Ref{{}}})
		expect(t, err, errs.InvalidParameter, "")
	})
}

// TestPagesStayRight changes the repository between the pages: what is there all
// the time is listed once, what comes and goes at most once.
func TestPagesStayRight(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		listings := map[string]func(r repository.Repository, after image.Cursor) ([]name.Digest, image.Cursor, error){
			"List": func(r repository.Repository, after image.Cursor) (all []name.Digest, next image.Cursor, err error) {
				refs, next, err := w.List(ctx, r, image.ListQuery{After: after, Limit: 3})
				for _, ref := range refs {
					all = append(all, ref.Digest)
				}
				return all, next, err
			},
			"Describe": func(r repository.Repository, after image.Cursor) (all []name.Digest, next image.Cursor, err error) {
				details, next, err := w.Describe(ctx, r, image.DescribeQuery{After: after, Limit: 3})
				for _, d := range details {
					all = append(all, d.Digest)
				}
				return all, next, err
			},
		}
		for what, list := range listings {
			r := w.repo(name.Repository("for-"+strings.ToLower(what)), w.app.Mutability)
			var stay, leave []picture
			for i := range 10 {
				p, q := w.oci(r, fmt.Sprint("stays ", i), ""), w.oci(r, fmt.Sprint("goes ", i), "")
				w.push(r, p, name.Tag(fmt.Sprint("stay-", i)))
				w.push(r, q, name.Tag(fmt.Sprint("go-", i)))
				stay, leave = append(stay, p), append(leave, q)
			}
			got, _ := pages(t, func(after image.Cursor) ([]name.Digest, image.Cursor, error) { return list(r, after) }, func(page int) {
				if page <= 5 {
					_, _, err := w.Delete(ctx, r, []image.Ref{{Digest: leave[2*page-2].digest}, {Digest: leave[11-2*page].digest}})
					w.must(err)
					w.push(r, w.oci(r, fmt.Sprint("new ", page), ""), name.Tag(fmt.Sprint("new-", page)))
				}
			})
			seen := map[name.Digest]int{}
			for _, d := range got {
				if seen[d]++; seen[d] > 1 {
					t.Errorf("%s lists %s twice", what, d)
				}
			}
			for _, p := range stay {
				if seen[p.digest] == 0 {
					t.Errorf("%s leaves out %s", what, p.digest)
				}
			}
		}
	})
}

func TestTags(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		p := w.oci(w.app, "one", "")
		for _, tag := range []name.Tag{"b", "a", "B", "A", "_", "-", ".", "1", "10", "2", "a-b", "a_b", "ab", "a.b"} {
			w.push(w.app, p, tag)
		}
		want := "- . 1 10 2 A B _ a a-b a.b a_b ab b"
		for limit := 1; limit < 16; limit++ {
			var all []string
			var after name.Tag
			for {
				tags, more, err := w.Tags(ctx, w.app, after, limit)
				w.must(err)
				if more && len(tags) != limit {
					t.Fatalf("a page of %d by %d", len(tags), limit)
				}
				for _, tag := range tags {
					all = append(all, string(tag))
				}
				if !more {
					break
				}
				after = tags[len(tags)-1]
			}
			if got := strings.Join(all, " "); got != want {
				t.Errorf("by %d: %s, want %s", limit, got, want)
			}
		}
		_, _, err := w.Tags(ctx, w.app, "a\x00b", 5)
		expect(t, err, errs.InvalidParameter, "")
		if tags, more, err := w.Tags(ctx, w.repo("empty", w.app.Mutability), "", 5); err != nil || more || len(tags) != 0 {
			t.Errorf("an empty repository: %v %v %v", tags, more, err)
		}
	})
}

func TestForeignCursors(t *testing.T) {
	w, ctx := open(t, sqldbtest.SQLite(t), nil), t.Context()
	for _, after := range []image.Cursor{"x", ":", "-5:", "0:", "1:no/tag", "zzzzzzzzzzzzzzzzzzz:", "1", "\xff:"} {
		_, _, err := w.List(ctx, w.app, image.ListQuery{After: after, Limit: 1})
		expect(t, err, errs.InvalidParameter, "")
		_, _, err = w.Describe(ctx, w.app, image.DescribeQuery{After: after, Limit: 1})
		expect(t, err, errs.InvalidParameter, "")
		_, _, err = w.Referrers(ctx, w.app, name.SHA256(nil), image.ReferrersQuery{After: after, Limit: 1})
		expect(t, err, errs.InvalidParameter, "")
	}
}

func TestReferrers(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		subject, none := name.SHA256([]byte("subject")), name.SHA256([]byte("none"))
		refers := func(kind string, i int) picture {
			return w.oci(w.app, fmt.Sprint(kind, i), fmt.Sprintf(`,"artifactType":"%s","annotations":{"n":"%d"},"subject":{"mediaType":"a/b","digest":"%s","size":1}`, kind, i, subject))
		}
		var all []picture
		for i := range 6 {
			p := refers([]string{"x/a", "x/b", "x/c"}[i%3], i)
			w.push(w.app, p, "")
			all = append(all, p)
		}
		w.push(w.app, w.oci(w.app, "unrelated", ""), "")
		for _, c := range []struct {
			types []string
			want  []int
		}{{nil, []int{0, 1, 2, 3, 4, 5}}, {[]string{"x/b"}, []int{1, 4}}, {[]string{"x/a", "x/c"}, []int{0, 2, 3, 5}}, {[]string{"x/d"}, nil}, {[]string{"\xff", "x/\x00"}, nil}, {[]string{"\xff", "x/b"}, []int{1, 4}}} {
			for limit := 1; limit <= 7; limit++ {
				got, _ := pages(t, func(after image.Cursor) ([]image.Referrer, image.Cursor, error) {
					return w.Referrers(ctx, w.app, subject, image.ReferrersQuery{ArtifactTypes: c.types, After: after, Limit: limit})
				}, func(int) {})
				var numbers []int
				for _, r := range got {
					n := slices.IndexFunc(all, func(p picture) bool { return p.digest == r.Digest })
					numbers = append(numbers, n)
					if r.Annotations["n"] != fmt.Sprint(n) || r.Size != int64(len(all[n].body)) || r.ArtifactType != []string{"x/a", "x/b", "x/c"}[n%3] || r.MediaType == "" {
						t.Errorf("%+v", r)
					}
				}
				if !slices.Equal(numbers, c.want) {
					t.Errorf("%v by %d: %v, want %v", c.types, limit, numbers, c.want)
				}
			}
		}
		if got, next, err := w.Referrers(ctx, w.app, none, image.ReferrersQuery{Limit: 5}); err != nil || next != "" || len(got) != 0 {
			t.Errorf("of nothing: %v %q %v", got, next, err)
		}
		if got, _, err := w.Referrers(ctx, w.app, "", image.ReferrersQuery{Limit: 50}); err != nil || len(got) != 0 {
			t.Errorf("without a digest: %v %v", got, err)
		}
		// The subject and its referrers come and go on their own.
		if _, failures, err := w.Delete(ctx, w.app, []image.Ref{{Digest: all[0].digest}}); err != nil || len(failures) != 0 {
			t.Errorf("%v %v", failures, err)
		}
		if got, _, err := w.Referrers(ctx, w.app, subject, image.ReferrersQuery{Limit: 50}); err != nil || len(got) != 5 {
			t.Errorf("%d are left: %v", len(got), err)
		}
	})
}

func TestReferrersWithLongAnnotations(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		subject, long := name.SHA256([]byte("subject")), strings.Repeat("x", 900<<10)
		for i := range 5 {
			w.push(w.app, w.oci(w.app, fmt.Sprint(i), fmt.Sprintf(`,"annotations":{"n":"%s"},"subject":{"mediaType":"a/b","digest":"%s","size":1}`, long, subject)), "")
		}
		got, sizes := pages(t, func(after image.Cursor) ([]image.Referrer, image.Cursor, error) {
			return w.Referrers(ctx, w.app, subject, image.ReferrersQuery{After: after, Limit: 50})
		}, func(int) {})
		if len(got) != 5 || fmt.Sprint(sizes) != "[2 2 1]" {
			t.Errorf("%d in pages of %v", len(got), sizes)
		}
	})
}

package image_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// model is a repository as the rules describe it, without a database.
type model struct {
	immutable bool
	tags      map[name.Tag]name.Digest
	images    map[name.Digest][]name.Digest // with the children of each
	order     []name.Digest                 // in which they were pushed
}

func (m *model) tagsOf(d name.Digest) []name.Tag {
	var tags []name.Tag
	for tag, of := range m.tags {
		if of == d {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

func (m *model) put(d name.Digest, children []name.Digest, tag name.Tag) (created bool, refused errs.Code) {
	_, there := m.images[d]
	at, tagged := m.tags[tag]
	switch {
	case there && (tag == "" || at == d):
		return false, errs.Internal
	case tag != "" && tagged && m.immutable:
		return false, errs.TagExists
	}
	for _, c := range children {
		if _, ok := m.images[c]; !ok && !there {
			return false, errs.ReferencedImagesNotFound
		}
	}
	if !there {
		m.images[d] = children
		m.order = append(m.order, d)
	}
	if tag != "" {
		m.tags[tag] = d
	}
	return true, errs.Internal
}

func (m *model) delete(ref image.Ref) (removed []image.Ref, failed image.FailureCode) {
	d := ref.Digest
	if ref.Tag != "" {
		at, ok := m.tags[ref.Tag]
		if !ok {
			return nil, image.NotFound
		}
		if d != "" && d != at {
			return nil, image.TagMismatch
		}
		d = at
	}
	if _, ok := m.images[d]; !ok {
		return nil, image.NotFound
	}
	tags := m.tagsOf(d)
	if ref.Tag != "" && len(tags) > 1 {
		delete(m.tags, ref.Tag)
		return []image.Ref{{Digest: d, Tag: ref.Tag}}, 0
	}
	for _, children := range m.images {
		if slices.Contains(children, d) {
			return nil, image.Referenced
		}
	}
	delete(m.images, d)
	m.order = slices.DeleteFunc(m.order, func(o name.Digest) bool { return o == d })
	for _, tag := range tags {
		delete(m.tags, tag)
		removed = append(removed, image.Ref{Digest: d, Tag: tag})
	}
	if len(removed) == 0 {
		removed = []image.Ref{{Digest: d}}
	}
	return removed, 0
}

// TestAgainstModel runs random pushes and deletions against the service and the
// model, and compares every answer and the state after each.
func TestAgainstModel(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := open(t, db, nil)
		n := 0
		rapid.Check(t, func(t *rapid.T) {
			n++
			w.reporter = t
			setting := rapid.SampledFrom([]repository.TagMutability{repository.Mutable, repository.Immutable}).Draw(t, "mutability")
			r := w.repo(name.Repository(fmt.Sprint("repo-", n)), repository.Mutability{Setting: setting})
			m := &model{immutable: setting == repository.Immutable, tags: map[name.Tag]name.Digest{}, images: map[name.Digest][]name.Digest{}}
			children := map[name.Digest][]name.Digest{}
			var pictures []picture
			for i := range 3 {
				pictures = append(pictures, w.oci(r, fmt.Sprint(i), ""))
			}
			for i := range 3 {
				of := []name.Digest{pictures[i].digest, pictures[(i+2)%len(pictures)].digest}
				p := index(fmt.Sprint(i), of...)
				children[p.digest] = of
				pictures = append(pictures, p)
			}
			tag := rapid.SampledFrom([]name.Tag{"", "a", "b", "c"})
			which := rapid.IntRange(0, len(pictures)-1)
			for range rapid.IntRange(1, 10).Draw(t, "steps") {
				if rapid.IntRange(0, 2).Draw(t, "action") > 0 {
					p, tag := pictures[which.Draw(t, "image")], tag.Draw(t, "tag")
					wantCreated, wantCode := m.put(p.digest, children[p.digest], tag)
					_, created, err := w.Put(context.Background(), r, image.Put{Manifest: []byte(p.body), Tag: tag})
					if created != wantCreated || (err != nil) != (wantCode != errs.Internal) || (err != nil && !errs.Is(err, wantCode)) {
						t.Fatalf("put %s %q: %v %v, want %v %d", short(p.digest), tag, created, err, wantCreated, wantCode)
					}
				} else {
					var refs []image.Ref
					for range rapid.IntRange(1, 3).Draw(t, "refs") {
						ref := image.Ref{Tag: tag.Draw(t, "tag")}
						if ref.Tag == "" || rapid.Bool().Draw(t, "digest too") {
							ref.Digest = pictures[which.Draw(t, "image")].digest
						}
						refs = append(refs, ref)
					}
					var wantRemoved []image.Ref
					var wantCodes, codes []image.FailureCode
					for _, ref := range refs {
						gone, code := m.delete(ref)
						wantRemoved = append(wantRemoved, gone...)
						if code != 0 {
							wantCodes = append(wantCodes, code)
						}
					}
					removed, failures, err := w.Delete(context.Background(), r, refs)
					w.must(err)
					for _, f := range failures {
						codes = append(codes, f.Code)
					}
					if !slices.Equal(removed, wantRemoved) || !slices.Equal(codes, wantCodes) {
						t.Fatalf("delete %v: %v %v, want %v %v", refs, removed, codes, wantRemoved, wantCodes)
					}
				}
				want := map[name.Digest]string{}
				for d := range m.images {
					want[d] = fmt.Sprint(m.tagsOf(d))
				}
				if got := w.state(r); !maps.Equal(got, want) {
					t.Fatalf("state %v, want %v", got, want)
				}
				details, _, err := w.Describe(context.Background(), r, image.DescribeQuery{Limit: 100})
				w.must(err)
				if got := digestsOf(details); !slices.Equal(got, m.order) {
					t.Fatalf("order %v, want %v", got, m.order)
				}
			}
		})
	})
}

func digestsOf(details []image.Detail) []name.Digest {
	var all []name.Digest
	for _, d := range details {
		all = append(all, d.Digest)
	}
	return all
}

// Package gallerytest has a read model in memory for the tests of the gallery's pages and of
// its JSON API: small lists that are searched by looking at each entry. It keeps to the
// contract of domain/catalog/gallery, which has its own tests.
package gallerytest

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Now is the time of the tests.
func Now() time.Time { return time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC) }

// World is what there is.
type World struct {
	Publishers   []gallery.Publisher
	Repositories []gallery.Repository
	Images       map[int64][]gallery.Tag // by repository, newest first
	Logos        map[string]Logo
	// Fails is what every call fails with; nil for none.
	Fails error
}

// Logo is a stored logo.
type Logo struct {
	MediaType string
	Body      []byte
}

// Add adds a repository of the publisher with n tags, and returns it.
func (w *World) Add(p gallery.Publisher, repo string, data catalog.Data, downloads int64, tags ...gallery.Tag) *gallery.Repository {
	if !slices.ContainsFunc(w.Publishers, func(q gallery.Publisher) bool { return q.Account == p.Account }) {
		w.Publishers = append(w.Publishers, p)
	}
	id := int64(len(w.Repositories) + 1)
	if w.Images == nil {
		w.Images = map[int64][]gallery.Tag{}
	}
	w.Images[id] = tags
	pushed := Now().Add(-time.Duration(id) * 20 * time.Hour)
	if len(tags) > 0 {
		pushed = tags[0].PushedAt
	}
	w.Repositories = append(w.Repositories, gallery.Repository{
		ID: id, Account: p.Account, Alias: p.Alias, Name: name.Repository(repo), DisplayName: p.DisplayName, Verified: p.Verified,
		Data: data, Downloads: downloads, Images: int64(max(len(tags), 1)), CreatedAt: Now().AddDate(-1, 0, 0), PushedAt: pushed,
	})
	return &w.Repositories[id-1]
}

// Tag is a tag of an image that was pushed days ago.
func Tag(tag string, days int, size int64, platforms ...string) gallery.Tag {
	pushed := Now().AddDate(0, 0, -days)
	return gallery.Tag{
		Name: name.Tag(tag), Digest: name.SHA256([]byte(tag + strconv.Itoa(days))), MediaType: "application/vnd.oci.image.index.v1+json",
		ArtifactType: "application/vnd.oci.image.config.v1+json", Size: size, PushedAt: pushed, CreatedAt: pushed.Add(time.Second), Platforms: platforms,
	}
}

// Publisher finds the account of an alias.
func (w *World) Publisher(_ context.Context, alias string) (gallery.Publisher, error) {
	if w.Fails != nil {
		return gallery.Publisher{}, w.Fails
	}
	for _, p := range w.Publishers {
		if slices.Contains(p.Aliases, name.Alias(alias)) {
			return p, nil
		}
	}
	return gallery.Publisher{}, errs.New(errs.RegistryNotFound, "The registry with name '%s' does not exist", alias)
}

// Repository finds a repository.
func (w *World) Repository(ctx context.Context, alias string, repo name.Repository) (gallery.Repository, error) {
	p, err := w.Publisher(ctx, alias)
	if err != nil {
		return gallery.Repository{}, err
	}
	for _, r := range w.Repositories {
		if r.Account == p.Account && r.Name == repo {
			return r, nil
		}
	}
	return gallery.Repository{}, errs.New(errs.RepositoryNotFound, "The repository with name '%s' does not exist", repo)
}

// Search looks at each repository.
func (w *World) Search(_ context.Context, q gallery.Query) (gallery.Result, error) {
	if w.Fails != nil {
		return gallery.Result{}, w.Fails
	}
	if q.Limit < 1 || q.Limit > gallery.MaxLimit || q.Offset < 0 || q.Offset > gallery.MaxOffset {
		return gallery.Result{}, errs.New(errs.InvalidParameter, "limit %d, offset %d", q.Limit, q.Offset)
	}
	res := gallery.Result{}
	for _, v := range []string{"Linux", "Windows"} {
		res.OperatingSystems = append(res.OperatingSystems, gallery.Facet{Value: v})
	}
	for _, v := range []string{"ARM", "ARM 64", "x86", "x86-64"} {
		res.Architectures = append(res.Architectures, gallery.Facet{Value: v})
	}
	anyOf := func(all, wanted []string) bool {
		return len(wanted) == 0 || slices.ContainsFunc(wanted, func(v string) bool { return slices.Contains(all, v) })
	}
	var hits []gallery.Repository
	for _, r := range w.Repositories {
		text := strings.ToLower(string(r.Alias) + "/" + string(r.Name) + " " + r.DisplayName + " " + r.Data.Description)
		if !strings.Contains(text, strings.ToLower(q.Text)) || q.Account != "" && q.Account != r.Account {
			continue
		}
		verified, os, arch := !q.Verified || r.Verified, anyOf(r.Data.OperatingSystems, q.OperatingSystems), anyOf(r.Data.Architectures, q.Architectures)
		if os && arch && r.Verified {
			res.Verified++
		}
		for i, f := range res.OperatingSystems {
			if verified && arch && slices.Contains(r.Data.OperatingSystems, f.Value) {
				res.OperatingSystems[i].Count++
			}
		}
		for i, f := range res.Architectures {
			if verified && os && slices.Contains(r.Data.Architectures, f.Value) {
				res.Architectures[i].Count++
			}
		}
		if verified && os && arch {
			hits = append(hits, r)
		}
	}
	sortBy(hits, q.Sort)
	res.Total = len(hits)
	from := min(q.Offset, len(hits))
	res.Repositories = brief(hits[from:min(from+q.Limit, len(hits))])
	return res, nil
}

func sortBy(all []gallery.Repository, by gallery.Sort) {
	slices.SortStableFunc(all, func(a, b gallery.Repository) int {
		switch by {
		case gallery.Updated:
			return b.PushedAt.Compare(a.PushedAt)
		case gallery.Name:
			return cmp.Compare(a.Name, b.Name)
		case gallery.Relevance, gallery.Popular:
		}
		return cmp.Compare(b.Downloads, a.Downloads)
	})
}

func brief(all []gallery.Repository) []gallery.Repository {
	all = slices.Clone(all)
	for i := range all {
		all[i].Data.About, all[i].Data.Usage = "", ""
	}
	return all
}

// Home gives the first of two orders.
func (w *World) Home(context.Context) (popular, updated []gallery.Repository, total int, err error) {
	if w.Fails != nil {
		return nil, nil, 0, w.Fails
	}
	popular, updated = slices.Clone(w.Repositories), slices.Clone(w.Repositories)
	sortBy(popular, gallery.Popular)
	sortBy(updated, gallery.Updated)
	n := min(len(popular), gallery.HomeSize)
	return brief(popular[:n]), brief(updated[:n]), len(w.Repositories), nil
}

// Tags pages through a repository's tags; its cursor is a number.
func (w *World) Tags(_ context.Context, r gallery.Repository, q gallery.TagQuery) (tags []gallery.Tag, next string, err error) {
	from := 0
	if q.After != "" {
		if from, err = strconv.Atoi(q.After); err != nil {
			return nil, "", errs.New(errs.InvalidParameter, "no cursor")
		}
	}
	if q.Limit < 1 || q.Limit > gallery.MaxLimit {
		return nil, "", errs.New(errs.InvalidParameter, "limit %d", q.Limit)
	}
	all := w.Images[r.ID]
	for i := from; i < len(all); i++ {
		if !strings.Contains(strings.ToLower(string(all[i].Name)), strings.ToLower(q.Text)) {
			continue
		}
		if len(tags) == q.Limit {
			return tags, strconv.Itoa(i), nil
		}
		tags = append(tags, all[i])
	}
	return tags, "", nil
}

// Logo gives a logo.
func (w *World) Logo(_ context.Context, id string) (mediaType string, body []byte, updated time.Time, err error) {
	l, ok := w.Logos[id]
	if !ok {
		return "", nil, time.Time{}, errs.New(errs.CatalogDataNotFound, "no logo %s", id)
	}
	return l.MediaType, l.Body, Now(), nil
}

package gallery

import (
	"context"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/name"
)

// The members of a repository's query string.
const (
	keyTab   = "tab"
	keyTag   = "tag"
	keyAfter = "after"
)

const (
	tagsPerPage = 50
	maxTagText  = 128
	maxCursor   = 1_000
	// maxPlatforms are the platforms of one image that a list shows.
	maxPlatforms = 12
	latest       = "latest"
	helmChart    = "application/vnd.cncf.helm.config.v1+json"
)

// The tabs of a repository.
const (
	tabAbout = "about"
	tabUsage = "usage"
	tabTags  = "tags"
)

// tab is a part of a repository's page.
type tab struct {
	Label, Path string
	Current     bool
}

// tagRow is a tag in the list.
type tagRow struct {
	Name, Digest, Short string
	Size                int64
	Platforms           []string
	More                int
	Pushed              time.Time
	Pull                string
}

// repositoryBody is what a repository's page shows.
type repositoryBody struct {
	Card
	Address string // alias/name
	Pull    string
	Tabs    []tab
	Tab     string
	Text    template.HTML
	Tags    []tagRow
	TagText string
	Next    string
	First   string // of the list of tags, on its other pages
	Self    string // where the tags' filter leads
}

// Card is the repository as lists have it.
type Card = card

func (s *site) repository(w http.ResponseWriter, r *http.Request, alias name.Alias, repo name.Repository) error {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badQuery("The address has a broken query string.")
	}
	b := repositoryBody{Tab: v.Get(keyTab), TagText: clean(v.Get(keyTag))}
	after := v.Get(keyAfter)
	if utf8.RuneCountInString(b.TagText) > maxTagText || len(after) > maxCursor {
		return badQuery("The filter for tags is too long.")
	}
	found, err := s.Gallery.Repository(r.Context(), string(alias), repo)
	if err != nil {
		return err
	}
	b.Card = cardOf(found)
	b.Address = b.Alias + "/" + b.Name
	about, usage := strings.TrimSpace(found.Data.About), strings.TrimSpace(found.Data.Usage)
	switch b.Tab {
	case tabAbout, tabUsage, tabTags:
	case "":
		switch {
		case about != "":
			b.Tab = tabAbout
		case usage != "":
			b.Tab = tabUsage
		default:
			b.Tab = tabTags
		}
	default:
		return badQuery("A repository's page has the tabs about, usage and tags.")
	}
	path := "/" + string(alias) + "/" + string(repo)
	b.Self = path
	for _, t := range []tab{{Label: "About", Path: tabAbout}, {Label: "Usage", Path: tabUsage}, {Label: "Image tags", Path: tabTags}} {
		b.Tabs = append(b.Tabs, tab{Label: t.Label, Path: path + "?" + url.Values{keyTab: {t.Path}}.Encode(), Current: t.Path == b.Tab})
	}
	image := s.Registry(r) + "/" + b.Address
	if err := s.tags(r.Context(), found, &b, after, image); err != nil {
		return err
	}
	text := about
	switch b.Tab {
	case tabUsage:
		text = usage
	case tabTags:
		text = ""
	}
	if b.Text, err = s.texts.render(text); err != nil {
		return err
	}
	description := b.Description
	if description == "" {
		description = "Public container images of " + b.Address + "."
	}
	return s.show(w, r, http.StatusOK, "repository", page{
		Title: b.Address, Description: description, Path: b.Path, Logo: b.Picture.Logo, Index: true, Body: b,
	})
}

// tags reads the tags that the page shows, and those from which it takes the one to pull:
// latest where there is one, and the newest otherwise.
func (s *site) tags(ctx context.Context, found gallery.Repository, b *repositoryBody, after, image string) error {
	newest, next, err := s.Gallery.Tags(ctx, found, gallery.TagQuery{Limit: tagsPerPage})
	if err != nil {
		return err
	}
	pull, ok := pick(newest)
	if pull.Name != latest && next != "" {
		named, _, err := s.Gallery.Tags(ctx, found, gallery.TagQuery{Text: latest, Limit: tagsPerPage})
		if err != nil {
			return err
		}
		if t, found := pick(named); found && t.Name == latest {
			pull = t
		}
	}
	if ok {
		b.Pull = command(image, pull)
	}
	if b.Tab != tabTags {
		return nil
	}
	if b.TagText != "" || after != "" {
		if newest, next, err = s.Gallery.Tags(ctx, found, gallery.TagQuery{Text: b.TagText, After: after, Limit: tagsPerPage}); err != nil {
			return err
		}
	}
	for _, t := range newest {
		row := tagRow{
			Name: clean(string(t.Name)), Digest: string(t.Digest), Short: shortDigest(t.Digest), Size: t.Size,
			Platforms: t.Platforms, Pushed: t.PushedAt, Pull: command(image, t),
		}
		if len(row.Platforms) > maxPlatforms {
			row.Platforms, row.More = row.Platforms[:maxPlatforms], len(row.Platforms)-maxPlatforms
		}
		b.Tags = append(b.Tags, row)
	}
	to := url.Values{keyTab: {tabTags}}
	if b.TagText != "" {
		to.Set(keyTag, b.TagText)
	}
	if after != "" {
		b.First = b.Self + "?" + to.Encode()
	}
	if next != "" {
		to.Set(keyAfter, next)
		b.Next = b.Self + "?" + to.Encode()
	}
	return nil
}

// pick chooses the tag that a reader most likely wants.
func pick(tags []gallery.Tag) (gallery.Tag, bool) {
	for _, t := range tags {
		if t.Name == latest {
			return t, true
		}
	}
	if len(tags) > 0 {
		return tags[0], true
	}
	return gallery.Tag{}, false
}

// command pulls a tag with the tool that it is for.
func command(image string, t gallery.Tag) string {
	if t.ArtifactType == helmChart {
		return "helm pull oci://" + image + " --version " + clean(string(t.Name))
	}
	return "docker pull " + image + ":" + clean(string(t.Name))
}

// shortDigest is enough of a digest to tell it from others.
func shortDigest(d name.Digest) string {
	const enough = 12
	hex := d.Hex()
	return d.Algorithm() + ":" + hex[:min(enough, len(hex))]
}

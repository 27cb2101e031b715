// Package repositoryadmin is what the administration socket does with
// repositories: their settings, and what was deleted and can be restored. It reads
// requests, names what they mean, and words what an operator can act on.
//
// It holds no rules of its own; those are in domain/repository and
// domain/recovery. The routes stand in app.
package repositoryadmin

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/recovery"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Service does it.
type Service struct {
	Repositories *repository.Service
	Recovery     *recovery.Service
	// Restored is told of a repository that came back, or has an image back; nil: nobody is.
	Restored func(ctx context.Context, repositoryID int64)
	// Default is the registry of requests that name no account or no region.
	Default name.Registry
}

// Target names a repository.
type Target struct {
	Account    name.AccountID  `json:"account,omitempty"` // "": the default one
	Region     name.Region     `json:"region,omitempty"`  // "": the default one
	Repository name.Repository `json:"repository,omitempty"`
}

// registry is the target's, its defaults filled in.
func (s Service) registry(t Target) name.Registry {
	reg := s.Default
	if t.Account != "" {
		reg.Account = t.Account
	}
	if t.Region != "" {
		reg.Region = t.Region
	}
	return reg
}

// named is registry for a target that has to name a repository.
func (s Service) named(t Target) (name.Registry, error) {
	return s.registry(t), checkName(t.Repository)
}

func checkName(repo name.Repository) error {
	if _, err := name.ParseRepository(string(repo)); err != nil {
		return errs.New(errs.InvalidParameter, "%q is no name of a repository", repo)
	}
	return nil
}

// SettingRequest asks for the settings of a repository, after a change.
type SettingRequest struct {
	Target
	// Do is get, set or unset.
	Do    string `json:"do"`
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
}

// Settings carries out the change and returns the settings as they then are.
func (s Service) Settings(ctx context.Context, in SettingRequest) ([]repository.Setting, error) {
	reg, err := s.named(in.Target)
	if err != nil {
		return nil, err
	}
	switch in.Do {
	case "get":
	case "set":
		err = s.Repositories.SetSetting(ctx, reg, in.Repository, in.Name, in.Value)
	case "unset":
		err = s.Repositories.UnsetSetting(ctx, reg, in.Repository, in.Name)
	default:
		err = errs.New(errs.InvalidParameter, "unknown change %q: get, set or unset", in.Do)
	}
	if err != nil {
		return nil, err
	}
	return s.Repositories.ListSettings(ctx, reg, in.Repository)
}

// pageSize is how many entries a page has.
const pageSize = 200

// ListRequest asks for a page of what can be restored: deleted repositories, or
// deleted images of repositories that are there. Without a repository all are
// listed.
type ListRequest struct {
	Target
	Images bool  `json:"images"`
	After  int64 `json:"after,string,omitempty"` // of the page before; 0: the first page
}

// Deleted is one entry: a repository, or an image where Digest is not "".
type Deleted struct {
	ID         int64           `json:"id,string"`
	Repository name.Repository `json:"repository"`
	Images     int64           `json:"images,omitempty"` // in a repository
	Digest     name.Digest     `json:"digest,omitempty"`
	Tags       []name.Tag      `json:"tags,omitempty"`
	DeletedAt  time.Time       `json:"deletedAt"`
	KeptUntil  time.Time       `json:"keptUntil"`
}

// Page is a page of entries; After asks for the next one, 0: there is none.
type Page struct {
	Entries []Deleted `json:"entries"`
	After   int64     `json:"after,string"`
}

// List gives a page.
func (s Service) List(ctx context.Context, in ListRequest) (Page, error) {
	reg, page := s.registry(in.Target), Page{Entries: []Deleted{}}
	switch {
	case !in.Images:
		all, err := s.Repositories.ListDeleted(ctx, reg, in.Repository, in.After, pageSize)
		if err != nil {
			return Page{}, err
		}
		for _, r := range all {
			page.Entries = append(page.Entries, repositoryEntry(r))
		}
	case in.Repository == "":
		all, repos, err := s.Recovery.KeptIn(ctx, reg, in.After, pageSize)
		if err != nil {
			return Page{}, err
		}
		for n, i := range all {
			page.Entries = append(page.Entries, imageEntry(repos[n], i))
		}
	default:
		r, err := s.Repositories.Get(ctx, reg, in.Repository)
		if errs.Is(err, errs.RepositoryNotFound) { // deleted itself, or never there: then it has no entry
			return page, nil
		}
		if err != nil {
			return Page{}, err
		}
		all, err := s.Recovery.Kept(ctx, r, in.After, pageSize)
		if err != nil {
			return Page{}, err
		}
		for _, i := range all {
			page.Entries = append(page.Entries, imageEntry(r.Name, i))
		}
	}
	if n := len(page.Entries); n == pageSize {
		page.After = page.Entries[n-1].ID
	}
	return page, nil
}

func repositoryEntry(r repository.Repository) Deleted {
	return Deleted{ID: r.ID, Repository: r.Name, Images: r.Images, DeletedAt: r.DeletedAt.UTC(), KeptUntil: r.ExpiresAt.UTC()}
}

func imageEntry(repo name.Repository, i recovery.Image) Deleted {
	return Deleted{ID: i.ID, Repository: repo, Digest: i.Digest, Tags: i.Tags, DeletedAt: i.DeletedAt.UTC(), KeptUntil: i.ExpiresAt.UTC()}
}

// refOf reads what an operator calls an image: a digest or a tag.
func refOf(text string) image.Ref {
	if strings.Contains(text, ":") {
		return image.Ref{Digest: name.Digest(text)}
	}
	return image.Ref{Tag: name.Tag(text)}
}

// RestoreRequest asks for a deleted image, or for a deleted repository where Image
// is "".
type RestoreRequest struct {
	Target
	Image    string          `json:"image,omitempty"`     // a digest or a tag
	MoveTags bool            `json:"moveTags,omitempty"`  // of an image
	As       name.Repository `json:"as,omitempty"`        // of a repository: its new name
	ID       int64           `json:"id,string,omitempty"` // of a repository: one of several that had the name; 0: the last one
}

// RestoreAnswer says what is back.
type RestoreAnswer struct {
	Repository name.Repository     `json:"repository"`
	Images     []recovery.Restored `json:"images,omitempty"` // that are back, where images were asked for
	Held       int64               `json:"held,string"`      // images in a repository that is back
}

// Restore brings it back.
func (s Service) Restore(ctx context.Context, in RestoreRequest) (RestoreAnswer, error) {
	reg, err := s.named(in.Target)
	if err != nil {
		return RestoreAnswer{}, err
	}
	switch {
	case in.Image != "" && (in.As != "" || in.ID != 0):
		return RestoreAnswer{}, errs.New(errs.InvalidParameter, "a new name and a number are for a deleted repository, not for an image")
	case in.Image == "" && in.MoveTags:
		return RestoreAnswer{}, errs.New(errs.InvalidParameter, "tags are moved for an image; a repository comes back with all its tags")
	case in.As != "":
		if err := checkName(in.As); err != nil {
			return RestoreAnswer{}, err
		}
	}
	if in.Image == "" {
		found, err := s.deleted(ctx, reg, in.Repository, in.ID)
		if err != nil {
			return RestoreAnswer{}, err
		}
		r, err := s.Repositories.Undelete(ctx, found[len(found)-1].ID, in.As)
		s.restored(ctx, r, err)
		return RestoreAnswer{Repository: r.Name, Held: r.Images}, err
	}
	r, err := s.present(ctx, reg, in.Repository)
	if err != nil {
		return RestoreAnswer{}, err
	}
	all, err := s.Recovery.Restore(ctx, r, refOf(in.Image), in.MoveTags)
	s.restored(ctx, r, err)
	return RestoreAnswer{Repository: r.Name, Images: all}, err
}

func (s Service) restored(ctx context.Context, r repository.Repository, err error) {
	if s.Restored != nil && err == nil {
		s.Restored(ctx, r.ID)
	}
}

// present finds a repository, and says what to do where it is deleted itself.
func (s Service) present(ctx context.Context, reg name.Registry, repo name.Repository) (repository.Repository, error) {
	r, err := s.Repositories.Get(ctx, reg, repo)
	if errs.Is(err, errs.RepositoryNotFound) {
		if _, missing := s.deleted(ctx, reg, repo, 0); missing == nil {
			return r, errs.New(errs.RepositoryNotFound, "the repository %s is deleted itself; restore it first: berth repository deleted restore --repository %s", repo, repo)
		}
	}
	return r, err
}

// deleted finds the deleted repositories that had the name, in the order of their
// deletion; only the one with the number where that is not 0.
func (s Service) deleted(ctx context.Context, reg name.Registry, repo name.Repository, id int64) ([]repository.Repository, error) {
	var found []repository.Repository
	for after := int64(0); ; {
		page, err := s.Repositories.ListDeleted(ctx, reg, repo, after, pageSize)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if after = r.ID; id == 0 || id == r.ID {
				found = append(found, r)
			}
		}
		if len(page) < pageSize {
			break
		}
	}
	slices.SortStableFunc(found, func(a, b repository.Repository) int { return a.DeletedAt.Compare(b.DeletedAt) })
	if len(found) == 0 {
		what := ""
		if id != 0 {
			what = " with the number " + strconv.FormatInt(id, 10)
		}
		return nil, errs.New(errs.RepositoryNotFound, "there is no deleted repository %s%s in the registry %s; see berth repository deleted list", repo, what, reg)
	}
	return found, nil
}

// PurgeRequest asks that something deleted goes for good: an image, all images of
// a repository, or else a deleted repository.
type PurgeRequest struct {
	Target
	Image     string `json:"image,omitempty"` // a digest or a tag
	AllImages bool   `json:"allImages,omitempty"`
	ID        int64  `json:"id,string,omitempty"` // of a repository: one of several that had the name
}

// Purge removes it and says what has gone.
func (s Service) Purge(ctx context.Context, in PurgeRequest) ([]Deleted, error) {
	reg, err := s.named(in.Target)
	if err != nil {
		return nil, err
	}
	gone := []Deleted{}
	if in.Image != "" || in.AllImages {
		if in.Image != "" && in.AllImages || in.ID != 0 {
			return nil, errs.New(errs.InvalidParameter, "name one image, all images, or a deleted repository, not several of them")
		}
		r, err := s.present(ctx, reg, in.Repository)
		if err != nil {
			return nil, err
		}
		ref := image.Ref{}
		if in.Image != "" {
			ref = refOf(in.Image)
		}
		purged, err := s.Recovery.Purge(ctx, r, ref)
		for _, i := range purged {
			gone = append(gone, imageEntry(r.Name, i))
		}
		return gone, err
	}
	found, err := s.deleted(ctx, reg, in.Repository, in.ID)
	if err != nil {
		return nil, err
	}
	if len(found) > 1 {
		return nil, errs.New(errs.InvalidParameter, "there are %d deleted repositories %s; name one by its number: see berth repository deleted list --repository %s", len(found), in.Repository, in.Repository)
	}
	removed, err := s.Recovery.PurgeRepository(ctx, found[0])
	if removed {
		gone = append(gone, repositoryEntry(found[0]))
	}
	return gone, err
}

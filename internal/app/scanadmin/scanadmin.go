// Package scanadmin is what the administration socket does with scans beyond ECR: how
// they stand, the pull gate with its exceptions, the rules by tag, and bills of materials.
// It reads requests, names what they mean, and words what an operator can act on.
//
// It holds no rules of its own; those are in domain/scan and below it. App gives it its
// routes.
package scanadmin

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/app/adminwire"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan"
	"github.com/berth-registry/berth/internal/domain/scan/gate"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/sbom"
	"github.com/berth-registry/berth/internal/domain/scan/tagrule"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Scans are the scans of images; domain/scan has them.
type Scans interface {
	// Backlog says how many images wait for a scan or are being scanned, and since when
	// the one that has waited longest does; zero where none does.
	Backlog(ctx context.Context) (waiting int64, oldest time.Time, err error)
	// Summary is how the scan of an image stands, and what the last completed one
	// counted. errs.ImageNotFound, errs.ScanNotFound.
	Summary(ctx context.Context, r repository.Repository, ref image.Ref) (scan.Summary, error)
	// Inventory is what software an image holds. errs.ImageNotFound,
	// errs.ImageTypeUnsupported, errs.ImageArchived.
	Inventory(ctx context.Context, r repository.Repository, ref image.Ref) (image.Detail, inventory.Image, error)
}

// Images lists images; *image.Service does.
type Images interface {
	Describe(ctx context.Context, r repository.Repository, q image.DescribeQuery) ([]image.Detail, image.Cursor, error)
}

// Repositories finds repositories; *repository.Service does.
type Repositories interface {
	Get(ctx context.Context, reg name.Registry, repo name.Repository) (repository.Repository, error)
}

// Service does it. Everything is needed but Host.
type Service struct {
	Scans        Scans
	Images       Images
	Repositories Repositories
	Gate         *gate.Service
	Tags         *tagrule.Service
	Clock        clock.Clock
	// Default is the registry of requests that name no account or no region.
	Default name.Registry
	// Version is Berth's, which stands in bills of materials.
	Version string
	// Host is the host of a registry as clients reach it, for bills of materials; nil:
	// AWS's own.
	Host func(name.Registry) string
}

// Target names a registry.
type Target struct {
	Account name.AccountID `json:"account,omitempty"` // "": the default one
	Region  name.Region    `json:"region,omitempty"`  // "": the default one
}

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

// ParseReference reads REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST. The ref is the
// zero one for a repository alone. errs.InvalidParameter.
func ParseReference(text string) (name.Repository, image.Ref, error) {
	bad := func(what string) error {
		return errs.New(errs.InvalidParameter, "%q is no %s. Write team/app, team/app:1.2 or team/app@sha256:..., without the registry's host.", text, what)
	}
	repo, digest, byDigest := strings.Cut(text, "@")
	var tag string
	byTag := false
	if !byDigest {
		if i := strings.LastIndexByte(repo, ':'); i > strings.LastIndexByte(repo, '/') {
			repo, tag, byTag = repo[:i], repo[i+1:], true
		}
	}
	var ref image.Ref
	var err error
	if byDigest {
		if ref.Digest, err = name.ParseDigest(digest); err != nil {
			return "", ref, bad("reference: what follows the @ is no digest")
		}
	}
	if byTag {
		if ref.Tag, err = name.ParseTag(tag); err != nil {
			return "", ref, bad("reference: what follows the colon is no tag")
		}
	}
	r, err := name.ParseRepository(repo)
	if err != nil {
		return "", ref, bad("reference of a repository or an image")
	}
	return r, ref, nil
}

// span reads a length of time: Go's form, or days as "30d".
func span(text string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err == nil && n >= 0 && n <= 100_000
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}

// until reads the end of something: a length of time from now, or a day, which counts whole, in UTC.
func until(text string, now time.Time) (time.Time, error) {
	if d, ok := span(text); ok {
		return now.Add(d), nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.Add(24 * time.Hour), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	return time.Time{}, errs.New(errs.InvalidParameter, "%q is no end of an exception. Write how long it holds (12h, 30d) or its last day (2026-12-31).", text)
}

// StatusRequest asks how scans stand: all of them without a reference, those of a
// repository, or one image's.
type StatusRequest struct {
	Target
	Reference string       `json:"reference,omitempty"`
	After     image.Cursor `json:"after,omitempty"` // of the page before
}

// Status is how scans stand.
type Status struct {
	// Backlog is there without a reference.
	Backlog *Backlog `json:"backlog,omitempty"`
	// Images are those of the page, in the order of their pushes.
	Images []ImageStatus `json:"images,omitempty"`
	After  image.Cursor  `json:"after,omitempty"` // "": there is no further page
}

// Backlog is what there is still to do.
type Backlog struct {
	Waiting int64     `json:"waiting"`
	Oldest  time.Time `json:"oldest,omitzero"`
}

// ImageStatus is how the scan of one image stands.
type ImageStatus struct {
	Repository name.Repository `json:"repository"`
	Digest     name.Digest     `json:"digest"`
	Tags       []name.Tag      `json:"tags,omitempty"`
	// Status is ECR's word; "" for an image that was not scanned.
	Status      scan.Status `json:"status,omitempty"`
	Description string      `json:"description,omitempty"`
	// Completed is when the last completed scan ended; Source when the vulnerability
	// database was made that it used.
	Completed time.Time        `json:"completed,omitzero"`
	Source    time.Time        `json:"source,omitzero"`
	Counts    map[string]int64 `json:"counts,omitempty"`
}

// pageSize is how many images a page has.
const pageSize = 100

// Status says how scans stand.
func (s Service) Status(ctx context.Context, in StatusRequest) (out Status, err error) {
	if in.Reference == "" {
		out.Backlog = &Backlog{}
		out.Backlog.Waiting, out.Backlog.Oldest, err = s.Scans.Backlog(ctx)
		return out, err
	}
	repo, ref, err := ParseReference(in.Reference)
	if err != nil {
		return out, err
	}
	r, err := s.Repositories.Get(ctx, s.registry(in.Target), repo)
	if err != nil {
		return out, err
	}
	q := image.DescribeQuery{After: in.After, Limit: pageSize}
	if ref != (image.Ref{}) {
		q = image.DescribeQuery{Refs: []image.Ref{ref}}
	}
	details, next, err := s.Images.Describe(ctx, r, q)
	if err != nil {
		return out, err
	}
	out.Images, out.After = []ImageStatus{}, next
	for _, d := range details {
		one := ImageStatus{Repository: r.Name, Digest: d.Digest, Tags: d.Tags}
		found, err := s.Scans.Summary(ctx, r, image.Ref{Digest: d.Digest})
		switch {
		case errs.Is(err, errs.ScanNotFound), errs.Is(err, errs.ImageNotFound): // deleted meanwhile
		case err != nil:
			return out, err
		default:
			one.Status, one.Description, one.Completed, one.Source = found.Status, found.Description, found.CompletedAt, found.SourceUpdatedAt
			for severity, n := range found.Counts {
				if one.Counts == nil {
					one.Counts = map[string]int64{}
				}
				one.Counts[string(severity)] = n
			}
		}
		out.Images = append(out.Images, one)
	}
	return out, nil
}

// SBOMRequest asks for the bill of materials of an image.
type SBOMRequest struct {
	Target
	// Reference is as ParseReference has it; a repository alone means its tag latest.
	Reference string      `json:"reference"`
	Format    sbom.Format `json:"format"`
}

// SBOM is a bill of materials.
type SBOM struct {
	Digest    name.Digest `json:"digest"` // of the image
	MediaType string      `json:"mediaType"`
	Document  []byte      `json:"document"`
}

// SBOM writes the bill of materials of an image.
func (s Service) SBOM(ctx context.Context, in SBOMRequest) (SBOM, error) {
	repo, ref, err := ParseReference(in.Reference)
	if err != nil {
		return SBOM{}, err
	}
	if ref == (image.Ref{}) {
		ref.Tag = "latest"
	}
	r, err := s.Repositories.Get(ctx, s.registry(in.Target), repo)
	if err != nil {
		return SBOM{}, err
	}
	d, img, err := s.Scans.Inventory(ctx, r, ref)
	if errs.Is(err, errs.ImageTypeUnsupported) {
		return SBOM{}, errs.Wrap(err, errs.ImageTypeUnsupported, "There is no bill of materials of %s. For an index name one of its images, by digest", in.Reference)
	}
	if err != nil {
		return SBOM{}, err
	}
	subject := sbom.Subject{Registry: r.Registry, Repository: r.Name, Digest: d.Digest, Tags: d.Tags, Created: d.PushedAt}
	if s.Host != nil {
		subject.Host = s.Host(r.Registry)
	}
	doc, mediaType, ok, err := sbom.Encode(in.Format, subject, img, s.Version, s.Clock.Now())
	if !ok {
		return SBOM{}, errs.New(errs.InvalidParameter, "There is no format %q. Take %s or %s.", in.Format, sbom.FormatCycloneDX, sbom.FormatSPDX)
	}
	return SBOM{Digest: d.Digest, MediaType: mediaType, Document: doc}, err
}

// Routes adds the administration of scans.
func (s Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /scan/status", adminwire.Answer(s.Status))
	mux.HandleFunc("POST /scan/sbom", adminwire.Answer(s.SBOM))
	mux.HandleFunc("POST /scan/gate/list", adminwire.Answer(s.GateRules))
	mux.HandleFunc("POST /scan/gate/set", adminwire.Answer(s.SetGateRule))
	mux.HandleFunc("POST /scan/gate/delete", adminwire.Answer(s.DeleteGateRule))
	mux.HandleFunc("POST /scan/gate/exceptions/list", adminwire.Answer(s.Exceptions))
	mux.HandleFunc("POST /scan/gate/exceptions/add", adminwire.Answer(s.AddException))
	mux.HandleFunc("POST /scan/gate/exceptions/remove", adminwire.Answer(s.RemoveException))
	mux.HandleFunc("POST /scan/tags/list", adminwire.Answer(s.TagRules))
	mux.HandleFunc("POST /scan/tags/set", adminwire.Answer(s.SetTagRule))
	mux.HandleFunc("POST /scan/tags/delete", adminwire.Answer(s.DeleteTagRule))
}

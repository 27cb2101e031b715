// Package api is the JSON API of the gallery, as clients call AWS's at
// api.us-east-1.gallery.ecr.aws: a POST to /searchRepositoryCatalogData,
// /getRepositoryCatalogData, /getRegistryCatalogData or /describeImageTags, without
// credentials, from programs and from pages of any origin.
//
// AWS does not document it. The members are those that public clients send and read:
// searchTerm, sortConfiguration, maxResults and nextToken in a search, registryAliasName and
// repositoryName in the others; unknown members are ignored. Failures have AWS's form,
// __type and message.
//
// It does not own the pages; see web/gallery.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Source is what the API answers with; *gallery.Service has it.
type Source interface {
	Search(ctx context.Context, q gallery.Query) (gallery.Result, error)
	Publisher(ctx context.Context, alias string) (gallery.Publisher, error)
	Repository(ctx context.Context, alias string, repo name.Repository) (gallery.Repository, error)
	Tags(ctx context.Context, r gallery.Repository, q gallery.TagQuery) (tags []gallery.Tag, next string, err error)
}

// Config is what the API stands on. Everything is needed.
type Config struct {
	Gallery Source
	// Logo is the address of a logo, in full, as the client of the request reaches it.
	Logo func(r *http.Request, id string) string
	Log  *slog.Logger
}

// The paths of the operations.
const (
	pathSearch     = "/searchRepositoryCatalogData"
	pathRepository = "/getRepositoryCatalogData"
	pathRegistry   = "/getRegistryCatalogData"
	pathTags       = "/describeImageTags"
)

// Serves says whether a path is one of the API's. None of them can be an alias.
func Serves(path string) bool {
	switch path {
	case pathSearch, pathRepository, pathRegistry, pathTags:
		return true
	}
	return false
}

// Bounds of requests. Clients ask for up to a thousand tags at once, and those that do not
// say how many expect all of a repository of ordinary size.
const (
	maxBody       = 16 << 10 // bytes
	maxTerm       = 200      // characters; what is longer finds nothing
	maxTags       = 1_000
	corsLife      = "86400" // seconds
	tokenIsBroken = "The nextToken is not one that an earlier call returned."
)

// server is the handler.
type server struct{ Config }

// New returns the handler of the paths that Serves names.
func New(c Config) http.Handler { return &server{c} }

// ServeHTTP answers a call.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "x-amzn-ErrorType")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "no-store")
	switch r.Method {
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "content-type, accept, x-amz-date, x-amz-target, x-amz-user-agent, x-amz-security-token, authorization")
		h.Set("Access-Control-Max-Age", corsLife)
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodPost:
	default:
		h.Set("Allow", "POST, OPTIONS")
		s.refuse(w, http.StatusMethodNotAllowed, "UnsupportedCommandException", "Call this operation with POST.")
		return
	}
	out, err := s.call(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	write(w, http.StatusOK, out)
}

func (s *server) call(r *http.Request) (any, error) {
	switch r.URL.Path {
	case pathSearch:
		return answer(r, s.search)
	case pathRepository:
		return answer(r, s.repository)
	case pathRegistry:
		return answer(r, s.registry)
	default:
		return answer(r, s.tags)
	}
}

// answer reads a request's body and calls its operation.
func answer[In, Out any](r *http.Request, operation func(*http.Request, In) (Out, error)) (any, error) {
	var in In
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, errs.Wrap(err, errs.Validation, "The request's body could not be read.")
	case len(body) > maxBody:
		return nil, errs.New(errs.Validation, "The request's body has more than %d bytes.", maxBody)
	case len(bytes.TrimSpace(body)) == 0: // nothing asked for in particular
	default:
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, errs.Wrap(err, errs.Validation, "The request's body is not the JSON object that this operation takes.")
		}
	}
	return operation(r, in)
}

// searchInput is what searchRepositoryCatalogData takes.
type searchInput struct {
	SearchTerm        string `json:"searchTerm"`
	SortConfiguration struct {
		SortKey string `json:"sortKey"`
	} `json:"sortConfiguration"`
	MaxResults *int   `json:"maxResults"`
	NextToken  string `json:"nextToken"`
}

// searchResult is one repository of a search.
type searchResult struct {
	PrimaryRegistryAliasName string   `json:"primaryRegistryAliasName"`
	RepositoryName           string   `json:"repositoryName"`
	DisplayName              string   `json:"displayName,omitempty"`
	RegistryVerified         bool     `json:"registryVerified"`
	RepositoryDescription    string   `json:"repositoryDescription,omitempty"`
	LogoURL                  string   `json:"logoUrl,omitempty"`
	OperatingSystems         []string `json:"operatingSystems,omitempty"`
	Architectures            []string `json:"architectures,omitempty"`
	DownloadCount            int64    `json:"downloadCount"`
}

type searchOutput struct {
	Results   []searchResult `json:"repositoryCatalogSearchResultList"`
	Total     int            `json:"totalResults"`
	NextToken string         `json:"nextToken,omitempty"`
}

func (s *server) search(r *http.Request, in searchInput) (searchOutput, error) {
	limit, err := bounded(in.MaxResults, gallery.MaxLimit, maxTags)
	if err != nil {
		return searchOutput{}, err
	}
	limit = min(limit, gallery.MaxLimit)
	if utf8.RuneCountInString(in.SearchTerm) > maxTerm {
		return searchOutput{}, errs.New(errs.InvalidParameter, "The searchTerm has more than %d characters.", maxTerm)
	}
	q := gallery.Query{Text: in.SearchTerm, Limit: limit}
	switch in.SortConfiguration.SortKey {
	case "", "RELEVANCE":
	case "POPULARITY":
		q.Sort = gallery.Popular
	default:
		return searchOutput{}, errs.New(errs.InvalidParameter, "The sortKey is neither RELEVANCE nor POPULARITY.")
	}
	if in.NextToken != "" {
		if q.Offset, err = strconv.Atoi(in.NextToken); err != nil || q.Offset < 0 || q.Offset > gallery.MaxOffset {
			return searchOutput{}, errs.New(errs.InvalidParameter, tokenIsBroken)
		}
	}
	found, err := s.Gallery.Search(r.Context(), q)
	if err != nil {
		return searchOutput{}, err
	}
	out := searchOutput{Results: make([]searchResult, 0, len(found.Repositories)), Total: found.Total}
	for _, f := range found.Repositories {
		out.Results = append(out.Results, searchResult{
			PrimaryRegistryAliasName: string(f.Alias), RepositoryName: string(f.Name), DisplayName: f.DisplayName, RegistryVerified: f.Verified,
			RepositoryDescription: f.Data.Description, LogoURL: s.logo(r, f), OperatingSystems: f.Data.OperatingSystems,
			Architectures: f.Data.Architectures, DownloadCount: f.Downloads,
		})
	}
	if next := q.Offset + len(found.Repositories); len(found.Repositories) > 0 && next < found.Total && next <= gallery.MaxOffset {
		out.NextToken = strconv.Itoa(next)
	}
	return out, nil
}

// logo is the address of a repository's logo, which is shown for verified accounts only.
func (s *server) logo(r *http.Request, f gallery.Repository) string {
	if !f.Verified || f.Data.Logo == "" {
		return ""
	}
	return s.Logo(r, f.Data.Logo)
}

// repositoryInput names a repository.
type repositoryInput struct {
	RegistryAliasName string `json:"registryAliasName"`
	RepositoryName    string `json:"repositoryName"`
}

// catalogData is the API model's RepositoryCatalogData.
type catalogData struct {
	Description          string   `json:"description,omitempty"`
	Architectures        []string `json:"architectures,omitempty"`
	OperatingSystems     []string `json:"operatingSystems,omitempty"`
	LogoURL              string   `json:"logoUrl,omitempty"`
	AboutText            string   `json:"aboutText,omitempty"`
	UsageText            string   `json:"usageText,omitempty"`
	MarketplaceCertified bool     `json:"marketplaceCertified"`
}

type insightData struct {
	DownloadCount int64 `json:"downloadCount"`
}

type repositoryOutput struct {
	CatalogData catalogData `json:"catalogData"`
	InsightData insightData `json:"insightData"`
}

func (s *server) find(r *http.Request, in repositoryInput) (gallery.Repository, error) {
	if in.RegistryAliasName == "" || in.RepositoryName == "" {
		return gallery.Repository{}, errs.New(errs.Validation, "Say which repository, with registryAliasName and repositoryName.")
	}
	repo, err := name.ParseRepository(in.RepositoryName)
	if err != nil {
		return gallery.Repository{}, errs.New(errs.InvalidParameter, "The repositoryName is not the name of a repository.")
	}
	return s.Gallery.Repository(r.Context(), in.RegistryAliasName, repo)
}

func (s *server) repository(r *http.Request, in repositoryInput) (repositoryOutput, error) {
	f, err := s.find(r, in)
	if err != nil {
		return repositoryOutput{}, err
	}
	return repositoryOutput{
		CatalogData: catalogData{
			Description: f.Data.Description, Architectures: f.Data.Architectures, OperatingSystems: f.Data.OperatingSystems,
			LogoURL: s.logo(r, f), AboutText: f.Data.About, UsageText: f.Data.Usage,
		},
		InsightData: insightData{f.Downloads},
	}, nil
}

type registryInput struct {
	RegistryAliasName string `json:"registryAliasName"`
}

type registryOutput struct {
	RegistryCatalogData registryCatalogData `json:"registryCatalogData"`
}

// registryCatalogData is the API model's RegistryCatalogData.
type registryCatalogData struct {
	DisplayName string `json:"displayName,omitempty"`
}

func (s *server) registry(r *http.Request, in registryInput) (registryOutput, error) {
	if in.RegistryAliasName == "" {
		return registryOutput{}, errs.New(errs.Validation, "Say which registry, with registryAliasName.")
	}
	p, err := s.Gallery.Publisher(r.Context(), in.RegistryAliasName)
	if err != nil {
		return registryOutput{}, err
	}
	return registryOutput{registryCatalogData{p.DisplayName}}, nil
}

type tagsInput struct {
	repositoryInput
	MaxResults *int   `json:"maxResults"`
	NextToken  string `json:"nextToken"`
}

// stamp writes times as AWS's gallery does.
type stamp time.Time

// MarshalJSON writes the time.
func (t stamp) MarshalJSON() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format(`"2006-01-02T15:04:05.000Z"`)), nil
}

// imageDetail is the API model's ReferencedImageDetail.
type imageDetail struct {
	ImageDigest            string `json:"imageDigest"`
	ImageSizeInBytes       int64  `json:"imageSizeInBytes"`
	ImagePushedAt          stamp  `json:"imagePushedAt"`
	ImageManifestMediaType string `json:"imageManifestMediaType"`
	ArtifactMediaType      string `json:"artifactMediaType,omitempty"`
}

type imageTagDetail struct {
	ImageTag    string      `json:"imageTag"`
	CreatedAt   stamp       `json:"createdAt"`
	ImageDetail imageDetail `json:"imageDetail"`
}

type tagsOutput struct {
	ImageTagDetails []imageTagDetail `json:"imageTagDetails"`
	NextToken       string           `json:"nextToken,omitempty"`
}

func (s *server) tags(r *http.Request, in tagsInput) (tagsOutput, error) {
	limit, err := bounded(in.MaxResults, maxTags, maxTags)
	if err != nil {
		return tagsOutput{}, err
	}
	f, err := s.find(r, in.repositoryInput)
	if err != nil {
		return tagsOutput{}, err
	}
	out := tagsOutput{ImageTagDetails: []imageTagDetail{}, NextToken: in.NextToken}
	for limit > 0 {
		tags, next, err := s.Gallery.Tags(r.Context(), f, gallery.TagQuery{After: out.NextToken, Limit: min(limit, gallery.MaxLimit)})
		if err != nil {
			return tagsOutput{}, err
		}
		for _, t := range tags {
			created := t.CreatedAt
			if created.IsZero() {
				created = t.PushedAt
			}
			out.ImageTagDetails = append(out.ImageTagDetails, imageTagDetail{
				ImageTag: string(t.Name), CreatedAt: stamp(created),
				ImageDetail: imageDetail{
					ImageDigest: string(t.Digest), ImageSizeInBytes: t.Size, ImagePushedAt: stamp(t.PushedAt),
					ImageManifestMediaType: t.MediaType, ArtifactMediaType: t.ArtifactType,
				},
			})
		}
		limit -= len(tags)
		if out.NextToken = next; next == "" || len(tags) == 0 {
			break
		}
	}
	return out, nil
}

// bounded is maxResults, within its bounds.
func bounded(asked *int, otherwise, most int) (int, error) {
	switch {
	case asked == nil:
		return otherwise, nil
	case *asked < 1 || *asked > most:
		return 0, errs.New(errs.InvalidParameter, "The maxResults is not between 1 and %d.", most)
	}
	return *asked, nil
}

// fail answers with an error.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *errs.Error
	if !errors.As(err, &e) {
		e = errs.Wrap(err, errs.Internal, "internal")
	}
	kind, status, _ := ErrorOf(e.Code)
	if status != http.StatusInternalServerError {
		s.refuse(w, status, kind, e.Message)
		return
	}
	if r.Context().Err() == nil {
		s.Log.ErrorContext(r.Context(), "gallery call failed", "path", r.URL.Path, "error", err)
	}
	s.refuse(w, status, kind, "Something went wrong on our side. Try again in a moment.")
}

func (s *server) refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("x-amzn-ErrorType", kind)
	write(w, status, struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{kind, message})
}

func write(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // only strings, numbers and times are in it
		body, status = []byte(`{"__type":"ServerException","message":"Something went wrong on our side."}`), http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

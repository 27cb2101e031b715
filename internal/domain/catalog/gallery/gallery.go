// Package gallery is what readers see of public registries: search, publishers,
// repositories with an image at least, their tags, what images run on, and how often they
// were pulled.
//
// It owns the tables catalog_entry, which the subscriber of pushes and deletions fills,
// and catalog_platform, which a job fills, and the index of this node, which is
// catalog/search's and is fed here. It decides nothing about who may do what: all that it
// shows is public. What publishers say of themselves is domain/catalog's.
//
// # The index
//
// Each node has one in memory. While Run runs, it reads every refreshEvery what was changed
// since, by catalog_entry.changed_at, going back by overlap each time for what was committed
// late or under another node's clock; and all of it every rebuildEvery, and whenever a part
// of it has changed, so that what vanished without a trace goes. After a push or a deletion
// on this node, the next search reads what changed first. The rows of a page are read from
// the database: what is gone does not show, and leaves the index when it is found missing.
//
// # Downloads
//
// Downloaded counts in memory, Run writes every flushEvery and once more at its end. That
// leaves changed_at alone, or every pull would have every node read its repository anew: the
// node that counted adds to its own index when it writes, and others see it with their next
// rebuild. Pages show the number of the database.
package gallery

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/catalog/search"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Reader opens the layers of a repository; layer.Service is one.
type Reader interface {
	// Open reads length bytes of a layer from offset; -1 reads to its end.
	Open(ctx context.Context, r repository.Repository, d name.Digest, offset, length int64) (io.ReadCloser, layer.Layer, error)
}

// Config is what a Service stands on. Everything is needed.
type Config struct {
	DB           *sqldb.DB // durable
	Clock        clock.Clock
	Log          *slog.Logger
	Jobs         *jobs.Queue
	Repositories *repository.Service
	Images       *image.Service
	// Layers has the configurations of images.
	Layers  Reader
	Catalog *catalog.Service
}

// Service shows public registries. All methods may be called from many goroutines.
type Service struct {
	Config
	index     search.Index
	downloads downloads

	ready atomic.Bool // the index has been loaded once
	// dirty is set by what was committed on this node and is not in the index.
	dirty atomic.Bool
	// behind says that so much was changed that only a rebuild brings it into the index.
	behind atomic.Bool
	// rebuilding is held by who reads everything, and taken before refreshing.
	rebuilding sync.Mutex
	// refreshing is held by who changes the index, and guards what follows.
	refreshing sync.Mutex
	rebuilt    time.Time // when the last rebuild began
	read       changes
	many       int // manyChanged, but for tests
}

// New returns the service, and has the queue do its jobs.
func New(c Config) *Service {
	s := &Service{Config: c, many: manyChanged}
	c.Jobs.Handle(JobPlatforms, jobs.Handler{Timeout: time.Minute, Workers: 2, Run: s.findPlatforms})
	return s
}

// Repository is a public repository with an image at least.
type Repository struct {
	ID      int64
	Account name.AccountID
	// Alias is the primary one of its registry.
	Alias name.Alias
	Name  name.Repository
	// DisplayName is the registry's, "" for none.
	DisplayName string
	Verified    bool
	// Data is what its publisher says of it. Search and Home leave About and Usage empty.
	Data catalog.Data
	// Downloads are the pulls that were counted; those of the last seconds may be missing.
	Downloads int64
	Images    int64
	CreatedAt time.Time
	// PushedAt is when an image last came.
	PushedAt time.Time
}

// Publisher is a public registry with an active alias.
type Publisher struct {
	Account name.AccountID
	// Alias is the primary one, Aliases are all that are active, the default one first.
	Alias       name.Alias
	Aliases     []name.Alias
	DisplayName string // "" for none
	Verified    bool
}

// Sort is an order of repositories.
type Sort string

// The orders.
const (
	// Relevance: how well it matches what is looked for; Popular where nothing is.
	Relevance Sort = ""
	// Popular: the most downloads first, then as Updated.
	Popular Sort = "popular"
	// Updated: the last push first.
	Updated Sort = "updated"
	// Name: in the byte order of names.
	Name Sort = "name"
)

const (
	// MaxLimit is the largest Limit of a query, MaxOffset the largest Offset.
	MaxLimit, MaxOffset = 100, 10_000
	// HomeSize is how many repositories each list of Home has at most.
	HomeSize = 12
)

// Query says which repositories are looked for.
type Query struct {
	// Text is what somebody wrote; search.MaxQuery characters and search.MaxWords words of
	// it are looked at. "" for all.
	Text string
	// Account restricts everything, the counts too, to one publisher; "" for all.
	Account name.AccountID
	// Verified, OperatingSystems and Architectures are filters. A hit has one value at
	// least of each list that is not empty, whatever its case; values that the functions of
	// catalog/search do not list are of no hit.
	Verified                        bool
	OperatingSystems, Architectures []string
	Sort                            Sort
	// Offset hits are passed over, and up to Limit of the following are listed.
	Offset, Limit int
}

// Facet is how many hits a value of a filter would leave.
type Facet struct {
	Value string
	Count int
}

// Result is what was found.
type Result struct {
	// Repositories are those of the page.
	Repositories []Repository
	// Total is how many hits there are on all pages.
	Total int
	// Verified, OperatingSystems and Architectures are how many hits there would be of each
	// value if it were the only one of its filter and the other filters stayed. The lists
	// have all values, in the order of those of catalog/search.
	Verified                        int
	OperatingSystems, Architectures []Facet
}

// Tag is a tag with its image.
type Tag struct {
	Name      name.Tag
	Digest    name.Digest
	MediaType string
	// ArtifactType is the declared one, else the media type of the configuration, else "".
	ArtifactType string
	// Size is in bytes: of the image's blobs, or of the largest child.
	Size int64
	// PushedAt is when the image came, CreatedAt when the tag came to be on it.
	PushedAt, CreatedAt time.Time
	// Platforms are what the image runs on, as linux/amd64 or linux/arm64/v8, in byte
	// order; none for an artifact, and for a moment after a push.
	Platforms []string
}

// TagQuery selects a page of tags.
type TagQuery struct {
	// Text is a part of the tag, whatever its case; "" for all.
	Text string
	// After is where the last page ended, as Tags said; "" begins.
	After string
	// Limit is from 1 to MaxLimit.
	Limit int
}

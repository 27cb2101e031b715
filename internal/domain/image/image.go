package image

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/image/pulltimes"
	"github.com/berth-registry/berth/internal/domain/image/translated"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/repository/kept"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Image is an image with its manifest, in the form in which it is served.
type Image struct {
	// ID is Berth's own number of the image.
	ID int64
	// Digest is the digest of the form that is served.
	Digest name.Digest
	// Stored is the digest under which the image is kept; it differs from
	// Digest when the manifest was translated.
	Stored name.Digest
	// MediaType is the manifest's format.
	MediaType string
	// ArtifactType is the declared artifact type, else the media type of the
	// configuration, else "".
	ArtifactType string
	// Manifest is the manifest's bytes; Stat leaves it nil where they were not
	// needed.
	Manifest []byte
	// ManifestSize is the length of the manifest in bytes.
	ManifestSize int64
	// Tag is the tag that was put or asked for, "" for none.
	Tag name.Tag
	// Subject is the manifest that this one refers to, "" for none.
	Subject  name.Digest
	PushedAt time.Time
}

// Status says whether an image can be pulled.
type Status int

// The states of an image (ECR user guide, "archiving an image").
const (
	// Active images are in the standard storage class.
	Active Status = iota
	// Archived images keep their tags and are listed when they are asked for.
	Archived
	// Activating images are on their way back from the archive.
	Activating
)

// String is ECR's word for the status.
func (s Status) String() string {
	switch s {
	case Active:
		return "ACTIVE"
	case Archived:
		return "ARCHIVED"
	case Activating:
		return "ACTIVATING"
	}
	return "UNKNOWN"
}

// Bin is where deleted images go for a while, where their repository has a
// recovery window; domain/recovery is one.
type Bin interface {
	// KeepTx copies what it needs of an image that is deleted in the same
	// transaction, after it returns. The caller holds the repository's Lock.
	KeepTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, imageID int64) error
}

// Layers is what images need of domain/layer.
type Layers interface {
	// RequireTx finds the layers in the repository and keeps them there until
	// the transaction ends.
	RequireTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ds []name.Digest) (sizes map[name.Digest]int64, missing []name.Digest, err error)
	// ReleaseTx says that images that named the layers are gone.
	ReleaseTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ds []name.Digest) error
	// Open reads a layer.
	Open(ctx context.Context, r repository.Repository, d name.Digest, offset, length int64) (io.ReadCloser, layer.Layer, error)
}

// Config is what a Service stands on.
type Config struct {
	Durable      *sqldb.DB
	Repositories *repository.Service
	Layers       Layers
	Outbox       *event.Outbox
	Clock        clock.Clock
	Log          *slog.Logger
	Quotas       quota.Source
	// Signer signs docker schema 1 manifests; without one there is no
	// translation to schema 1.
	Signer *manifest.Signer
	// Bin keeps what is deleted from repositories with a recovery window; nil: none.
	Bin Bin
	// FlushPulls is how often Run writes pull times; 0 stands for one minute.
	FlushPulls time.Duration
}

// Service stores images. All methods may be called from many goroutines.
type Service struct {
	Config
	pulls        pulltimes.Times
	translations translated.Manifests
	kept         *kept.Cache[pulled]
}

// New returns the service.
func New(c Config) *Service {
	if c.FlushPulls <= 0 {
		c.FlushPulls = time.Minute
	}
	return &Service{Config: c, kept: repository.Keep[pulled](c.Repositories, keptBytes)}
}

// row is an image as its table has it.
type row struct {
	id           int64
	digest       name.Digest
	mediaType    string
	artifactType string
	size         int64
	manifestSize int64
	pushedAt     int64
	tags         int64
	subject      name.Digest
	status       Status
	archivedAt   int64
	activatedAt  int64
}

// rowColumns are what a rowScanner reads, of a table that the query calls i.
const rowColumns = `i.id, i.digest, i.media_type, i.artifact_type, i.size, i.manifest_size, i.pushed_at, i.tags, i.subject, i.status, i.archived_at, i.activated_at`

// rowScanner reads rows, one after the other, into the same variables.
type rowScanner struct {
	row             row
	digest, subject string
	status          int64
	dest            []any
}

// rows returns a scanner of rowColumns and of columns behind them, for which tail is.
func rows(tail ...any) *rowScanner {
	s := &rowScanner{}
	r := &s.row
	s.dest = append([]any{&r.id, &s.digest, &r.mediaType, &r.artifactType, &r.size, &r.manifestSize, &r.pushedAt, &r.tags, &s.subject, &s.status, &r.archivedAt, &r.activatedAt}, tail...)
	return s
}

func (s *rowScanner) scan(from sqldb.Scanner) (row, error) {
	err := from.Scan(s.dest...)
	s.row.digest, s.row.subject, s.row.status = name.Digest(s.digest), name.Digest(s.subject), Status(s.status)
	return s.row, err
}

func scanRow(from sqldb.Scanner) (row, error) { return rows().scan(from) }

// image is the row as an Image in its stored form, without its bytes.
func (r row) image(tag name.Tag) Image {
	return Image{
		ID: r.id, Digest: r.digest, Stored: r.digest, MediaType: r.mediaType, ArtifactType: r.artifactType,
		ManifestSize: r.manifestSize, Tag: tag, Subject: r.subject, PushedAt: time.UnixMicro(r.pushedAt),
	}
}

// SealContext binds a sealed manifest to the image that it is of.
func SealContext(d name.Digest) string { return "manifest/" + string(d) }

// update runs fn in a transaction, and again when an id of Berth's own met one
// of another node, which is rare and harmless. errs.StorageFull when the
// database has no room.
func (s *Service) update(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	const tries = 3
	var err error
	for range tries {
		if err = s.Durable.Update(ctx, fn); !sqldb.IsUnique(err) {
			break
		}
	}
	if errors.Is(err, sqldb.ErrFull) {
		return repository.StorageFull(err)
	}
	return err
}

// record puts the event of one tag, or of an untagged image, into the outbox.
func (s *Service) record(ctx context.Context, tx *sqldb.Tx, r repository.Repository, kind event.Kind, i row, tag name.Tag) error {
	return s.Outbox.Record(ctx, tx, event.Event{
		Registry: r.Registry, Kind: kind, OccurredAt: s.Clock.Now(),
		Detail: event.ImageDetail{Repository: r.Name, Digest: i.digest, Tag: tag, MediaType: i.mediaType, ArtifactType: i.artifactType},
	})
}

// recordPush puts the event of a push into the outbox.
func (s *Service) recordPush(ctx context.Context, tx *sqldb.Tx, r repository.Repository, i row, p push) error {
	return s.Outbox.Record(ctx, tx, event.Event{
		Registry: r.Registry, Kind: event.ImagePushed, OccurredAt: s.Clock.Now(),
		Detail: event.ImageDetail{Repository: r.Name, Digest: i.digest, Tag: p.tag, MediaType: i.mediaType, ArtifactType: i.artifactType, Origin: p.origin},
	})
}

// Exists is the failure of the ECR API for a push that changed nothing; Put
// itself reports it by created=false, for a docker client has to see success.
func Exists(r repository.Repository, d name.Digest, tag name.Tag) error {
	return errs.New(errs.ImageExists, "Image with digest '%s' and tag '%s' already exists in the repository with name '%s' in registry with id '%s'",
		d, orNull(tag), r.Name, r.Registry.Account)
}

// orNull is how ECR's messages write an absent digest or tag.
func orNull[T ~string](s T) T {
	if s == "" {
		return "null"
	}
	return s
}

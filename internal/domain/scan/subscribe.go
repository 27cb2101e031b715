package scan

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The media types of configurations that images of containers have.
const (
	dockerConfig = "application/vnd.docker.container.image.v1+json"
	ociConfig    = "application/vnd.oci.image.config.v1+json"
)

// scannable says whether an image of the formats can be scanned: one of a container,
// no index and no artifact.
func scannable(mediaType, artifactType string) bool {
	kind, ok := manifest.KindOf(mediaType)
	return ok && kind == manifest.KindImage && (artifactType == dockerConfig || artifactType == ociConfig)
}

// Subscribe has images scanned that were pushed or came back from the archive, and
// forgets the scans of those that were archived. It is an event.Subscriber.
func (s *Service) Subscribe(ctx context.Context, tx *sqldb.Tx, e event.Event) error {
	switch e.Kind {
	case event.ImagePushed:
		return s.pushed(ctx, tx, e.Registry, e.Detail.(event.ImageDetail), false)
	case event.StorageClassChanged:
		d := e.Detail.(event.StorageClassDetail)
		if d.Target == event.StandardClass {
			return s.pushed(ctx, tx, e.Registry, d.ImageDetail, true)
		}
		_, err := tx.Exec(ctx, `DELETE FROM scan_image WHERE image_id IN (SELECT i.id FROM image i JOIN repository r ON r.id = i.repository_id
			WHERE r.account_id = $1 AND r.region = $2 AND r.name = $3 AND i.digest = $4)`,
			string(e.Registry.Account), string(e.Registry.Region), string(d.Repository), string(d.Digest))
		return err
	case event.ImageDeleted, event.PolicyExecuted, event.PolicyPreviewed, event.ImageReplicated, event.ImagePulledThrough,
		event.ImageScanned, event.ImageScanInitial, event.FindingChanged, event.ScanFrequencyChanged, event.ImagePulled:
	default:
	}
	return nil
}

// pushed begins a scan where the repository has its images scanned on push. The tags
// of an image that comes back from the archive are those that it has.
func (s *Service) pushed(ctx context.Context, tx *sqldb.Tx, reg name.Registry, d event.ImageDetail, back bool) error {
	if !back && !scannable(d.MediaType, d.ArtifactType) {
		return nil
	}
	var image int64
	var onPush bool
	var mediaType, artifactType, configured string
	var kind rules.ScanType
	err := tx.QueryRow(ctx, `SELECT i.id, r.scan_on_push, i.media_type, i.artifact_type, COALESCE(c.scan_type, ''), COALESCE(c.rules, '')
		FROM repository r JOIN image i ON i.repository_id = r.id LEFT JOIN scan_config c ON c.account_id = r.account_id AND c.region = r.region
		WHERE r.account_id = $1 AND r.region = $2 AND r.name = $3 AND i.digest = $4`,
		string(reg.Account), string(reg.Region), string(d.Repository), string(d.Digest)).Scan(&image, &onPush, &mediaType, &artifactType, &kind, &configured)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := rules.Read(reg, kind, configured)
	if err != nil {
		return err
	}
	if !c.For(d.Repository, onPush).OnPush || !scannable(mediaType, artifactType) {
		return nil
	}
	if s.TagsTx != nil {
		tags := []name.Tag{d.Tag}
		if back {
			if tags, err = tagsOf(ctx, tx, image); err != nil {
				return err
			}
		}
		if yes, err := s.TagsTx(ctx, tx, reg, d.Repository, tags); err != nil || !yes {
			return err
		}
	}
	return s.begin(ctx, tx, image, c.Type)
}

// begin asks for a scan that nobody waits for: one that has been asked for lately
// stands for it.
func (s *Service) begin(ctx context.Context, tx *sqldb.Tx, image int64, kind rules.ScanType) error {
	now := s.Clock.Now()
	r, ok, err := find(ctx, tx, image, kind)
	if err != nil {
		return err
	}
	if ok && now.Sub(r.requested) < Again && now.After(r.requested.Add(-time.Minute)) {
		return nil
	}
	r.image, r.kind, r.waiting, r.requested = image, kind, false, now
	r.status, r.description = startOf(kind)
	if err := r.put(ctx, tx); err != nil {
		return err
	}
	return s.enqueue(ctx, tx, order{Image: image, Type: kind})
}

// startOf is how a scan stands that has been asked for.
func startOf(kind rules.ScanType) (Status, string) {
	if kind == rules.Enhanced {
		return Pending, "Pending start of the image scan."
	}
	return InProgress, ""
}

// tagsOf lists the tags of an image, in byte order.
func tagsOf(ctx context.Context, tx *sqldb.Tx, image int64) ([]name.Tag, error) {
	return sqldb.Collect(ctx, tx, sqldb.One[name.Tag], `SELECT tag FROM image_tag WHERE image_id = $1 ORDER BY tag`, image)
}

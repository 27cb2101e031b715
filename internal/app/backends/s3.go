package backends

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3"
)

// openS3 opens a region's part of a bucket.
func (b *Backends) openS3(ctx context.Context, cfg config.Config, o Options, url, part string, r name.Region) (*s3.Store, error) {
	bucket, prefix, err := config.Bucket(url, r, cfg.Region)
	if err != nil {
		return nil, err
	}
	set := cfg.Blobs.S3
	region := set.Region
	if region == "" && os.Getenv("AWS_REGION") == "" && os.Getenv("AWS_DEFAULT_REGION") == "" {
		region = string(cfg.Region)
	}
	store, err := s3.New(ctx, s3.Config{
		Bucket: bucket, Prefix: prefix + part, Endpoint: set.Endpoint, Region: region, PathStyle: set.PathStyle,
		SSE: set.Encryption, KMSKeyID: set.KMSKey, Checksums: set.Checksums, PublicEndpoint: set.PublicEndpoint, Timeout: time.Duration(set.Timeout), Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	if err := store.Check(ctx); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	b.closers = append(b.closers, store.Close)
	return store, nil
}

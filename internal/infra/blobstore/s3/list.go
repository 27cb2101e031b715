package s3

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// List implements blobstore.Store. It holds the unfinished objects in memory and
// one page of the finished ones. An object with its tail still beside it is
// listed once. What it yields for an unfinished object is the size of its tails,
// without the parts of a multipart upload, which S3 tells only one upload at a
// time, and the time when something of it was last begun or suspended. An object
// of which a Writer has stored nothing yet is not listed.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blobstore.Info, error] {
	return func(yield func(blobstore.Info, error) bool) {
		fail := func(err error) {
			yield(blobstore.Info{}, fmt.Errorf("blobstore: list %q: %w", prefix, err))
		}
		if err := ctx.Err(); err != nil {
			yield(blobstore.Info{}, err)
			return
		}
		if strings.HasPrefix(prefix, reserved) {
			return // no key begins so
		}
		unfinished, err := s.unfinishedUnder(ctx, prefix)
		if err != nil {
			fail(err)
			return
		}
		for page, err := range s.objects(ctx, s.object(prefix)) {
			if err != nil {
				fail(err)
				return
			}
			for _, o := range page {
				key := strings.TrimPrefix(aws.ToString(o.Key), s.cfg.Prefix)
				if blobstore.CheckKey(key) != nil {
					continue // a tail, or nothing of ours
				}
				delete(unfinished, key)
				if !yield(blobstore.Info{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
		for _, info := range unfinished {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// unfinishedUnder are the keys with a tail or a multipart upload.
func (s *Store) unfinishedUnder(ctx context.Context, prefix string) (map[string]blobstore.Info, error) {
	found := map[string]blobstore.Info{}
	add := func(key string, size int64, at time.Time) {
		info := found[key]
		info.Key = key
		info.Size += size
		if at.After(info.Modified) {
			info.Modified = at
		}
		found[key] = info
	}
	for page, err := range s.objects(ctx, s.cfg.Prefix+tailsRoot+prefix) {
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			// The prefix may end behind the key, in the slot.
			if key, ok := s.ownerOf(aws.ToString(o.Key)); ok && strings.HasPrefix(key, prefix) && blobstore.CheckKey(key) == nil {
				add(key, aws.ToInt64(o.Size), aws.ToTime(o.LastModified))
			}
		}
	}
	for page, err := range s.uploads(ctx, s.object(prefix)) {
		if err != nil {
			return nil, err
		}
		for _, upload := range page {
			key := strings.TrimPrefix(aws.ToString(upload.Key), s.cfg.Prefix)
			if blobstore.CheckKey(key) == nil {
				add(key, 0, aws.ToTime(upload.Initiated))
			}
		}
	}
	return found, nil
}

// objects are the pages of a listing of the bucket.
func (s *Store) objects(ctx context.Context, prefix string) iter.Seq2[[]types.Object, error] {
	return func(yield func([]types.Object, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: &prefix}
		for {
			out, err := s.client.ListObjectsV2(ctx, in)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(out.Contents, nil) || !aws.ToBool(out.IsTruncated) || out.NextContinuationToken == nil {
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}

// uploads are the pages of a listing of the bucket's multipart uploads.
func (s *Store) uploads(ctx context.Context, prefix string) iter.Seq2[[]types.MultipartUpload, error] {
	return func(yield func([]types.MultipartUpload, error) bool) {
		in := &s3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket, Prefix: &prefix}
		for {
			out, err := s.client.ListMultipartUploads(ctx, in)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(out.Uploads, nil) || !aws.ToBool(out.IsTruncated) || out.NextKeyMarker == nil {
				return
			}
			in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
		}
	}
}

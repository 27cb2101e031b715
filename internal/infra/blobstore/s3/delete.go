package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/upload"
)

const (
	// maxDelete is the number of objects that S3 deletes in one call.
	maxDelete = 1000
	// batchKeys are deleted together, each with its upload.Slots for tails.
	batchKeys = maxDelete / (1 + upload.Slots)
	// sideBySide requests are sent at once where there is no call for many.
	sideBySide = 8
	// maxUploadPages bounds the looking for unfinished uploads of a batch, in
	// pages of 1,000; beyond it each key is asked for.
	maxUploadPages = 4
)

// Delete implements blobstore.Store: multipart uploads of the key are aborted, its
// object and its tails deleted.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blobstore.CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.abortUploads(ctx, key); err != nil {
		return storeError("delete", key, err)
	}
	failed, err := s.deleteStored(ctx, s.allOf(key))
	for _, reason := range failed {
		err = errors.Join(err, reason)
	}
	if err != nil {
		return storeError("delete", key, err)
	}
	return nil
}

// allOf are the names in the bucket that belong to a key.
func (s *Store) allOf(key string) []string {
	return []string{s.object(key), s.tail(key, 0), s.tail(key, 1)}
}

// DeleteAll implements blobstore.BatchDeleter. Some 330 keys go in one request,
// and one more finds their unfinished multipart uploads by the prefix that the
// keys share. A service that lists multipart uploads by whole names only (MinIO)
// does not show them so; there Delete is for unfinished objects, and DeleteAll
// leaves their parts to the service's own clearing up.
func (s *Store) DeleteAll(ctx context.Context, keys []string) (map[string]error, error) {
	failed := map[string]error{}
	var valid []string
	for _, key := range keys {
		if err := blobstore.CheckKey(key); err != nil {
			failed[key] = err
			continue
		}
		valid = append(valid, key)
	}
	for batch := range slices.Chunk(valid, batchKeys) {
		if err := s.deleteBatch(ctx, batch, failed); err != nil {
			return failed, err
		}
	}
	return failed, nil
}

func (s *Store) deleteBatch(ctx context.Context, keys []string, failed map[string]error) error {
	if err := s.abortAll(ctx, keys, failed); err != nil {
		return fmt.Errorf("blobstore: delete %d objects: their multipart uploads: %w", len(keys), err)
	}
	owners := make(map[string]string, len(keys)*(1+upload.Slots))
	var stored []string
	for _, key := range keys {
		if failed[key] != nil {
			continue
		}
		for _, name := range s.allOf(key) {
			owners[name] = key
			stored = append(stored, name)
		}
	}
	reasons, err := s.deleteStored(ctx, stored)
	for name, reason := range reasons {
		key := owners[name]
		failed[key] = errors.Join(failed[key], storeError("delete", key, reason))
	}
	if err != nil {
		return fmt.Errorf("blobstore: delete %d objects: %w", len(keys), err)
	}
	return nil
}

// deleteStored deletes up to maxDelete objects by their names in the bucket.
func (s *Store) deleteStored(ctx context.Context, stored []string) (failed map[string]error, err error) {
	if len(stored) == 0 {
		return nil, nil
	}
	in := &s3.DeleteObjectsInput{Bucket: &s.cfg.Bucket, Delete: &types.Delete{Quiet: aws.Bool(true)}}
	for _, name := range stored {
		in.Delete.Objects = append(in.Delete.Objects, types.ObjectIdentifier{Key: aws.String(name)})
	}
	out, err := s.client.DeleteObjects(ctx, in, func(o *s3.Options) {
		// Services of some age know no other checksum.
		o.APIOptions = append(slices.Clone(o.APIOptions), smithyhttp.AddContentChecksumMiddleware)
	})
	if code := codeOf(err); code == "NotImplemented" || code == "MethodNotAllowed" || statusOf(err) == http.StatusNotImplemented {
		return s.deleteSingly(ctx, stored)
	}
	if err != nil {
		return nil, err
	}
	failed = map[string]error{}
	for _, e := range out.Errors {
		if aws.ToString(e.Code) != "NoSuchKey" {
			failed[aws.ToString(e.Key)] = fmt.Errorf("%s: %s", aws.ToString(e.Code), aws.ToString(e.Message))
		}
	}
	return failed, nil
}

// deleteSingly does the same for services without a call for many.
func (s *Store) deleteSingly(ctx context.Context, stored []string) (map[string]error, error) {
	errs := make([]error, len(stored))
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for i, name := range stored {
		group.Go(func() error {
			_, errs[i] = s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(name)})
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	failed := map[string]error{}
	for i, err := range errs {
		if err != nil && !isMissing(err) {
			failed[stored[i]] = err
		}
	}
	return failed, ctx.Err()
}

// abortUploads aborts all multipart uploads of one key.
func (s *Store) abortUploads(ctx context.Context, key string) error {
	name := s.object(key)
	for page, err := range s.uploads(ctx, name) {
		if err != nil {
			return err
		}
		for _, upload := range page {
			if aws.ToString(upload.Key) != name {
				continue
			}
			if err := s.abort(ctx, name, aws.ToString(upload.UploadId)); err != nil {
				return err
			}
		}
	}
	return nil
}

// abortAll does so for many keys.
func (s *Store) abortAll(ctx context.Context, keys []string, failed map[string]error) error {
	if len(keys) == 0 {
		return nil
	}
	wanted := make(map[string]string, len(keys))
	for _, key := range keys {
		wanted[s.object(key)] = key
	}
	pages := 0
	for page, err := range s.uploads(ctx, s.object(sharedPrefix(keys))) {
		if err != nil {
			return err
		}
		if pages++; pages > maxUploadPages {
			return s.abortEach(ctx, keys, failed)
		}
		for _, upload := range page {
			key, ok := wanted[aws.ToString(upload.Key)]
			if !ok {
				continue
			}
			if err := s.abort(ctx, s.object(key), aws.ToString(upload.UploadId)); err != nil {
				failed[key] = storeError("delete", key, err)
			}
		}
	}
	return nil
}

// abortEach asks for the uploads of each key.
func (s *Store) abortEach(ctx context.Context, keys []string, failed map[string]error) error {
	errs := make([]error, len(keys))
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for i, key := range keys {
		group.Go(func() error {
			errs[i] = s.abortUploads(ctx, key)
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	for i, err := range errs {
		if err != nil {
			failed[keys[i]] = storeError("delete", keys[i], err)
		}
	}
	return ctx.Err()
}

// sharedPrefix is what all keys begin with.
func sharedPrefix(keys []string) string {
	low, high := slices.Min(keys), slices.Max(keys)
	n := 0
	for n < min(len(low), len(high)) && low[n] == high[n] {
		n++
	}
	return low[:n]
}

// abort ends one multipart upload. One that is not there is no error.
func (s *Store) abort(ctx context.Context, stored, upload string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: &stored, UploadId: &upload})
	if err != nil && !isGone(err) && !isMissing(err) && !strings.EqualFold(codeOf(err), "NoSuchUpload") {
		return err
	}
	return nil
}

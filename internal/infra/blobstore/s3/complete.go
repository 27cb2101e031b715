package s3

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/upload"
)

// listParts asks S3 for the parts of the upload and holds them against what was
// uploaded: their number, their sizes, and the hash over their ETags. lastSize is
// the size of the last part when it may be short, 0 when all parts are full.
// What stands behind the last part was cut off.
func (w *writer) listParts(ctx context.Context, lastSize int64) ([]types.CompletedPart, error) {
	s := w.store
	parts := make([]types.CompletedPart, 0, w.state.Parts)
	var found upload.Chain
	in := &s3.ListPartsInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.object(w.key)), UploadId: &w.state.ID}
	for len(parts) < w.state.Parts {
		out, err := s.client.ListParts(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, p := range out.Parts {
			if len(parts) == w.state.Parts {
				break
			}
			number := len(parts) + 1
			want := upload.PartSize(number)
			if number == w.state.Parts && lastSize > 0 {
				want = lastSize
			}
			if int(aws.ToInt32(p.PartNumber)) != number || aws.ToInt64(p.Size) != want {
				return nil, fmt.Errorf("%w: its multipart upload has part %d with %d bytes where part %d with %d should be",
					blobstore.ErrCorrupt, aws.ToInt32(p.PartNumber), aws.ToInt64(p.Size), number, want)
			}
			found.Add(plainETag(p.ETag))
			parts = append(parts, types.CompletedPart{
				PartNumber: p.PartNumber, ETag: p.ETag,
				ChecksumCRC32: p.ChecksumCRC32, ChecksumCRC32C: p.ChecksumCRC32C, ChecksumCRC64NVME: p.ChecksumCRC64NVME,
				ChecksumSHA1: p.ChecksumSHA1, ChecksumSHA256: p.ChecksumSHA256,
			})
		}
		if !aws.ToBool(out.IsTruncated) || out.NextPartNumberMarker == nil {
			break
		}
		in.PartNumberMarker = out.NextPartNumberMarker
	}
	if len(parts) < w.state.Parts {
		return nil, fmt.Errorf("%w: its multipart upload has %d parts of %d", blobstore.ErrCorrupt, len(parts), w.state.Parts)
	}
	if found != w.state.ETags {
		return nil, fmt.Errorf("%w: a part of its multipart upload was overwritten by another writer", blobstore.ErrCorrupt)
	}
	return parts, nil
}

func (w *writer) completeUpload(ctx context.Context, parts []types.CompletedPart) error {
	s := w.store
	_, err := s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.cfg.Bucket, Key: aws.String(s.object(w.key)), UploadId: &w.state.ID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return err
}

// confirm decides whether a write took place whose call ended with callErr: the
// object has to be there with the mark, the size and, unless parts is 0, the
// number of parts. A call that succeeded is looked after as well.
func (s *Store) confirm(ctx context.Context, key string, size int64, m upload.Mark, parts int, callErr error) error {
	if callErr != nil && (ctx.Err() != nil || !ambiguous(callErr)) {
		return callErr
	}
	out, err := s.head(ctx, s.object(key))
	switch {
	case callErr != nil && isMissing(err):
		return callErr
	case callErr != nil && err != nil:
		return errors.Join(callErr, err)
	case isMissing(err):
		return fmt.Errorf("the object is not there after it was written; is the bucket's service strongly consistent? %w", errors.New(err.Error()))
	case err != nil:
		return fmt.Errorf("the object that was written cannot be looked at: %w", err)
	}
	found := aws.ToInt64(out.ContentLength)
	if m.Is(out.Metadata) && found == size && hasParts(out.ETag, parts) {
		return nil
	}
	if callErr != nil {
		return callErr // what stands there is not of this write
	}
	return fmt.Errorf("%w: %d bytes were written, and another object with %d bytes stands in their place", blobstore.ErrCorrupt, size, found)
}

// ambiguous says whether a call that failed may have taken place: when no answer
// came or half of one, when the service failed inside, and when the upload is gone, which may be
// the answer to the second attempt of a completion that worked.
func ambiguous(err error) bool {
	status := statusOf(err)
	return status < 300 || status >= 500 || isGone(err)
}

// hasParts says whether an ETag can be that of an object of so many parts. S3
// shows the number behind a dash; services that do not are believed.
func hasParts(etag *string, parts int) bool {
	_, number, ok := strings.Cut(plainETag(etag), "-")
	if !ok || parts == 0 {
		return true
	}
	n, err := strconv.Atoi(number)
	return err != nil || n == parts
}

func (s *Store) head(ctx context.Context, stored string) (*s3.HeadObjectOutput, error) {
	return s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: &stored})
}

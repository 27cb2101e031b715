package s3

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// maxLife is the longest that S3 lets a signed URL live.
const maxLife = 7 * 24 * time.Hour

// Redirect implements blobstore.Redirector: a signed GET at the public endpoint.
// It sends nothing and so does not know whether the object is there. A URL signed
// with temporary credentials ends with them, whatever life says.
func (s *Store) Redirect(ctx context.Context, o blobstore.Object, life time.Duration, contentType string) (string, bool, error) {
	if s.presigner == nil || len(o.Seal) > 0 {
		return "", false, nil
	}
	if err := blobstore.CheckKey(o.Key); err != nil {
		return "", false, err
	}
	if life < time.Second || life > maxLife {
		return "", false, fmt.Errorf("blobstore: redirect %q: a signed URL lives between a second and %s, not %s", o.Key, maxLife, life)
	}
	in := &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.object(o.Key))}
	if contentType != "" {
		in.ResponseContentType = &contentType
	}
	signed, err := s.presigner.PresignGetObject(ctx, in, s3.WithPresignExpires(life))
	if err != nil {
		return "", false, storeError("redirect", o.Key, err)
	}
	return signed.URL, true, nil
}

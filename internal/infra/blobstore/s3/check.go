package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/upload"
)

// Check finds out, at start-up, whether the bucket can be used: it lists objects
// and multipart uploads, writes a small object below the prefix, reads and
// deletes it, and begins and aborts a multipart upload. The error says what is
// wrong and what to do.
func (s *Store) Check(ctx context.Context) error {
	suffix := make([]byte, 8)
	_, _ = rand.Read(suffix) // cannot fail
	probe := s.cfg.Prefix + probeRoot + hex.EncodeToString(suffix)
	const text = "Berth looks whether it can write here."
	for _, step := range []struct {
		what, permission string
		do               func() error
	}{
		{"list the bucket", "s3:ListBucket on the bucket", func() error {
			_, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: &s.cfg.Prefix, MaxKeys: aws.Int32(1)})
			return err
		}},
		{"list the bucket's multipart uploads", "s3:ListBucketMultipartUploads on the bucket", func() error {
			_, err := s.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket, Prefix: &s.cfg.Prefix, MaxUploads: aws.Int32(1)})
			return err
		}},
		{"write an object", "s3:PutObject on the objects" + s.kmsPermissions(), func() error {
			w := s.newWriter(ctx, "", upload.State{})
			defer w.release()
			w.buffer.Append([]byte(text))
			return w.put(ctx, probe, upload.NewMark())
		}},
		{"read an object", "s3:GetObject on the objects" + s.kmsPermissions(), func() error {
			r, err := s.open(ctx, probe, int64(len(text)), 1, int64(len(text))-1)
			if err != nil {
				return err
			}
			got, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				return err
			}
			if string(got) != text[1:] {
				return fmt.Errorf("%w: other bytes come back than were written", blobstore.ErrCorrupt)
			}
			return nil
		}},
		{"delete objects", "s3:DeleteObject on the objects", func() error {
			failed, err := s.deleteStored(ctx, []string{probe})
			return errors.Join(err, failed[probe])
		}},
		{"begin and abort a multipart upload", "s3:PutObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts on the objects", func() error {
			out, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: &probe})
			if err != nil {
				return err
			}
			_, err = s.client.ListParts(ctx, &s3.ListPartsInput{Bucket: &s.cfg.Bucket, Key: &probe, UploadId: out.UploadId})
			return errors.Join(err, s.abort(ctx, probe, aws.ToString(out.UploadId)))
		}},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("blob store s3: cannot %s: %s: %w", step.what, s.advice(err, step.permission), err)
		}
	}
	return nil
}

func (s *Store) kmsPermissions() string {
	if s.cfg.SSE == SSEKMS {
		return ", and kms:GenerateDataKey and kms:Decrypt on the KMS key"
	}
	return ""
}

// advice says what to do about a failure of the start-up check.
func (s *Store) advice(err error, permission string) string {
	where := s.cfg.Endpoint
	if where == "" {
		where = "AWS"
	}
	var unknownHost *net.DNSError
	var network *net.OpError
	var late *timeoutError
	status := statusOf(err)
	switch code := codeOf(err); {
	case code == "NoSuchBucket", code == "NotFound":
		return fmt.Sprintf("there is no bucket %q at %s; create it, or correct its name or the endpoint", s.cfg.Bucket, where)
	case code == "InvalidAccessKeyId", code == "XAdminUserNotFound", code == "SignatureDoesNotMatch", code == "ExpiredToken", code == "InvalidToken":
		return fmt.Sprintf("%s does not accept the credentials; correct the access key id and the secret access key", where)
	case code == "PermanentRedirect", code == "AuthorizationHeaderMalformed", code == "IllegalLocationConstraintException", status == http.StatusMovedPermanently:
		return fmt.Sprintf("the bucket %q is in another region than %q%s; correct the region", s.cfg.Bucket, s.cfg.Region, regionIn(err))
	case code == "RequestTimeTooSkewed":
		return "this machine's clock is wrong; correct it"
	case strings.HasPrefix(code, "KMS."):
		return fmt.Sprintf("the KMS key %q cannot be used; it has to be enabled, in the bucket's region, and allowed to these credentials", s.cfg.KMSKeyID)
	case code == "AccessDenied", code == "AllAccessDisabled", status == http.StatusForbidden:
		return "the credentials do not allow it; allow " + permission
	case code == "NotImplemented":
		return where + " does not offer it, and Berth needs it; use another service"
	case strings.Contains(err.Error(), "get identity:"), strings.Contains(err.Error(), "failed to refresh cached credentials"):
		return "no credentials were found; set an access key id and a secret access key, or give the process a role"
	case errors.As(err, &unknownHost):
		return fmt.Sprintf("the host %q is not known; correct the endpoint, or set path style if the service does not serve buckets as host names", unknownHost.Name)
	case errors.As(err, &network), errors.As(err, &late), strings.Contains(err.Error(), "tls:"), strings.Contains(err.Error(), "x509:"):
		return fmt.Sprintf("%s cannot be reached; correct the endpoint, or the network, proxy or certificate on the way", where)
	}
	return "the service answers with an error"
}

// regionIn is the region that S3 names in its refusal.
func regionIn(err error) string {
	_, rest, ok := strings.Cut(err.Error(), "expecting '")
	if !ok {
		return ""
	}
	region, _, _ := strings.Cut(rest, "'")
	return fmt.Sprintf(" (in %q)", region)
}

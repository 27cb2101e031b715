// Package s3 keeps the files of the audit trail in a bucket of Amazon S3 or of a
// service that speaks its protocol, with their metadata as CloudTrail has them, and in
// a sidecar beside them.
//
// It does not make the bucket, and asks for no more rights than PutObject, GetObject and
// ListBucket.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/berth-registry/berth/internal/infra/trailstore"
)

const (
	// DefaultTimeout is long enough for the largest object over a slow line, and a few tries.
	DefaultTimeout = 2 * time.Minute
	// defaultRegion is signed for services that have no regions.
	defaultRegion = "us-east-1"
	// maxObject bounds what Get reads, in bytes: a log file before compression, the
	// largest object, has 64 MiB at most.
	maxObject = 64 << 20
	// maxPrefix and the longest key of a trailstore make up the 1,024 bytes of S3.
	maxPrefix = 100
)

// The values of Config.SSE.
const (
	SSENone = ""    // the bucket's own setting holds
	SSES3   = "s3"  // keys that S3 holds (AES256)
	SSEKMS  = "kms" // a key of AWS KMS, named by Config.KMSKeyID
)

// Config says where a Store keeps its objects. All but Bucket may be empty; Region is
// needed on AWS.
type Config struct {
	Bucket string
	// Prefix stands before all keys in the bucket and is not seen in them: "", or a path; a
	// slash at its end is added.
	Prefix string
	// Endpoint is the URL of the service, "" for AWS.
	Endpoint string
	// Region is the bucket's; "" takes what the environment or the shared configuration of
	// AWS tools says, with an Endpoint "us-east-1".
	Region string
	// PathStyle puts the bucket into the path instead of the host name. Most services but
	// AWS need it.
	PathStyle bool
	// AccessKeyID, SecretAccessKey and SessionToken are fixed credentials; the first two ""
	// for the default chain of AWS tools.
	AccessKeyID, SecretAccessKey, SessionToken string
	// SSE is one of the SSE constants, KMSKeyID the key for SSEKMS ("" is the account's
	// default key for S3).
	SSE, KMSKeyID string
	// Timeout bounds one request with all its tries; 0 is DefaultTimeout.
	Timeout time.Duration
}

// Store is a trailstore.Store in a bucket.
type Store struct {
	cfg    Config
	client *s3.Client
}

var _ trailstore.Store = (*Store)(nil)

// Open returns the store that c describes. It sends nothing to it.
func Open(ctx context.Context, c Config) (*Store, error) {
	switch {
	case c.Bucket == "":
		return nil, errors.New("no bucket is named")
	case (c.AccessKeyID == "") != (c.SecretAccessKey == ""):
		return nil, errors.New("an access key id and a secret access key go together; set both or neither")
	case c.SSE != SSENone && c.SSE != SSES3 && c.SSE != SSEKMS, c.SSE != SSEKMS && c.KMSKeyID != "":
		return nil, fmt.Errorf("server-side encryption is %q, %q or empty, and only with %q there is a KMS key", SSES3, SSEKMS, SSEKMS)
	}
	if c.Prefix = strings.Trim(c.Prefix, "/"); c.Prefix != "" {
		if err := trailstore.CheckKey(c.Prefix); err != nil || len(c.Prefix) > maxPrefix {
			return nil, fmt.Errorf("the prefix %q is not allowed: it has at most %d bytes, in segments of [a-zA-Z0-9._-] between slashes", c.Prefix, maxPrefix)
		}
		c.Prefix += "/"
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	var options []func(*config.LoadOptions) error
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	if c.AccessKeyID != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)))
	}
	base, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("the shared configuration of AWS tools cannot be used; correct it, or set region and credentials here: %w", err)
	}
	if base.Region == "" && c.Endpoint != "" {
		base.Region = defaultRegion
	}
	if base.Region == "" {
		return nil, errors.New("no region is named; set the bucket's")
	}
	base.BaseEndpoint = nil // it may come from the environment
	return &Store{cfg: c, client: s3.NewFromConfig(base, func(o *s3.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
		o.UsePathStyle = c.PathStyle
		// Not every service knows the checksums that the SDK adds by itself.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})}, nil
}

// Put is a trailstore.Store's.
func (s *Store) Put(ctx context.Context, key string, body []byte, metadata map[string]string) error {
	if err := trailstore.CheckKey(key); err != nil {
		return err
	}
	if len(metadata) > 0 {
		sidecar, err := trailstore.Sidecar(metadata)
		if err != nil {
			return err
		}
		if err := s.put(ctx, key+trailstore.SidecarSuffix, "application/json", sidecar, nil); err != nil {
			return err
		}
	}
	return s.put(ctx, key, "application/json", body, metadata)
}

func (s *Store) put(ctx context.Context, key, mediaType string, body []byte, metadata map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	key = s.cfg.Prefix + key
	in := &s3.PutObjectInput{Bucket: &s.cfg.Bucket, Key: &key, Body: bytes.NewReader(body), ContentType: &mediaType, Metadata: metadata}
	if strings.HasSuffix(key, ".gz") {
		in.ContentEncoding = aws.String("gzip") // as CloudTrail does
	}
	switch s.cfg.SSE {
	case SSES3:
		in.ServerSideEncryption = types.ServerSideEncryptionAes256
	case SSEKMS:
		in.ServerSideEncryption = types.ServerSideEncryptionAwsKms
		if s.cfg.KMSKeyID != "" {
			in.SSEKMSKeyId = &s.cfg.KMSKeyID
		}
	}
	_, err := s.client.PutObject(ctx, in)
	return err
}

// Get is a trailstore.Store's.
func (s *Store) Get(ctx context.Context, key string) (trailstore.Object, error) {
	if err := trailstore.CheckKey(key); err != nil {
		return trailstore.Object{}, err
	}
	o, err := s.get(ctx, key)
	if err != nil || len(o.Metadata) > 0 {
		return o, err
	}
	// A copy that lost its metadata may have the sidecar still.
	sidecar, err := s.get(ctx, key+trailstore.SidecarSuffix)
	if errors.Is(err, trailstore.ErrNotFound) {
		return o, nil
	}
	if err != nil {
		return trailstore.Object{}, err
	}
	// What is no JSON is as good as no metadata: whoever needs it says that it is missing.
	o.Metadata, _ = trailstore.ReadSidecar(sidecar.Body)
	return o, nil
}

func (s *Store) get(ctx context.Context, key string) (trailstore.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.cfg.Prefix + key)})
	var missing *types.NoSuchKey
	if errors.As(err, &missing) {
		return trailstore.Object{}, fmt.Errorf("%w: %s", trailstore.ErrNotFound, key)
	}
	if err != nil {
		return trailstore.Object{}, err
	}
	body, err := io.ReadAll(io.LimitReader(out.Body, maxObject+1))
	if err := errors.Join(err, out.Body.Close()); err != nil {
		return trailstore.Object{}, err
	}
	if len(body) > maxObject {
		return trailstore.Object{}, fmt.Errorf("the object %s has more than %d bytes, which no file of the trail has", key, maxObject)
	}
	o := trailstore.Object{Body: body}
	if len(out.Metadata) > 0 {
		o.Metadata = map[string]string{}
		for k, v := range maps.All(out.Metadata) {
			o.Metadata[strings.ToLower(k)] = v
		}
	}
	return o, nil
}

// List is a trailstore.Store's.
func (s *Store) List(ctx context.Context, prefix string, fn func(key string) error) error {
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: aws.String(s.cfg.Prefix + prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			key := strings.TrimPrefix(*o.Key, s.cfg.Prefix)
			if strings.HasSuffix(key, trailstore.SidecarSuffix) || strings.HasSuffix(key, "/") {
				continue
			}
			if err := fn(key); err != nil {
				return err
			}
		}
	}
	return nil
}

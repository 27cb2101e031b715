// Package s3 keeps objects in a bucket of Amazon S3 or of a service that speaks
// its protocol: the object with key a/b/c is the S3 object <prefix>a/b/c.
//
// # How an object is written
//
// A Writer collects bytes in one part buffer. An object that fits into it is one
// PutObject at Commit. A larger one is a multipart upload, begun when the first
// buffer is full; CompleteMultipartUpload, which copies nothing, makes it
// readable. Parts have 5 MiB (the least that S3 takes) and grow with their
// number, see upload.PartSize. What stands in the buffer at Suspend, the tail, becomes a
// small object of its own, <prefix>!tail/<key>/0 or /1: the two are used in turn,
// so that the State before stays valid until the new one was used. No key can
// begin with '!', so tails never stand in an object's place.
//
// A State names the multipart upload, the number of its parts and a hash over
// their ETags, the tail's slot and the tail's SHA-256. Nothing else is needed, on
// any node. Commit lists the parts and completes the upload with exactly those
// that the State counts, provided that all have the size that arithmetic gives
// them and their ETags the hash: a part that a stale writer put in another's
// place makes the Commit fail and is never served.
//
// # What is promised when requests get lost
//
// Every request is bounded in time and repeated a few times with growing pauses.
// Whether a Commit whose answer was lost took place is found out by HEAD: each
// write carries a random upload.Mark in its metadata. A Commit is acknowledged only
// after HEAD has shown the object with its mark and its size.
//
// Bytes that change on the way to S3 are refused there, by the SHA-256 that every
// signature covers. Bytes that change in S3 or on the way back are not noticed
// here unless Checksums is ChecksumsSupported (then reads of whole objects are
// verified where S3 keeps a checksum for the whole); encrypted finds every change
// in sealed objects, and registry clients compare digests.
//
// The package does not seal (blobstore/encrypted does), keeps nothing on local
// disks (blobstore/cached does) and does not know who uses an object
// (domain/layer does).
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/upload"
)

// The values of Config.SSE.
const (
	SSENone = ""    // the bucket's own setting holds; on AWS that is at least SSE-S3
	SSES3   = "s3"  // keys that S3 holds (AES256)
	SSEKMS  = "kms" // a key of AWS KMS, named by Config.KMSKeyID
)

// The values of Config.Checksums.
const (
	// ChecksumsRequired sends and verifies checksums only where the protocol
	// demands them. Every S3-compatible service understands it.
	ChecksumsRequired = "required"
	// ChecksumsSupported sends a CRC32 with every part and verifies what comes
	// back where S3 has a checksum of the whole object. AWS and recent
	// S3-compatible services understand it.
	ChecksumsSupported = "supported"
)

// The values that a zero in Config stands for.
const (
	// DefaultTimeout is how long a request waits for its answer, and for each
	// next piece of it. Completing a large multipart upload can take S3 tens of
	// seconds.
	DefaultTimeout = time.Minute
	// DefaultAttempts is how often a request is sent at most. With the pauses
	// between them, at most maxPause, it outlasts short throttling.
	DefaultAttempts = 5
	maxPause        = 5 * time.Second
	// defaultRegion is signed for services that have no regions.
	defaultRegion = "us-east-1"
	// maxPrefix keeps every key of the bucket well below S3's 1,024 bytes.
	maxPrefix = 256
)

// Config says where a Store keeps its objects. The zero value of every field but
// Bucket is usable; Region is needed on AWS.
type Config struct {
	Bucket string
	// Prefix stands before all keys in the bucket: "" or a path such as
	// "berth/eu"; a slash at its end is added. Two Stores must not share one.
	Prefix string
	// Endpoint is the URL of the service, "" for AWS.
	Endpoint string
	// Region is the bucket's region. "" takes what the environment or the
	// shared configuration of AWS tools says, with an Endpoint "us-east-1".
	Region string
	// PathStyle puts the bucket into the path instead of the host name. Most
	// services but AWS need it.
	PathStyle bool
	// AccessKeyID, SecretAccessKey and SessionToken are fixed credentials. When
	// AccessKeyID is "", the default chain of AWS tools is used: environment,
	// shared files, web identity, container and instance roles.
	AccessKeyID, SecretAccessKey, SessionToken string
	// SSE is one of the SSE constants, KMSKeyID the key for SSEKMS ("" is the
	// account's default key for S3).
	SSE, KMSKeyID string
	// Checksums is one of the Checksums constants; "" is ChecksumsRequired.
	Checksums string
	// PublicEndpoint is the URL of the same service as clients reach it, for
	// Redirect. "" means that nothing is redirected.
	PublicEndpoint string
	// Timeout bounds the wait for an answer and for each next piece of one; a
	// request with a body gets a second more for each 256 KiB of it. 0 is
	// DefaultTimeout.
	Timeout time.Duration
	// Attempts is how often a request is sent at most. 0 is DefaultAttempts.
	Attempts int
	// Wrap, if not nil, is given the Store's transport and returns what carries the
	// requests in its place. Each attempt passes through that, so that it can be
	// measured or disturbed.
	Wrap func(http.RoundTripper) http.RoundTripper
	// Log hears of leftovers that could not be removed; nil discards it.
	Log *slog.Logger

	// pause is the longest wait between two attempts and rate what a request's
	// body is given time for, so that tests need not wait; 0 is maxPause and
	// slowest.
	pause time.Duration
	rate  int64
}

// Store is a blobstore.Store in a bucket. It is also a blobstore.BatchDeleter
// and a blobstore.Redirector.
type Store struct {
	cfg    Config
	log    *slog.Logger
	client *s3.Client
	// presigner is nil when there is no public endpoint.
	presigner *s3.PresignClient
	// chunks lends *[upload.ChunkSize]byte to part buffers and readers.
	chunks sync.Pool
	own    *http.Transport
}

var (
	_ blobstore.Store        = (*Store)(nil)
	_ blobstore.BatchDeleter = (*Store)(nil)
	_ blobstore.Redirector   = (*Store)(nil)
)

// New returns the store that cfg describes. It sends nothing to it; Check does.
func New(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("blob store s3: %w", err)
	}
	s := &Store{log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.chunks.New = func() any { return new([upload.ChunkSize]byte) }
	base, err := cfg.aws(ctx)
	if err != nil {
		return nil, fmt.Errorf("blob store s3: %w", err)
	}
	s.own = newTransport(base.HTTPClient)
	carrier := http.RoundTripper(s.own)
	if cfg.Wrap != nil {
		carrier = cfg.Wrap(carrier)
	}
	base.HTTPClient = &http.Client{
		Transport:     &bounded{inner: carrier, timeout: cfg.Timeout, rate: cfg.rate},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	base.Logger = logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) {
		s.log.Debug("the AWS SDK says: " + fmt.Sprintf(format, v...))
	})
	s.client = s3.NewFromConfig(base, cfg.apply(cfg.Endpoint))
	s.cfg = cfg
	if cfg.PublicEndpoint != "" {
		s.presigner = s3.NewPresignClient(s3.NewFromConfig(base, cfg.apply(cfg.PublicEndpoint), func(o *s3.Options) {
			// A checksum header would have to be sent by the client as well.
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}))
	}
	return s, nil
}

// complete puts defaults in place of zeros and says what is wrong.
func (c *Config) complete() error {
	if c.Bucket == "" {
		return errors.New("no bucket is named")
	}
	c.Prefix = strings.TrimSuffix(c.Prefix, "/")
	if c.Prefix != "" {
		if err := blobstore.CheckKey(c.Prefix); err != nil || len(c.Prefix) > maxPrefix {
			return fmt.Errorf("prefix %q: it has at most %d bytes, in segments of [a-zA-Z0-9._-] between slashes", c.Prefix, maxPrefix)
		}
		c.Prefix += "/"
	}
	for name, endpoint := range map[string]string{"endpoint": c.Endpoint, "public endpoint": c.PublicEndpoint} {
		if endpoint == "" {
			continue
		}
		u, err := url.Parse(endpoint)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.User != nil {
			return fmt.Errorf("%s %q is not of the form https://host[:port]", name, endpoint)
		}
	}
	switch c.SSE {
	case SSENone, SSES3:
		if c.KMSKeyID != "" {
			return fmt.Errorf("a KMS key is named, and server-side encryption is %q; it has to be %q", c.SSE, SSEKMS)
		}
	case SSEKMS:
	default:
		return fmt.Errorf("server-side encryption %q is neither %q nor %q nor empty", c.SSE, SSES3, SSEKMS)
	}
	switch c.Checksums {
	case "":
		c.Checksums = ChecksumsRequired
	case ChecksumsRequired, ChecksumsSupported:
	default:
		return fmt.Errorf("checksums %q is neither %q nor %q", c.Checksums, ChecksumsRequired, ChecksumsSupported)
	}
	if (c.AccessKeyID == "") != (c.SecretAccessKey == "") {
		return errors.New("an access key id and a secret access key go together; set both or neither")
	}
	if c.Timeout < 0 || c.Attempts < 0 {
		return errors.New("timeout and attempts are not negative")
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Attempts == 0 {
		c.Attempts = DefaultAttempts
	}
	if c.pause == 0 {
		c.pause = maxPause
	}
	if c.rate == 0 {
		c.rate = slowest
	}
	return nil
}

// aws resolves region and credentials.
func (c *Config) aws(ctx context.Context) (aws.Config, error) {
	var options []func(*config.LoadOptions) error
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	if c.AccessKeyID != "" {
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)))
	}
	base, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("the shared configuration of AWS tools cannot be used; correct it, or set region and credentials here: %w", err)
	}
	if base.Region == "" && c.Endpoint != "" {
		base.Region = defaultRegion
	}
	if base.Region == "" {
		return aws.Config{}, errors.New("no region is named; set the bucket's")
	}
	c.Region = base.Region
	// These may come from the environment and would change what is sent where.
	base.BaseEndpoint = nil
	return base, nil
}

// apply sets what a client of the SDK does.
func (c *Config) apply(endpoint string) func(*s3.Options) {
	return func(o *s3.Options) {
		o.BaseEndpoint = nil
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
		o.UsePathStyle = c.PathStyle
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		if c.Checksums == ChecksumsSupported {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenSupported
		}
		o.DisableLogOutputChecksumValidationSkipped = true
		o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
			r.MaxAttempts = c.Attempts
			r.MaxBackoff = c.pause
			// Attempts and pauses bound the load; a budget shared by all
			// requests would let one bad minute fail uploads at their first
			// fault.
			r.RateLimiter = ratelimit.None
			r.Retryables = append(slices.Clone(r.Retryables), retry.IsErrorRetryableFunc(cutOff))
		})
	}
}

// cutOff says that an answer ended in the middle, which the SDK by itself takes
// for final. Writes that are repeated for it are safe: parts are overwritten by
// the same bytes, and Commit looks after what became of the rest.
func cutOff(err error) aws.Ternary {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// Close gives up idle connections. Readers and writers that are open stay usable.
func (s *Store) Close() error {
	s.own.CloseIdleConnections()
	return nil
}

// object is the name in the bucket of the object with the given key, or of the
// beginning of one.
func (s *Store) object(key string) string { return s.cfg.Prefix + key }

// reserved begins, behind the prefix, what is no object. No key has a '!'.
const (
	reserved  = "!"
	tailsRoot = reserved + "tail/"
	probeRoot = reserved + "probe/"
)

// tail is the name in the bucket of a slot for the key's tail.
func (s *Store) tail(key string, slot byte) string {
	return s.cfg.Prefix + tailsRoot + key + "/" + string('0'+rune(slot))
}

// ownerOf is the key that a tail belongs to.
func (s *Store) ownerOf(stored string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(stored, s.cfg.Prefix+tailsRoot)
	if !ok || len(rest) < 3 || rest[len(rest)-2] != '/' {
		return "", false
	}
	return rest[:len(rest)-2], true
}

// encryption are the server-side encryption headers of a new object.
func (s *Store) encryption() (sse types.ServerSideEncryption, kmsKey *string, bucketKey *bool) {
	switch s.cfg.SSE {
	case SSES3:
		return types.ServerSideEncryptionAes256, nil, nil
	case SSEKMS:
		// A bucket key saves most of the calls to KMS.
		if s.cfg.KMSKeyID != "" {
			kmsKey = aws.String(s.cfg.KMSKeyID)
		}
		return types.ServerSideEncryptionAwsKms, kmsKey, aws.Bool(true)
	}
	return "", nil, nil
}

package config

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Events says how events are delivered to the targets of rules.
type Events struct {
	// Retention is how long events are kept that every target has.
	Retention Duration `yaml:"retention"`
	// DeadLetters is how long those are kept that a target could not be given.
	DeadLetters Duration `yaml:"dead_letters"`
	// AllowPrivate lets webhooks go to private addresses, and AllowHTTP to addresses
	// without TLS.
	AllowPrivate bool `yaml:"allow_private"`
	AllowHTTP    bool `yaml:"allow_http"`
	// Files is the directory below which file destinations are written; "" is events in
	// the data directory.
	Files string `yaml:"files"`
	// Pulls has pulls be events.
	Pulls PullEvents `yaml:"pulls"`
}

// PullEvents are events of pulls, which ECR has not.
type PullEvents struct {
	// Mode is off, aggregate (one event for all pulls of an image in an interval) or
	// sample (one in so many pulls is an event).
	Mode string `yaml:"mode"`
	// Interval is that of aggregate.
	Interval Duration `yaml:"interval"`
	// OneIn is how many pulls one event of sample stands for.
	OneIn int64 `yaml:"one_in"`
}

// Audit says how the audit trail is written.
type Audit struct {
	// Overflow is what happens to a call whose record finds no room in memory: block
	// (it waits) or drop (the record is lost, and counted).
	Overflow string `yaml:"overflow"`
	// ClientAddresses has records of registry clients name the client's own address and
	// user agent, where CloudTrail names the service.
	ClientAddresses bool `yaml:"client_addresses"`
	// Delivery is how often trails write files.
	Delivery Duration `yaml:"delivery"`
	// Buckets are where trails may write, by the name that CreateTrail has for them.
	Buckets map[string]TrailBucket `yaml:"buckets"`
}

// TrailBucket is a directory, or a bucket of object storage.
type TrailBucket struct {
	// URL is a directory's path, or s3://bucket or s3://bucket/prefix.
	URL string `yaml:"url"`
	// S3 is how the object storage is spoken to.
	S3 S3 `yaml:"s3"`
}

// UnmarshalYAML reads the mapping, or a URL alone.
func (b *TrailBucket) UnmarshalYAML(n *yaml.Node) error {
	b.S3 = S3{Checksums: "required", Timeout: Duration(time.Minute)}
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&b.URL)
	}
	type plain TrailBucket
	return strict(n, (*plain)(b))
}

// Remote says whether it is a bucket of object storage.
func (b TrailBucket) Remote() bool { return strings.HasPrefix(b.URL, "s3://") }

// Object takes the URL of one apart: the bucket, and the prefix of all keys, "" or
// ending in a slash.
func (b TrailBucket) Object() (bucket, prefix string) {
	bucket, prefix, _ = strings.Cut(strings.TrimPrefix(b.URL, "s3://"), "/")
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return bucket, prefix
}

// Usage says what is counted beyond what CloudWatch's calls show.
type Usage struct {
	// Repositories is of how many repositories Prometheus is told the pulls, those with
	// the most; 0 tells of none.
	Repositories int `yaml:"repositories"`
}

// maxMetered bounds the series of a scrape.
const maxMetered = 10_000

func defaultEvents() Events {
	return Events{
		Retention: Duration(7 * 24 * time.Hour), DeadLetters: Duration(14 * 24 * time.Hour),
		Pulls: PullEvents{Mode: "off", Interval: Duration(time.Minute), OneIn: 100},
	}
}

func defaultAudit() Audit { return Audit{Overflow: "block", Delivery: Duration(5 * time.Minute)} }

// validateTelling checks what the deployment tells others.
func (c *Config) validateTelling(say func(format string, args ...any)) {
	e := c.Events
	if e.Retention < Duration(time.Hour) || e.DeadLetters < Duration(time.Hour) {
		say("events.retention, events.dead_letters: have to be at least 1h")
	}
	if !slices.Contains([]string{"off", "aggregate", "sample"}, e.Pulls.Mode) {
		say("events.pulls.mode: %q; choose off, aggregate or sample", e.Pulls.Mode)
	}
	if e.Pulls.Interval < Duration(time.Second) || e.Pulls.OneIn < 1 {
		say("events.pulls: interval has to be at least 1s, one_in at least 1")
	}
	if e.Files != "" && !filepath.IsAbs(e.Files) {
		say("events.files: %q is not an absolute path", e.Files)
	}
	if c.Audit.Overflow != "block" && c.Audit.Overflow != "drop" {
		say("audit.overflow: %q; choose block or drop", c.Audit.Overflow)
	}
	if c.Audit.Delivery < Duration(time.Second) || c.Audit.Delivery > Duration(time.Hour) {
		say("audit.delivery: has to be between 1s and 1h")
	}
	for called, b := range c.Audit.Buckets {
		if !validBucket(called) {
			say("audit.buckets: %q is no name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens", called)
		}
		if b.Remote() {
			if bucket, _ := b.Object(); !validBucket(bucket) {
				say("audit.buckets.%s: %q is not the address of a bucket; write s3://bucket or s3://bucket/prefix", called, b.URL)
			}
		} else if !filepath.IsAbs(b.URL) {
			say("audit.buckets.%s: %q is neither an absolute path nor s3://bucket/prefix", called, b.URL)
		}
	}
	if c.Usage.Repositories < 0 || c.Usage.Repositories > maxMetered {
		say("usage.repositories: has to be between 0 and %d", maxMetered)
	}
}

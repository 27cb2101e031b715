package config

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Database says where the metadata stands. A file may give the URL alone in the
// place of the whole.
type Database struct {
	// URL is postgres://user:password@host:port/database?parameters; "" is SQLite
	// in the data directory.
	URL string `yaml:"url"`
	// Pooled says that a transaction pooler (pgbouncer) stands behind URL.
	Pooled bool `yaml:"pooled"`
	// DirectURL leads to the server itself, past the pooler, for what a pooler
	// cannot carry: migrations and notifications.
	DirectURL string `yaml:"direct_url"`
	// MaxConnections bounds the connections of this node.
	MaxConnections int `yaml:"max_connections"`
	// StatementTimeout is how long a statement of a request may run.
	StatementTimeout Duration `yaml:"statement_timeout"`
}

// Postgres says whether the metadata is in PostgreSQL, which nodes can share.
func (d Database) Postgres() bool { return d.URL != "" }

// UnmarshalYAML reads the mapping, or a URL alone.
func (d *Database) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&d.URL)
	}
	type plain Database
	return strict(n, (*plain)(d))
}

// Keys says where the keys stand that seal what Berth keeps.
type Keys struct {
	// Keyring is the file with the keys; "" is keyring.json in the data directory,
	// or, with PostgreSQL, the database, where the master key seals it.
	Keyring string `yaml:"keyring"`
	// MasterKey is the file with the key that seals a keyring in the database: 32
	// bytes in base64. "" is master.key in the data directory, which the very first
	// start makes.
	MasterKey string `yaml:"master_key"`
}

// masterKeySize is the size of the master key in bytes, that of an AES-256 key.
const masterKeySize = 32

// ParseMasterKey reads a master key as its file or its environment variable
// holds it.
func ParseMasterKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != masterKeySize {
		return nil, fmt.Errorf("a master key is %d bytes in base64; make one with: openssl rand -base64 %d", masterKeySize, masterKeySize)
	}
	return key, nil
}

// S3 says how the object storage behind an s3:// URL is spoken to. Credentials
// come from where AWS's SDKs look for them: environment, shared files, web
// identity, instance role.
type S3 struct {
	// Endpoint is the address of the service; "" is AWS's own.
	Endpoint string `yaml:"endpoint"`
	// Region is the bucket's region; "" is AWS_REGION, or the default region.
	Region string `yaml:"region"`
	// PathStyle puts the bucket into the path instead of the host name.
	PathStyle bool `yaml:"path_style"`
	// Encryption is what the store is told to encrypt with: "" (its default), "s3"
	// or "kms".
	Encryption string `yaml:"sse"`
	// KMSKey is the key's id or ARN where Encryption is "kms"; "" is the account's
	// key for S3.
	KMSKey string `yaml:"kms_key"`
	// Checksums is "required" (only where S3 demands them, which all compatible
	// stores take; the default) or "supported" (wherever S3 knows them).
	Checksums string `yaml:"checksums"`
	// Timeout is how long the store may take to answer a request, and for each next
	// piece of an answer. A request is sent up to five times.
	Timeout Duration `yaml:"timeout"`
	// PublicEndpoint is the address under which clients reach the store: downloads
	// of plain objects are then redirected there. "" sends them through Berth.
	PublicEndpoint string `yaml:"public_endpoint"`
}

// Cache is a read cache for layers on the node's own disk.
type Cache struct {
	// Dir is the directory; "" is no cache.
	Dir string `yaml:"dir"`
	// MaxBytes bounds what stands in it.
	MaxBytes int64 `yaml:"max_bytes"`
}

// UnmarshalYAML reads the mapping, or a URL alone.
func (b *Blobs) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&b.URL)
	}
	type plain Blobs
	return strict(n, (*plain)(b))
}

// Remote says whether layers are in object storage, which nodes can share.
func (b Blobs) Remote() bool { return b.URL != "" }

// RegionMark stands in an s3:// URL for the region whose layers are kept there.
const RegionMark = "{region}"

// Bucket takes an s3:// URL apart for a region: its bucket, and the prefix of
// all keys, "" or ending in a slash. Where the URL does not tell regions apart,
// each has a part of its own under it.
func Bucket(u string, r name.Region, home name.Region) (bucket, prefix string, err error) {
	split, at := strings.Contains(u, RegionMark), r
	if r == name.Public { // no bucket is called after it
		split, at = false, home
	}
	rest, ok := strings.CutPrefix(strings.ReplaceAll(u, RegionMark, string(at)), "s3://")
	if !ok {
		return "", "", fmt.Errorf("%q is not the address of a bucket; write s3://bucket or s3://bucket/prefix", u)
	}
	bucket, prefix, _ = strings.Cut(rest, "/")
	prefix = strings.Trim(prefix, "/")
	if !validBucket(bucket) || strings.ContainsAny(prefix, "?#%\\ ") || strings.Contains("/"+prefix+"/", "/../") || strings.Contains(prefix, "//") {
		return "", "", fmt.Errorf("%q is not the address of a bucket; write s3://bucket or s3://bucket/prefix", u)
	}
	if !split {
		prefix = strings.Trim(prefix+"/"+string(r), "/")
	}
	if prefix != "" {
		prefix += "/"
	}
	return bucket, prefix, nil
}

// validBucket follows "Bucket naming rules" of the Amazon S3 user guide, roughly.
func validBucket(b string) bool {
	return len(b) >= 3 && len(b) <= 63 && strings.Trim(b, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

// ACME gets certificates from a certificate authority by itself.
type ACME struct {
	// Hosts are the names to get certificates for; none switches it off. ACME has no
	// wildcards over the challenges that Berth answers.
	Hosts []string `yaml:"hosts"`
	// Directory is the authority's address; "" is Let's Encrypt.
	Directory string `yaml:"directory"`
	// Email is whom the authority writes to.
	Email string `yaml:"email"`
	// CA is a PEM file that the authority's own address is trusted by; "" is the
	// system's.
	CA string `yaml:"ca"`
	// KeyID and HMACKey, in base64url, bind the account to one that exists with the
	// authority already.
	KeyID   string `yaml:"key_id"`
	HMACKey string `yaml:"hmac_key"`
	// HTTPListen is the address for the challenge over HTTP, ":80"; "" leaves it at
	// the challenge over TLS, for which the authority has to reach port 443.
	HTTPListen string `yaml:"http_listen"`
}

// Tracing sends traces to an OpenTelemetry collector.
type Tracing struct {
	// Endpoint is the collector's address for OTLP over HTTP; "" is off.
	Endpoint string `yaml:"endpoint"`
	// Sample is the part of requests that is traced, 0 to 1.
	Sample float64 `yaml:"sample"`
}

// strict decodes a node into a type without a decoder of its own, and refuses
// unknown keys, as the decoder of the whole file does.
func strict(n *yaml.Node, into any) error {
	text, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	// Errors name lines, so the text stands where it stood.
	d := yaml.NewDecoder(strings.NewReader(strings.Repeat("\n", max(n.Line-1, 0)) + string(text)))
	d.KnownFields(true)
	return d.Decode(into)
}

// validateScaleOut checks what belongs to a deployment of many nodes, and
// completes what depends on it.
func (c *Config) validateScaleOut(say func(format string, args ...any)) {
	d := c.Database
	if d.Postgres() {
		if !postgresURL(d.URL) {
			say("database.url: not the address of a PostgreSQL database; write postgres://user:password@host:5432/database")
		}
		if d.Pooled && d.DirectURL == "" {
			say("database.direct_url: with database.pooled it has to name the server itself, which migrations and notifications need")
		}
		if c.Keys.Keyring != "" && c.Keys.MasterKey != "" {
			say("keys: give the keyring's file, or the master key of a keyring in the database, not both")
		}
	} else {
		if d.Pooled || d.DirectURL != "" {
			say("database.url: is missing; database.pooled and database.direct_url belong to PostgreSQL")
		}
		if c.Keys.MasterKey != "" || len(c.MasterKey) > 0 {
			say("keys.master_key: seals a keyring in PostgreSQL; with SQLite the keyring is a file")
		}
	}
	if d.DirectURL != "" && !postgresURL(d.DirectURL) {
		say("database.direct_url: not the address of a PostgreSQL database; write postgres://user:password@host:5432/database")
	}
	if d.MaxConnections < 2 {
		say("database.max_connections: has to be at least 2")
	}
	if d.StatementTimeout < Duration(time.Second) {
		say("database.statement_timeout: has to be at least 1s")
	}
	c.validateBlobs(say)
	for what, address := range map[string]string{"admin_listen": c.AdminListen, "tls.acme.http_listen": c.TLS.ACME.HTTPListen} {
		if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
			say("%s: %q is not an address; write 127.0.0.1:9090", what, address)
		}
	}
	for _, h := range c.TLS.ACME.Hosts {
		if !validDomain(h) {
			say("tls.acme.hosts: %q is not a host name", h)
		}
	}
	if (c.TLS.ACME.KeyID == "") != (c.TLS.ACME.HMACKey == "") {
		say("tls.acme: give both key_id and hmac_key, or neither")
	}
	if c.TLS.ACME.Directory != "" && !httpURL(c.TLS.ACME.Directory) {
		say("tls.acme.directory: %q is not an address; write https://ca.example/acme/directory", c.TLS.ACME.Directory)
	}
	if c.Tracing.Endpoint != "" && !httpURL(c.Tracing.Endpoint) {
		say("tracing.endpoint: %q is not an address; write http://collector:4318", c.Tracing.Endpoint)
	}
	if !(c.Tracing.Sample >= 0 && c.Tracing.Sample <= 1) {
		say("tracing.sample: has to be between 0 and 1")
	}
	if !slices.Contains([]string{"off", "errors", "all"}, c.Log.Requests) {
		say("log.requests: %q; choose off, errors or all", c.Log.Requests)
	}
}

func (c *Config) validateBlobs(say func(format string, args ...any)) {
	b := &c.Blobs
	if b.Encryption == "" {
		b.Encryption = "berth"
		if b.Remote() {
			b.Encryption = "server-side"
		}
	}
	choices := []string{"berth", "none"}
	if b.Remote() {
		choices = []string{"berth", "server-side", "none"}
	}
	if !slices.Contains(choices, b.Encryption) {
		say("blobs.encryption: %q; choose %s", b.Encryption, strings.Join(choices, " or "))
	}
	if b.Remote() {
		if _, _, err := Bucket(b.URL, c.Region, c.Region); err != nil {
			say("blobs.url: %w", err)
		}
	}
	if strings.Contains(b.Archive, "://") {
		if _, _, err := Bucket(b.Archive, c.Region, c.Region); err != nil {
			say("blobs.archive: %w", err)
		}
	} else if b.Archive != "" {
		if abs, err := filepath.Abs(b.Archive); err == nil {
			b.Archive = abs
		}
	}
	for what, u := range map[string]string{"endpoint": b.S3.Endpoint, "public_endpoint": b.S3.PublicEndpoint} {
		if u != "" && !httpURL(u) {
			say("blobs.s3.%s: %q is not an address; write https://s3.example:9000", what, u)
		}
	}
	if !slices.Contains([]string{"", "s3", "kms"}, b.S3.Encryption) {
		say("blobs.s3.sse: %q; choose s3 or kms, or leave it out", b.S3.Encryption)
	}
	if b.S3.KMSKey != "" && b.S3.Encryption != "kms" {
		say("blobs.s3.kms_key: needs blobs.s3.sse: kms")
	}
	if b.S3.Checksums != "required" && b.S3.Checksums != "supported" {
		say("blobs.s3.checksums: %q; choose required or supported", b.S3.Checksums)
	}
	if b.S3.Timeout < Duration(time.Second) {
		say("blobs.s3.timeout: has to be at least 1s")
	}
	if b.Cache.Dir != "" && b.Cache.MaxBytes < 64<<20 {
		say("blobs.cache.max_bytes: has to be at least %d", 64<<20)
	}
}

func postgresURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql")
}

func httpURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// readMasterKey takes the master key out of the environment or its file. A file
// that is not there yet is no error: the first start makes the default one.
func (c *Config) readMasterKey(fromEnvironment string) (err error) {
	if fromEnvironment != "" {
		if c.MasterKey, err = ParseMasterKey(fromEnvironment); err != nil {
			return fmt.Errorf("BERTH_MASTER_KEY: %w", err)
		}
		return nil
	}
	if c.Keys.MasterKey == "" {
		return nil
	}
	text, err := os.ReadFile(c.Keys.MasterKey)
	if err != nil {
		return fmt.Errorf("keys.master_key: %w; make one with: openssl rand -base64 %d", err, masterKeySize)
	}
	if c.MasterKey, err = ParseMasterKey(string(text)); err != nil {
		return fmt.Errorf("keys.master_key: %s: %w", c.Keys.MasterKey, err)
	}
	return nil
}

// NewMasterKey makes a master key and writes it to a file, which nobody else may
// read and which must not be there yet.
func NewMasterKey(path string) ([]byte, error) {
	key := make([]byte, masterKeySize)
	_, _ = rand.Read(key) // cannot fail
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the master key cannot be written: %w", err)
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("the master key cannot be written: %w", errors.Join(err, os.Remove(path)))
	}
	return key, nil
}

// Package config is what an operator can set: read strictly from flags,
// environment and one YAML file, validated whole, and resolved once. Only app
// and cmd import it; the features get plain values.
//
// A flag wins over its environment variable, that over the file, and the file
// over the default. An unknown key in the file is an error.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
)

// Config is the whole configuration, resolved.
type Config struct {
	// Data is the directory for everything that Berth keeps.
	Data string `yaml:"data"`
	// Database says where the metadata stands: SQLite in the data directory, or
	// PostgreSQL.
	Database Database `yaml:"database"`
	// Keys says where the keys stand.
	Keys Keys `yaml:"keys"`
	// Listen is the address of the registry and the APIs, host:port.
	Listen string `yaml:"listen"`
	// AdminListen is the address of metrics, health and profiles; "" is none.
	AdminListen string `yaml:"admin_listen"`
	// Listeners are further addresses, each with the network that it stands for.
	Listeners []Listener `yaml:"listeners"`
	// TrustedProxies are the networks whose X-Forwarded-For and
	// X-Forwarded-Proto are believed, in CIDR form.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// PublicListen is the address of the public registry and the gallery for clients
	// that reach this machine by no name of its own (localhost): "" is the address of
	// Listen with the next port, "off" is none.
	PublicListen string `yaml:"public_listen"`
	// Public says how public registries are served.
	Public Public `yaml:"public"`
	// Account is the default account: 12 digits.
	Account name.AccountID `yaml:"account"`
	// Region is the default region.
	Region name.Region `yaml:"region"`
	// File is what the file says of regions; Regions and Peers are what holds.
	File Regions `yaml:"regions"`
	// Regions are all regions served here; the default one is always among them.
	Regions []name.Region `yaml:"-"`
	// Peers are the deployments that serve further regions: their addresses, without
	// a slash at the end.
	Peers map[name.Region]string `yaml:"-"`
	// Replication says how images are sent to other regions.
	Replication Replication `yaml:"replication"`
	// PullThrough says how the pull-through cache treats its upstreams.
	PullThrough PullThrough `yaml:"pull_through"`
	// Scanning says how images are scanned.
	Scanning Scanning `yaml:"scanning"`
	// Domain ends the canonical host names, PublicDomain those of the public
	// registry and the gallery.
	Domain       string `yaml:"domain"`
	PublicDomain string `yaml:"public_domain"`
	TLS          TLS    `yaml:"tls"`
	// IssuerCA is a PEM file with certificate authorities that identity providers
	// are trusted by, besides the system's; "" for none.
	IssuerCA string `yaml:"issuer_ca"`
	Blobs    Blobs  `yaml:"blobs"`
	Compat   Compat `yaml:"compat"`
	// BlobMounting lets a push mount layers from another repository: the default
	// of the account setting BLOB_MOUNTING.
	BlobMounting bool `yaml:"blob_mounting"`
	// Limits are ECR's quotas.
	Limits Limits `yaml:"limits"`
	// Quota says how requests are held to rates.
	Quota Quota `yaml:"quota"`
	// DrainTimeout bounds how long a stopping server waits for requests.
	DrainTimeout Duration `yaml:"drain_timeout"`
	// DrainDelay is how long a stopping server takes requests on while /readyz already
	// says that it stops.
	DrainDelay Duration `yaml:"drain_delay"`
	// LayerGrace is how long a layer stays that no image refers to.
	LayerGrace Duration `yaml:"layer_grace"`
	// ReconcileRound is the time in which the stores are compared once with what the
	// database names; 0 never does.
	ReconcileRound Duration `yaml:"reconcile_round"`
	// UploadLife is how long an upload may rest before it is given up.
	UploadLife Duration `yaml:"upload_life"`
	// LifecycleDelay is how long after a change of its images, or of the policy
	// itself, a repository's lifecycle policy runs.
	LifecycleDelay Duration `yaml:"lifecycle_delay"`
	// Events, Audit and Usage say what the deployment tells others.
	Events Events `yaml:"events"`
	Audit  Audit  `yaml:"audit"`
	Usage  Usage  `yaml:"usage"`
	// AuditRetention is how long audit records are kept.
	AuditRetention Duration `yaml:"audit_retention"`
	Log            Log      `yaml:"log"`
	// Tracing sends traces to a collector.
	Tracing Tracing `yaml:"tracing"`

	// MasterKey seals a keyring in the database; it comes from the environment or
	// from the file that Keys names. nil where neither does.
	MasterKey []byte `yaml:"-"`
	// RootAccessKeyID and RootSecretAccessKey are the default account's root
	// key; they come from the environment only, so that no file holds them.
	RootAccessKeyID     string `yaml:"-"`
	RootSecretAccessKey string `yaml:"-"`
}

// Listener is one further address, and what conditions on the network see of
// requests that come by it.
type Listener struct {
	// Listen is the address, host:port.
	Listen string `yaml:"listen"`
	// VPC is aws:SourceVpc, VPCEndpoint aws:SourceVpce; with an endpoint the
	// client's address is aws:VpcSourceIp and no longer aws:SourceIp.
	VPC         string `yaml:"vpc"`
	VPCEndpoint string `yaml:"vpc_endpoint"`
}

// TLS names the certificate to serve with, both files or neither, or says where
// to get one.
type TLS struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	ACME        ACME   `yaml:"acme"`
}

// Enabled says whether HTTPS is served.
func (t TLS) Enabled() bool { return t.Certificate != "" || len(t.ACME.Hosts) > 0 }

// Blobs says where layers are kept, and how. A file may give the URL alone in
// the place of the whole.
type Blobs struct {
	// URL is s3://bucket/prefix, in which {region} may stand for the region; "" is
	// files in the data directory.
	URL string `yaml:"url"`
	// S3 says how the store behind URL and Archive is spoken to.
	S3 S3 `yaml:"s3"`
	// Cache keeps what was read from object storage on the node's disk.
	Cache Cache `yaml:"cache"`
	// Encryption is "berth" (sealed by Berth, the default for files), "server-side"
	// (by the object storage, its default) or "none" for disks that are encrypted
	// already.
	Encryption string `yaml:"encryption"`
	// Archive is where the bytes of archived images go: a directory, on slower disks
	// perhaps, or an s3:// URL. "" is "archive" in the data directory, or beside the
	// layers in their bucket.
	Archive string `yaml:"archive"`
	// MinFreeBytes is how much room a file system has to have for layers to be
	// taken into it; 0 takes them until it is full.
	MinFreeBytes int64 `yaml:"min_free_bytes"`
	// InlineBytes is the size up to which a layer stands in the database and not in a
	// file or object of its own; 0 to maxInlineBytes.
	InlineBytes int `yaml:"inline_bytes"`
}

// Compat switches behaviour that ECR has and the OCI specification forbids.
type Compat struct {
	ECRQuirks bool `yaml:"ecr_quirks"`
}

// Limits are the quotas that can be changed; see quota.Limits.
type Limits struct {
	RepositoriesPerRegistry int64 `yaml:"repositories_per_registry"`
	ImagesPerRepository     int64 `yaml:"images_per_repository"`
	TagsPerImage            int64 `yaml:"tags_per_image"`
	LayersPerImage          int   `yaml:"layers_per_image"`
	ManifestBytes           int   `yaml:"manifest_bytes"`
	MaxLayerBytes           int64 `yaml:"max_layer_bytes"`
	MaxLayerParts           int64 `yaml:"max_layer_parts"`
	MinPartBytes            int64 `yaml:"min_part_bytes"`
	MaxPartBytes            int64 `yaml:"max_part_bytes"`
	PartSize                int64 `yaml:"part_size"`
	ResourceTags            int   `yaml:"resource_tags"`
	LifecycleRules          int   `yaml:"lifecycle_rules"`
	LifecyclePolicyChars    int   `yaml:"lifecycle_policy_chars"`
	PolicyChars             int   `yaml:"policy_chars"`
	PullTimeExclusions      int   `yaml:"pull_time_exclusions"`
	StorageBytes            int64 `yaml:"storage_bytes"`
	RepositoryStorageBytes  int64 `yaml:"repository_storage_bytes"`
	PublicRepositories      int64 `yaml:"public_repositories"`
	PublicMaxLayerBytes     int64 `yaml:"public_max_layer_bytes"`
	PublicMaxLayerParts     int64 `yaml:"public_max_layer_parts"`
}

// Quota gives the limits to the features.
func (l Limits) Quota() quota.Limits { return quota.Limits(l) }

// Quota says how requests are held to rates.
type Quota struct {
	// Rates is "off" (only accounts that have a rate of their own are limited, the
	// default) or "ecr" (the rates that AWS publishes).
	Rates string `yaml:"rates"`
	// Patience is how long a registry client's request waits for its turn before
	// it is refused; 0 refuses at once.
	Patience Duration `yaml:"patience"`
}

// maxPatience keeps waiting requests within what clients wait for an answer.
const maxPatience = Duration(30 * time.Second)

// maxDrainDelay is more than any load balancer needs to see that a node stops.
const maxDrainDelay = Duration(5 * time.Minute)

// Log says what is logged, and how.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is text or json.
	Format string `yaml:"format"`
	// Requests is which requests have a line of their own: off, errors (the default)
	// or all.
	Requests string `yaml:"requests"`
}

// Duration is a time.Duration that a file writes as "90s" or "24h".
type Duration time.Duration

// UnmarshalYAML reads the Go form of a duration.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	var s string
	if err := n.Decode(&s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("line %d: %q is not a duration; write 90s, 15m or 24h", n.Line, s)
	}
	*d = Duration(v)
	return nil
}

// maxInlineBytes bounds blobs.inline_bytes: rows that hold a layer are read with others.
const maxInlineBytes = 16 << 10

// Default is the configuration of a server that was told nothing.
func Default() Config {
	return Config{
		Data:           "./berth-data",
		Listen:         "127.0.0.1:5000",
		Public:         Public{Region: "us-east-1"},
		Account:        "000000000000",
		Region:         "us-east-1",
		Domain:         "localhost",
		PublicDomain:   "public.localhost",
		Database:       Database{MaxConnections: 16, StatementTimeout: Duration(30 * time.Second)},
		Blobs:          Blobs{MinFreeBytes: 128 << 20, InlineBytes: 8 << 10, S3: S3{Checksums: "required", Timeout: Duration(time.Minute)}, Cache: Cache{MaxBytes: 10 << 30}},
		BlobMounting:   true,
		Limits:         Limits(quota.Default()),
		Quota:          Quota{Rates: "off", Patience: Duration(5 * time.Second)},
		DrainTimeout:   Duration(30 * time.Second),
		LayerGrace:     Duration(24 * time.Hour),
		ReconcileRound: Duration(7 * 24 * time.Hour),
		UploadLife:     Duration(24 * time.Hour),
		LifecycleDelay: Duration(time.Minute),
		Replication:    Replication{Workers: 4, GiveUp: Duration(24 * time.Hour)},
		PullThrough:    PullThrough{Refresh: Duration(24 * time.Hour)},
		Scanning:       defaultScanning(),
		Events:         defaultEvents(),
		Audit:          defaultAudit(),
		AuditRetention: Duration(90 * 24 * time.Hour),
		Log:            Log{Level: "info", Format: "text", Requests: "errors"},
		Tracing:        Tracing{Sample: 0.01},
	}
}

// Settings are the flags of `berth serve`, each with its environment variable.
// A nil pointer is a flag that was not given.
type Settings struct {
	Config    string   `name:"config" env:"BERTH_CONFIG" placeholder:"FILE" help:"YAML file with settings; see docs/configuration.md."`
	Data      *string  `name:"data" env:"BERTH_DATA" placeholder:"DIR" help:"Directory for everything that Berth keeps (default ./berth-data)."`
	Listen    *string  `name:"listen" env:"BERTH_LISTEN" placeholder:"ADDR" help:"Address to serve on (default 127.0.0.1:5000)."`
	Account   *string  `name:"account" env:"BERTH_ACCOUNT" placeholder:"ID" help:"Default account, 12 digits (default 000000000000)."`
	Region    *string  `name:"region" env:"BERTH_REGION" placeholder:"R" help:"Default region (default us-east-1)."`
	Regions   []string `name:"regions" env:"BERTH_REGIONS" placeholder:"R,..." help:"All regions to serve, the default one among them."`
	Domain    *string  `name:"domain" env:"BERTH_DOMAIN" placeholder:"D" help:"Domain of the canonical host names (default localhost)."`
	PublicAt  *string  `name:"public-listen" env:"BERTH_PUBLIC_LISTEN" placeholder:"ADDR" help:"Address of the public registry for clients without its host name, or off (default the port after --listen)."`
	Public    *string  `name:"public-domain" env:"BERTH_PUBLIC_DOMAIN" placeholder:"D" help:"Domain of the public registry (default public.localhost)."`
	TLSCert   *string  `name:"tls-cert" env:"BERTH_TLS_CERT" placeholder:"FILE" help:"Certificate chain (PEM) to serve HTTPS with."`
	TLSKey    *string  `name:"tls-key" env:"BERTH_TLS_KEY" placeholder:"FILE" help:"Private key (PEM) of the certificate."`
	LogLevel  *string  `name:"log-level" env:"BERTH_LOG_LEVEL" placeholder:"LEVEL" help:"debug, info, warn or error (default info)."`
	LogFormat *string  `name:"log-format" env:"BERTH_LOG_FORMAT" placeholder:"FORMAT" help:"text or json (default text)."`
	RootID    *string  `name:"root-access-key-id" env:"BERTH_ROOT_ACCESS_KEY_ID" hidden:"" help:"Root access key of the default account."`
	RootKey   *string  `name:"root-secret-access-key" env:"BERTH_ROOT_SECRET_ACCESS_KEY" hidden:"" help:"Its secret; better given in the environment."`
	Quirks    *bool    `name:"ecr-quirks" env:"BERTH_ECR_QUIRKS" help:"Behave as ECR where ECR breaks the OCI specification."`
	Database  *string  `name:"database" env:"BERTH_DATABASE" placeholder:"URL" help:"postgres://... for many nodes (default SQLite in the data directory)."`
	Direct    *string  `name:"database-direct" env:"BERTH_DATABASE_DIRECT" hidden:"" help:"The database past its pooler."`
	Blobs     *string  `name:"blobs" env:"BERTH_BLOBS" placeholder:"URL" help:"s3://bucket/prefix for many nodes (default files in the data directory)."`
	Endpoint  *string  `name:"s3-endpoint" env:"BERTH_S3_ENDPOINT" placeholder:"URL" help:"Address of the object storage behind --blobs (default AWS's)."`
	S3Region  *string  `name:"s3-region" env:"BERTH_S3_REGION" placeholder:"R" help:"The bucket's region (default AWS_REGION, else the default region)."`
	PathStyle *bool    `name:"s3-path-style" env:"BERTH_S3_PATH_STYLE" help:"Put the bucket into the path: most stores other than AWS's want it."`
	S3Public  *string  `name:"s3-public-endpoint" env:"BERTH_S3_PUBLIC_ENDPOINT" placeholder:"URL" help:"Address of the object storage for clients: downloads are redirected there."`
	BlobsSeal *string  `name:"blobs-encryption" env:"BERTH_BLOBS_ENCRYPTION" placeholder:"HOW" help:"berth (sealed by Berth, default for files), server-side (default for s3://) or none."`
	Admin     *string  `name:"admin-listen" env:"BERTH_ADMIN_LISTEN" placeholder:"ADDR" help:"Address of metrics, health and profiles (default none)."`
	MasterKey string   `name:"master-key" env:"BERTH_MASTER_KEY" hidden:"" help:"Key that seals the keyring in the database; better given in the environment."`
	KeyFile   *string  `name:"master-key-file" env:"BERTH_MASTER_KEY_FILE" placeholder:"FILE" help:"File with the key that seals the keyring in PostgreSQL."`
}

// Load resolves the settings into a Config. Its errors say what to change.
func (s Settings) Load() (Config, error) {
	c := Default()
	if s.Config != "" {
		b, err := os.ReadFile(s.Config)
		if err != nil {
			return Config{}, fmt.Errorf("the configuration file cannot be read: %w", err)
		}
		if err := c.decode(b); err != nil {
			return Config{}, fmt.Errorf("configuration file %s: %w", s.Config, err)
		}
	}
	set(&c.Data, s.Data)
	set(&c.Listen, s.Listen)
	set(&c.Account, s.Account)
	set(&c.Region, s.Region)
	if len(s.Regions) > 0 {
		c.Regions = nil
		for _, r := range s.Regions {
			c.Regions = append(c.Regions, name.Region(r))
		}
	}
	set(&c.Domain, s.Domain)
	set(&c.PublicDomain, s.Public)
	set(&c.PublicListen, s.PublicAt)
	set(&c.TLS.Certificate, s.TLSCert)
	set(&c.TLS.Key, s.TLSKey)
	set(&c.Log.Level, s.LogLevel)
	set(&c.Log.Format, s.LogFormat)
	set(&c.RootAccessKeyID, s.RootID)
	set(&c.RootSecretAccessKey, s.RootKey)
	set(&c.Blobs.Encryption, s.BlobsSeal)
	set(&c.Blobs.URL, s.Blobs)
	set(&c.Blobs.S3.Endpoint, s.Endpoint)
	set(&c.Blobs.S3.Region, s.S3Region)
	set(&c.Blobs.S3.PublicEndpoint, s.S3Public)
	if s.PathStyle != nil {
		c.Blobs.S3.PathStyle = *s.PathStyle
	}
	set(&c.Database.URL, s.Database)
	set(&c.Database.DirectURL, s.Direct)
	set(&c.AdminListen, s.Admin)
	set(&c.Keys.MasterKey, s.KeyFile)
	if s.Quirks != nil {
		c.Compat.ECRQuirks = *s.Quirks
	}
	err := errors.Join(c.readMasterKey(s.MasterKey), c.Validate())
	return c, err
}

func set[T ~string](to *T, from *string) {
	if from != nil {
		*to = T(*from)
	}
}

// decode reads YAML over the defaults, strictly.
func (c *Config) decode(b []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	c.Regions, c.Peers = c.File.Served, c.File.Peers
	return nil
}

// Validate checks everything at once and completes Regions and Data. The error
// lists all that is wrong.
func (c *Config) Validate() error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }

	if c.Data == "" {
		say("data: name a directory")
	} else if abs, err := filepath.Abs(c.Data); err != nil {
		say("data: %w", err)
	} else {
		c.Data = abs
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		say("listen: %q is not an address; write 127.0.0.1:5000 or :5000", c.Listen)
	}
	for _, l := range c.Listeners {
		if _, _, err := net.SplitHostPort(l.Listen); err != nil {
			say("listeners: %q is not an address; write 10.0.0.5:5000", l.Listen)
		}
	}
	for _, p := range c.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			say("trusted_proxies: %q is not a network; write 10.0.0.0/8 or 192.0.2.7/32", p)
		}
	}
	if _, err := name.ParseAccountID(string(c.Account)); err != nil {
		say("account: %q: %w", c.Account, err)
	}
	if _, err := name.ParseRegion(string(c.Region)); err != nil {
		say("region: %q: %w", c.Region, err)
	}
	for _, r := range c.Regions {
		if _, err := name.ParseRegion(string(r)); err != nil {
			say("regions: %q: %w", r, err)
		}
	}
	regions := []name.Region{c.Region}
	for _, r := range c.Regions {
		if !slices.Contains(regions, r) {
			regions = append(regions, r)
		}
	}
	c.Regions = regions
	if !validDomain(c.Domain) {
		say("domain: %q is not a domain name", c.Domain)
	}
	if !validDomain(c.PublicDomain) {
		say("public_domain: %q is not a domain name", c.PublicDomain)
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		say("tls: give both the certificate and its key, or neither")
	}
	c.validateScaleOut(say)
	c.validateDistribution(say)
	c.validateScanning(say)
	c.validatePublic(say)
	if c.Blobs.MinFreeBytes < 0 {
		say("blobs.min_free_bytes: is less than 0; 0 switches it off")
	}
	if c.Blobs.InlineBytes < 0 || c.Blobs.InlineBytes > maxInlineBytes {
		say("blobs.inline_bytes: has to be between 0, which switches it off, and %d", maxInlineBytes)
	}
	if c.Quota.Rates != "off" && c.Quota.Rates != "ecr" {
		say("quota.rates: %q; choose off or ecr", c.Quota.Rates)
	}
	if c.Quota.Patience < 0 || c.Quota.Patience > maxPatience {
		say("quota.patience: has to be between 0s and %s", time.Duration(maxPatience))
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		say("log.level: %q; choose debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		say("log.format: %q; choose text or json", c.Log.Format)
	}
	if (c.RootAccessKeyID == "") != (c.RootSecretAccessKey == "") {
		say("BERTH_ROOT_ACCESS_KEY_ID and BERTH_ROOT_SECRET_ACCESS_KEY: give both or neither")
	}
	if n := len(c.RootAccessKeyID); n != 0 && (n < 16 || n > 128 || strings.ContainsAny(c.RootAccessKeyID, " /,=\t\n")) {
		say("BERTH_ROOT_ACCESS_KEY_ID: an access key id has 16 to 128 letters, digits or underscores")
	}
	for what, n := range map[string]int64{
		"repositories_per_registry": c.Limits.RepositoriesPerRegistry, "images_per_repository": c.Limits.ImagesPerRepository,
		"tags_per_image": c.Limits.TagsPerImage, "layers_per_image": int64(c.Limits.LayersPerImage), "manifest_bytes": int64(c.Limits.ManifestBytes),
		"max_layer_bytes": c.Limits.MaxLayerBytes, "max_layer_parts": c.Limits.MaxLayerParts, "min_part_bytes": c.Limits.MinPartBytes,
		"max_part_bytes": c.Limits.MaxPartBytes, "part_size": c.Limits.PartSize, "resource_tags": int64(c.Limits.ResourceTags),
		"lifecycle_rules": int64(c.Limits.LifecycleRules), "lifecycle_policy_chars": int64(c.Limits.LifecyclePolicyChars),
		"policy_chars": int64(c.Limits.PolicyChars), "pull_time_exclusions": int64(c.Limits.PullTimeExclusions),
		"public_repositories": c.Limits.PublicRepositories, "public_max_layer_bytes": c.Limits.PublicMaxLayerBytes, "public_max_layer_parts": c.Limits.PublicMaxLayerParts,
	} {
		if n < 1 {
			say("limits.%s: has to be at least 1", what)
		}
	}
	if c.ReconcileRound != 0 && c.ReconcileRound < Duration(time.Hour) {
		say("reconcile_round: has to be at least 1h, or 0s to switch it off")
	}
	if c.DrainDelay < 0 || c.DrainDelay > maxDrainDelay {
		say("drain_delay: has to be between 0s and %s", time.Duration(maxDrainDelay))
	}
	for what, n := range map[string]int64{"storage_bytes": c.Limits.StorageBytes, "repository_storage_bytes": c.Limits.RepositoryStorageBytes} {
		if n < 0 {
			say("limits.%s: is less than 0; 0 is no limit", what)
		}
	}
	if c.Limits.MinPartBytes > c.Limits.MaxPartBytes {
		say("limits.min_part_bytes: is larger than limits.max_part_bytes")
	}
	c.validateTelling(say)
	for what, d := range map[string]Duration{"drain_timeout": c.DrainTimeout, "layer_grace": c.LayerGrace, "upload_life": c.UploadLife, "lifecycle_delay": c.LifecycleDelay, "audit_retention": c.AuditRetention} {
		if d <= 0 {
			say("%s: has to be longer than nothing", what)
		}
	}
	return errors.Join(wrong...)
}

// validDomain admits lower-case labels joined by dots.
func validDomain(d string) bool {
	if d == "" || len(d) > 200 {
		return false
	}
	for _, label := range strings.Split(d, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

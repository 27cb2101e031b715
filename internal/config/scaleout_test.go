package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/config"
)

const masterKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// TestScaleOut: a URL alone, or the whole with everything that can be said.
func TestScaleOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(file, []byte(masterKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, "database: postgres://u:p@db/berth\nblobs: s3://layers/prod\n", config.Settings{KeyFile: &file})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Database.Postgres() || !c.Blobs.Remote() || c.Blobs.Encryption != "server-side" || c.Database.MaxConnections != 16 ||
		c.Blobs.S3.Checksums != "required" || string(c.MasterKey) != "0123456789abcdef0123456789abcdef" {
		t.Errorf("%+v", c)
	}
	c, err = load(t, `
database: {url: "postgres://u:p@pool/berth", pooled: true, direct_url: "postgres://u:p@db/berth", statement_timeout: 5s}
blobs:
  url: s3://layers-{region}
  encryption: berth
  archive: s3://cold
  s3: {endpoint: "http://s3:9000", path_style: true, sse: kms, kms_key: k, public_endpoint: "https://s3.example"}
  cache: {dir: /var/cache/berth, max_bytes: 100000000}
tls: {acme: {hosts: [registry.example]}}
tracing: {endpoint: "http://collector:4318", sample: 1}
admin_listen: :9090
`, config.Settings{MasterKey: masterKey})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Database.Pooled || time.Duration(c.Database.StatementTimeout) != 5*time.Second || c.Blobs.Encryption != "berth" ||
		!c.Blobs.S3.PathStyle || c.Blobs.Cache.MaxBytes != 100_000_000 || !c.TLS.Enabled() || c.Tracing.Sample != 1 {
		t.Errorf("%+v", c)
	}
}

func TestScaleOutRefused(t *testing.T) {
	for yaml, part := range map[string]string{
		"database: mysql://x/y\n":                               "database.url",
		"database: {pooled: true}\n":                            "database.url",
		"database: {url: 'postgres://x/y', pooled: true}\n":     "direct_url",
		"database: {url: 'postgres://x/y', pool: 3}\n":          "pool",
		"database: {max_connections: 1}\n":                      "max_connections",
		"database: {statement_timeout: 10ms}\n":                 "statement_timeout",
		"keys: {master_key: /nowhere/master.key}\n":             "openssl rand",
		"blobs: {s3: {region: x, ssl: true}}\n":                 "ssl",
		"blobs: gs://bucket\n":                                  "blobs.url",
		"blobs: {encryption: server-side}\n":                    "blobs.encryption",
		"blobs: {url: 's3://bucket', s3: {sse: aes}}\n":         "sse",
		"blobs: {url: 's3://bucket', s3: {kms_key: k}}\n":       "kms_key",
		"blobs: {url: 's3://bucket', s3: {timeout: 5ms}}\n":     "timeout",
		"blobs: {url: 's3://bucket', s3: {endpoint: s3}}\n":     "endpoint",
		"blobs: {url: 's3://bucket', s3: {checksums: never}}\n": "checksums",
		"blobs: {cache: {dir: /c, max_bytes: 5}}\n":             "max_bytes",
		"tls: {acme: {hosts: ['*.a.b']}}\n":                     "acme.hosts",
		"tracing: {sample: 2}\n":                                "sample",
		"tracing: {endpoint: collector}\n":                      "tracing.endpoint",
		"log: {requests: some}\n":                               "log.requests",
		"admin_listen: nowhere\n":                               "admin_listen",
	} {
		if _, err := load(t, yaml, config.Settings{}); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v, want an error about %s", yaml, err, part)
		}
	}
	if _, err := load(t, "database: postgres://x/y\n", config.Settings{MasterKey: "short"}); err == nil || !strings.Contains(err.Error(), "BERTH_MASTER_KEY") {
		t.Errorf("a short master key: %v", err)
	}
}

func TestBucket(t *testing.T) {
	for u, want := range map[string][2]string{
		"s3://layers":             {"layers", "eu-west-1/"},
		"s3://layers/":            {"layers", "eu-west-1/"},
		"s3://layers/a/b/":        {"layers", "a/b/eu-west-1/"},
		"s3://layers-{region}":    {"layers-eu-west-1", ""},
		"s3://layers/{region}/a/": {"layers", "eu-west-1/a/"},
	} {
		bucket, prefix, err := config.Bucket(u, "eu-west-1", "eu-west-1")
		if err != nil || bucket != want[0] || prefix != want[1] {
			t.Errorf("%s: %q, %q, %v", u, bucket, prefix, err)
		}
	}
	for _, u := range []string{"layers", "s3://", "s3://Up/x", "s3://layers/../x", "s3://layers/a?b", "s3://layers/a//b"} {
		if _, _, err := config.Bucket(u, "eu-west-1", "eu-west-1"); err == nil {
			t.Errorf("%s was accepted", u)
		}
	}
}

package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
)

func load(t *testing.T, yaml string, s config.Settings) (config.Config, error) {
	t.Helper()
	if yaml != "" {
		s.Config = filepath.Join(t.TempDir(), "berth.yaml")
		if err := os.WriteFile(s.Config, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s.Load()
}

func TestDefaultsNeedNothing(t *testing.T) {
	c, err := load(t, "", config.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(c.Data) || !slices.Equal(c.Regions, []name.Region{"us-east-1"}) || !c.BlobMounting {
		t.Errorf("%+v", c)
	}
}

func TestFlagsWinOverTheFile(t *testing.T) {
	c, err := load(t, "region: eu-west-1\nregions: [eu-central-1]\ndrain_timeout: 5s\nlimits: {tags_per_image: 7}\n",
		config.Settings{Region: new("us-west-2")})
	if err != nil {
		t.Fatal(err)
	}
	if c.Region != "us-west-2" || !slices.Equal(c.Regions, []name.Region{"us-west-2", "eu-central-1"}) {
		t.Errorf("regions %v, default %v", c.Regions, c.Region)
	}
	if time.Duration(c.DrainTimeout) != 5*time.Second || c.Limits.TagsPerImage != 7 || c.Limits.ManifestBytes != 4<<20 {
		t.Errorf("%+v", c)
	}
}

func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	_, err := load(t, "account: '12'\nlisten: nowhere\nblobs: {encryption: rot13}\nlimits: {part_size: 0}\ntls: {key: a}\n", config.Settings{Domain: new("Bad_Domain")})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"account", "listen", "blobs.encryption", "limits.part_size", "tls", "domain"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not speak of %s: %v", part, err)
		}
	}
}

func TestQuota(t *testing.T) {
	c, err := load(t, "", config.Settings{})
	if err != nil || c.Quota.Rates != "off" || time.Duration(c.Quota.Patience) != 5*time.Second || c.Blobs.MinFreeBytes != 128<<20 {
		t.Errorf("defaults: %+v, %+v, %v", c.Quota, c.Blobs, err)
	}
	c, err = load(t, "quota: {rates: off, patience: 0s}\nblobs: {min_free_bytes: 0}\nlimits: {storage_bytes: 5, lifecycle_rules: 3}\n", config.Settings{})
	if err != nil || c.Quota.Rates != "off" || c.Quota.Patience != 0 || c.Blobs.MinFreeBytes != 0 {
		t.Errorf("set: %+v, %+v, %v", c.Quota, c.Blobs, err)
	}
	if l := c.Limits.Quota(); l.StorageBytes != 5 || l.LifecycleRules != 3 || l.PolicyChars != 10_240 {
		t.Errorf("limits: %+v", l)
	}
	for _, bad := range []string{
		"quota: {rates: on}\n", "quota: {patience: -1s}\n", "quota: {patience: 1h}\n", "blobs: {min_free_bytes: -1}\n",
		"limits: {storage_bytes: -1}\n", "limits: {policy_chars: 0}\n",
	} {
		if _, err := load(t, bad, config.Settings{}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestStrictFile(t *testing.T) {
	for _, bad := range []string{"unknown: 1\n", "listen: [1]\n", "drain_timeout: soon\n", "blobs: {encryptionn: none}\n", "]"} {
		if _, err := load(t, bad, config.Settings{}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := (config.Settings{Config: "/does/not/exist"}).Load(); err == nil {
		t.Error("a missing file was accepted")
	}
	if _, err := load(t, "# nothing\n", config.Settings{}); err != nil {
		t.Error(err)
	}
}

func TestRootKeyComesWhole(t *testing.T) {
	if _, err := load(t, "", config.Settings{RootID: new("AKIDEXAMPLEEXAMPLE")}); err == nil {
		t.Error("an access key without its secret was accepted")
	}
}

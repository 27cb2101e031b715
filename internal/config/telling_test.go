package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/config"
)

func TestTelling(t *testing.T) {
	c, err := load(t, `
events: {pulls: {mode: aggregate, interval: 30s}, allow_private: true}
audit:
  overflow: drop
  buckets:
    local-trail: /var/log/berth
    far-trail: {url: "s3://real-bucket/some/place", s3: {endpoint: "http://127.0.0.1:9000", path_style: true}}
usage: {repositories: 50}
`, config.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	far := c.Audit.Buckets["far-trail"]
	bucket, prefix := far.Object()
	if c.Events.Pulls.Mode != "aggregate" || time.Duration(c.Events.Retention) != 7*24*time.Hour || !c.Events.AllowPrivate || c.Audit.Overflow != "drop" ||
		c.Audit.Buckets["local-trail"].Remote() || !far.Remote() || bucket != "real-bucket" || prefix != "some/place/" || far.S3.Checksums != "required" || c.Usage.Repositories != 50 {
		t.Errorf("got %+v %+v %+v", c.Events, c.Audit, c.Usage)
	}
	for text, want := range map[string]string{
		"events: {pulls: {mode: all}}":                "events.pulls.mode",
		"events: {files: there}":                      "not an absolute path",
		"audit: {overflow: lose}":                     "block or drop",
		"audit: {buckets: {local-trail: there}}":      "neither an absolute path",
		"audit: {buckets: {Trail: /there}}":           "no name of a bucket",
		"audit: {buckets: {trail-x: s3://}}":          "not the address of a bucket",
		"usage: {repositories: -1}":                   "usage.repositories",
		"audit: {buckets: {local-trail: {where: x}}}": "where",
	} {
		if _, err := load(t, text, config.Settings{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

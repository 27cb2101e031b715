package config_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
)

func TestRegionsOfPeers(t *testing.T) {
	c, err := load(t, `
region: us-east-1
regions:
  us-east-1: {}
  us-west-2:
  eu-west-1: {peer: "https://berth.example/"}
replication: {bandwidth: 1000000}
pull_through:
  allow_private: [10.0.0.0/8]
  upstreams:
    "registry.example:5000": {plain_http: true, hosts: ["*.blobs.example", auth.example]}
    10.0.0.7:5000: {allow_private: true}
`, config.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Regions, []name.Region{"us-east-1", "us-west-2"}) || !maps.Equal(c.Peers, map[name.Region]string{"eu-west-1": "https://berth.example"}) {
		t.Errorf("%v %v", c.Regions, c.Peers)
	}
	if c.Replication.Workers != 4 || c.Replication.Bandwidth != 1000000 || time.Duration(c.PullThrough.Refresh) != 24*time.Hour || !c.PullThrough.Upstreams["registry.example:5000"].PlainHTTP {
		t.Errorf("%+v %+v", c.Replication, c.PullThrough)
	}
}

func TestWhatPeersAndUpstreamsCannotBe(t *testing.T) {
	for text, part := range map[string]string{
		"region: eu-west-1\nregions: {eu-west-1: {peer: https://a.example}}": "it can be one of them",
		"regions: {eu-west-1: {peer: a.example}}":                            "not the address of a deployment",
		"regions: {eu-west-1: {peer: https://a.example/path}}":               "not the address of a deployment",
		"regions: {eu-west-1: {peers: https://a.example}}":                   "peers",
		"regions: here": "regions is a list",
		"regions: {EU: {peer: https://a.example}}":                "regions",
		"replication: {workers: 0}":                               "replication.workers",
		"replication: {bandwidth: 5}":                             "replication.bandwidth",
		"replication: {give_up: 1s}":                              "replication.give_up",
		"pull_through: {refresh: 0s}":                             "pull_through.refresh",
		"pull_through: {allow_private: [10.0.0.1]}":               "pull_through.allow_private",
		"pull_through: {upstreams: {'https://a.example': {}}}":    "is not a host",
		"pull_through: {upstreams: {a.example: {endpoint: b}}}":   "endpoint",
		"pull_through: {upstreams: {a.example: {hosts: [a/b]}}}":  "hosts",
		"pull_through: {upstreams: {a.example: {allowed: true}}}": "allowed",
	} {
		if _, err := load(t, text, config.Settings{}); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

package scenario

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/bench/content"
	"github.com/berth-registry/berth/bench/target"
)

func TestImage(t *testing.T) {
	layer, err := content.New(layerSize).Next()
	if err != nil {
		t.Fatal(err)
	}
	config := newConfig(layer)
	i := newImage("v1", config, "", layer)
	var m manifest
	if err := json.Unmarshal(i.raw, &m); err != nil {
		t.Fatal(err)
	}
	if m.SchemaVersion != 2 || m.MediaType != imageType || m.Annotations != nil {
		t.Errorf("the manifest is %+v", m)
	}
	if want := (descriptor{configType, int64(len(config)), content.Digest(config)}); m.Config != want || i.blobs[0] != want {
		t.Errorf("the config is %+v in the manifest and %+v beside it, want %+v", m.Config, i.blobs[0], want)
	}
	if want := (descriptor{layerType, layerSize, layer.Digest}); len(m.Layers) != 1 || m.Layers[0] != want || i.blobs[1] != want {
		t.Errorf("the layers are %+v, want one of %+v", m.Layers, want)
	}
	if i.digest != content.Digest(i.raw) || i.payload != int64(len(i.raw)+len(config)+layerSize) {
		t.Errorf("the image is %s with %d bytes", i.digest, i.payload)
	}
	var c struct {
		Architecture, OS string
		RootFS           struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(config, &c); err != nil || c.OS != "linux" || len(c.RootFS.DiffIDs) != 1 || c.RootFS.DiffIDs[0] != layer.Digest {
		t.Errorf("the config is %s, %v", config, err)
	}
	if labelled := newImage("v1", config, "v1", layer); labelled.digest == i.digest || !strings.Contains(string(labelled.raw), `"v1"`) {
		t.Errorf("a label does not make another manifest: %s", labelled.raw)
	}
}

func TestStockTagsAreInOrder(t *testing.T) {
	for _, pair := range [][2]int{{0, 1}, {9, 10}, {99, 100}, {9_999, 10_000}, {99_998, 99_999}} {
		if a, b := stockTag(pair[0]), stockTag(pair[1]); a >= b || len(a) != len(b) {
			t.Errorf("%s does not stand before %s, or is not as long", a, b)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 100: "100", 999: "999", 1000: "1,000", 10_000: "10,000", 100_000: "100,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is written %q, want %q", n, got, want)
		}
	}
}

func TestSignedCall(t *testing.T) {
	s := newSigner(&target.API{Endpoint: "http://127.0.0.1:5000", Region: "eu-central-1", AccessKey: "AKIAEXAMPLE", SecretKey: "secret"})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	lines := func(body, operation string) map[string]string {
		header, err := s.header(context.Background(), operation, len(body), strings.TrimPrefix(content.Digest([]byte(body)), "sha256:"), now)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, line := range header {
			name, value, ok := strings.Cut(line, ": ")
			if !ok || value == "" {
				t.Errorf("the line %q is no header", line)
			}
			out[name] = value
		}
		return out
	}
	one := lines("{}", "DescribeImages")
	if one["Host"] != "127.0.0.1:5000" || one["X-Amz-Date"] != "20260102T030405Z" || one["X-Amz-Target"] != "AmazonEC2ContainerRegistry_V20150921.DescribeImages" {
		t.Errorf("the lines are %v", one)
	}
	const begin = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260102/eu-central-1/ecr/aws4_request, SignedHeaders=content-length;content-type;host;x-amz-date;x-amz-target, Signature="
	if !strings.HasPrefix(one["Authorization"], begin) {
		t.Errorf("the authorization is %s", one["Authorization"])
	}
	for what, other := range map[string]map[string]string{"body": lines("{ }", "DescribeImages"), "operation": lines("{}", "BatchGetImage")} {
		if other["Authorization"] == one["Authorization"] {
			t.Errorf("another %s has the same signature", what)
		}
	}
}

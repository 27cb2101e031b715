package vulndbfetch_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/app/vulndbfetch"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb/layout"
	"github.com/berth-registry/berth/internal/infra/upstream"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
)

const repo = "aquasec/trivy-db"

// archive is as big as several reads of a connection.
func archive() []byte {
	b := make([]byte, 3<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // it never fails
	return b
}

// push puts an artifact into a registry, in the form that mediaType says.
func push(t *testing.T, r *upstreamtest.Registry, mediaType, layerType string, content []byte) name.Digest {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": mediaType,
		"config": map[string]any{"mediaType": layout.MediaTypeConfig, "digest": r.PutBlob(repo, []byte("{}")), "size": 2},
		"layers": []any{map[string]any{"mediaType": layerType, "digest": r.PutBlob(repo, content), "size": len(content)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return name.Digest(r.PutManifest(repo, "2", mediaType, body))
}

func fetcher(t *testing.T, progress func(done, total int64), registries ...*upstreamtest.Registry) *vulndbfetch.Fetcher {
	f := vulndbfetch.New(vulndbfetch.Config{Upstream: upstreamtest.Config(registries...), Progress: progress, Pause: time.Millisecond})
	t.Cleanup(f.Close)
	return f
}

// read takes a layout apart.
func read(t *testing.T, layout []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(layout)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFetch(t *testing.T) {
	content := archive()
	for what, start := range map[string]func(testing.TB) *upstreamtest.Registry{"http": upstreamtest.New, "https": upstreamtest.NewTLS} {
		for _, mediaType := range []string{layout.MediaTypeOCI, layout.MediaTypeDocker} {
			t.Run(what+" "+mediaType, func(t *testing.T) {
				r := start(t)
				r.RequireToken("", "")
				digest := push(t, r, mediaType, layout.MediaTypeLayer, content)
				var done, total int64
				f := fetcher(t, func(d, n int64) {
					if d <= done {
						t.Errorf("%d bytes after %d", d, done)
					}
					done, total = d, n
				}, r)
				var out bytes.Buffer
				got, err := f.Fetch(t.Context(), r.Host()+"/"+repo, &out)
				if err != nil || got != digest {
					t.Fatalf("%s, %v", got, err)
				}
				if done != total || total != int64(len(content)) {
					t.Errorf("progress: %d of %d", done, total)
				}
				files := read(t, out.Bytes())
				if !bytes.Equal(files["blobs/sha256/"+name.SHA256(content).Hex()], content) || string(files["blobs/sha256/"+name.SHA256([]byte("{}")).Hex()]) != "{}" {
					t.Error("the blobs are not there")
				}
				if name.SHA256(files["blobs/sha256/"+digest.Hex()]) != digest || !strings.Contains(string(files["index.json"]), string(digest)) || files["oci-layout"] == nil {
					t.Error("the layout is not one")
				}
				if got, err := f.Resolve(t.Context(), r.Host()+"/"+repo+":2"); err != nil || got != digest {
					t.Errorf("%s, %v", got, err)
				}
				if got, err := f.Resolve(t.Context(), r.Host()+"/"+repo+"@"+string(digest)); err != nil || got != digest {
					t.Errorf("%s, %v", got, err)
				}
			})
		}
	}
}

// TestFaults has the registry fail for a while: what comes is whole all the same.
func TestFaults(t *testing.T) {
	content := archive()
	for what, faults := range map[string][]upstreamtest.Fault{
		"manifest":       {{Kind: upstreamtest.Manifest, Status: 503, Times: 3}},
		"too many":       {{Kind: upstreamtest.Manifest, Status: 429, Times: 1}},
		"blob":           {{Kind: upstreamtest.Blob, Status: 500, Times: 2}},
		"cut":            {{Kind: upstreamtest.Blob, Contains: name.SHA256(content).Hex(), CutAfter: 1 << 20, Times: 2}},
		"cut early":      {{Kind: upstreamtest.Blob, Contains: name.SHA256(content).Hex(), CutAfter: 1, Times: 3}},
		"no range":       {{Kind: upstreamtest.Blob, Contains: name.SHA256(content).Hex(), IgnoreRange: true}, {Kind: upstreamtest.Blob, Contains: name.SHA256(content).Hex(), CutAfter: 2 << 20, Times: 1}},
		"cut, then down": {{Kind: upstreamtest.Blob, Contains: name.SHA256(content).Hex(), Skip: 1, Status: 502, Times: 2}, {Kind: upstreamtest.Blob, Contains: name.SHA256(content).Hex(), CutAfter: 1 << 20, Times: 1}},
	} {
		t.Run(what, func(t *testing.T) {
			r := upstreamtest.New(t)
			digest := push(t, r, layout.MediaTypeOCI, layout.MediaTypeLayer, content)
			for _, f := range faults {
				r.Inject(f)
			}
			var out bytes.Buffer
			got, err := fetcher(t, nil, r).Fetch(t.Context(), r.Host()+"/"+repo+":2", &out)
			if err != nil || got != digest {
				t.Fatalf("%s, %v", got, err)
			}
			if !bytes.Equal(read(t, out.Bytes())["blobs/sha256/"+name.SHA256(content).Hex()], content) {
				t.Error("another archive has come")
			}
		})
	}
}

// TestRefusals has sources that do not give a database.
func TestRefusals(t *testing.T) {
	content := archive()
	hex := name.SHA256(content).Hex()
	for what, c := range map[string]struct {
		layer string
		fault upstreamtest.Fault
		want  string
	}{
		"damaged":   {layout.MediaTypeLayer, upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: hex, Corrupt: true}, "digest"},
		"down":      {layout.MediaTypeLayer, upstreamtest.Fault{Status: 503}, "503"},
		"not found": {layout.MediaTypeLayer, upstreamtest.Fault{Kind: upstreamtest.Manifest, Status: 404}, "404"},
		"no blob":   {layout.MediaTypeLayer, upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: hex, Status: 404}, "404"},
		"Java's":    {"application/vnd.aquasec.trivy.javadb.layer.v1.tar+gzip", upstreamtest.Fault{Contains: "nowhere"}, "no vulnerability database"},
	} {
		t.Run(what, func(t *testing.T) {
			r := upstreamtest.New(t)
			push(t, r, layout.MediaTypeOCI, c.layer, content)
			r.Inject(c.fault)
			_, err := fetcher(t, nil, r).Fetch(t.Context(), r.Host()+"/"+repo, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}

	t.Run("too big", func(t *testing.T) {
		r := upstreamtest.New(t)
		push(t, r, layout.MediaTypeOCI, layout.MediaTypeLayer, content)
		f := vulndbfetch.New(vulndbfetch.Config{Upstream: upstreamtest.Config(r), MaxArchive: 1 << 20})
		defer f.Close()
		if _, err := f.Fetch(t.Context(), r.Host()+"/"+repo, io.Discard); err == nil || !strings.Contains(err.Error(), "more than the 1048576") {
			t.Error(err)
		}
	})
	t.Run("private address", func(t *testing.T) {
		r := upstreamtest.New(t)
		push(t, r, layout.MediaTypeOCI, layout.MediaTypeLayer, content)
		f := vulndbfetch.New(vulndbfetch.Config{Upstream: upstream.Config{Hosts: map[string]upstream.Host{r.Host(): {PlainHTTP: true}}}})
		defer f.Close()
		if _, err := f.Fetch(t.Context(), r.Host()+"/"+repo, io.Discard); upstream.KindOf(err) != upstream.Refused {
			t.Error(err)
		}
	})
	t.Run("given up", func(t *testing.T) {
		r := upstreamtest.New(t)
		push(t, r, layout.MediaTypeOCI, layout.MediaTypeLayer, content)
		r.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: hex, StallAfter: 1000})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f := fetcher(t, func(int64, int64) { cancel() }, r)
		if _, err := f.Fetch(ctx, r.Host()+"/"+repo, io.Discard); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("full", func(t *testing.T) {
		r := upstreamtest.New(t)
		push(t, r, layout.MediaTypeOCI, layout.MediaTypeLayer, content)
		if _, err := fetcher(t, nil, r).Fetch(t.Context(), r.Host()+"/"+repo, full{}); !errors.Is(err, io.ErrShortWrite) {
			t.Error(err)
		}
	})
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestParseReference(t *testing.T) {
	digest := string(name.SHA256(nil))
	for text, want := range map[string]vulndbfetch.Reference{
		"ghcr.io/aquasecurity/trivy-db:2":              {Host: "ghcr.io", Repository: "aquasecurity/trivy-db", Reference: "2"},
		"GHCR.io/aquasecurity/trivy-db":                {Host: "ghcr.io", Repository: "aquasecurity/trivy-db", Reference: "2"},
		"docker://mirror.example:5000/trivy-db:latest": {Host: "mirror.example:5000", Repository: "trivy-db", Reference: "latest"},
		"localhost/trivy-db":                           {Host: "localhost", Repository: "trivy-db", Reference: "2"},
		"docker.io/aquasec/trivy-db:2":                 {Host: "registry-1.docker.io", Repository: "aquasec/trivy-db", Reference: "2"},
		"ghcr.io/aquasecurity/trivy-db:2@" + digest:    {Host: "ghcr.io", Repository: "aquasecurity/trivy-db", Reference: digest},
		"": {}, "trivy-db": {}, "trivy-db:2": {}, "aquasec/trivy-db": {}, "ghcr.io/": {}, "ghcr.io/UPPER": {}, "ghcr.io/a/b:": {}, "ghcr.io/ab@sha256:12": {},
		"https://ghcr.io/a/b": {}, "ghcr.io/ab:a b": {},
	} {
		got, err := vulndbfetch.ParseReference(text)
		if want == (vulndbfetch.Reference{}) {
			if err == nil || !strings.Contains(err.Error(), "HOST/REPOSITORY:TAG") {
				t.Errorf("%q: %+v, %v", text, got, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, s := range vulndbfetch.Sources() {
		if _, err := vulndbfetch.ParseReference(s); err != nil {
			t.Error(err)
		}
	}
}

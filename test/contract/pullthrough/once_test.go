package pullthrough

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// atOnce has clients pull an image for the first time, all at once, each from one of
// the registries in turn, and holds what the upstream was asked to one download.
func atOnce(t *testing.T, up *upstreamtest.Registry, want upstreamtest.Image, repo string, clients int, nodes ...*harness.Registry) {
	t.Helper()
	gate := make(chan struct{})
	up.Inject(upstreamtest.Fault{Kind: upstreamtest.Manifest, Hold: gate})
	up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Delay: 200 * time.Millisecond}) // so that others come meanwhile
	var pulling sync.WaitGroup
	for n := range clients {
		pulling.Go(func() {
			got, err := nodes[n%len(nodes)].Pull(t.Context(), repo, "v1")
			if err != nil || got.Digest != want.Digest() || !bytes.Equal(got.Raw, want.Body) || len(got.Blobs) != len(want.Layers)+1 {
				t.Errorf("client %d got %s with %d blobs: %v", n, got.Digest, len(got.Blobs), err)
			}
		})
	}
	wait(t, "the question for the manifest", func() bool { return up.Count(upstreamtest.Manifest) > 0 })
	close(gate)
	pulling.Wait()
	if n := up.Count(upstreamtest.Manifest); n != 1 {
		t.Errorf("%d clients caused %d questions for the manifest", clients, n)
	}
	for _, blob := range append(want.Layers, want.Config) {
		if n := up.CountPath(upstreamtest.Blob, blob.Digest.String()); n != 1 {
			t.Errorf("%d clients caused %d downloads of the blob %s", clients, n, blob.Digest)
		}
	}
	t.Logf("%d clients: %d requests to the upstream in all, %d bytes of blobs", clients, len(up.Requests()), up.BlobBytes())
	up.Heal()
}

// manyLayers puts an image into the upstream whose layers take several parts.
func manyLayers(up *upstreamtest.Registry, repo string, seed uint64) upstreamtest.Image {
	return up.PushImage(repo, "v1", harness.Random(seed, 3_000_000), harness.Random(seed+1, 400_000), harness.Random(seed+2, 10))
}

// TestOnce: a hundred clients that pull one image for the first time cause one
// download.
func TestOnce(t *testing.T) {
	t.Parallel()
	up := upstreamtest.New(t)
	want := manyLayers(up, "app", 100)
	w := start(t, settings("", up.Host()))
	w.rule(t, "hub", up.Host())
	atOnce(t, up, want, "hub/app", 100, w.root)
	w.becomes(t, "hub/app", want.Digest()+" v1")
	w.clean(t)
}

// TestOnceAmongNodes: the same with the clients on two nodes of one deployment.
func TestOnceAmongNodes(t *testing.T) {
	t.Parallel()
	up := upstreamtest.New(t)
	want := manyLayers(up, "app", 110)
	o := harness.Options{Shape: harness.ScaleOut, Config: settings("", up.Host())}
	w := worldOf(t, harness.Start(t, o))
	w.rule(t, "hub", up.Host())
	other := worldOf(t, harness.StartNode(t, w.Server, o))
	atOnce(t, up, want, "hub/app", 100, w.root, other.root)
	w.becomes(t, "hub/app", want.Digest()+" v1")
	w.clean(t)
	other.clean(t)
}

// TestNeverRedirected: where the upstream keeps its layers on another host, the
// cache goes there, with no credentials, and the client does not.
func TestNeverRedirected(t *testing.T) {
	t.Parallel()
	up, storage := upstreamtest.New(t), upstreamtest.New(t)
	up.RequireBasic("puller", "right")
	want := up.PushImage("app", "v1", harness.Random(120, 500_000))
	storage.PushImage("app", "v1", harness.Random(120, 500_000))
	up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Redirect: storage.URL() + "/storage/{digest}"})
	w := start(t, strings.Replace(settings("", up.Host()), "plain_http: true", "plain_http: true, hosts: ["+storage.Host()+"]", 1))
	w.rule(t, "hub", up.Host(), with(w.secrets(t, "CreateSecret", map[string]string{"Name": "ecr-pullthroughcache/up", "SecretString": credentials("puller", "right")})))
	for range 2 { // while the layers come, and once they are here
		pull(t, w.root, "hub/app", "v1", want) // the client follows no redirects
		for _, ref := range []string{"v1", want.Digest()} {
			a, err := w.root.Do(t.Context(), harness.Request{Method: http.MethodHead, Path: "/v2/hub/app/manifests/" + ref, Accept: harness.EveryManifest()}, http.StatusOK)
			if err != nil || a.Header.Get("Location") != "" {
				t.Errorf("HEAD: %v %v", a.Header, err)
			}
		}
		w.becomes(t, "hub/app", want.Digest()+" v1")
	}
	if n := storage.Count(upstreamtest.Storage); n != 2 {
		t.Errorf("the host of the layers was asked %d times, want once for the layer and once for the configuration", n)
	}
	for _, r := range storage.Requests() {
		if r.Header.Get("Authorization") != "" {
			t.Error("the host of the layers was sent the credentials")
		}
	}
	w.clean(t)
}

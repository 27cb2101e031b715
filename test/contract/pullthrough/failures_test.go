package pullthrough

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// line is a way to an upstream that counts what comes back on it, and that at a byte
// does something and breaks off.
type line struct {
	host string
	sent atomic.Int64

	mu sync.Mutex
	at int64 // 0 never
	do func()
}

// newLine makes a way to the host.
func newLine(t *testing.T, host string) *line {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	l := &line{host: listener.Addr().String()}
	var open sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close() // which ends the loop
		open.Wait()
	})
	open.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { l.carry(t, client, host) })
		}
	})
	return l
}

func (l *line) carry(t *testing.T, client net.Conn, host string) {
	defer func() { _ = client.Close() }() // one side has closed it already
	server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host)
	if err != nil {
		return // the upstream is down
	}
	shut := func() {
		_ = client.Close() // both ways end together
		_ = server.Close()
	}
	defer context.AfterFunc(t.Context(), shut)() // connections are kept open after use
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client) // ends when either is closed
	}()
	piece := make([]byte, 16<<10)
	for {
		n, err := server.Read(piece)
		if err == nil {
			_, err = client.Write(piece[:n])
		}
		// What the system holds of a dead upstream's answer does not come either.
		if err != nil || l.pass(int64(n)) {
			break
		}
	}
	shut()
	<-done
}

// pass counts bytes, and says whether it was at one of them that something was to
// be done.
func (l *line) pass(n int64) bool {
	sent := l.sent.Add(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == 0 || sent < l.at {
		return false
	}
	l.at = 0
	l.do()
	return true
}

// after does something, and breaks off, once so many more bytes have come.
func (l *line) after(n int64, do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at, l.do = l.sent.Load()+n, do
}

// TestUpstreamKilled: the upstream is killed in the middle of a large layer. No
// client has a wrong or a short layer for a whole one, nothing partial is visible,
// and when the upstream is back the rest is fetched.
func TestUpstreamKilled(t *testing.T) {
	t.Parallel()
	const size, half = 24_000_000, 14_000_000
	d := harness.StartDistribution(t)
	l := newLine(t, d.Host)
	w := start(t, settings("", l.host))
	w.rule(t, "far", l.host)
	image := d.Registry.PushImage(t, "big", "v1", 200, size)
	layer := harness.Digest(harness.Random(200, size))
	// The layer begins to come with the manifest.
	l.after(half, d.Kill)
	if _, _, err := w.root.Manifest(t.Context(), "far/big", "v1", harness.OCIImage); err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for n := range 4 {
		clients.Go(func() {
			content, status, err := read(t.Context(), w.root, "far/big", layer, nil)
			if err == nil && status == http.StatusOK {
				t.Errorf("client %d got %d bytes of %d for a whole layer", n, len(content), size)
			}
			if status == http.StatusOK && len(content) >= size {
				t.Errorf("client %d got %d bytes", n, len(content))
			}
		})
	}
	clients.Wait()
	if l.sent.Load() < half {
		t.Fatalf("the upstream gave %d bytes only", l.sent.Load())
	}
	if got := w.images(t, "far/big"); len(got) > 0 {
		t.Errorf("an image without its layer is listed: %q", got)
	}
	w.MustFsck(t)

	before := l.sent.Load()
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.root.Verify(t, "far/big", "v1"); got.Digest != image.Digest {
		t.Errorf("after the upstream came back: %s", got.Digest)
	}
	w.becomes(t, "far/big", image.Digest+" v1")
	rest := l.sent.Load() - before
	if t.Logf("%d bytes came before the upstream was killed, %d after", before, rest); rest > size-half/2 {
		t.Errorf("%d bytes of %d were fetched again", rest, size)
	}
	w.clean(t)
}

// TestServedFromHere: while upstreams are down, do not answer or ask for patience,
// what is cached is served, and that is counted and logged once; afterwards tags
// move again.
func TestServedFromHere(t *testing.T) {
	t.Parallel()
	down, slow, busy := harness.StartDistribution(t), upstreamtest.New(t), upstreamtest.New(t)
	admin := harness.FreeAddress(t)
	w := start(t, "admin_listen: "+admin+"\n"+settings("  refresh: 1s\n", down.Host, slow.Host(), busy.Host()))
	hang := make(chan struct{})
	defer close(hang)
	sources := []struct {
		prefix, host, reason string
		push                 func(seed uint64) (digest string)
		fail                 func()
		heal                 func()
	}{
		{"down", down.Host, "unavailable", func(seed uint64) string { return down.Registry.PushImage(t, "app", "v1", seed, 70_000).Digest },
			down.Kill, func() { must(0, down.Start(t.Context()))(t) }},
		{"slow", slow.Host(), "slow", func(seed uint64) string { return slow.PushImage("app", "v1", harness.Random(seed, 70_000)).Digest() },
			func() { slow.Inject(upstreamtest.Fault{Hold: hang}) }, slow.Heal},
		{"busy", busy.Host(), "too-many-requests", func(seed uint64) string { return busy.PushImage("app", "v1", harness.Random(seed, 70_000)).Digest() },
			func() {
				busy.Inject(upstreamtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}})
			}, busy.Heal},
	}
	stale := func(reason string) float64 {
		return metric(t, admin, `berth_upstream_stale_total{reason="`+reason+`"}`)
	}
	first, second := map[string]string{}, map[string]string{}
	for n, s := range sources {
		repo := s.prefix + "/app"
		first[s.prefix] = s.push(uint64(300 + n))
		w.rule(t, s.prefix, s.host)
		w.root.Verify(t, repo, "v1")
		w.becomes(t, repo, first[s.prefix]+" v1")
	}
	t.Log("a tag that has not changed costs a HEAD")
	wait(t, "the question after a second", func() bool {
		w.root.Verify(t, "busy/app", "v1")
		return busy.Count(upstreamtest.Head) > 0
	})
	if n := busy.CountPath(upstreamtest.Manifest, "v1"); n != 1 {
		t.Errorf("the manifest was fetched %d times", n)
	}
	for n, s := range sources {
		second[s.prefix] = s.push(uint64(310 + n)) // which nobody here gets to see for now
		s.fail()
	}
	for _, s := range sources {
		repo := s.prefix + "/app"
		serve := func() {
			if got := w.root.Verify(t, repo, "v1"); got.Digest != first[s.prefix] {
				t.Fatalf("%s serves %s, want what is cached, %s", repo, got.Digest, first[s.prefix])
			}
		}
		wait(t, "a pull of "+repo+" after its refresh", func() bool {
			serve()
			return stale(s.reason) > 0
		})
		before := stale(s.reason)
		for range 5 {
			serve()
		}
		if n := stale(s.reason); n < before+5 {
			t.Errorf("%s: berth_upstream_stale_total{reason=%q} is %v, it was %v five pulls ago", repo, s.reason, n, before)
		}
		lines := 0
		for text := range strings.Lines(w.Log()) {
			if strings.Contains(text, "cached copies are served") && strings.Contains(text, s.host) {
				lines++
			}
		}
		if lines != 1 {
			t.Errorf("%s: that cached copies are served stands %d times in the log", repo, lines)
		}
	}
	if n := metric(t, admin, `berth_upstream_requests_total{outcome="too-many-requests"}`); n < 1 {
		t.Errorf("the answers 429 are not counted: %v", n)
	}
	a, err := w.root.Do(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/busy/other/manifests/v1", Accept: harness.EveryManifest()}, http.StatusTooManyRequests)
	if err != nil || a.Header.Get("Retry-After") == "" {
		t.Errorf("what is not here: %v %v", a.Header, err)
	}

	t.Log("and back again; a restart forgets whom to leave alone")
	for _, s := range sources {
		s.heal()
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		wait(t, "the new image of "+s.prefix, func() bool {
			got := w.root.Verify(t, s.prefix+"/app", "v1").Digest
			if got != first[s.prefix] && got != second[s.prefix] {
				t.Fatalf("%s serves %s", s.prefix, got)
			}
			return got == second[s.prefix]
		})
		w.becomes(t, s.prefix+"/app", first[s.prefix]+" ", second[s.prefix]+" v1")
	}
	w.clean(t)
}

// TestPoisoned: an upstream that lies gets nothing into the registry, sends us
// nowhere, and no client gets what it sent for right.
func TestPoisoned(t *testing.T) {
	t.Parallel()
	// Somebody on this machine whom the upstream would like to be asked.
	victim := must(net.Listen("tcp", "127.0.0.2:0"))(t)
	defer func() { _ = victim.Close() }() // it has heard nothing
	var heard atomic.Int64
	go func() {
		for {
			c, err := victim.Accept()
			if err != nil {
				return
			}
			heard.Add(1)
			_ = c.Close() // that it came is all
		}
	}()
	inside := "http://" + victim.Addr().String() + "/storage/{digest}"
	up := upstreamtest.New(t)
	// Its operator has been talked into listing them as hosts of its layers, but the
	// network is none that is allowed.
	w := start(t, strings.Replace(settings("", up.Host()), "plain_http: true", fmt.Sprintf("plain_http: true, hosts: [%q, %q]", victim.Addr(), "169.254.169.254"), 1))
	w.rule(t, "bad", up.Host())
	const m, b = upstreamtest.Manifest, upstreamtest.Blob
	cases := []struct {
		name     string
		fault    upstreamtest.Fault
		byDigest bool
	}{
		{name: "another manifest than its digest says", fault: upstreamtest.Fault{Kind: m, Header: http.Header{"Docker-Content-Digest": {harness.Digest([]byte("other"))}}}},
		{name: "another manifest than was asked for", fault: upstreamtest.Fault{Kind: m, Corrupt: true}, byDigest: true},
		{name: "a manifest without end", fault: upstreamtest.Fault{Kind: m, Endless: true}},
		{name: "a manifest that is none", fault: upstreamtest.Fault{Kind: m, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", harness.OCIImage)
			_, _ = io.WriteString(w, "<html>") // the client may be gone
		})}},
		{name: "a manifest from a loopback address", fault: upstreamtest.Fault{Kind: m, Redirect: inside}},
		{name: "wrong bytes of layers", fault: upstreamtest.Fault{Kind: b, Corrupt: true}},
		{name: "layers without end", fault: upstreamtest.Fault{Kind: b, Endless: true}},
		{name: "layers from a loopback address", fault: upstreamtest.Fault{Kind: b, Redirect: inside}},
		{name: "layers from a mapped loopback address", fault: upstreamtest.Fault{Kind: b, Redirect: strings.Replace(inside, "127.0.0.2", "[::ffff:127.0.0.2]", 1)}},
		{name: "layers from this server", fault: upstreamtest.Fault{Kind: b, Redirect: w.Endpoint + "/v2/"}},
		{name: "layers from where clouds keep credentials", fault: upstreamtest.Fault{Kind: b, Redirect: "http://169.254.169.254/latest/meta-data/iam/"}},
		{name: "layers from a file", fault: upstreamtest.Fault{Kind: b, Redirect: "file:///etc/passwd"}},
	}
	for n, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			repo := fmt.Sprintf("bad/n%d", n)
			large, small := harness.Random(uint64(400+n), 400_000), harness.Random(uint64(500+n), 100)
			image := up.PushImage(strings.TrimPrefix(repo, "bad/"), "v1", large, small)
			defer up.Inject(c.fault)()
			ref := "v1"
			if c.byDigest {
				ref = image.Digest()
			}
			t.Logf("the client sees: %.300s", fails(t, w.root, repo, ref))
			for _, content := range [][]byte{large, small} {
				got, status, err := read(t.Context(), w.root, repo, harness.Digest(content), nil)
				if status == http.StatusOK && err == nil {
					t.Errorf("a layer of %d bytes came whole, %d bytes", len(content), len(got))
				}
				// What is wrong in it is known at its end only, and its end is kept back.
				if status == http.StatusOK && len(got) > max(0, len(content)-64<<10) {
					t.Errorf("%d bytes of a wrong layer of %d were given out", len(got), len(content))
				}
			}
			if got := w.images(t, repo); len(got) > 0 {
				t.Errorf("listed: %q", got)
			}
			if c.fault.Kind == b { // else there is no repository
				out := must(w.ECR().BatchCheckLayerAvailability(t.Context(), &ecr.BatchCheckLayerAvailabilityInput{
					RepositoryName: &repo, LayerDigests: []string{harness.Digest(large), harness.Digest(small)},
				}))(t)
				for _, l := range out.Layers {
					if l.LayerAvailability != types.LayerAvailabilityUnavailable {
						t.Errorf("the layer %s is stored", aws.ToString(l.LayerDigest))
					}
				}
			}
		})
	}
	if n := heard.Load(); n != 0 {
		t.Errorf("a loopback address was asked %d times", n)
	}
	out := must(w.ECR().DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{}))(t)
	for _, r := range out.Repositories {
		if got := w.images(t, *r.RepositoryName); len(got) > 0 {
			t.Errorf("%s holds %q", *r.RepositoryName, got)
		}
	}
	w.MustFsck(t)

	t.Log("all of them are right once the upstream is")
	for n := range cases {
		repo := fmt.Sprintf("n%d", n)
		image := up.PushImage(repo, "v1", harness.Random(uint64(400+n), 400_000), harness.Random(uint64(500+n), 100))
		pull(t, w.root, "bad/"+repo, "v1", image)
	}
	w.clean(t)

	t.Log("a place for tokens on a loopback address")
	up.RequireToken("", "")
	up.SetRealm("http://" + victim.Addr().String() + "/token")
	up.PushImage("token", "v1", harness.Random(600, 100))
	fails(t, w.root, "bad/token", "v1")
	if n := heard.Load(); n != 0 {
		t.Errorf("a loopback address was asked %d times", n)
	}
}

// TestKilled: the server is killed while it fetches, a manifest and a layer. What
// comes then is right.
func TestKilled(t *testing.T) {
	t.Parallel()
	up := upstreamtest.New(t)
	large := harness.Random(700, 12_000_000)
	layer := up.PushImage("layer", "v1", large, harness.Random(701, 5000))
	manifest := up.PushImage("manifest", "v1", harness.Random(702, 5000))
	digest := harness.Digest(large)
	up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: digest, StallAfter: 7_000_000})
	up.Inject(upstreamtest.Fault{Kind: upstreamtest.Manifest, Contains: "/manifest/", Hold: t.Context().Done()})
	w := start(t, settings("", up.Host()))
	w.rule(t, "hub", up.Host())

	var clients sync.WaitGroup
	half := make(chan struct{})
	var reached sync.Once
	clients.Go(func() {
		if _, _, err := w.root.Manifest(t.Context(), "hub/layer", "v1"); err != nil {
			t.Error(err)
		}
		content, status, err := read(t.Context(), w.root, "hub/layer", digest, func(n int) {
			if n > 5_000_000 {
				reached.Do(func() { close(half) })
			}
		})
		if err == nil {
			t.Errorf("the layer of a server that was killed ended well: %d, %d bytes", status, len(content))
		}
		reached.Do(func() { close(half) })
		if !bytes.HasPrefix(large, content) {
			t.Error("what came of the layer is wrong")
		}
	})
	clients.Go(func() {
		if _, _, err := w.root.Manifest(t.Context(), "hub/manifest", "v1"); err == nil {
			t.Error("a manifest came from a server that was killed")
		}
	})
	<-half
	wait(t, "the question for the manifest", func() bool { return up.CountPath(upstreamtest.Manifest, "/manifest/") > 0 })
	w.Kill()
	clients.Wait()
	up.Heal()
	up.ResetRequests()
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	clients.Go(func() {
		if got, err := w.root.Pull(t.Context(), "hub/layer", "v1"); err != nil || got.Digest != layer.Digest() {
			t.Errorf("after the restart: %s %v", got.Digest, err)
		}
	})
	if got, err := w.root.Pull(t.Context(), "hub/manifest", "v1"); err != nil || got.Digest != manifest.Digest() {
		t.Errorf("after the restart: %s %v", got.Digest, err)
	}
	clients.Wait()
	t.Logf("both were pulled %s after the restart; the upstream was asked %d times, and gave %d bytes in all", time.Since(began).Round(time.Millisecond), len(up.Requests()), up.BlobBytes())
	w.becomes(t, "hub/layer", layer.Digest()+" v1")
	w.becomes(t, "hub/manifest", manifest.Digest()+" v1")
	w.clean(t)
}

// TestShared: a layer that another repository has stays when the cached image goes,
// by hand or by a lifecycle policy, and the collector has come by.
func TestShared(t *testing.T) {
	t.Parallel()
	up := upstreamtest.New(t)
	shared := harness.Random(800, 200_000)
	first := up.PushImage("app", "v1", shared, harness.Random(801, 150_000))
	second := up.PushImage("app", "v2", shared, harness.Random(802, 150_000))
	third := up.PushImage("app", "v3", harness.Random(803, 1000))
	w := start(t, "layer_grace: 1s\nlifecycle_delay: 1s\n"+settings("", up.Host()))
	w.rule(t, "hub", up.Host())
	w.CreateRepository(t, "own")
	own := w.root.PushImage(t, "own", "v1", 800, 200_000) // the same layer
	api, hub := w.ECR(), aws.String("hub/app")

	command := func(args ...string) string {
		t.Helper()
		out, err := w.Command(t.Context(), append(args, "--data", w.Data)...).CombinedOutput()
		if err != nil {
			t.Fatalf("berth %s: %v\n%s", args, err, out)
		}
		return string(out)
	}
	gone := func(layers ...string) {
		t.Helper()
		wait(t, "the collector to remove what nobody needs", func() bool {
			command("gc", "run", "--quiet")
			return strings.Contains(command("gc", "status"), " 0 layers; 0 of them due")
		})
		// Asking for a layer would have kept it, as a push does.
		out := must(api.BatchCheckLayerAvailability(t.Context(), &ecr.BatchCheckLayerAvailabilityInput{RepositoryName: hub, LayerDigests: layers}))(t)
		for _, l := range out.Layers {
			if l.LayerAvailability != types.LayerAvailabilityUnavailable {
				t.Errorf("the cache's repository has %s still", aws.ToString(l.LayerDigest))
			}
		}
		if got := w.root.Verify(t, "own", "v1"); got.Digest != own.Digest {
			t.Errorf("the other repository's image is %s", got.Digest)
		}
	}
	pull(t, w.root, "hub/app", "v1", first)
	w.becomes(t, "hub/app", first.Digest()+" v1")
	deleted := must(api.BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: hub, ImageIds: []types.ImageIdentifier{{ImageDigest: aws.String(first.Digest())}}}))(t)
	if len(deleted.Failures) > 0 {
		t.Fatalf("BatchDeleteImage: %+v", deleted.Failures)
	}
	gone(first.Layers[0].Digest.String(), first.Layers[1].Digest.String())

	t.Log("by a lifecycle policy")
	pull(t, w.root, "hub/app", "v2", second)
	w.becomes(t, "hub/app", second.Digest()+" v2")
	pull(t, w.root, "hub/app", "v3", third)
	w.becomes(t, "hub/app", second.Digest()+" v2", third.Digest()+" v3")
	policy := `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`
	must(api.PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: hub, LifecyclePolicyText: &policy}))(t)
	w.becomes(t, "hub/app", third.Digest()+" v3")
	gone(second.Layers[0].Digest.String(), second.Layers[1].Digest.String())

	t.Log("a cached image that went is pulled again")
	must(api.DeleteLifecyclePolicy(t.Context(), &ecr.DeleteLifecyclePolicyInput{RepositoryName: hub}))(t)
	pull(t, w.root, "hub/app", "v1", first)
	w.becomes(t, "hub/app", first.Digest()+" v1", third.Digest()+" v3")
	w.clean(t)
}

package events

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestPullEvents: pulls are told of where they are asked for, as many as they were, and
// questions for a manifest's header are none.
func TestPullEvents(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{Config: "events: {pulls: {mode: aggregate, interval: 1s}}\n"})
	arn := w.destination(t, "file", "pulls", "--path", "pulls.jsonl")
	w.cli(`aws events put-rule --name pulls --event-pattern '{"detail": {"action-type": ["PULL"]}}'
aws events put-targets --rule pulls --targets Id=1,Arn=` + arn)
	w.CreateRepository(t, "app")
	registry := w.Registry(t)
	image := registry.PushImage(t, "app", "v1", 1, 100)
	ask := func(method, ref string) {
		t.Helper()
		must(registry.Do(t.Context(), harness.Request{Method: method, Path: "/v2/app/manifests/" + ref, Accept: harness.EveryManifest()}, http.StatusOK))(t)
	}
	for range 5 {
		ask(http.MethodGet, "v1")
		ask(http.MethodHead, "v1")
		ask(http.MethodHead, image.Digest)
	}
	for range 3 {
		ask(http.MethodGet, image.Digest)
	}
	path := filepath.Join(w.Data, "events", "pulls.jsonl")
	count := func() (byTag, byDigest int) {
		for _, line := range lines(t, path) {
			e := decode[event](t, line)
			switch d := e.Detail; {
			case e.DetailType != "ECR Image Action" || d.Repository != "app" || d.Digest != image.Digest || d.Result != "SUCCESS" || d.Since == "" || d.PullCount < 1:
				t.Errorf("%s", line)
			case d.Tag == "v1":
				byTag += d.PullCount
			default:
				byDigest += d.PullCount
			}
		}
		return byTag, byDigest
	}
	wait(t, "eight pulls", func() bool { byTag, byDigest := count(); return byTag+byDigest >= 8 })
	// A ninth is told of after those before it, were there any more of them.
	ask(http.MethodGet, "v1")
	wait(t, "the ninth", func() bool { byTag, byDigest := count(); return byTag+byDigest >= 9 })
	if byTag, byDigest := count(); byTag != 6 || byDigest != 3 {
		t.Errorf("%d pulls by tag and %d by digest, want 6 and 3", byTag, byDigest)
	}
}

// TestNoPullEvents: without being asked for there are none.
func TestNoPullEvents(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	arn := w.destination(t, "file", "all", "--path", "all.jsonl")
	w.cli(`aws events put-rule --name all --event-pattern '{"source": ["aws.ecr"]}'
aws events put-targets --rule all --targets Id=1,Arn=` + arn)
	w.CreateRepository(t, "app")
	registry := w.Registry(t)
	registry.PushImage(t, "app", "v1", 1, 100)
	registry.Verify(t, "app", "v1")
	if err := w.Stop(t.Context()); err != nil { // what was noted is recorded when it ends
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	registry.PushImage(t, "app", "v2", 2, 100) // comes after what was before it
	path := filepath.Join(w.Data, "events", "all.jsonl")
	wait(t, "the second push", func() bool {
		order, _ := sum(t, filed(t, path))
		return len(order["app"]) > 0 && order["app"][len(order["app"])-1] == "PUSH v2"
	})
	if order, _ := sum(t, filed(t, path)); len(order["app"]) != 2 {
		t.Errorf("%q", order["app"])
	}
}

package throttle

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestDocker: docker gives up at its first 429, so the server makes it wait; and
// what docker says when there is no waiting, and when the disk runs low.
func TestDocker(t *testing.T) {
	t.Parallel()
	b := harness.NewBox(t, "docker", "dockerd")
	harness.StartDocker(t, b)
	login := func(s *harness.Server) {
		b.Feed(s.Password(t), "docker", "login", "--username", "AWS", "--password-stdin", s.Host)
	}
	const layers = 4
	file := "FROM scratch\n"
	for n := range layers {
		name := fmt.Sprintf("f%d", n)
		b.Write("ctx/"+name, harness.Random(uint64(n), 30_000))
		file += "COPY " + name + " /" + name + "\n"
	}
	b.Write("ctx/Dockerfile", []byte(file))
	b.Run("docker", "build", "-t", "built", "ctx")
	tag := func(s *harness.Server, repo string) string {
		s.CreateRepository(t, repo)
		ref := s.Host + "/" + repo + ":v1"
		b.Run("docker", "tag", "built", ref)
		return ref
	}

	t.Log("patient: five uploads at two a second wait and succeed")
	s := harness.Start(t, harness.Options{})
	login(s)
	image := tag(s, "docker/patient")
	limit(t, s, "InitiateLayerUpload", 2)
	limit(t, s, "UploadLayerPart", 2)
	slow(t, "docker push", func() { b.Run("docker", "push", image) })
	limit(t, s, "GetDownloadUrlForLayer", 2)
	b.Run("docker", "rmi", "--force", image, "built")
	slow(t, "docker pull", func() { b.Run("docker", "pull", image) })
	b.Run("docker", "tag", image, "built")

	t.Log("impatient: the first refusal ends a push or a pull")
	s = harness.Start(t, harness.Options{Config: impatient})
	login(s)
	image = tag(s, "docker/impatient")
	limit(t, s, "InitiateLayerUpload", 1)
	b.Refused("toomanyrequests: Rate exceeded", "docker", "push", image)
	berth(t, s, "quota", "unset", "rate:InitiateLayerUpload")
	b.Run("docker", "push", image)
	limit(t, s, "GetDownloadUrlForLayer", 1)
	b.Run("docker", "rmi", "--force", image, "built")
	b.Run("docker", "image", "prune", "--all", "--force")
	b.Refused("toomanyrequests: Rate exceeded", "docker", "pull", image)
	berth(t, s, "quota", "unset", "rate:GetDownloadUrlForLayer")
	b.Run("docker", "pull", image)
	b.Run("docker", "tag", image, "built")

	t.Log("the disk runs low: no push, but pulls")
	s = lowOnSpace(t, s)
	login(s)
	other := tag(s, "docker/low")
	b.Run("docker", "import", b.Write("root.tar", harness.Tar(t, "file", harness.Random(9, 100_000))), other)
	// docker tries a push five times, for 50 seconds, and then says "received
	// unexpected HTTP status: 507 Insufficient Storage"; two times will do here.
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
	defer cancel()
	pushing := make(chan string, 1)
	go func() {
		out, err := b.Command(ctx, "docker", "push", other).CombinedOutput()
		pushing <- fmt.Sprint(string(out), err)
	}()
	b.Run("docker", "pull", s.Host+"/docker/impatient:v1")
	if said := <-pushing; !strings.Contains(said, "Retrying in 10 seconds") {
		t.Errorf("docker push says\n%s", said)
	}
}

// noSpace is what clients are told below the mark.
const noSpace = "The registry has no storage space left. Ask its operator to make room, then try again."

// lowOnSpace starts a server on the data of another, which is stopped, that has
// to keep more of the disk free than any disk has.
func lowOnSpace(t *testing.T, s *harness.Server) *harness.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	return harness.Start(t, harness.Options{Data: s.Data, Config: "blobs: {min_free_bytes: 1152921504606846976}\n"})
}

// slow runs what has to wait for tokens, and fails when it did not.
func slow(t *testing.T, what string, do func()) {
	t.Helper()
	began := time.Now()
	do()
	if took := time.Since(began); took < time.Second {
		t.Errorf("%s took only %s", what, took)
	} else {
		t.Logf("%s took %s", what, took.Round(time.Millisecond))
	}
}

// TestCrane: crane tries again a few times by itself.
func TestCrane(t *testing.T) {
	t.Parallel()
	b := harness.NewBox(t, "crane")
	var layers []string
	for n := range uint64(4) {
		layers = append(layers, "-f", b.Write(fmt.Sprintf("%d.tar", n), harness.Tar(t, "file", harness.Random(50+n, 100_000))))
	}
	push := func(s *harness.Server, repo string) []string {
		s.CreateRepository(t, repo)
		b.Feed(s.Password(t), "crane", "auth", "login", s.Host, "--username", "AWS", "--password-stdin")
		return append([]string{"append", "--oci-empty-base", "-t", s.Host + "/" + repo + ":v1"}, layers...)
	}

	t.Log("patient: it waits and knows nothing of it")
	s := harness.Start(t, harness.Options{})
	args := push(s, "crane/patient")
	limit(t, s, "InitiateLayerUpload", 2)
	limit(t, s, "PutImage", 1)
	slow(t, "crane append", func() {
		if _, stderr, err := b.Try("", "crane", args...); err != nil || strings.Contains(stderr, "retrying") {
			t.Errorf("%v\n%s", err, stderr)
		}
	})
	s.Registry(t).Verify(t, "crane/patient", "v1")

	t.Log("impatient: it backs off and succeeds")
	s = harness.Start(t, harness.Options{Config: impatient})
	args = push(s, "crane/impatient")
	limit(t, s, "InitiateLayerUpload", 4)
	_, stderr, err := b.Try("", "crane", args...)
	if err != nil || !strings.Contains(stderr, "retrying POST") || !strings.Contains(stderr, "TOOMANYREQUESTS: Rate exceeded") {
		t.Errorf("%v\n%s", err, stderr)
	}
	s.Registry(t).Verify(t, "crane/impatient", "v1")

	t.Log("exhausted: somebody else takes every token")
	limit(t, s, "InitiateLayerUpload", 1)
	args = push(s, "crane/exhausted")
	ctx, stop := context.WithCancel(t.Context())
	var hogs sync.WaitGroup
	registry := s.Registry(t)
	for range 2 {
		hogs.Go(func() {
			for ctx.Err() == nil {
				_, _ = registry.Do(ctx, harness.Request{Method: http.MethodPost, Path: "/v2/crane/exhausted/blobs/uploads/"}) // refused or not
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	b.Refused("TOOMANYREQUESTS: Rate exceeded", "crane", args...)
	stop()
	hogs.Wait()
}

// TestLowOnSpace is what the AWS CLI is told, and that all but pushing goes on.
func TestLowOnSpace(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	s.CreateRepository(t, "low")
	registry := s.Registry(t)
	registry.PushImage(t, "low", "v1", 1, 100_000)
	registry.PushImage(t, "low", "v2", 2, 100_000)
	content := harness.Random(3, 50_000)
	location, err := registry.StartUpload(t.Context(), "low")
	if err == nil {
		location, err = registry.Append(t.Context(), location, 0, content)
	}
	if err != nil {
		t.Fatal(err)
	}
	at := strings.TrimPrefix(location, s.Endpoint)

	s = lowOnSpace(t, s)
	registry = s.Registry(t)
	registry.Verify(t, "low", "v1")
	if err := registry.Finish(t.Context(), at, harness.Digest(content), nil); err != nil {
		t.Errorf("an upload that has all its bytes: %v", err)
	}
	if _, err := registry.Blob(t.Context(), "low", harness.Digest(content)); err != nil {
		t.Error(err)
	}
	if _, err := registry.Do(t.Context(), harness.Request{Method: http.MethodDelete, Path: "/v2/low/manifests/v2"}, http.StatusAccepted); err != nil {
		t.Error(err)
	}
	_, err = registry.PutBlob(t.Context(), "low", harness.Random(4, 1000))
	if err == nil || !strings.Contains(err.Error(), noSpace) || !strings.Contains(err.Error(), "507") {
		t.Errorf("a blob: %v", err)
	}

	b := harness.NewBox(t, "bash", "aws")
	part := b.Write("part", harness.Random(5, 5000))
	began := time.Now()
	stdout, stderr, err := b.Try("", "bash", "-euc", fmt.Sprintf(`eval "$(%s env --data %s)"
		id=$(aws ecr initiate-layer-upload --repository-name low --query uploadId --output text)
		aws ecr upload-layer-part --repository-name low --upload-id "$id" --part-first-byte 0 --part-last-byte 4999 --layer-part-blob fileb://%s
	`, s.Binary(), s.Data, part))
	if err == nil || !strings.Contains(stderr, noSpace) {
		t.Errorf("the AWS CLI: %v\n%s%s", err, stdout, stderr)
	}
	t.Logf("the AWS CLI says, after %s: %s", time.Since(began).Round(time.Millisecond), strings.TrimSpace(stderr))
	s.MustFsck(t)
}

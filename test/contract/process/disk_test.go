package process

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/test/contract/harness"
)

// toTheLastByte lets layers fill the disk, which is smaller than what Berth would
// keep free of it.
const toTheLastByte = "blobs: {min_free_bytes: 0}\n"

// TestFullDisk fills the disk under the server, on a small file system of its
// own: pushes fail and say why, what was acknowledged stays and is served, and
// with room again everything goes on by itself.
func TestFullDisk(t *testing.T) {
	inside := harness.NewNamespace(t, false)
	disk := t.TempDir()
	inside.Tmpfs(t, disk, "64m")
	ballast := filepath.Join(disk, "ballast")
	if err := inside.Do(func() error { return os.WriteFile(ballast, make([]byte, 40<<20), 0o600) }); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{Namespace: inside, Data: filepath.Join(disk, "data"), Config: toTheLastByte})
	s.CreateRepository(t, "full")
	registry := s.Registry(t)
	acknowledged := map[string]string{} // tag to digest
	for n := range 3 {
		tag := "before-" + string(rune('a'+n))
		acknowledged[tag] = registry.PushImage(t, "full", tag, uint64(n), 500_000).Digest
	}
	location, err := registry.StartUpload(t.Context(), "full")
	if err != nil {
		t.Fatal(err)
	}
	half := harness.Random(50, 400_000)
	if location, err = registry.Append(t.Context(), location, 0, half[:200_000]); err != nil {
		t.Fatal(err)
	}

	t.Log("filling it")
	var full error
	for n := range uint64(200) {
		if _, full = registry.PutBlob(t.Context(), "full", harness.Random(100+n, 1<<20)); full != nil {
			break
		}
	}
	wantNoSpace(t, "a blob in one PUT", full)
	for _, size := range []int{1 << 20, 100_000, 5_000} { // leave no room for anything smaller either
		for n := range uint64(200) {
			if _, full = registry.PutBlob(t.Context(), "full", harness.Random(1000+n+uint64(size), size)); full != nil {
				break
			}
		}
		wantNoSpace(t, "a smaller blob", full)
	}
	_, err = registry.Stream(t.Context(), location, strings.NewReader(strings.Repeat("x", 8<<20)))
	wantNoSpace(t, "a chunk", err)

	t.Log("what is there is served")
	for tag, digest := range acknowledged {
		if w := registry.Verify(t, "full", tag); w.Digest != digest {
			t.Errorf("%s is %s, want %s", tag, w.Digest, digest)
		}
	}
	if out, err := s.Fsck(t.Context()); err != nil {
		t.Errorf("berth fsck on the full disk: %v\n%s", err, out)
	}
	// Small writes may still find room in pages that the database has; they
	// succeed or say what is wrong, and never both.
	name := aws.String("full/more")
	_, createErr := s.ECR().CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: name})
	_, describeErr := s.ECR().DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{*name}})
	if (createErr == nil) != (describeErr == nil) {
		t.Errorf("CreateRepository on the full disk: %v; DescribeRepositories: %v", createErr, describeErr)
	}

	t.Log("killed while full, and room again")
	s.Kill()
	if err := inside.Do(func() error { return os.Remove(ballast) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.MustFsck(t)
	for tag, digest := range acknowledged {
		if w := registry.Verify(t, "full", tag); w.Digest != digest {
			t.Errorf("%s is %s, want %s", tag, w.Digest, digest)
		}
	}
	registry.PushImage(t, "full", "after", 77, 500_000)
	registry.Verify(t, "full", "after")
	s.MustFsck(t)
}

// TestDiskGetsRoom is the same without a restart: the server recovers by itself,
// and an upload goes on where it stood.
func TestDiskGetsRoom(t *testing.T) {
	inside := harness.NewNamespace(t, false)
	disk := t.TempDir()
	inside.Tmpfs(t, disk, "48m")
	s := harness.Start(t, harness.Options{Namespace: inside, Data: filepath.Join(disk, "data"), Config: toTheLastByte})
	s.CreateRepository(t, "room")
	registry := s.Registry(t)
	content := harness.Random(1, 6<<20)
	location, err := registry.StartUpload(t.Context(), "room")
	if err != nil {
		t.Fatal(err)
	}
	if location, err = registry.Append(t.Context(), location, 0, content[:1<<20]); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	fill := func() error {
		f, err := os.Create(ballast)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		for {
			if _, err := f.Write(make([]byte, 64<<10)); err != nil {
				return nil // full
			}
		}
	}
	if err := inside.Do(fill); err != nil {
		t.Fatal(err)
	}
	_, err = registry.Append(t.Context(), location, 1<<20, content[1<<20:])
	wantNoSpace(t, "a chunk", err)
	if err := inside.Do(func() error { return os.Remove(ballast) }); err != nil {
		t.Fatal(err)
	}
	n, found, err := registry.Received(t.Context(), location)
	if err != nil || !found || n < 1<<20 {
		t.Fatalf("the upload holds %d bytes (found %t, %v), want at least what was acknowledged", n, found, err)
	}
	if err := registry.Finish(t.Context(), location, harness.Digest(content), content[n:]); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Blob(t.Context(), "room", harness.Digest(content)); err != nil {
		t.Fatal(err)
	}
	registry.PushImage(t, "room", "after", 77, 500_000)
	s.MustFsck(t)
}

func wantNoSpace(t *testing.T, what string, err error) {
	t.Helper()
	var status *harness.StatusError
	if !errors.As(err, &status) || status.Status < 500 || !strings.Contains(status.Body, "space") {
		t.Fatalf("%s on a full disk: %v; want an answer that says so", what, err)
	}
}

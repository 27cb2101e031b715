package process

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/test/contract/harness"
)

func TestFirstStart(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	if s.Ready > time.Second {
		t.Errorf("the first start took %s, want less than a second", s.Ready)
	}
	said := strings.TrimSpace(s.Log())
	if n := strings.Count(said, "\n") + 1; n > 10 {
		t.Errorf("the first start says %d lines, want at most 10:\n%s", n, said)
	}
	for _, want := range []string{s.Host, "env --data " + s.Data, "docker login --username AWS --password-stdin " + s.Host} {
		if !strings.Contains(said, want) {
			t.Errorf("the first start does not say %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, s.SecretAccessKey) {
		t.Error("the first start prints the secret access key")
	}
	err := filepath.WalkDir(s.Data, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Second}
	for _, path := range []string{"/healthz", "/readyz"} {
		answer, err := client.Get("http://" + s.Addr + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close() // the status is all
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s answers %d", path, answer.StatusCode)
		}
	}
	out := command(t, s, "version")
	if !regexp.MustCompile(`^berth \S+`).MatchString(out) {
		t.Errorf("berth version prints %q", out)
	}

	t.Log("the second start keeps everything")
	s.CreateRepository(t, "kept")
	image := s.Registry(t).PushImage(t, "kept", "v1", 1, 1000)
	registry := s.Registry(t)
	ctx := timeout(t, 10*time.Second)
	if err := s.Stop(ctx); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	before, err := os.ReadFile(filepath.Join(s.Data, "credentials"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(s.Data, "credentials"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the second start changed the credentials: %v", err)
	}
	if w := registry.Verify(t, "kept", "v1"); w.Digest != image.Digest { // with the token of before
		t.Errorf("the image is %s, want %s", w.Digest, image.Digest)
	}
}

// command runs a berth command that has to succeed.
func command(t *testing.T, s *harness.Server, args ...string) string {
	t.Helper()
	out, err := s.Command(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// refused runs a berth command that has to fail and to say something.
func refused(t *testing.T, s *harness.Server, want string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := s.Command(ctx, args...).CombinedOutput()
	if err == nil {
		t.Errorf("berth %s succeeded\n%s", strings.Join(args, " "), out)
	}
	if !strings.Contains(string(out), want) || strings.Contains(string(out), "goroutine ") {
		t.Errorf("berth %s does not say %q:\n%s", strings.Join(args, " "), want, out)
	}
}

func timeout(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestRefusedStarts is what an operator reads who has asked for something that
// cannot be.
func TestRefusedStarts(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	elsewhere := filepath.Join(t.TempDir(), "data")
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("listne: 127.0.0.1:5000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, s, "--listen", "serve", "--data", elsewhere, "--listen", s.Addr) // taken
	refused(t, s, s.Data, "serve", "--data", s.Data, "--listen", harness.FreeAddress(t))
	refused(t, s, "listne", "serve", "--data", elsewhere, "--config", wrong)
	refused(t, s, "account", "serve", "--data", elsewhere, "--account", "12")
	refused(t, s, "unknown flag --nonsense", "serve", "--nonsense")
	refused(t, s, "no server has run on", "env", "--data", elsewhere+"-not")
	refused(t, s, "no data directory", "fsck", "--data", elsewhere+"-not")
}

// TestRootKeyOfTheEnvironment: the operator may bring the root key along.
func TestRootKeyOfTheEnvironment(t *testing.T) {
	s := harness.Start(t, harness.Options{Env: []string{
		"BERTH_ROOT_ACCESS_KEY_ID=AKIAFROMTHEENVIRONME", "BERTH_ROOT_SECRET_ACCESS_KEY=from/the+environment",
	}})
	if s.AccessKeyID != "AKIAFROMTHEENVIRONME" || s.SecretAccessKey != "from/the+environment" {
		t.Fatalf("the credentials are %s", s.AccessKeyID)
	}
	s.CreateRepository(t, "by-env")
	if strings.Contains(s.Log(), s.SecretAccessKey) {
		t.Error("the secret is in the log")
	}
}

// TestEnv evaluates berth env in a shell and looks at what it sets.
func TestEnv(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	b := harness.NewBox(t, "bash", "aws")
	got := b.Script(`export AWS_SESSION_TOKEN=old AWS_PROFILE=old
		eval "$(` + s.Binary() + ` env --data ` + s.Data + `)"
		echo "$AWS_ENDPOINT_URL $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_REGION $AWS_DEFAULT_REGION ${AWS_SESSION_TOKEN-none} ${AWS_PROFILE-none}"`)
	if want := strings.Join([]string{s.Endpoint, s.AccessKeyID, s.SecretAccessKey, s.Region, s.Region, "none", "none"}, " "); got != want {
		t.Fatalf("berth env sets %q, want %q", got, want)
	}
	// An AWS CLI that knows the variable needs no shell function.
	b.Write("bin/aws", []byte("#!/bin/sh\necho aws-cli/2.15.0 Python/3.11 Linux/6 exe/x86_64\n"))
	if err := os.Chmod(b.Path("bin", "aws"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out := b.With("PATH="+b.Path("bin")+":"+b.Getenv("PATH")).Run(s.Binary(), "env", "--data", s.Data); strings.Contains(out, "aws()") {
		t.Fatalf("berth env defines a function for an AWS CLI of 2.15:\n%s", out)
	}
}

// TestDrain sends SIGTERM in the middle of a push: the push ends well, new
// connections are refused, and the process ends with status 0.
func TestDrain(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.CreateRepository(t, "drain")
	registry := s.Registry(t)
	content := harness.Random(1, 3<<20)
	location, err := registry.StartUpload(t.Context(), "drain")
	if err != nil {
		t.Fatal(err)
	}
	// The body goes out once the server has asked for it with "100 Continue": then
	// the push is under way, and not only in a socket that nobody has read yet.
	pusher := harness.NewRegistry(s.Endpoint, "Basic "+s.Token(t), &http.Transport{ExpectContinueTimeout: time.Minute})
	body, feed := io.Pipe()
	pushed := make(chan error, 1)
	go func() {
		a, err := pusher.Do(t.Context(), harness.Request{
			Method: http.MethodPut, Path: location + "?digest=" + harness.Digest(content), Body: body, Length: int64(len(content)),
			Header: map[string]string{"Expect": "100-continue"},
		}, http.StatusCreated)
		if err == nil && a.Header.Get("Docker-Content-Digest") != harness.Digest(content) {
			t.Errorf("the answer is %v", a.Header)
		}
		pushed <- err
	}()
	if _, err := feed.Write(content[:1<<20]); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(timeout(t, 30*time.Second)) }()
	deadline := time.Now().Add(10 * time.Second)
	for { // until nobody is let in
		probe := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := probe.Get("http://" + s.Addr + "/readyz")
		if err != nil {
			break
		}
		_ = answer.Body.Close() // the status is all
		if answer.StatusCode != http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("10 s after SIGTERM the server still says that it is ready")
		}
		time.Sleep(20 * time.Millisecond)
	}
	select {
	case err := <-stopped:
		t.Fatalf("the server ended with a push under way: %v", err)
	default:
	}
	if _, err := feed.Write(content[1<<20:]); err != nil {
		t.Fatal(err)
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-pushed; err != nil {
		t.Fatalf("the push under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Fatalf("the server's end: %v", err)
	}
	s.MustFsck(t)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Blob(t.Context(), "drain", harness.Digest(content)); err != nil {
		t.Fatal(err)
	}
}

// TestFsckFindsDamage changes one stored byte, and removes one stored object.
func TestFsckFindsDamage(t *testing.T) {
	for _, encryption := range []string{"berth", "none"} {
		t.Run(encryption, func(t *testing.T) {
			s := harness.Start(t, harness.Options{Args: []string{"--blobs-encryption", encryption}})
			s.CreateRepository(t, "damaged")
			registry := s.Registry(t)
			registry.PushImage(t, "damaged", "v1", 1, 300_000)
			registry.PushImage(t, "damaged", "v2", 2, 200_000)
			s.MustFsck(t)
			files := storedFiles(t, s.Data)
			if len(files) != 2 { // the configurations stand in the database
				t.Fatalf("2 layers are stored in %d files", len(files))
			}
			original, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			changed := bytes.Clone(original)
			changed[len(changed)/2] ^= 1
			for _, online := range []bool{true, false} {
				if !online {
					if err := s.Stop(timeout(t, 10*time.Second)); err != nil {
						t.Fatal(err)
					}
				}
				replace(t, files[0], changed)
				if out, err := s.Fsck(t.Context()); !exited(err, 1) || strings.Count(out, "problem:") != 1 {
					t.Errorf("a changed byte (online %t): %v\n%s", online, err, out)
				}
				if err := os.Remove(files[0]); err != nil {
					t.Fatal(err)
				}
				if out, err := s.Fsck(t.Context()); !exited(err, 1) || strings.Count(out, "problem:") != 1 {
					t.Errorf("a missing object (online %t): %v\n%s", online, err, out)
				}
				replace(t, files[0], original)
				s.MustFsck(t)
			}
		})
	}
}

func exited(err error, status int) bool {
	e, ok := err.(*exec.ExitError)
	return ok && e.ExitCode() == status
}

func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.Chmod(path, 0o600); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// storedFiles are the files under blobs, the largest first.
func storedFiles(t *testing.T, data string) (files []string) {
	t.Helper()
	largest := int64(-1)
	err := filepath.WalkDir(filepath.Join(data, "blobs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files = append(files, path)
		if info.Size() > largest {
			largest = info.Size()
			files[0], files[len(files)-1] = files[len(files)-1], files[0]
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestEncryptionCanBeChanged restarts a server with the other setting: what was
// stored before is served, and an upload goes on.
func TestEncryptionCanBeChanged(t *testing.T) {
	for _, settings := range [][2]string{{"berth", "none"}, {"none", "berth"}} {
		t.Run(settings[0]+" to "+settings[1], func(t *testing.T) {
			before := harness.Start(t, harness.Options{Args: []string{"--blobs-encryption", settings[0]}})
			before.CreateRepository(t, "changed")
			registry := before.Registry(t)
			image := registry.PushImage(t, "changed", "v1", 1, 300_000)
			content := harness.Random(9, 500_000)
			location, err := registry.StartUpload(t.Context(), "changed")
			if err != nil {
				t.Fatal(err)
			}
			if location, err = registry.Append(t.Context(), location, 0, content[:200_000]); err != nil {
				t.Fatal(err)
			}
			if err := before.Stop(timeout(t, 10*time.Second)); err != nil {
				t.Fatal(err)
			}
			after := harness.Start(t, harness.Options{Data: before.Data, Listen: before.Addr, Args: []string{"--blobs-encryption", settings[1]}})
			if w := registry.Verify(t, "changed", "v1"); w.Digest != image.Digest {
				t.Errorf("the image is %s, want %s", w.Digest, image.Digest)
			}
			if err := registry.FinishAt(t.Context(), location, harness.Digest(content), 200_000, content[200_000:]); err != nil {
				t.Fatal(err)
			}
			if _, err := registry.Blob(t.Context(), "changed", harness.Digest(content)); err != nil {
				t.Error(err)
			}
			registry.PushImage(t, "changed", "v2", 2, 300_000)
			registry.Verify(t, "changed", "v2")
			after.MustFsck(t)
		})
	}
}

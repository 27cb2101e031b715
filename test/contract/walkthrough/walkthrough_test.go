package walkthrough

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/test/contract/harness"
)

// endpoint is where the README says that the server listens. In a network of the
// test's own nobody else does.
const endpoint = "http://localhost:5000"

func TestWalkthrough(t *testing.T) {
	inside := harness.NewNamespace(t, true)
	b := harness.NewBox(t, "bash", "aws", "docker", "dockerd")
	b.Namespace = inside
	clone(t, b)
	blocks := shellBlocks(t, string(b.Read("README.md")), "Walk-through")
	makeRun(t, b, inside)
	harness.StartDocker(t, b)

	// One shell for all blocks, as a person has; it says where it is.
	const mark = "--- the next block ---"
	out := b.Script(strings.Join(blocks, "\necho '"+mark+"'\n"))
	t.Logf("the walk-through printed:\n%s", out)
	parts := strings.Split(out, mark)
	if len(parts) != len(blocks) {
		t.Fatalf("%d blocks printed %d parts", len(blocks), len(parts))
	}
	for _, want := range []string{
		"localhost:5000/demo", "Login Succeeded", "Pushed", `"imageTags"`, `"imageTag": "stable"`, `"failures": []`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the walk-through does not show %s", want)
		}
	}
	digests := regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	pushed := regexp.MustCompile(`(?m)^v1: digest: (sha256:[0-9a-f]{64}) size`).FindStringSubmatch(out)
	pulled := regexp.MustCompile(`(?m)^Digest: (sha256:[0-9a-f]{64})$`).FindStringSubmatch(out)
	if pushed == nil || pulled == nil || pushed[1] != pulled[1] {
		t.Fatalf("pushed %v, pulled %v", pushed, pulled)
	}
	if last := parts[len(parts)-1]; !slices.Contains(digests.FindAllString(last, -1), pushed[1]) {
		t.Errorf("the last block does not speak of the image %s", pushed[1])
	}
	left := b.Script(`eval "$(bin/berth env)"; aws ecr describe-repositories --query 'length(repositories)' --output text`)
	if left != "0" {
		t.Errorf("%s repositories are left over", left)
	}
}

// clone copies what git would give into the box.
func clone(t *testing.T, b *harness.Box) {
	t.Helper()
	root := harness.Root(t)
	list := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		from := filepath.Join(root, name)
		info, err := os.Lstat(from)
		if os.IsNotExist(err) {
			continue // deleted, and git does not know yet
		}
		if err != nil {
			t.Fatal(err)
		}
		to := b.Path(name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(from)
			if err == nil {
				err = os.Symlink(target, to)
			}
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		content, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, content, info.Mode().Perm())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// shellBlocks are the fenced sh blocks under a heading of the second level.
func shellBlocks(t *testing.T, text, heading string) (blocks []string) {
	t.Helper()
	_, section, found := strings.Cut(text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("README.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("README.md has no shell blocks under %q", heading)
	}
	return blocks
}

// makeRun runs the README's first command until the test ends, with the user's
// own environment: a newcomer has Go.
func makeRun(t *testing.T, b *harness.Box, inside *harness.Namespace) {
	t.Helper()
	var said bytes.Buffer
	command := exec.Command("make", "run")
	command.Dir, command.Stdout, command.Stderr = b.Home, &said, &said
	command.Env = os.Environ()
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := inside.Do(command.Start); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var how error
	go func() {
		how = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGTERM) // as Ctrl-C does; it may have ended
		select {
		case <-ended:
		case <-time.After(40 * time.Second):
			t.Error("make run does not end")
			_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
			<-ended
		}
		t.Logf("make run printed:\n%s", said.String())
	})
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: inside.Dial}}
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		answer, err := client.Get(endpoint + "/readyz")
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close() // read to its end
		}
		if err == nil && answer.StatusCode == http.StatusOK {
			return
		}
		select {
		case <-ended:
			t.Fatalf("make run ended: %v", how)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("three minutes after make run %s does not answer: %v", endpoint, err)
		}
	}
}

package deploy

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/test/contract/harness"
)

// copyTree copies the files under from that keep admits.
func copyTree(t *testing.T, from, to string, keep func(path string) bool) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !keep(path) {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// read is a file of the project.
func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{harness.Root(t)}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// until waits for a condition, far longer than it needs on a machine with nothing
// else to do.
func until(t *testing.T, what string, condition func() (done bool, seen string)) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		done, seen := condition()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about; last seen: %s", what, seen)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestImage builds the image from a program that was built before, runs it without
// any rights, and uses it with docker itself.
func TestImage(t *testing.T) {
	root := harness.Root(t)
	context := t.TempDir()
	copyTree(t, filepath.Join(root, "deploy", "container"), filepath.Join(context, "deploy", "container"), func(string) bool { return true })
	for to, from := range map[string]string{
		"bin/berth": harness.Binary(t), "bin/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt", ".dockerignore": filepath.Join(root, ".dockerignore"),
	} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(context, to)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}

	b := harness.NewBox(t, "bash", "aws", "docker", "dockerd")
	b.Namespace = harness.NewNamespace(t, false) // the engine mounts what it does not unmount
	harness.StartDocker(t, b)
	b.Run("docker", "build", "--file", filepath.Join(context, "deploy", "container", "Dockerfile"), "--target", "binary", "--tag", "berth", context)
	inspect := func(of, format string) string { return b.Run("docker", "inspect", "--format", format, of) }
	for format, want := range map[string]string{
		"{{.Config.User}}": "65532:65532", "{{.Config.Volumes}}": "map[/var/lib/berth:{}]", "{{.Config.ExposedPorts}}": "map[5000/tcp:{} 5001/tcp:{}]",
		"{{.Config.Entrypoint}} {{.Config.Cmd}}": "[/berth] [serve]", "{{.Config.Healthcheck.Test}}": "[CMD /berth healthcheck]",
		"{{.Config.StopSignal}}": "SIGTERM",
	} {
		if got := inspect("berth", format); got != want {
			t.Errorf("%s of the image is %s, want %s", format, got, want)
		}
	}
	b.Refused("no such file", "docker", "run", "--rm", "--network=none", "--entrypoint=/bin/sh", "berth")
	if out := b.Run("docker", "run", "--rm", "--network=none", "berth", "version"); !strings.HasPrefix(out, "berth ") {
		t.Errorf("berth version says %s", out)
	}

	addr := harness.FreeAddress(t)
	_, port, _ := strings.Cut(addr, ":")
	host := "localhost:" + port
	b.Run("docker", "run", "--detach", "--name=registry", "--read-only", "--network=host", "--user=65532:65532", "--cap-drop=ALL",
		"--security-opt=no-new-privileges", "--volume=data:/var/lib/berth", "--env=BERTH_LISTEN="+addr,
		"--health-interval=1s", "berth")
	t.Cleanup(func() {
		if t.Failed() {
			out, complaint, _ := b.Try("", "docker", "logs", "registry") // the log is what can be told
			t.Logf("the container's log:\n%s%s", out, complaint)
		}
	})
	healthy := func() {
		t.Helper()
		until(t, "the container's health", func() (bool, string) {
			seen := inspect("registry", "{{.State.Status}} {{.State.Health.Status}} {{range .State.Health.Log}}{{.Output}}{{end}}")
			return strings.HasPrefix(seen, "running healthy"), seen
		})
	}
	healthy()

	t.Log("push and pull through it")
	out := b.Script(fmt.Sprintf(`
		eval "$(docker exec registry /berth env)"
		aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }
		aws ecr create-repository --repository-name demo >created
		aws ecr get-login-password | docker login --username AWS --password-stdin %[1]s >/dev/null
		head -c 300000 /dev/urandom >content
		tar -c content | docker import - %[1]s/demo:v1
		docker push %[1]s/demo:v1
		docker rmi %[1]s/demo:v1
		docker pull %[1]s/demo:v1
	`, host))
	pushed := regexp.MustCompile(`(?m)^v1: digest: (sha256:[0-9a-f]{64}) size`).FindStringSubmatch(out)
	if pushed == nil || !strings.Contains(out, "Digest: "+pushed[1]) {
		t.Fatalf("pushed and pulled:\n%s", out)
	}

	t.Log("nothing is written outside of the volume, and nothing runs as root")
	if seen := b.Run("docker", "diff", "registry"); strings.TrimSpace(seen) != "" {
		t.Errorf("docker diff shows\n%s", seen)
	}
	if seen := b.Run("docker", "top", "registry", "-o", "pid,uid,args"); !regexp.MustCompile(`(?m)^\d+ +65532 +/berth serve$`).MatchString(seen) {
		t.Errorf("docker top shows\n%s", seen)
	}

	t.Log("stopped and started again, on the same volume")
	b.Run("docker", "stop", "--time=60", "registry")
	if status := inspect("registry", "{{.State.ExitCode}}"); status != "0" {
		t.Errorf("docker stop ended it with %s", status)
	}
	b.Run("docker", "start", "registry")
	healthy()
	b.Run("docker", "rmi", host+"/demo:v1")
	if out := b.Run("docker", "pull", host+"/demo:v1"); !strings.Contains(out, "Digest: "+pushed[1]) {
		t.Errorf("after a restart the pull is\n%s", out)
	}
	b.Run("docker", "rm", "--force", "--volumes", "registry")
}

// TestImageFromSource holds the stage that compiles to the tree: what it copies,
// less what .dockerignore leaves out, is all that the program needs. The stage's own
// image cannot be had without the network.
func TestImageFromSource(t *testing.T) {
	root := harness.Root(t)
	context := t.TempDir()
	ignore := read(t, ".dockerignore")
	for line := range strings.SplitSeq("*\n!bin/berth\n!bin/ca-certificates.crt\n!cmd\n!internal\n!go.mod\n!go.sum\n!deploy/container/rootfs\n**/*_test.go\n**/testdata", "\n") {
		if !strings.Contains(ignore+"\n", line+"\n") {
			t.Errorf(".dockerignore has no line %s", line)
		}
	}
	text := read(t, "deploy", "container", "Dockerfile")
	_, stage, ok := strings.Cut(text, "golang:")
	if !ok {
		t.Fatal("no stage compiles")
	}
	if mod := read(t, "go.mod"); !strings.Contains(mod, "\ngo "+strings.Fields(stage)[0]) {
		t.Errorf("the stage compiles with Go %s, go.mod says otherwise", strings.Fields(stage)[0])
	}
	for _, line := range []string{"COPY go.mod go.sum ./", "COPY cmd cmd", "COPY internal internal"} {
		if !strings.Contains(stage, "\n"+line+"\n") {
			t.Errorf("the stage has no line %s", line)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		if err := os.WriteFile(filepath.Join(context, file), []byte(read(t, file)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"cmd", "internal"} {
		copyTree(t, filepath.Join(root, dir), filepath.Join(context, dir), func(path string) bool {
			return !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/testdata")
		})
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-mod=readonly", "./cmd/berth")
	list.Dir, list.Env = context, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := list.CombinedOutput(); err != nil {
		t.Errorf("without what .dockerignore leaves out: %v\n%s", err, out)
	}
}

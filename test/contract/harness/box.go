package harness

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// searchPath is where the tests look for programs: what the project installed,
// then what Debian did, so that a machine's own additions do not change what is
// tested.
func searchPath(root string) string {
	return filepath.Join(root, ".tools", "bin") + ":/usr/sbin:/usr/bin:/sbin:/bin"
}

// plainEnv is an environment with nothing of the user's in it.
func plainEnv(home string) []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "LANG=C.UTF-8", "TZ=UTC"}
}

// Box is where clients run: a home directory of their own, no configuration and
// no credentials but those that the test gives.
type Box struct {
	// Home is the home directory, and where commands start.
	Home string
	// Namespace holds the commands; nil is the machine itself.
	Namespace *Namespace

	t   testing.TB
	env []string
}

// commandTimeout bounds one command of a client.
const commandTimeout = 5 * time.Minute

// NewBox makes a box in which the programs can be called by name. It fails the
// test when one of them is missing.
func NewBox(t testing.TB, programs ...string) *Box {
	t.Helper()
	home := t.TempDir()
	path := searchPath(Root(t))
	b := &Box{Home: home, t: t, env: []string{
		"PATH=" + path, "HOME=" + home, "LANG=C.UTF-8", "TZ=UTC", "TMPDIR=" + home,
		"DOCKER_CONFIG=" + filepath.Join(home, ".docker"), "XDG_RUNTIME_DIR=" + filepath.Join(home, "run"),
		"REGISTRY_AUTH_FILE=" + filepath.Join(home, "auth.json"),
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=",
	}}
	for _, dir := range []string{".docker", "run"} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// podman and buildah of Debian 12 fail on a DOCKER_CONFIG without the file.
	if err := os.WriteFile(filepath.Join(home, ".docker", "config.json"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		b.need(p)
	}
	return b
}

// need finds a program, and fails the test when it is not installed. A path is
// taken as it is.
func (b *Box) need(program string) string {
	b.t.Helper()
	if filepath.IsAbs(program) {
		return program
	}
	for _, dir := range filepath.SplitList(b.Getenv("PATH")) {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	hint := "scripts/install-test-deps.sh"
	if program == "helm" {
		hint += " --long"
	}
	b.t.Fatalf("%s is not installed; run %s", program, hint)
	return ""
}

// With sets a variable, KEY=value, for all later commands.
func (b *Box) With(env ...string) *Box {
	b.env = append(b.env, env...)
	return b
}

// Getenv is a variable as the commands see it.
func (b *Box) Getenv(key string) string {
	value := ""
	for _, kv := range b.env {
		if v, ok := strings.CutPrefix(kv, key+"="); ok {
			value = v
		}
	}
	return value
}

// Path is a file in the home directory.
func (b *Box) Path(elem ...string) string {
	return filepath.Join(append([]string{b.Home}, elem...)...)
}

// Write makes a file in the home directory and returns its path.
func (b *Box) Write(name string, content []byte) string {
	b.t.Helper()
	path := b.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// Read is a file of the home directory.
func (b *Box) Read(elem ...string) []byte {
	b.t.Helper()
	content, err := os.ReadFile(b.Path(elem...))
	if err != nil {
		b.t.Fatal(err)
	}
	return content
}

// Run runs a command, which has to succeed, and returns what it wrote on
// standard output, without white space at the ends.
func (b *Box) Run(program string, args ...string) string {
	b.t.Helper()
	return b.Feed("", program, args...)
}

// Feed is Run with text on standard input.
func (b *Box) Feed(stdin, program string, args ...string) string {
	b.t.Helper()
	stdout, stderr, err := b.Try(stdin, program, args...)
	if err != nil {
		b.t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, tail(stdout, 2000), tail(stderr, 4000))
	}
	return stdout
}

// Refused runs a command, which has to fail and to write the text somewhere.
func (b *Box) Refused(text, program string, args ...string) {
	b.t.Helper()
	stdout, stderr, err := b.Try("", program, args...)
	if err == nil {
		b.t.Fatalf("%s %s succeeded\n%s%s", program, strings.Join(args, " "), stdout, stderr)
	}
	if !strings.Contains(stdout+stderr, text) {
		b.t.Fatalf("%s %s failed without saying %q\n%s%s", program, strings.Join(args, " "), text, tail(stdout, 2000), tail(stderr, 4000))
	}
}

// Script runs a bash script; its first command that fails ends it, and the test.
func (b *Box) Script(script string) string {
	b.t.Helper()
	return b.Run("bash", "-euo", "pipefail", "-c", script)
}

// Try runs a command and returns what it wrote and how it ended.
func (b *Box) Try(stdin, program string, args ...string) (stdout, stderr string, err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), commandTimeout)
	defer cancel()
	cmd := b.Command(ctx, program, args...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &complaint
	if err = b.Namespace.Do(cmd.Start); err == nil {
		err = cmd.Wait()
	}
	return strings.TrimSpace(out.String()), complaint.String(), err
}

// Command prepares a command with the box's environment and directory.
func (b *Box) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	b.t.Helper()
	cmd := exec.CommandContext(ctx, b.need(program), args...)
	cmd.Env, cmd.Dir = b.env, b.Home
	return cmd
}

package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// debianRoot is a tar of a real Debian root file system. It is made once, by
// debootstrap, and kept in .tools/cache.
func debianRoot(t *testing.T) string {
	t.Helper()
	harness.NeedRoot(t, "debootstrap")
	b := harness.NewBox(t, "debootstrap", "tar")
	dir := filepath.Join(harness.Root(t), ".tools", "cache")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(dir, "bookworm.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }() // which also unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bookworm.tar")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	t.Log("debootstrap, once; this takes a minute or two")
	// Not in a box: it may have to go through the machine's proxy.
	for _, args := range [][]string{
		{"debootstrap", "--variant=minbase", "bookworm", b.Path("root")},
		{"tar", "-C", b.Path("root"), "--numeric-owner", "--one-file-system", "-cf", path + ".part", "."},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "PATH="+b.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%.4000s", strings.Join(args, " "), err, out)
		}
	}
	if err := os.Rename(path+".part", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// debian sends a real operating system in and gets it out, to the byte.
func debian(t *testing.T, f *fixture) {
	tarball := debianRoot(t)
	b := harness.NewBox(t, "umoci", "skopeo", "tar", "cmp")
	f.CreateRepository(t, "debian/bookworm")
	b.Feed(f.Password(t), "skopeo", "login", "--tls-verify=false", "--username", "AWS", "--password-stdin", f.Host)
	b.Run("umoci", "init", "--layout", "in")
	b.Run("umoci", "new", "--image", "in:t")
	b.Run("umoci", "raw", "add-layer", "--image", "in:t", tarball)
	b.Run("umoci", "config", "--image", "in:t", "--config.cmd", "/bin/bash")

	remote := "docker://" + f.ref("debian/bookworm", ":oci")
	copyArgs := []string{"--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"}
	b.Run("skopeo", append(copyArgs, "--preserve-digests", "--digestfile", "digest", "oci:in:t", remote)...)
	b.Run("skopeo", append(copyArgs, "--preserve-digests", remote, "oci:out:t")...)
	stored := f.registry.Verify(t, "debian/bookworm", "oci")
	same(t, "skopeo copy", string(b.Read("digest")), stored.Digest)
	for d, content := range stored.Blobs {
		if len(content) < 1000 {
			continue
		}
		_, hex, _ := strings.Cut(d, ":")
		b.Run("cmp", filepath.Join("in/blobs/sha256", hex), filepath.Join("out/blobs/sha256", hex))
	}
	t.Log("unpacked, it is a Debian")
	b.Run("umoci", "raw", "unpack", "--image", "out:t", "bundle")
	if release := string(b.Read("bundle", "etc", "os-release")); !strings.Contains(release, "bookworm") {
		t.Fatalf("etc/os-release says %s", release)
	}
	b.Run("tar", "-C", "bundle", "-df", tarball)

	t.Log("the same in docker's format")
	b.Run("skopeo", append(copyArgs, "--format", "v2s2", "oci:in:t", "docker://"+f.ref("debian/bookworm", ":v2s2"))...)
	v2s2 := f.registry.Verify(t, "debian/bookworm", "v2s2")
	same(t, "the layer", v2s2.Manifest.Layers[0].Digest, stored.Manifest.Layers[0].Digest)
}

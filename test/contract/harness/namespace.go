package harness

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a private view of the machine: its mounts are seen in it alone
// and vanish with it, and it may have a network of its own with nothing but a
// loopback device, where every port is free.
type Namespace struct {
	work chan func()
}

// NewNamespace makes a private mount namespace, and with network a private
// network. It needs root, as mounting does.
func NewNamespace(t testing.TB, network bool) *Namespace {
	t.Helper()
	NeedRoot(t, "mounts of its own")
	n := &Namespace{work: make(chan func())}
	made := make(chan error)
	go func() {
		// The thread is never unlocked: it ends with the goroutine, and the
		// namespace with it.
		runtime.LockOSThread()
		err := enter(network)
		made <- err
		if err != nil {
			return
		}
		for f := range n.work {
			f()
		}
	}()
	if err := <-made; err != nil {
		t.Fatalf("a namespace cannot be made: %v", err)
	}
	t.Cleanup(func() { close(n.work) })
	return n
}

// enter moves the calling thread into new namespaces.
func enter(network bool) error {
	flags := unix.CLONE_NEWNS | unix.CLONE_FS
	if network {
		flags |= unix.CLONE_NEWNET
	}
	if err := unix.Unshare(flags); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if !network {
		return nil
	}
	// A new network's loopback device is down.
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(s) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo))
}

// Do runs f on the namespace's thread: files that f opens, connections that it
// makes and processes that it starts itself are the namespace's. In no namespace
// it just runs f.
func (n *Namespace) Do(f func() error) error {
	if n == nil {
		return f()
	}
	done := make(chan error)
	n.work <- func() { done <- f() }
	return <-done
}

// Start starts a process in the namespace, or in none. One that is to end with the test
// (Pdeathsig) ends with the thread that has started it, so that has to be one which stays:
// any other may become a namespace's, and go with it.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if n == nil {
		n = starter()
	}
	return n.Do(cmd.Start)
}

// starter has a thread of its own for as long as the test process runs, in no namespace.
var starter = sync.OnceValue(func() *Namespace {
	n := &Namespace{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range n.work {
			f()
		}
	}()
	return n
})

// Dial connects from inside to 127.0.0.1 and the port of the address; it fits
// http.Transport. In no namespace it connects from where the test runs.
func (n *Namespace) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	err = n.Do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		return err
	})
	return conn, err
}

// Tmpfs mounts an empty file system in memory of the given size, in bytes, on a
// directory, which is made.
func (n *Namespace) Tmpfs(t testing.TB, dir string, size string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := n.Do(func() error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size) })
	if err != nil {
		t.Fatalf("tmpfs cannot be mounted: %v", err)
	}
}

// Hosts makes the names resolve to the address inside the namespace.
func (n *Namespace) Hosts(t testing.TB, address net.IP, names ...string) {
	t.Helper()
	text, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text = append(text, "\n"+address.String()+" "+name...)
	}
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := n.Do(func() error { return unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, "") }); err != nil {
		t.Fatalf("/etc/hosts cannot be replaced: %v", err)
	}
}

// NeedRoot fails the test for anybody else.
func NeedRoot(t testing.TB, what string) {
	t.Helper()
	if syscall.Geteuid() != 0 {
		t.Fatalf("this test needs root for %s; run the tests as root (on a machine or in a container that may be spoilt)", what)
	}
}

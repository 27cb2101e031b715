package harness

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Link joins two namespaces by a line of a given rate and delay: a TUN device in
// each, and between them a queue that lets every packet wait as a real line would.
// The kernel's own shaping (netem) is not everywhere; this needs /dev/net/tun.
type Link struct {
	// A and B are the addresses of the two ends.
	A, B netip.Addr
	// Cut is set while no packet passes.
	Cut atomic.Bool

	devices [2]*os.File
	bytes   [2]atomic.Int64
	ends    sync.WaitGroup
	stop    chan struct{}
}

// linkMTU is that of an Ethernet.
const linkMTU = 1500

// NewLink joins the namespaces. rate is in bits a second, each way; delay is one way.
func NewLink(t testing.TB, a, b *Namespace, rate int64, delay time.Duration) *Link {
	t.Helper()
	l := &Link{A: netip.MustParseAddr("10.77.0.1"), B: netip.MustParseAddr("10.77.0.2"), stop: make(chan struct{})}
	for i, end := range []struct {
		in         *Namespace
		own, other netip.Addr
	}{{a, l.A, l.B}, {b, l.B, l.A}} {
		err := end.in.Do(func() (err error) {
			l.devices[i], err = openTUN(end.own, end.other)
			return err
		})
		if err != nil {
			t.Fatalf("a link between namespaces cannot be made: %v", err)
		}
	}
	for from := range l.devices {
		l.forward(from, rate, delay)
	}
	t.Cleanup(func() {
		close(l.stop)
		for _, d := range l.devices {
			_ = d.Close() // ends its reader
		}
		l.ends.Wait()
	})
	return l
}

// Bytes are what has passed from A to B, and from B to A, packets' headers and all.
func (l *Link) Bytes() (there, back int64) { return l.bytes[0].Load(), l.bytes[1].Load() }

// packet is one on its way.
type packet struct {
	data   []byte
	arrive time.Time
}

// forward carries what one end sends to the other.
func (l *Link) forward(from int, rate int64, delay time.Duration) {
	// What a line's router keeps while it cannot send: 100 ms.
	const buffered = 100 * time.Millisecond
	way := make(chan packet, 4096)
	l.ends.Go(func() {
		defer close(way)
		var free time.Time // when the line has sent what it has
		for {
			b := make([]byte, linkMTU)
			n, err := l.devices[from].Read(b)
			if err != nil {
				return
			}
			now := time.Now()
			if free.Before(now) {
				free = now
			}
			if l.Cut.Load() || free.Sub(now) > buffered {
				continue // lost
			}
			free = free.Add(time.Duration(int64(n) * 8 * int64(time.Second) / rate))
			select {
			case way <- packet{b[:n], free.Add(delay)}:
				l.bytes[from].Add(int64(n))
			case <-l.stop:
				return
			}
		}
	})
	l.ends.Go(func() {
		for p := range way {
			if wait := time.Until(p.arrive); wait > 0 {
				select {
				case <-time.After(wait):
				case <-l.stop:
					return
				}
			}
			if _, err := l.devices[1-from].Write(p.data); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
		}
	})
}

// openTUN makes a TUN device in the calling thread's network, and gives it its
// address and that of the other end.
func openTUN(own, other netip.Addr) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/net/tun", err)
	}
	const name = "line0"
	r, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return nil, os.NewSyscallError("TUNSETIFF", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(s) }()
	for _, step := range []struct {
		request uint
		set     func(*unix.Ifreq) error
	}{
		{unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(own.AsSlice()) }},
		{unix.SIOCSIFDSTADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(other.AsSlice()) }},
		{unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(1000); return nil }},
		{unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		r, err := unix.NewIfreq(name)
		if err != nil {
			return nil, err
		}
		if err := step.set(r); err != nil {
			return nil, err
		}
		if err := unix.IoctlIfreq(s, step.request, r); err != nil {
			return nil, os.NewSyscallError(fmt.Sprintf("ioctl %#x", step.request), err)
		}
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

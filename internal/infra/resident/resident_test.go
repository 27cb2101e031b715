package resident

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestConstant(t *testing.T) {
	const maps = `00400000-02108000 r-xp 00000000 08:01 1 /opt/my berth
02108000-03df4000 r--p 01d08000 08:01 1 /opt/my berth
03df4000-03eeb000 rw-p 039f4000 08:01 1 /opt/my berth
03f00000-03f01000 ---p 039f4000 08:01 1 /opt/my berth
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
7f0000200000-7f0000300000 r-xp 00000000 08:01 2 /usr/lib/libc.so.6
7f0000400000-7f0000500000 r--p 00000000 08:01 1 /opt/my
`
	got, err := constant(strings.NewReader(maps), "/opt/my berth")
	if want := []span{{0x400000, 0x2108000}, {0x2108000, 0x3df4000}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
	if _, err := constant(strings.NewReader("x-1 r--p 0 0 0 a\n"), "a"); err == nil {
		t.Error("a line that is none is taken")
	}
}

// The process has fewer pages of its program afterwards, and works on.
func TestRelease(t *testing.T) {
	before := filePages(t)
	if err := Release(); err != nil {
		t.Fatal(err)
	}
	if after := filePages(t); before != 0 && after >= before {
		t.Errorf("%d KiB of files are resident, and %d were", after, before)
	}
}

// filePages is how much of files is resident, in KiB; 0 where the system does not say.
func filePages(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(status), "RssFile:")
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

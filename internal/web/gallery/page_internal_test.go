package gallery

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/web/gallery/markdown"
)

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 48_213_377: "48,213,377", -1234: "-1,234"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) is %q", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1K", 1_250: "1.2K", 9_949: "9.9K", 9_950: "10K", 999_499: "999K", 999_500: "1M", 48_213_377: "48M", 999_500_000: "1B", 12_000_000_000: "12B"} {
		if got := short(n); got != want {
			t.Errorf("short(%d) is %q", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 1_540_000: "1.5 MB", 12_400_000: "12 MB", 999_499_999: "999 MB", 999_500_000: "1.00 GB", 2_310_000_000: "2.31 GB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) is %q", n, got)
		}
	}
}

func TestAgo(t *testing.T) {
	p := page{now: time.Date(2026, 3, 14, 0, 30, 0, 0, time.UTC)}
	for at, want := range map[time.Time]string{
		p.now: "today", p.now.Add(time.Hour): "today", p.now.Add(-time.Hour): "yesterday", p.now.Add(-25 * time.Hour): "2 days ago",
		p.now.AddDate(0, 0, -29): "29 days ago", p.now.AddDate(0, 0, -30): "12 Feb 2026", {}: "never",
	} {
		if got := p.Ago(at); got != want {
			t.Errorf("%s is %q, want %q", at, got, want)
		}
	}
}

// TestTexts fills the memory of rendered texts beyond its bound.
func TestTexts(t *testing.T) {
	const most, n = 100_000, 150
	texts := newTexts(markdown.New(), most)
	paragraph := strings.Repeat("a ", 1_000)
	for i := range n {
		html, err := texts.render(paragraph + strconv.Itoa(i))
		if err != nil || !strings.Contains(string(html), strconv.Itoa(i)+"</p>") {
			t.Fatalf("text %d: %v", i, err)
		}
		// one that is asked for all the time stays
		if _, err := texts.render("often"); err != nil {
			t.Fatal(err)
		}
	}
	held := 0
	for _, generation := range []map[[32]byte]string{strip(texts.now), strip(texts.old)} {
		for _, html := range generation {
			held += len(html)
		}
	}
	if held > 2*most || held < most {
		t.Errorf("%d bytes are remembered", held)
	}
	texts.renderer = nil // only what is remembered can be given now
	if html, err := texts.render("often"); err != nil || html != "<p>often</p>\n" {
		t.Errorf("%q, %v", html, err)
	}
}

func strip[T ~string](m map[[32]byte]T) map[[32]byte]string {
	plain := map[[32]byte]string{}
	for k, v := range m {
		plain[k] = string(v)
	}
	return plain
}

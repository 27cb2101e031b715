package segment_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/audit/segment"
)

type record struct {
	at   int64
	set  int
	text string
	cut  int
}

type set struct {
	name string
	keys []int64
}

var sets = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) set {
	return set{rapid.String().Draw(t, "name"), rapid.SliceOfNDistinct(rapid.Int64Range(-4, 4), 0, 6, rapid.ID[int64]).Draw(t, "keys")}
}), 1, 8)

func build(t *rapid.T, b *segment.Builder) ([]set, []record, segment.Built) {
	all := sets.Draw(t, "sets")
	for i, s := range all {
		if n := b.Set(s.name, s.keys); n != i {
			t.Fatalf("the set %d has the number %d", i, n)
		}
	}
	records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) record {
		r := record{at: rapid.Int64().Draw(t, "at"), set: rapid.IntRange(0, len(all)-1).Draw(t, "set"), text: rapid.String().Draw(t, "text")}
		r.cut = rapid.IntRange(0, len(r.text)).Draw(t, "cut")
		return r
	}), 1, 40).Draw(t, "records")
	for _, r := range records {
		b.Add(r.at, r.set, []byte(r.text), r.cut)
	}
	return all, records, b.Finish()
}

// TestRoundTrip: what was put in comes out, of one segment after another, and the keys of a record find it.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b segment.Builder
		var r segment.Reader
		for range 2 {
			all, records, built := build(t, &b)
			var keys []int64
			for _, s := range all {
				keys = append(keys, s.keys...)
			}
			slices.Sort(keys)
			got := slices.Sorted(slices.Values(built.Keys))
			if !slices.Equal(got, slices.Compact(keys)) {
				t.Fatalf("the keys are %v, want %v", got, keys)
			}
			wanted := rapid.SliceOfN(rapid.Int64Range(-5, 5), 0, 3).Draw(t, "wanted")
			if err := r.Open(built.Content, wanted...); err != nil {
				t.Fatal(err)
			}
			if len(r.Records) != len(records) || built.Records != len(records) {
				t.Fatalf("%d records and %d, want %d", len(r.Records), built.Records, len(records))
			}
			oldest, newest := records[0].at, records[0].at
			for i, want := range records {
				front, back, err := r.Text(i)
				if err != nil || front != want.text[:want.cut] || back != want.text[want.cut:] {
					t.Fatalf("%q and %q, %v, want %q cut at %d", front, back, err, want.text, want.cut)
				}
				of := all[want.set]
				found := len(wanted) == 0 || slices.ContainsFunc(wanted, func(k int64) bool { return slices.Contains(of.keys, k) })
				if one := r.Records[i]; one.At != want.at || one.Name != of.name || one.Found != found {
					t.Fatalf("%+v, want %+v, found %v", one, want, found)
				}
				oldest, newest = min(oldest, want.at), max(newest, want.at)
			}
			if built.Oldest != oldest || built.Newest != newest {
				t.Fatalf("from %d to %d, want %d to %d", built.Oldest, built.Newest, oldest, newest)
			}
		}
	})
}

// TestDamaged: what is no segment any more is an error, or other records; nothing else happens.
func TestDamaged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b segment.Builder
		var r segment.Reader
		_, _, built := build(t, &b)
		content := built.Content
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			switch i := rapid.IntRange(0, len(content)-1).Draw(t, "where"); rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				content[i] = rapid.Byte().Draw(t, "byte")
			case 1:
				content = append(content[:i:i], rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")...)
			case 2:
				content = append(content, rapid.Byte().Draw(t, "byte"))
			}
			if len(content) == 0 {
				break
			}
		}
		if r.Open(content) != nil {
			return
		}
		for i := range r.Records {
			if _, _, err := r.Text(i); err != nil {
				return
			}
		}
	})
	var r segment.Reader
	for _, content := range []string{"", "x", "\x01", "\x02\x01\x02"} {
		if r.Open([]byte(content)) == nil {
			t.Errorf("%q is a segment", content)
		}
	}
}

func TestFits(t *testing.T) {
	var b segment.Builder
	long := strings.Repeat("x", segment.Bytes)
	b.Set("", nil)
	if !b.Fits(2 * segment.Bytes) {
		t.Error("a record alone does not fit")
	}
	b.Add(1, 0, []byte(long), 0)
	if b.Fits(1) {
		t.Error("another one fits beside a long one")
	}
	b.Finish()
	b.Set("", nil)
	for range segment.Block {
		if !b.Fits(1) {
			t.Fatal("a short one does not fit")
		}
		b.Add(1, 0, []byte("x"), 0)
	}
	if b.Fits(1) {
		t.Error("it takes more records than there are ids")
	}
}

func TestStart(t *testing.T) {
	for at, want := range map[int64]int64{0: 0, 1: 0, 9_999_999: 0, 10_000_000: 10_000_000, -1: -10_000_000, -10_000_000: -10_000_000, -10_000_001: -20_000_000} {
		if got := segment.Start(at); got != want {
			t.Errorf("%d is in the stretch from %d, want %d", at, got, want)
		}
	}
}

package qr_test

import (
	"bytes"
	"errors"
	"image/png"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/principal/credential/qr"
)

// The tests read codes back by a path of their own: they take the modules from
// the image, find the mask by the format's table, walk the data, take the blocks
// apart and evaluate the received polynomials, instead of dividing them.

// formats are the fifteen bits for level M and the masks 0 to 7 (annex C).
var formats = []string{
	"101010000010010", "101000100100101", "101111001111100", "101101101001011",
	"100010111111001", "100000011001110", "100111110010111", "100101010100000",
}

// versions are the eighteen bits of the versions from 7 on (annex D).
var versions = []string{"000111110010010100", "001000010110111100", "001001101010011001", "001010010011010011"}

// centres of alignment patterns (annex E), of versions with another number or
// distance each.
var centres = map[int][]int{
	1: nil, 2: {6, 18}, 6: {6, 34}, 7: {6, 22, 38}, 8: {6, 24, 42}, 9: {6, 26, 46},
	10: {6, 28, 50}, 11: {6, 30, 54}, 12: {6, 32, 58}, 13: {6, 34, 62}, 14: {6, 26, 46, 66}, 15: {6, 26, 48, 70}, 16: {6, 26, 50, 74},
	20: {6, 34, 62, 90}, 21: {6, 28, 50, 72, 94}, 28: {6, 26, 50, 74, 98, 122}, 32: {6, 34, 60, 86, 112, 138},
	36: {6, 24, 50, 76, 102, 128, 154}, 40: {6, 30, 58, 86, 114, 142, 170},
}

// blocks is, by version, words of correction in a block, then pairs of a number
// of blocks and their data words (table 9).
var blocks = map[int][]int{
	1: {10, 1, 16}, 2: {16, 1, 28}, 3: {26, 1, 44}, 4: {18, 2, 32}, 5: {24, 2, 43}, 6: {16, 4, 27}, 7: {18, 4, 31},
	8: {22, 2, 38, 2, 39}, 9: {22, 3, 36, 2, 37}, 10: {26, 4, 43, 1, 44}, 11: {30, 1, 50, 4, 51}, 12: {22, 6, 36, 2, 37},
	13: {22, 8, 37, 1, 38}, 14: {24, 4, 40, 5, 41}, 15: {24, 5, 41, 5, 42}, 16: {28, 7, 45, 3, 46}, 20: {26, 3, 41, 13, 42},
	40: {28, 18, 47, 31, 48},
}

type grid struct {
	size int
	dark func(x, y int) bool
}

// scan takes the modules from the image, and checks margin and scale.
func scan(t testing.TB, picture []byte, scale int) grid {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	side := img.Bounds().Dx()
	if side != img.Bounds().Dy() || side%scale != 0 {
		t.Fatalf("the image is %v", img.Bounds())
	}
	pixel := func(x, y int) bool { r, _, _, _ := img.At(x, y).RGBA(); return r == 0 }
	size := side/scale - 8
	for y := range side {
		for x := range side {
			mx, my := x/scale, y/scale
			if pixel(x, y) != pixel(mx*scale, my*scale) {
				t.Fatalf("the module at %d, %d is not of one colour", mx, my)
			}
			if (mx < 4 || my < 4 || mx >= size+4 || my >= size+4) && pixel(x, y) {
				t.Fatal("the margin is not light")
			}
		}
	}
	return grid{size: size, dark: func(x, y int) bool { return pixel((x+4)*scale, (y+4)*scale) }}
}

// bits reads modules into a text of 0 and 1.
func (g grid) bits(at ...[2]int) string {
	var b strings.Builder
	for _, p := range at {
		if g.dark(p[0], p[1]) {
			b.WriteByte('1')
		} else {
			b.WriteByte('0')
		}
	}
	return b.String()
}

func (g grid) format(t testing.TB) (mask int) {
	n := g.size
	first := g.bits([2]int{0, 8}, [2]int{1, 8}, [2]int{2, 8}, [2]int{3, 8}, [2]int{4, 8}, [2]int{5, 8}, [2]int{7, 8}, [2]int{8, 8},
		[2]int{8, 7}, [2]int{8, 5}, [2]int{8, 4}, [2]int{8, 3}, [2]int{8, 2}, [2]int{8, 1}, [2]int{8, 0})
	second := g.bits([2]int{8, n - 1}, [2]int{8, n - 2}, [2]int{8, n - 3}, [2]int{8, n - 4}, [2]int{8, n - 5}, [2]int{8, n - 6}, [2]int{8, n - 7},
		[2]int{n - 8, 8}, [2]int{n - 7, 8}, [2]int{n - 6, 8}, [2]int{n - 5, 8}, [2]int{n - 4, 8}, [2]int{n - 3, 8}, [2]int{n - 2, 8}, [2]int{n - 1, 8})
	mask = slices.Index(formats, first)
	if mask < 0 || first != second || !g.dark(8, n-8) {
		t.Fatalf("the format is %s and %s", first, second)
	}
	return mask
}

func (g grid) version(t testing.TB) int {
	v := (g.size - 17) / 4
	if v < 7 || v-7 >= len(versions) {
		return v
	}
	var a, b strings.Builder
	for i := 17; i >= 0; i-- {
		a.WriteString(g.bits([2]int{g.size - 11 + i%3, i / 3}))
		b.WriteString(g.bits([2]int{i / 3, g.size - 11 + i%3}))
	}
	if a.String() != versions[v-7] || b.String() != versions[v-7] {
		t.Fatalf("the version is %s and %s", &a, &b)
	}
	return v
}

// function says whether a module belongs to a pattern.
func function(size, version int, at []int, x, y int) bool {
	switch {
	case x <= 8 && y <= 8, x >= size-8 && y <= 8, x <= 8 && y >= size-8, x == 6, y == 6:
		return true
	case version >= 7 && (x >= size-11 && y <= 5 || x <= 5 && y >= size-11):
		return true
	}
	for _, cx := range at {
		for _, cy := range at {
			finder := cx == 6 && cy == 6 || cx == 6 && cy == size-7 || cx == size-7 && cy == 6
			if !finder && x >= cx-2 && x <= cx+2 && y >= cy-2 && y <= cy+2 {
				return true
			}
		}
	}
	return false
}

var masks = []func(i, j int) bool{ // i is the row, j the column
	func(i, j int) bool { return (i+j)%2 == 0 },
	func(i, _ int) bool { return i%2 == 0 },
	func(_, j int) bool { return j%3 == 0 },
	func(i, j int) bool { return (i+j)%3 == 0 },
	func(i, j int) bool { return (i/2+j/3)%2 == 0 },
	func(i, j int) bool { return (i*j)%2+(i*j)%3 == 0 },
	func(i, j int) bool { return ((i*j)%2+(i*j)%3)%2 == 0 },
	func(i, j int) bool { return ((i+j)%2+(i*j)%3)%2 == 0 },
}

func (g grid) words(version, mask int, at []int) []byte {
	var all []byte
	n := 0
	upwards := true
	for right := g.size - 1; right > 0; right -= 2 {
		if right == 6 {
			right--
		}
		for k := range g.size {
			y := k
			if upwards {
				y = g.size - 1 - k
			}
			for x := right; x >= right-1; x-- {
				if function(g.size, version, at, x, y) {
					continue
				}
				if n%8 == 0 {
					all = append(all, 0)
				}
				if g.dark(x, y) != masks[mask](y, x) {
					all[n/8] |= 0x80 >> (n % 8)
				}
				n++
			}
		}
		upwards = !upwards
	}
	return all[:n/8]
}

// powers of 2 in the field, and their logarithms.
func field() (exp [512]int, log [256]int) {
	x := 1
	for i := range 255 {
		exp[i], exp[i+255], log[x] = x, x, i
		if x <<= 1; x > 255 {
			x ^= 0x11d
		}
	}
	return exp, log
}

func decode(t testing.TB, g grid) []byte {
	t.Helper()
	version := g.version(t)
	at, known := centres[version]
	layout := blocks[version]
	if !known && version > 6 || layout == nil {
		t.Fatalf("the test knows no version %d", version)
	}
	if !known {
		at = []int{6, g.size - 7}
	}
	for i := range g.size { // timing patterns, between the finders
		if i >= 8 && i < g.size-8 && (g.dark(i, 6) != (i%2 == 0) || g.dark(6, i) != (i%2 == 0)) {
			t.Fatal("a timing pattern is broken")
		}
	}
	words := g.words(version, g.format(t), at)
	checks := layout[0]
	var lengths []int
	for i := 1; i < len(layout); i += 2 {
		lengths = append(lengths, slices.Repeat([]int{layout[i+1]}, layout[i])...)
	}
	received := make([][]byte, len(lengths))
	next := 0
	for k := range slices.Max(lengths) {
		for b, n := range lengths {
			if k < n {
				received[b] = append(received[b], words[next])
				next++
			}
		}
	}
	for range checks {
		for b := range received {
			received[b] = append(received[b], words[next])
			next++
		}
	}
	if next != len(words) {
		t.Fatalf("version %d has %d words, the table %d", version, len(words), next)
	}
	exp, log := field()
	var data []byte
	for b, block := range received {
		for root := range checks { // every root of the generator is one of the block
			value := 0
			for _, w := range block {
				if value != 0 {
					value = exp[log[value]+root]
				}
				value ^= int(w)
			}
			if value != 0 {
				t.Fatalf("block %d is no codeword", b)
			}
		}
		data = append(data, block[:lengths[b]]...)
	}
	var stream strings.Builder
	for _, w := range data {
		for i := 7; i >= 0; i-- {
			stream.WriteByte('0' + w>>i&1)
		}
	}
	s := stream.String()
	number := func(from, n int) (v int) {
		for _, c := range s[from : from+n] {
			v = v<<1 | int(c-'0')
		}
		return v
	}
	width := 8
	if version > 9 {
		width = 16
	}
	if number(0, 4) != 4 {
		t.Fatal("not byte mode")
	}
	text := make([]byte, number(4, width))
	for i := range text {
		text[i] = byte(number(4+width+8*i, 8))
	}
	rest := s[4+width+8*len(text):]
	end := min(4, len(rest))
	for ; (len(s)-len(rest)+end)%8 != 0; end++ {
	}
	if strings.Trim(rest[:end], "0") != "" {
		t.Fatalf("the end mark is %q", rest[:end])
	}
	for i, pad := 0, rest[end:]; len(pad) > 0; i, pad = i+1, pad[8:] {
		if want := []string{"11101100", "00010001"}[i%2]; pad[:8] != want {
			t.Fatalf("padding %d is %s", i, pad[:8])
		}
	}
	return text
}

func TestDecodes(t *testing.T) {
	for _, c := range []struct{ length, version int }{
		{0, 1}, {1, 1}, {14, 1}, {15, 2}, {26, 2}, {27, 3}, {42, 3}, {62, 4}, {84, 5}, {85, 6}, {106, 6}, {107, 7}, {122, 7}, {152, 8},
		{180, 9}, {181, 10}, {213, 10}, {251, 11}, {287, 12}, {331, 13}, {362, 14}, {412, 15}, {450, 16}, {666, 20}, {2331, 40},
	} {
		text := make([]byte, c.length)
		for i := range text {
			text[i] = byte(i*7 + c.length)
		}
		code, err := qr.Encode(text)
		if err != nil {
			t.Fatal(err)
		}
		if code.Size() != 17+4*c.version {
			t.Errorf("%d bytes: size %d, want version %d", c.length, code.Size(), c.version)
			continue
		}
		picture, err := code.PNG(3)
		if err != nil {
			t.Fatal(err)
		}
		if got := decode(t, scan(t, picture, 3)); !bytes.Equal(got, text) {
			t.Errorf("%d bytes come back as %q", c.length, got)
		}
	}
	if _, err := qr.Encode(make([]byte, 2332)); !errors.Is(err, qr.ErrTooLong) {
		t.Errorf("one byte more than fits: %v", err)
	}
}

func TestDecodesAnything(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(0, 450).Draw(r, "length")
		text := rapid.SliceOfN(rapid.Byte(), n, n).Draw(r, "text")
		code, err := qr.Encode(text)
		if err != nil {
			r.Fatal(err)
		}
		picture, err := code.PNG(1)
		if err != nil {
			r.Fatal(err)
		}
		if got := decode(t, scan(t, picture, 1)); !bytes.Equal(got, text) {
			r.Fatalf("%q comes back as %q", text, got)
		}
	})
}

// The finders stand where a reader looks for them.
func TestFinders(t *testing.T) {
	code, err := qr.Encode([]byte("berth"))
	if err != nil {
		t.Fatal(err)
	}
	const finder = "1111111 1000001 1011101 1011101 1011101 1000001 1111111"
	for _, corner := range [][2]int{{0, 0}, {code.Size() - 7, 0}, {0, code.Size() - 7}} {
		var rows []string
		for y := range 7 {
			row := ""
			for x := range 7 {
				row += map[bool]string{true: "1", false: "0"}[code.Dark(corner[0]+x, corner[1]+y)]
			}
			rows = append(rows, row)
		}
		if got := strings.Join(rows, " "); got != finder {
			t.Errorf("at %v: %s", corner, got)
		}
	}
}

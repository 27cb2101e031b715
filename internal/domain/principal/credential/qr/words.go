package qr

// maxVersion is the largest code: 177 modules along a side.
const maxVersion = 40

// correction is how the codewords of a version divide into blocks at level M
// (table 9): the number of blocks, and the error correction words of each.
type correction struct{ blocks, words int }

// corrections is by version; the first entry is none.
var corrections = [maxVersion + 1]correction{
	{},
	{1, 10}, {1, 16}, {1, 26}, {2, 18}, {2, 24}, {4, 16}, {4, 18}, {4, 22}, {5, 22}, {5, 26},
	{5, 30}, {8, 22}, {9, 22}, {9, 24}, {10, 24}, {10, 28}, {11, 28}, {13, 26}, {14, 26}, {16, 26},
	{17, 26}, {17, 28}, {18, 28}, {20, 28}, {21, 28}, {23, 28}, {25, 28}, {26, 28}, {28, 28}, {29, 28},
	{31, 28}, {33, 28}, {35, 28}, {37, 28}, {38, 28}, {40, 28}, {43, 28}, {45, 28}, {47, 28}, {49, 28},
}

// totalWords is how many codewords a version has: its modules without the
// patterns, by eight.
func totalWords(version int) int {
	modules := (16*version+128)*version + 64
	if version >= 2 {
		n := version/7 + 2
		modules -= (25*n-10)*n - 55
	}
	if version >= 7 {
		modules -= 36
	}
	return modules / 8
}

// capacity is how many of them are data.
func capacity(version int) int {
	return totalWords(version) - corrections[version].blocks*corrections[version].words
}

// lengthBits is the width of the length in byte mode.
func lengthBits(version int) int {
	if version < 10 {
		return 8
	}
	return 16
}

// versionFor is the smallest version that holds n bytes: with them go 4 bits of
// mode and the length.
func versionFor(n int) (version int, ok bool) {
	for v := 1; v <= maxVersion; v++ {
		if 4+lengthBits(v)+8*n <= 8*capacity(v) {
			return v, true
		}
	}
	return 0, false
}

// dataWords writes mode, length, text, the end mark and the padding.
func dataWords(version int, text []byte) []byte {
	const byteMode = 0b0100
	w := &bitWriter{}
	w.write(byteMode, 4)
	w.write(len(text), lengthBits(version))
	for _, b := range text {
		w.write(int(b), 8)
	}
	room := 8 * capacity(version)
	w.write(0, min(4, room-w.n))
	w.write(0, (8-w.n%8)%8)
	for pad := 0xec; w.n < room; pad ^= 0xec ^ 0x11 {
		w.write(pad, 8)
	}
	return w.words
}

type bitWriter struct {
	words []byte
	n     int
}

func (w *bitWriter) write(value, bits int) {
	for i := bits - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.words = append(w.words, 0)
		}
		w.words[w.n/8] |= byte(value>>i&1) << (7 - w.n%8)
		w.n++
	}
}

// interleave divides the data into blocks, the longer ones last, gives each its
// error correction and takes words from all in turn.
func interleave(version int, data []byte) []byte {
	c := corrections[version]
	short, longer := len(data)/c.blocks, len(data)%c.blocks
	divisor := generator(c.words)
	blocks, checks := make([][]byte, c.blocks), make([][]byte, c.blocks)
	for i := range blocks {
		n := short
		if i >= c.blocks-longer {
			n++
		}
		blocks[i], data = data[:n], data[n:]
		checks[i] = remainder(blocks[i], divisor)
	}
	var out []byte
	for at := range short + 1 {
		for _, b := range blocks {
			if at < len(b) {
				out = append(out, b[at])
			}
		}
	}
	for at := range c.words {
		for _, b := range checks {
			out = append(out, b[at])
		}
	}
	return out
}

// times multiplies in the field of 256 elements over x^8+x^4+x^3+x^2+1.
func times(a, b byte) byte {
	var p int
	for i := 7; i >= 0; i-- {
		p <<= 1
		if p&0x100 != 0 {
			p ^= 0x11d
		}
		if b>>i&1 == 1 {
			p ^= int(a)
		}
	}
	return byte(p)
}

// generator is the polynomial (x-1)(x-2)(x-4)... of the degree, the highest
// coefficient, which is 1, left out.
func generator(degree int) []byte {
	g := make([]byte, degree)
	g[degree-1] = 1
	root := byte(1)
	for range degree {
		for i := range g {
			g[i] = times(g[i], root)
			if i+1 < degree {
				g[i] ^= g[i+1]
			}
		}
		root = times(root, 2)
	}
	return g
}

// remainder is that of the data, followed by zeros, by the generator.
func remainder(data, divisor []byte) []byte {
	r := make([]byte, len(divisor))
	for _, b := range data {
		factor := b ^ r[0]
		copy(r, r[1:])
		r[len(r)-1] = 0
		for i := range r {
			r[i] ^= times(divisor[i], factor)
		}
	}
	return r
}

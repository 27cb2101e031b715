// Package qr makes QR codes (ISO/IEC 18004) of short texts: byte mode, error
// correction level M, as large as needed, as a PNG image.
//
// It knows nothing of what the texts are. Modes for digits and letters, other
// levels and Micro QR are left out: nothing here needs them.
package qr

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
)

// quiet is the white margin that readers need, in modules.
const quiet = 4

// ErrTooLong is returned for a text that no QR code of level M can hold.
var ErrTooLong = errors.New("the text is too long for a QR code")

// Code is a QR code.
type Code struct {
	size  int
	dark  []bool // row by row
	fixed []bool // modules that carry no data: patterns, format and version
}

// Encode makes the smallest code that holds the text. ErrTooLong beyond 2331
// bytes.
func Encode(text []byte) (*Code, error) {
	version, ok := versionFor(len(text))
	if !ok {
		return nil, ErrTooLong
	}
	words := interleave(version, dataWords(version, text))
	size := 17 + 4*version
	c := &Code{size: size, dark: make([]bool, size*size), fixed: make([]bool, size*size)}
	c.drawPatterns(version)
	c.drawData(words)
	c.chooseMask()
	return c, nil
}

// Size is the number of modules along one side, without the margin.
func (c *Code) Size() int { return c.size }

// Dark says whether the module at column x and row y is dark.
func (c *Code) Dark(x, y int) bool { return c.dark[y*c.size+x] }

// PNG draws the code with its margin, scale pixels to a module.
func (c *Code) PNG(scale int) ([]byte, error) {
	side := (c.size + 2*quiet) * scale
	img := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})
	for y := range side {
		for x := range side {
			mx, my := x/scale-quiet, y/scale-quiet
			if mx >= 0 && my >= 0 && mx < c.size && my < c.size && c.Dark(mx, my) {
				img.SetColorIndex(x, y, 1)
			}
		}
	}
	var b bytes.Buffer
	err := png.Encode(&b, img)
	return b.Bytes(), err
}

func (c *Code) set(x, y int, dark bool) { c.dark[y*c.size+x] = dark }

// fix sets a module that is no data.
func (c *Code) fix(x, y int, dark bool) {
	c.set(x, y, dark)
	c.fixed[y*c.size+x] = true
}

func (c *Code) drawPatterns(version int) {
	for i := range c.size { // timing
		c.fix(6, i, i%2 == 0)
		c.fix(i, 6, i%2 == 0)
	}
	c.drawFinder(3, 3)
	c.drawFinder(c.size-4, 3)
	c.drawFinder(3, c.size-4)
	at := alignmentCentres(version)
	for i, x := range at {
		for j, y := range at {
			corner := i == 0 && j == 0 || i == 0 && j == len(at)-1 || i == len(at)-1 && j == 0
			if !corner { // those are the finders'
				c.drawAlignment(x, y)
			}
		}
	}
	c.drawFormat(0) // keeps the place; the mask is chosen later
	if version >= 7 {
		c.drawVersion(version)
	}
}

// drawFinder draws the pattern around its centre with the light border.
func (c *Code) drawFinder(cx, cy int) {
	for dy := -4; dy <= 4; dy++ {
		for dx := -4; dx <= 4; dx++ {
			x, y := cx+dx, cy+dy
			if x < 0 || y < 0 || x >= c.size || y >= c.size {
				continue
			}
			ring := max(abs(dx), abs(dy))
			c.fix(x, y, ring != 2 && ring != 4)
		}
	}
}

func (c *Code) drawAlignment(cx, cy int) {
	for dy := -2; dy <= 2; dy++ {
		for dx := -2; dx <= 2; dx++ {
			c.fix(cx+dx, cy+dy, max(abs(dx), abs(dy)) != 1)
		}
	}
}

// alignmentCentres are the coordinates of the alignment patterns' centres, in
// both directions (annex E): evenly apart from the right, the first at 6.
func alignmentCentres(version int) []int {
	if version == 1 {
		return nil
	}
	n := version/7 + 2
	step := (version*8 + n*3 + 5) / (n*4 - 4) * 2
	at := make([]int, n)
	at[0] = 6
	for i, p := n-1, version*4+10; i > 0; i, p = i-1, p-step {
		at[i] = p
	}
	return at
}

// drawFormat writes the level and the mask twice: 5 bits with 10 bits of a BCH
// code, over a fixed pattern.
func (c *Code) drawFormat(mask int) {
	const levelM = 0b00
	data := levelM<<3 | mask
	bits := (data<<10 | bch(data, 0x537, 10)) ^ 0x5412
	bit := func(i int) bool { return bits>>i&1 == 1 }
	for i := range 6 {
		c.fix(8, i, bit(i))
	}
	c.fix(8, 7, bit(6))
	c.fix(8, 8, bit(7))
	c.fix(7, 8, bit(8))
	for i := 9; i < 15; i++ {
		c.fix(14-i, 8, bit(i))
	}
	for i := range 8 {
		c.fix(c.size-1-i, 8, bit(i))
	}
	for i := 8; i < 15; i++ {
		c.fix(8, c.size-15+i, bit(i))
	}
	c.fix(8, c.size-8, true)
}

// drawVersion writes the version twice: 6 bits with 12 bits of a BCH code.
func (c *Code) drawVersion(version int) {
	bits := version<<12 | bch(version, 0x1f25, 12)
	for i := range 18 {
		dark := bits>>i&1 == 1
		a, b := c.size-11+i%3, i/3
		c.fix(a, b, dark)
		c.fix(b, a, dark)
	}
}

// bch is the remainder of data, moved up by degree bits, by the generator.
func bch(data, generator, degree int) int {
	r := data << degree
	for i := 20; i >= degree; i-- {
		if r>>i&1 == 1 {
			r ^= generator << (i - degree)
		}
	}
	return r
}

// drawData lays the bits out in columns of two from the right, up and down in
// turn, past what is fixed. What is left at the end stays light.
func (c *Code) drawData(words []byte) {
	i := 0
	for right := c.size - 1; right >= 1; right -= 2 {
		if right == 6 { // the column of the timing pattern
			right = 5
		}
		for step := range c.size {
			y := step
			if (right+1)&2 == 0 {
				y = c.size - 1 - step
			}
			for _, x := range [2]int{right, right - 1} {
				if c.fixed[y*c.size+x] || i >= 8*len(words) {
					continue
				}
				c.set(x, y, words[i/8]>>(7-i%8)&1 == 1)
				i++
			}
		}
	}
}

func abs(n int) int { return max(n, -n) }

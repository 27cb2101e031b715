package qr

// inverts says whether the mask turns the module at x, y round (table 10).
func inverts(mask, x, y int) bool {
	switch mask {
	case 0:
		return (x+y)%2 == 0
	case 1:
		return y%2 == 0
	case 2:
		return x%3 == 0
	case 3:
		return (x+y)%3 == 0
	case 4:
		return (x/3+y/2)%2 == 0
	case 5:
		return x*y%2+x*y%3 == 0
	case 6:
		return (x*y%2+x*y%3)%2 == 0
	default:
		return ((x+y)%2+x*y%3)%2 == 0
	}
}

// apply turns the data round by the mask; a second time undoes it.
func (c *Code) apply(mask int) {
	for y := range c.size {
		for x := range c.size {
			if !c.fixed[y*c.size+x] && inverts(mask, x, y) {
				c.set(x, y, !c.Dark(x, y))
			}
		}
	}
}

// chooseMask applies the mask that leaves the fewest shapes a reader could
// stumble over.
func (c *Code) chooseMask() {
	best, least := 0, -1
	for mask := range 8 {
		c.apply(mask)
		c.drawFormat(mask)
		if p := c.penalty(); least < 0 || p < least {
			best, least = mask, p
		}
		c.apply(mask)
	}
	c.apply(best)
	c.drawFormat(best)
}

// Weights of the four shapes (table 11).
const (
	weightRun    = 3
	weightSquare = 3
	weightFinder = 40
	weightShare  = 10
)

func (c *Code) penalty() int {
	total, dark := 0, 0
	for i := range c.size {
		total += c.linePenalty(func(j int) bool { return c.Dark(j, i) })
		total += c.linePenalty(func(j int) bool { return c.Dark(i, j) })
	}
	for y := range c.size {
		for x := range c.size {
			d := c.Dark(x, y)
			if d {
				dark++
			}
			if x+1 < c.size && y+1 < c.size && d == c.Dark(x+1, y) && d == c.Dark(x, y+1) && d == c.Dark(x+1, y+1) {
				total += weightSquare
			}
		}
	}
	// How far from one half the dark modules are, in steps of 5 %.
	all := c.size * c.size
	return total + abs(dark*20-all*10)/all*weightShare
}

// linePenalty is for one row or column: runs of five or more, and what looks
// like a finder pattern with light beside it.
func (c *Code) linePenalty(at func(int) bool) int {
	total, run := 0, 0
	history := 0 // the last eleven modules
	for j := range c.size {
		if j > 0 && at(j) == at(j-1) {
			run++
		} else {
			run = 1
		}
		if run == 5 {
			total += weightRun
		} else if run > 5 {
			total++
		}
		history = history << 1 & 0x7ff
		if at(j) {
			history |= 1
		}
		if j >= 10 && (history == 0b10111010000 || history == 0b00001011101) {
			total += weightFinder
		}
	}
	return total
}

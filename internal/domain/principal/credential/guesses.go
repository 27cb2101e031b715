package credential

import (
	"sync"
	"time"
)

// How many wrong codes a device takes before it rests, on one node. Whoever
// guesses on gets one try a minute, until there were none for guessWindow.
const (
	maxGuesses  = 10
	guessWindow = 5 * time.Minute
	guessRest   = time.Minute
	// maxGuessed bounds the devices that are watched at once.
	maxGuessed = 10_000
)

// guesses counts wrong codes by device, in bounded memory.
type guesses struct {
	mu    sync.Mutex
	wrong map[string]guessed
}

type guessed struct {
	n    int
	last time.Time
}

func newGuesses() *guesses { return &guesses{wrong: map[string]guessed{}} }

// admit says whether a code of the device may be tried now, and counts it as
// wrong until clear says otherwise, so that tries side by side are counted too.
func (g *guesses) admit(serial string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := g.wrong[serial]
	if now.Sub(seen.last) >= guessWindow {
		seen.n = 0
	}
	if seen.n >= maxGuesses && now.Sub(seen.last) < guessRest {
		return false
	}
	if len(g.wrong) >= maxGuessed && seen.n == 0 {
		g.makeRoom(now)
	}
	g.wrong[serial] = guessed{n: seen.n + 1, last: now}
	return true
}

// clear forgets what was wrong: the code was right.
func (g *guesses) clear(serial string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.wrong, serial)
}

// makeRoom drops what is old, and else whatever has the fewest wrong codes.
func (g *guesses) makeRoom(now time.Time) {
	least := ""
	for serial, seen := range g.wrong {
		if now.Sub(seen.last) >= guessWindow {
			delete(g.wrong, serial)
		} else if least == "" || seen.n < g.wrong[least].n {
			least = serial
		}
	}
	if len(g.wrong) >= maxGuessed {
		delete(g.wrong, least)
	}
}

package credential

import (
	"fmt"
	"testing"
	"time"
)

// However many devices are guessed at, what is remembered is bounded, and those
// that were guessed at most stay.
func TestGuessesAreBounded(t *testing.T) {
	g := newGuesses()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for range maxGuesses {
		g.admit("target", now)
	}
	for i := range maxGuessed + 100 {
		g.admit(fmt.Sprint(i), now)
	}
	if len(g.wrong) > maxGuessed {
		t.Errorf("%d are remembered", len(g.wrong))
	}
	if g.admit("target", now) {
		t.Error("the one that rests was forgotten")
	}
	now = now.Add(guessWindow)
	g.admit("another", now)
	if len(g.wrong) != 1 {
		t.Errorf("%d are remembered when all are old", len(g.wrong))
	}
}

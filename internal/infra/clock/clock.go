// Package clock is where the program gets the time from, so that tests can
// hand it another one.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time.
type Clock interface {
	Now() time.Time
}

// System is the machine's clock.
type System struct{}

// Now is the present time.
func (System) Now() time.Time { return time.Now() }

// Fake is a clock that stands still until it is told to move. The zero value
// stands at the zero time.
type Fake struct {
	mu  sync.Mutex
	now time.Time
}

var (
	_ Clock = System{}
	_ Clock = (*Fake)(nil)
)

// NewFake returns a clock that stands at t.
func NewFake(t time.Time) *Fake { return &Fake{now: t} }

// Now is where the clock stands.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Advance moves the clock forward by d.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

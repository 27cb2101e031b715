package eventsink

import (
	"errors"
	"time"
)

// Later marks a failure whose target has said how long it wants to be left alone. It
// is nil if err is.
func Later(err error, wait time.Duration) error {
	if err == nil {
		return nil
	}
	return &later{err, wait}
}

// Wait is how long the target of a failed Send wants to be left alone; false where it
// did not say.
func Wait(err error) (time.Duration, bool) {
	var l *later
	if !errors.As(err, &l) {
		return 0, false
	}
	return l.wait, true
}

type later struct {
	error
	wait time.Duration
}

// Unwrap gives the failure itself.
func (l *later) Unwrap() error { return l.error }

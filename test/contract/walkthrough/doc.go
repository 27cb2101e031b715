// Package walkthrough does what README.md tells a newcomer to do: in a copy of
// the sources as a clone would have them, `make run`, and then the shell blocks
// of the walk-through in a second shell, exactly as they are printed.
//
// It holds tests only.
package walkthrough

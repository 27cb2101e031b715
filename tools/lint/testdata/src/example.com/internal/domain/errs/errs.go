// Package errs stands for the program's.
package errs

type Code int

const (
	Internal Code = iota
	NotFound
)

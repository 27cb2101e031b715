// Package hostile holds what a publisher could send to harm those who look at the
// gallery: logos, Markdown and names, each with what may become of it. It also has an
// expression that looks in a browser at what has become of them.
//
// It sends nothing and knows no page; the tests do. It is test-support code.
package hostile

// Fate is what must become of an input.
type Fate int

// The fates.
const (
	// Accepted inputs are good, if only just: refusing them is a mistake.
	Accepted Fate = iota
	// Refused inputs must not be taken.
	Refused
	// Harmless inputs may be refused, or taken and made harmless.
	Harmless
)

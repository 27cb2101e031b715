// Package gallery tests the gallery of public repositories from outside: the built
// binary with what the AWS SDK and registry clients publish, looked at in a real
// Chromium with a mouse, with a keyboard, as a screen reader, on a phone, in the dark and
// without scripts; its JSON API; and what publishers send to harm those who look.
//
// How a single page or answer is made is tested where that is done (internal/web/gallery).
// It holds tests only; the package browser drives Chromium, and hostile has what harms.
package gallery

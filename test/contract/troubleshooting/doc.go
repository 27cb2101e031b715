// Package troubleshooting makes every error of docs/troubleshooting.md happen, with
// the client that its users run, and holds the page's tables to the list of cases:
// an error that is worded differently one day fails a test, and no row stands on the
// page that nobody has seen.
//
// It holds tests only.
package troubleshooting

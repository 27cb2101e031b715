// Package hostile scans what nobody would like to scan: layers that were made to harm,
// processes that are killed in the middle, thousands of images at once, and images of every kind of package,
// among them a Debian whose findings are compared with the changelogs of its security
// updates. It runs the real program and looks at its processes from outside.
//
// The flows of scanning for its users are test/contract/scanning's; each reader's own cases
// are its package's.
package hostile

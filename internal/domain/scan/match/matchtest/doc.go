// Package matchtest writes vulnerability databases of Trivy's form, for tests: real files
// that match.Open opens, with the advisories that a test wants. It writes them by itself, in
// the layout that trivy-db's own functions give them, so that it can be used while a
// database is open in the process, which these cannot.
//
// It also holds a real image, which is known to have thirteen vulnerabilities.
package matchtest

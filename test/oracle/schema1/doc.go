// Package schema1 holds Berth's docker schema 1 code against docker's own: what
// Berth writes is read by the distribution project's code and the other way
// round. It is a module of its own so that Berth does not depend on that
// project.
package schema1

// Package hosts tests the network edge from outside: AWS's own tools with the
// endpoints that they choose themselves, certificates from an ACME authority,
// and clients that hold connections.
package hosts

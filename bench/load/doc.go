// Package load makes load: clients that work side by side for a time, and what they
// measure. It knows HTTP and nothing of registries; what the clients do is the business of
// package scenario.
//
// Client and server share a machine, so the client is lean: what it needs of the processor
// is missing in the server's figures of throughput. It writes a request in one piece, reads
// of an answer's head only what scenarios use, and throws bodies away.
package load

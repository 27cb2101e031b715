// Package clients drives the registry clients that people use against one
// running server: each of them logs in, pushes, pulls and lists in its own way,
// and every digest is compared with the bytes that came back.
//
// It holds tests only; helm, whose build takes minutes, is in clientslong.
package clients

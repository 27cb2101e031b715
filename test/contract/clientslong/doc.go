// Package clientslong drives the registry clients whose building takes minutes.
// `make clients-long` builds and runs them; the others are in clients.
//
// It holds tests only.
package clientslong

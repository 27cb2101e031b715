// Package faults produces what goes wrong around a server, the database and the
// object storage that die, hang, lie or lose answers, while clients push and pull:
// it counts what those saw, and holds what was acknowledged against what is there
// afterwards. README.md has the table of faults.
//
// Faults of the network edge are in hosts, of the disk in process, of the server
// itself in test/crash. It holds tests only.
package faults

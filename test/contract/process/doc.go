// Package process tests what only a whole process shows: its first start and its
// end, a full disk, clients that are slow or cut off, what it writes into its
// log, and how much memory it takes.
//
// The figure for a 10 GiB layer takes minutes and 30 GiB of disk; -big adds it.
// It holds tests only.
package process

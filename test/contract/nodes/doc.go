// Package nodes tests a deployment of three nodes on one PostgreSQL database and
// one bucket, behind a plain round-robin proxy: what belongs to no node, what all
// of them agree on and how soon, and that nodes come and go without their clients
// noticing.
//
// That nothing acknowledged is lost when nodes are killed is tested in test/crash.
// It holds tests only.
package nodes

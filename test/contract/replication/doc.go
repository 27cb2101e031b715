// Package replication tests replication from outside: two deployments with three
// regions and two accounts, killed, cut off from each other, with wrong clocks, and
// joined by a long line; and backfills. The calls are the AWS SDK's, the images go
// through the registry API, and the keys are exchanged with berth peer.
//
// README.md says which test shows which line of what replication is to do. It holds
// tests only.
package replication

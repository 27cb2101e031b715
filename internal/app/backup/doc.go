// Package backup copies a whole deployment into a directory, and brings it back
// into an empty deployment of the same shape or of another one.
//
// It owns the form of that directory and of the dump in it. It does not decide
// what stays in the stores while it copies (domain/layer's holds do), does not open
// databases and stores by itself (app/backends), and leaves the form of the rows to
// package dump. Blobs are the only rows that it reads.
//
// # The directory
//
//	berth-backup.json                what this is, and its format
//	lock                             held while somebody writes
//	objects/REGION/PLACE/KEY         each object once, as it is stored
//	snapshots/ID/snapshot.json       what belongs to the snapshot, with checksums
//	snapshots/ID/metadata.ndjson.gz  all rows
//	snapshots/ID/objects.ndjson.gz   the objects that the rows name
//	snapshots/ID/keyring.json        the keys, in the clear
//	tmp/                             what is being written
//
// Everything is written under another name, synced and renamed; a snapshot becomes
// one by the rename of its directory, which comes last. Whatever else lies there
// is the remains of a run that was cut, which the next run continues or removes.
//
// # Why a snapshot is whole
//
// A hold is taken, then all tables are read in one transaction, then the objects
// that its blobs name are copied, then the hold is given back, and only if it was
// live to the last does the snapshot become one. While a hold lives, no object is
// deleted that a blob of such a transaction names, also not when its bytes move to
// the archive meanwhile: domain/layer/collect has the argument. Objects are never
// changed, so it does not matter when they are copied.
package backup

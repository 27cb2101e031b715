// Package upload owns upload sessions: their rows in the volatile database, who
// may write to one, and the one gate that every byte of every layer comes
// through (receive.go, flow.go).
//
// It does not own what a finished upload becomes, nor the removal of objects;
// domain/layer does, and is its only user.
//
// # Rules that keep bytes alive
//
//   - Only the holder of a row's lease writes to the upload's object, and only
//     while the row is open. A holder that cannot renew its lease stops by
//     itself before another may take over.
//   - A row is closed before its object is finished and before it is removed.
//     That is for ever, save where finishing failed: a closed row only expires.
//   - A process that is alone with its database writes the row of an upload without
//     bytes some time later (begun.go), but before there is an object.
//   - A process that is alone with its database (alone.go) keeps leases, and the
//     closing of rows whose objects are finished, in memory. When it dies, what its
//     rows say is as old as after a power cut, and is not believed either.
//   - The state of an object and the hash of its bytes are written in one
//     statement, guarded by the lease: a row always describes one moment.
//   - A power cut may take a row back to an earlier form, or lose it. So a row
//     is not believed before the durable database was asked what its object is
//     for (Objects.Spent).
package upload

// Package replication copies images to other registries: what a registry's
// configuration says, the queue of what is to be copied, the sender that carries
// it to a Destination, and the status of every image at every destination.
//
// It does not own what a destination does with what comes (replication/receive for
// registries of this deployment, api/peer for those behind a peer), the copying of
// images that were there before (replication/backfill), who may replicate
// (domain/authz), nor repositories, images and layers.
//
// # How a push gets to a destination
//
// Subscribe hears of the push inside its transaction and adds an item for every
// destination, so that what is acknowledged is in the queue. Items stand in lanes:
// one for each repository, destination and tag (or digest, where there is no tag).
// A lane is done in order, by one job at a time; lanes run side by side, those of
// backfills apart from those of pushes. An item is deleted in the transaction that
// writes the image's status: a kill of either side leaves it in the queue.
//
// Every change of a repository has a number (seq) that ascends for ever, allotted
// under the repository's lock. A destination keeps the highest that it has seen of
// each tag and image, and ignores what comes later with a lower one: an answer that
// was lost, or a sender that was taken for dead, cannot turn a tag back.
//
// A failure that may pass has its item tried again, at most a minute later, until
// Config.GiveUp after the push. While a region cannot be reached at all, one item
// at a time tries it and all others wait for that one (gate.go).
//
// # What is decided here
//
//   - An image's status at a destination is COMPLETE when nothing of it waits there
//     any more, and FAILED as soon as one of its tags has failed; a new push begins
//     anew.
//   - A tag that has moved on before its item was reached is sent all the same, and
//     its new image after it.
//   - What is in the queue when a destination is taken out of the configuration is
//     dropped; what has begun may be finished.
package replication

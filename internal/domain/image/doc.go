// Package image owns images: manifests, tags, the references between images and
// from images to layers, and the times of their last pulls.
//
// put.go is the transaction that makes a push durable, delete.go the one that
// undoes it. The rules of the formats stand in image/manifest.
//
// It does not own layers (domain/layer; this package writes the rows of
// image_layer that say which image needs which), nor repositories and the sealing
// of manifests (domain/repository), nor what a push or a deletion sets off:
// it records an event in its transaction and knows no subscriber.
//
// Everything that changes a repository's images takes the repository's row lock
// first, so that what a transaction checked still holds when it commits:
// immutable tags, quotas, children of an index, layers.
//
// # What is decided here
//
//   - An image is stored under the digest that it was pushed with, sha256 unless
//     the client announced sha512, and is found by that digest only. An index
//     names its children by the digests under which they were pushed.
//   - The size of an image is the sum of its distinct blobs in the repository,
//     its configuration among them; of an index the largest size among its
//     children.
//   - A digest with a tag, given for deletion, removes that tag only, as the tag
//     alone would: a list of images can be handed back entry by entry.
//   - A manifest that was translated by tag keeps its translated digest: it can
//     be asked for by that digest too, on any node. This holds for the docker
//     schema 2 and OCI forms; a schema 1 form is made for the tag each time.
package image

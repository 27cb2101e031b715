// Package cache brings images from the upstreams of pull-through rules when they
// are pulled: it asks the upstream, at most once in a while for each tag, streams
// layers to whoever pulls while it stores them, and makes of all that comes
// ordinary images.
//
// It does not own the rules (domain/pullthrough), how an upstream is spoken to
// (infra/upstream), images and layers (domain/image and domain/layer store
// everything that comes), nor who may import (the callers of Image bring the
// answers). It removes no image and no blob.
//
// # Where things stand
//
// An index is stored at once, without its children: each comes when it is asked
// for, by its digest. Any other image that comes with blobs that are not here is a
// row of pullthrough_import, with its manifest, sealed, and the blobs it needs. It
// is served from there while its blobs come. The transaction of image.Put that
// makes it an image removes the row, so that it is always exactly one of the two,
// whatever is killed when. A job, enqueued with the row, brings the import to its
// end on any node, or gives it up after Limits.GiveUp.
//
// # One download
//
// In a process, all who want the same thing share one flight (checks of a tag) or
// one fetch (a blob). Among nodes, a row of pullthrough_fetch is the right to ask
// the upstream; the others look into the database until the thing is there or the
// lease has run out. The bytes of a blob go into a file without a name, which the
// upload into the layer store follows, and any number of clients, each at its own
// pace. The end of a blob is given to clients only when the layer store has
// verified its digest and made it durable. A node that takes a fetch over goes on
// where the layer upload stands.
package cache

// Package layer owns the bytes of images: the blobs that finished uploads become,
// which repository holds which digest, and the removal of what nobody refers to
// any more.
//
// It does not own upload sessions and the gate that bytes come through
// (layer/upload, which is used from here only), nor the moving of bytes to the
// archive and back (layer/placement, likewise), nor the reviews and the deletion of
// objects (layer/collect), nor the search for objects that no row names
// (layer/reconcile), nor manifests and what refers to
// a layer (domain/image writes the rows of image_layer; they are only read
// here), nor how objects are kept and sealed (infra/blobstore).
//
// # Where things stand
//
// An upload is a row in the volatile database and an unfinished object in the
// region's store. A blob is a row in the durable database that maps a digest
// within a registry and a key to a finished object; objects are never changed, and
// copied only between the store and the archive. A layer is a row that says that a
// repository holds a digest.
// docs/push-cycle.md argues every step against a crash and a power cut.
//
// # Rules that keep bytes alive
//
//   - No writer comes to an object that is finished or given up: that is the
//     business of layer/upload.
//   - An object is named by a row of blob or by a row of garbage, never by both.
//     Whoever adds either row inserts the garbage row first: its primary key
//     lets one of two contenders through; where transactions run one after the other,
//     whoever names an object looks for that row and inserts none. An object whose
//     bytes stand in its Seal (blobstore/inline) is in the row of blob alone and goes
//     with it. An object is deleted only when a
//     committed garbage row names it, that layer/collect has claimed, in a
//     transaction that saw no hold after it had read the row. A row that was claimed is
//     never taken back.
//   - The object of a blob changes only in a transaction that holds the blob's row
//     alone: when its bytes move to the archive or back, or when they are pushed
//     again while they are there.
//   - Every layer row that no image refers to, nor a deleted one that can be
//     restored (deleted_image_layer), has a row in layer_review, which says when
//     it may go.
//
// # Lock order
//
// Within one durable transaction rows are locked in this order: repository,
// blob, blob_placement, layer and layer_review, garbage; only the garbage row of an object that
// is to be named comes before the blob, and the other contender for that one
// holds nothing else. Adding a layer (Complete, Mount) shares the
// repository's row, so that layers of one image finish side by side; so does a
// review, which takes a layer away only while it holds its blob's row alone.
// Delete, and whoever adds or removes a reference (domain/image), hold the
// repository's row alone. Using a blob shares its row; removing it holds it alone
// and looks for layer rows after it has the lock. A review does not wait for a
// blob's row that somebody else has. Transactions of the two databases are
// never nested.
package layer

// Package collect takes away what nobody refers to any more: it reviews the
// layers whose grace period is over, and deletes the objects that are left.
//
// It owns the tables layer_hold, layer_collection and layer_collection_total, the
// reading of layer_review, and the only way by which a committed object leaves a
// store. It does not decide what is put up for review, nor what is garbage
// beside that (domain/layer, its only user), nor does it look for objects that no
// row names (layer/reconcile).
//
// # How an object is deleted
//
// One transaction claims rows of garbage: it reads them, then looks for live
// holds, then for blobs that name the objects, and only then writes its claim. The
// objects are deleted after that has been committed, and the rows after the
// objects. A row that was ever claimed is never taken back (see pardoning in
// domain/layer and layer/placement): whoever wanted to name the object has come
// too late.
//
// # Why a hold keeps what a snapshot names
//
// Let a snapshot of the durable database have the row of a hold in it, as every
// one has that is taken after Hold returned and while the hold lives. An object
// is deleted by a claim that read its row of garbage first and saw no live hold
// afterwards. So that row was committed before the hold was, and the snapshot has
// it, or what comes after it; an object that a row of garbage names, or that was
// deleted because of one, is named by no blob. Put the other way round: what the
// snapshot's blobs name became garbage after the hold was committed, and every
// claim that reads those rows sees the hold. Deletions that have been claimed
// before go on; nobody has to wait for them. The order of the two readings is
// what matters: a claim that looked for holds first would miss one that comes
// between them.
package collect

import (
	"context"
	"log/slog"

	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Config is what a Service stands on.
type Config struct {
	// DB is the durable database.
	DB upload.Database
	// Place gives the store of a region, or its archive; an error where it is not
	// served here.
	Place func(r name.Region, archived bool) (blobstore.Store, error)
	Clock clock.Clock
	Log   *slog.Logger
	// AskTx has the places of blobs looked at, soon after the transaction.
	AskTx func(ctx context.Context, tx *sqldb.Tx, blobs []int64) error
	// Removed is told when a layer has gone from a repository; nil: nobody is.
	Removed func(repository int64)
}

// Service collects. Its methods may be called from many goroutines and on many
// nodes at once.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

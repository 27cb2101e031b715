package layer

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// faultyStore is a real store whose operations fail when it is told so: before
// they have an effect, or after (fail is then asked for "<operation> done").
type faultyStore struct {
	blobstore.Store
	fail func(op string) error
}

func (f *faultyStore) around(op string, do func() error) error {
	if err := f.fail(op); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return f.fail(op + " done")
}

func (f *faultyStore) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	var w blobstore.Writer
	err := f.around("create", func() (err error) { w, err = f.Store.Create(ctx, key, p); return err })
	return &faultyWriter{Writer: w, f: f}, err
}

func (f *faultyStore) Resume(ctx context.Context, key string, state blobstore.State) (blobstore.Writer, error) {
	var w blobstore.Writer
	err := f.around("resume", func() (err error) { w, err = f.Store.Resume(ctx, key, state); return err })
	return &faultyWriter{Writer: w, f: f}, err
}

func (f *faultyStore) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	var r io.ReadCloser
	err := f.around("open", func() (err error) { r, err = f.Store.Open(ctx, o, offset, length); return err })
	return r, err
}

func (f *faultyStore) Delete(ctx context.Context, key string) error {
	return f.around("delete", func() error { return f.Store.Delete(ctx, key) })
}

type faultyWriter struct {
	blobstore.Writer
	f *faultyStore
}

func (w *faultyWriter) Write(p []byte) (n int, err error) {
	err = w.f.around("write", func() (err error) { n, err = w.Writer.Write(p); return err })
	return n, err
}

func (w *faultyWriter) Suspend(ctx context.Context) (state blobstore.State, err error) {
	err = w.f.around("suspend", func() (err error) { state, err = w.Writer.Suspend(ctx); return err })
	return state, err
}

func (w *faultyWriter) Commit(ctx context.Context) (o blobstore.Object, err error) {
	err = w.f.around("commit", func() (err error) { o, err = w.Writer.Commit(ctx); return err })
	return o, err
}

func (w *faultyWriter) Close() error {
	if w.Writer == nil {
		return nil
	}
	return w.Writer.Close()
}

// faultyDB is a real database whose transactions fail when it is told so.
type faultyDB struct {
	*sqldb.DB
	name string
	f    *faultyStore
}

func (d *faultyDB) Lookup(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	return d.f.around(d.name+" lookup", func() error { return d.DB.Lookup(ctx, fn) })
}

func (d *faultyDB) View(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	return d.f.around(d.name+" view", func() error { return d.DB.View(ctx, fn) })
}

func (d *faultyDB) Update(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	return d.f.around(d.name+" update", func() error { return d.DB.Update(ctx, fn) })
}

var errKilled = errors.New("the process is dead")

// fuse lets so many operations happen and then none any more, as for a process
// that was killed there.
type fuse struct {
	mu   sync.Mutex
	left int
	op   string // that it blew at
}

func (f *fuse) blow(op string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left > 0 {
		f.left--
		return nil
	}
	if f.op == "" {
		f.op = op
	}
	return errKilled
}

// mortal is a node that dies after so many operations on its databases and its
// store: an operation counts twice, since a process can die before it is done
// and before it hears that it was.
func (w *world) mortal(operations int) (*Service, *fuse) {
	f := &fuse{left: operations}
	store := &faultyStore{Store: w.store, fail: f.blow}
	volatile := &faultyDB{DB: w.volatile, name: "volatile", f: store}
	s := w.nodeWith(func(c *upload.Config) { c.DB = volatile })
	s.store = func(r name.Region) (blobstore.Store, bool) { return store, r == testRegion }
	s.durable = &faultyDB{DB: w.durable, name: "durable", f: store}
	s.volatile = volatile
	s.collector.DB, s.places.DB = s.durable, s.durable
	s.reconciler.DB, s.reconciler.Volatile = s.durable, volatile
	return s, f
}

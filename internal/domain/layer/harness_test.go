package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/check"
	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/fs"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const (
	testAccount = name.AccountID("123456789012")
	testRegion  = name.Region("eu-west-1")
)

var testRegistry = name.Registry{Account: testAccount, Region: testRegion}

// world is a deployment: databases, stores and a clock, on which any number of
// nodes can stand.
type world struct {
	t                 testing.TB
	durable, volatile *sqldb.DB
	store, archive    blobstore.Store
	clock             *clock.Fake
	limits            quota.Limits
	alone             bool // one node at a time, which knows that; see several
	log               *slog.Logger
	logged            *bytes.Buffer // only read when nothing runs
	repositories      *repository.Service
}

func newWorld(t testing.TB, durable, volatile *sqldb.DB, store blobstore.Store) *world {
	t.Helper()
	w := &world{t: t, durable: durable, volatile: volatile, store: store, archive: memory.New(), logged: &bytes.Buffer{},
		clock: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), limits: quota.Default()}
	w.log = slog.New(slog.NewTextHandler(w.logged, nil))
	// Small numbers, so that the limits can be met: parts of 5 to 20 bytes.
	w.limits.MinPartBytes, w.limits.MaxPartBytes, w.limits.MaxLayerParts = 5, 20, 4
	w.limits.MaxLayerBytes = 8 << 20
	w.repositories = repository.New(repository.Config{DB: durable, Clock: w.clock, Quotas: w})
	w.must(durable.Migrate(t.Context(), "schema_version", schema.Durable()...))
	w.must(volatile.Migrate(t.Context(), "schema_version_volatile", schema.Volatile()...))
	w.exec(`INSERT INTO account (id, name, created_at) VALUES ($1, 'test', 0)`, string(testAccount))
	w.exec(`INSERT INTO registry (account_id, region, repositories, created_at) VALUES ($1, $2, 0, 0)`, string(testAccount), string(testRegion))
	return w
}

// Limits implements quota.Source: what the test has set.
func (w *world) Limits(context.Context, name.AccountID) (quota.Limits, error) { return w.limits, nil }

// RepositoryLimits implements quota.Source.
func (w *world) RepositoryLimits(context.Context, name.AccountID, name.Repository) (quota.Limits, error) {
	return w.limits, nil
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// nodes are so many nodes that live at the same time, one over and over where it is
// alone.
func (w *world) nodes(n int) (nodes []*Service) {
	for range n {
		if w.alone && len(nodes) > 0 {
			nodes = append(nodes, nodes[0])
		} else {
			nodes = append(nodes, w.node())
		}
	}
	return nodes
}

// several says that the test has nodes that live at the same time.
func (w *world) several() { w.alone = false }

// node is one more process of the deployment.
func (w *world) node() *Service { return w.nodeWith(func(*upload.Config) {}) }

// nodeWith is a node whose uploads are set up otherwise.
func (w *world) nodeWith(change func(*upload.Config)) *Service {
	store := w.store
	c := Config{
		Durable: w.durable, Volatile: w.volatile, Repositories: w.repositories, Clock: w.clock, Log: w.log, Quotas: w,
		Store:   func(r name.Region) (blobstore.Store, bool) { return store, r == testRegion },
		Archive: func(r name.Region) (blobstore.Store, bool) { return w.archive, r == testRegion },
		Alone:   w.alone,
	}
	s := New(c)
	u := s.uploadConfig(c)
	u.SaveAfter = time.Hour // nothing goes on after a node's death
	change(&u)
	s.uploads = upload.New(u)
	return s
}

func (w *world) exec(query string, args ...any) int64 {
	w.t.Helper()
	var n int64
	w.must(w.durable.Update(context.Background(), func(tx *sqldb.Tx) error {
		var err error
		n, err = tx.Exec(context.Background(), query, slices.Clone(args)...)
		return err
	}))
	return n
}

func (w *world) count(db *sqldb.DB, query string, args ...any) int64 {
	w.t.Helper()
	var n int64
	w.must(db.View(context.Background(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(context.Background(), query, slices.Clone(args)...).Scan(&n)
	}))
	return n
}

// repo makes a repository under a key ("" is the default key).
func (w *world) repo(repo name.Repository, keyID string) repository.Repository {
	w.t.Helper()
	w.exec(`INSERT INTO repository (id, account_id, region, name, created_at, tag_mutability, mutability_filters, scan_on_push, encryption, kms_key, key_id, data_key, images)
		VALUES ($1, $2, $3, $4, 0, 'MUTABLE', '', $5, 'AES256', '', $6, $7, 0)`,
		sqldb.NewID(), string(testAccount), string(testRegion), string(repo), false, keyID, []byte{})
	r, err := w.repositories.Get(context.Background(), testRegistry, repo)
	w.must(err)
	return r
}

// image puts an image the way domain/image does: lock, require, refer.
func (w *world) image(s *Service, r repository.Repository, mediaType string, ds ...name.Digest) (int64, error) {
	ctx := context.Background()
	id := sqldb.NewID()
	err := w.durable.Update(ctx, func(tx *sqldb.Tx) error {
		if _, err := w.repositories.Lock(ctx, tx, r); err != nil {
			return err
		}
		_, missing, err := s.RequireTx(ctx, tx, r, ds)
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			return errs.New(errs.LayersNotFound, "missing %v", missing)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO image (id, repository_id, digest, media_type, artifact_type, size, manifest_size, pushed_at, subject, annotations)
			VALUES ($1, $2, $3, '', '', 0, 0, 0, '', '')`, id, r.ID, fmt.Sprintf("sha256:%064x", id)); err != nil {
			return err
		}
		for _, d := range ds {
			if _, err := tx.Exec(ctx, `INSERT INTO image_layer (image_id, digest, repository_id, media_type) VALUES ($1, $2, $3, $4)`,
				id, string(d), r.ID, mediaType); err != nil {
				return err
			}
		}
		return nil
	})
	return id, err
}

// dropImage deletes an image the way domain/image does.
func (w *world) dropImage(s *Service, r repository.Repository, id int64, ds ...name.Digest) error {
	ctx := context.Background()
	return w.durable.Update(ctx, func(tx *sqldb.Tx) error {
		if _, err := w.repositories.Lock(ctx, tx, r); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM image WHERE id = $1`, id); err != nil {
			return err
		}
		return s.ReleaseTx(ctx, tx, r, ds)
	})
}

// objects lists what stands in the store.
func (w *world) objects() []string {
	w.t.Helper()
	var found []string
	for info, err := range w.store.List(context.Background(), "") {
		w.must(err)
		found = append(found, info.Key)
	}
	return found
}

// problems runs Verify.
func (w *world) problems(s *Service) []check.Problem {
	w.t.Helper()
	var found []check.Problem
	w.must(s.Checker().Verify(context.Background(), check.Options{Regions: []name.Region{testRegion}, Report: func(p check.Problem) { found = append(found, p) }}))
	return found
}

// sound fails the test if bytes are lost or an object is not accounted for.
func (w *world) sound(s *Service) {
	w.t.Helper()
	for _, p := range w.problems(s) {
		if p.Serious() || p.Kind == check.ObjectUnreferenced {
			w.t.Errorf("fsck: %+v", p)
		}
	}
}

// push uploads b in one go.
func push(ctx context.Context, s *Service, r repository.Repository, b []byte) (Layer, error) {
	u, err := s.Start(ctx, r)
	if err != nil {
		return Layer{}, err
	}
	return s.Complete(ctx, r, u.ID, []name.Digest{name.SHA256(b)}, Unannounced(), bytes.NewReader(b), CompleteOptions{})
}

func (w *world) push(s *Service, r repository.Repository, b []byte) Layer {
	w.t.Helper()
	l, err := push(context.Background(), s, r, b)
	w.must(err)
	return l
}

// start begins an upload whose row is in the database.
func (w *world) start(s *Service, r repository.Repository) string {
	w.t.Helper()
	id := w.begin(s, r)
	w.must(s.SaveUploads(context.Background()))
	return id
}

// begin begins an upload.
func (w *world) begin(s *Service, r repository.Repository) string {
	w.t.Helper()
	u, err := s.Start(context.Background(), r)
	w.must(err)
	return u.ID
}

// read fetches a layer whole.
func read(s *Service, r repository.Repository, d name.Digest) ([]byte, error) {
	body, _, err := s.Open(context.Background(), r, d, 0, -1)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

func (w *world) holds(s *Service, r repository.Repository, b []byte) {
	w.t.Helper()
	got, err := read(s, r, name.SHA256(b))
	if err != nil || !bytes.Equal(got, b) {
		w.t.Errorf("reading %d bytes: got %d, %v", len(b), len(got), err)
	}
}

func (w *world) wantCode(err error, code errs.Code) {
	w.t.Helper()
	if err == nil || errs.CodeOf(err) != code {
		w.t.Errorf("got error %v (code %d), want code %d", err, errs.CodeOf(err), code)
	}
}

func (w *world) wantText(err error, code errs.Code, text string) {
	w.t.Helper()
	w.wantCode(err, code)
	if e, ok := errors.AsType[*errs.Error](err); ok && e.Message != text {
		w.t.Errorf("text:\n got %s\nwant %s", e.Message, text)
	}
}

// random returns n bytes that no other call returns.
func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// broken yields b and then fails as a cut connection does.
func broken(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b), cutReader{}) }

type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// at is the Chunk of n bytes at an offset.
func at(first int64, n int) Chunk { return Chunk{First: first, Last: first + int64(n) - 1} }

func part(first int64, n int) Chunk {
	c := at(first, n)
	c.Part = true
	return c
}

// everywhere runs the test on each engine and on each kind of store: in the two
// pairs that differ in both, since one does not know of the other.
func everywhere(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("sealed files", func(t *testing.T) {
		t.Run("sqlite", func(t *testing.T) {
			test(t, newWorld(t, sqldbtest.SQLite(t), sqldbtest.SQLite(t), encrypted.New(fileStore(t), testKeys(t))))
		})
		t.Run("alone", func(t *testing.T) {
			w := newWorld(t, sqldbtest.SQLite(t), sqldbtest.SQLite(t), encrypted.New(fileStore(t), testKeys(t)))
			w.alone = true
			test(t, w)
		})
	})
	t.Run("memory", func(t *testing.T) {
		t.Run("postgres", func(t *testing.T) {
			url := sqldbtest.PostgresURL(t)
			test(t, newWorld(t, sqldbtest.OpenPostgres(t, url), sqldbtest.OpenPostgres(t, url), memory.New()))
		})
	})
}

// onEngines runs the test over each engine, with objects in memory.
func onEngines(t *testing.T, test func(t *testing.T, w *world)) {
	engines(t, func(t *testing.T, durable, volatile *sqldb.DB) { test(t, newWorld(t, durable, volatile, memory.New())) })
	t.Run("alone", func(t *testing.T) {
		w := newWorld(t, sqldbtest.SQLite(t), sqldbtest.SQLite(t), memory.New())
		w.alone = true
		test(t, w)
	})
}

func fileStore(t *testing.T) *fs.Store {
	t.Helper()
	files, err := fs.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	return files
}

func testKeys(t *testing.T) *keyring.Keyring {
	k, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// engines runs the test on databases of each engine; on PostgreSQL both handles
// are on the same one.
func engines(t *testing.T, test func(t *testing.T, durable, volatile *sqldb.DB)) {
	t.Run("sqlite", func(t *testing.T) { test(t, sqldbtest.SQLite(t), sqldbtest.SQLite(t)) })
	t.Run("postgres", func(t *testing.T) {
		url := sqldbtest.PostgresURL(t)
		test(t, sqldbtest.OpenPostgres(t, url), sqldbtest.OpenPostgres(t, url))
	})
}

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...), sqldbtest.Migrated("schema_version_volatile", schema.Volatile()...))
}

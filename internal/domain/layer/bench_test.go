package layer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/s3test"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// askable is a memory store that can be asked for one object, as stores with files
// and buckets can; its list copies all keys.
type askable struct {
	blobstore.Store
	mu    sync.Mutex
	sizes map[string]int64
}

func (a *askable) Stat(_ context.Context, key string) (blobstore.Info, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, ok := a.sizes[key]
	if !ok {
		return blobstore.Info{}, blobstore.ErrNotFound
	}
	return blobstore.Info{Key: key, Size: n}, nil
}

func (a *askable) List(context.Context, string) iter.Seq2[blobstore.Info, error] {
	return func(yield func(blobstore.Info, error) bool) {
		yield(blobstore.Info{}, errors.New("the benchmark lists nothing"))
	}
}

// BenchmarkCollect is one digest's way from its review to the deletion of its object.
func BenchmarkCollect(b *testing.B) {
	for engine, open := range map[string]func() (*sqldb.DB, *sqldb.DB){
		"sqlite": func() (*sqldb.DB, *sqldb.DB) { return sqldbtest.SQLite(b), sqldbtest.SQLite(b) },
		"postgres": func() (*sqldb.DB, *sqldb.DB) {
			url := sqldbtest.PostgresURL(b)
			return sqldbtest.OpenPostgres(b, url), sqldbtest.OpenPostgres(b, url)
		},
	} {
		for _, referenced := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/referenced=%t", engine, referenced), func(b *testing.B) {
				durable, volatile := open()
				store := &askable{Store: memory.New(), sizes: map[string]int64{}}
				w := newWorld(b, durable, volatile, store)
				s := w.node()
				var repos []repository.Repository
				for i := range 10 {
					repos = append(repos, w.repo(nameOf(i), ""))
				}
				w.fill(repos, b.N, referenced, store)
				w.clock.Advance(25 * time.Hour)
				b.ResetTimer()
				began := time.Now()
				got, err := s.Collect(context.Background())
				took := time.Since(began).Seconds()
				w.must(err)
				if got.Reviews != int64(b.N) || !referenced && got.Objects != int64(b.N) {
					b.Fatalf("collected %+v", got)
				}
				b.ReportMetric(float64(got.Reviews)/took, "reviews/s")
				b.ReportMetric(float64(got.Objects)/took, "deletions/s")
				b.ReportMetric(float64(got.Reviews)/took*86400, "reviews/day")
			})
		}
	}
}

// fill makes n blobs with a layer each that is to be reviewed.
func (w *world) fill(repos []repository.Repository, n int, referenced bool, store *askable) {
	ctx := context.Background()
	due := w.clock.Now().UnixMicro()
	const batch = 1000
	images := map[int64]int64{} // one of each repository has all its layers
	for _, r := range repos {
		id, err := w.image(w.node(), r, "type")
		w.must(err)
		images[r.ID] = id
	}
	for from := 0; from < n; from += batch {
		w.must(w.durable.Update(ctx, func(tx *sqldb.Tx) error {
			for i := from; i < min(n, from+batch); i++ {
				id, r, d := sqldb.NewID(), repos[i%len(repos)], fmt.Sprintf("sha256:%064x", i)
				key := fmt.Sprintf("%s/%s/%02x/%08d", testAccount, testRegion, i%256, i)
				store.mu.Lock()
				store.sizes[key] = 1000
				store.mu.Unlock()
				for _, q := range []struct {
					text string
					args []any
				}{
					{`INSERT INTO blob (id, account_id, region, key_id, digest, size, object_key, seal, created_at) VALUES ($1, $2, $3, '', $4, 1000, $5, $6, 0)`,
						[]any{id, string(testAccount), string(testRegion), d, key, []byte{}}},
					{`INSERT INTO layer (repository_id, digest, blob_id, created_at) VALUES ($1, $2, $3, 0)`, []any{r.ID, d, id}},
					{`INSERT INTO layer_review (repository_id, digest, blob_id, due_at) VALUES ($1, $2, $3, $4)`, []any{r.ID, d, id, due}},
				} {
					if _, err := tx.Exec(ctx, q.text, q.args...); err != nil {
						return err
					}
				}
				if !referenced {
					continue
				}
				if _, err := tx.Exec(ctx, `INSERT INTO image_layer (image_id, digest, repository_id, media_type) VALUES ($1, $2, $3, '')`, images[r.ID], d, r.ID); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

func nameOf(i int) name.Repository { return name.Repository(fmt.Sprintf("bench%d", i)) }

// BenchmarkCollectS3 is the same on PostgreSQL with real objects in a bucket, in
// the batches that are deleted together.
func BenchmarkCollectS3(b *testing.B) {
	server := s3test.Start(b)
	bucket, err := s3.New(b.Context(), s3.Config{
		Bucket: server.Bucket(b), Endpoint: server.Endpoint, Region: server.Region, PathStyle: true, AccessKeyID: server.AccessKey, SecretAccessKey: server.SecretKey,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = bucket.Close() }() // only connections
	url := sqldbtest.PostgresURL(b)
	w := newWorld(b, sqldbtest.OpenPostgres(b, url), sqldbtest.OpenPostgres(b, url), bucket)
	s := w.node()
	known := &askable{sizes: map[string]int64{}}
	w.fill([]repository.Repository{w.repo("app", "")}, b.N, false, known)
	var writing errgroup.Group
	writing.SetLimit(16)
	for key := range known.sizes {
		writing.Go(func() error {
			o, err := bucket.Create(context.Background(), key, blobstore.Placement{})
			if err == nil {
				_, err = o.Write(make([]byte, 1000))
			}
			if err == nil {
				_, err = o.Commit(context.Background())
			}
			return err
		})
	}
	w.must(writing.Wait())
	w.clock.Advance(25 * time.Hour)
	b.ResetTimer()
	began := time.Now()
	got, err := s.Collect(context.Background())
	took := time.Since(began).Seconds()
	w.must(err)
	if got.Objects != int64(b.N) || got.Freed != 1000*int64(b.N) {
		b.Fatalf("collected %+v", got)
	}
	b.ReportMetric(float64(got.Objects)/took, "deletions/s")
}

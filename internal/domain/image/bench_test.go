package image_test

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

var manyImages = flag.Bool("many", false, "benchmark repositories of 100,000 images as well")

// filled is a world whose repository app has n images with a tag each, tag000000
// and so on, in a file that is written as a server writes it.
func filled(b *testing.B, n int) *world {
	b.Helper()
	ctx := context.Background()
	db, err := sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: filepath.Join(b.TempDir(), "bench.db"), Durable: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
		b.Fatal(err)
	}
	w := open(b, db, func(c *image.Config) {
		c.Quotas = limits(func(l *quota.Limits) { l.ImagesPerRepository = 1 << 40 })
	})
	template := w.oci(w.app, "template", "")
	w.push(w.app, template, "template")
	const numbers = `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < $1 - 2) `
	first := sqldb.NewID()
	for _, into := range []string{
		`INSERT INTO image (id, repository_id, digest, media_type, artifact_type, size, manifest_size, pushed_at, tags, subject, annotations, sparse)
			SELECT $2 + n.i, i.repository_id, 'sha256:' || lower(hex(randomblob(32))), i.media_type, i.artifact_type, i.size, i.manifest_size, i.pushed_at, 1, '', '', FALSE
			FROM n JOIN image i WHERE i.id < $2`,
		`INSERT INTO manifest (image_id, body) SELECT $2 + n.i, m.body FROM n JOIN manifest m WHERE m.image_id < $2`,
		`INSERT INTO image_layer (image_id, digest, repository_id, media_type) SELECT $2 + n.i, l.digest, l.repository_id, l.media_type FROM n JOIN image_layer l WHERE l.image_id < $2`,
		`INSERT INTO image_tag (repository_id, tag, image_id, updated_at) SELECT t.repository_id, printf('tag%06d', n.i), $2 + n.i, 0 FROM n JOIN image_tag t WHERE t.image_id < $2`,
		`INSERT INTO image_pull (image_id, pulled_at) SELECT $2 + n.i, 1 FROM n`,
	} {
		w.exec(numbers+into, n, first)
	}
	w.exec(`UPDATE repository SET images = $1 WHERE id = $2`, n, w.app.ID)
	return w
}

// measure runs fn b.N times and reports the processor time of all threads beside
// the time that went by.
func measure(b *testing.B, fn func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for range 3 {
		if err := fn(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	begun := processorTime(b)
	for range b.N {
		if err := fn(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b)-begun)/float64(b.N), "cpu-ns/op")
}

func processorTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

const benchPage = 100

type place struct {
	name string
	tag  name.Tag // the page begins behind it
}

// places are where a page of benchPage begins in n.
func places(n int) []place {
	all := []place{{name: "first"}}
	if n >= 3*benchPage {
		all = append(all, place{"middle", name.Tag(fmt.Sprintf("tag%06d", n/2))}, place{"last", name.Tag(fmt.Sprintf("tag%06d", n-2-benchPage))})
	}
	return all
}

// BenchmarkRepository is what clients ask of a repository with 100 images, and
// with -many one of 100,000: pages of 100 at its beginning, in its middle and at
// its end, pulls of a manifest, and pushes of new ones whose layers are there.
func BenchmarkRepository(b *testing.B) {
	sizes := []int{100}
	if *manyImages {
		sizes = append(sizes, 100_000)
	}
	for _, n := range sizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) { benchmarkRepository(b, n) })
	}
}

func benchmarkRepository(b *testing.B, n int) {
	w := filled(b, n)
	template := w.oci(w.app, "template", "")
	for _, at := range places(n) {
		b.Run("tags/"+at.name, func(b *testing.B) {
			measure(b, func(ctx context.Context) error {
				tags, _, err := w.Tags(ctx, w.app, at.tag, benchPage)
				return expectPage(len(tags), err)
			})
		})
		after := image.Cursor("")
		if at.tag != "" {
			id, err := strconv.ParseInt(w.texts(`SELECT CAST(image_id AS TEXT) FROM image_tag WHERE repository_id = $1 AND tag = $2`, w.app.ID, string(at.tag))[0], 10, 64)
			w.must(err)
			after = image.Cursor(strconv.FormatInt(id, 36) + ":")
		}
		b.Run("describe/"+at.name, func(b *testing.B) {
			measure(b, func(ctx context.Context) error {
				details, _, err := w.Describe(ctx, w.app, image.DescribeQuery{After: after, Limit: benchPage})
				return expectPage(len(details), err)
			})
		})
		b.Run("list/"+at.name, func(b *testing.B) {
			measure(b, func(ctx context.Context) error {
				refs, _, err := w.List(ctx, w.app, image.ListQuery{After: after, Limit: benchPage})
				return expectPage(len(refs), err)
			})
		})
	}
	for by, ref := range map[string]image.Ref{"tag": {Tag: "template"}, "digest": {Digest: template.digest}} {
		b.Run("get/"+by, func(b *testing.B) {
			measure(b, func(ctx context.Context) error {
				_, err := w.Get(ctx, w.app, ref, nil)
				return err
			})
		})
	}
	pushed := 0
	b.Run("put", func(b *testing.B) {
		measure(b, func(ctx context.Context) error {
			pushed++
			body := template.body[:len(template.body)-1] + `,"annotations":{"n":"` + strconv.Itoa(pushed) + `"}}`
			_, _, err := w.Put(ctx, w.app, image.Put{Manifest: []byte(body), Tag: name.Tag("new" + strconv.Itoa(pushed))})
			return err
		})
	})
}

func expectPage(n int, err error) error {
	if err == nil && n != benchPage {
		err = fmt.Errorf("a page of %d", n)
	}
	return err
}

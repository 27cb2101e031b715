package match

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aquasecurity/trivy-db/pkg/types"
	bolt "go.etcd.io/bbolt"
)

// The buckets of a database that are no advisories.
const (
	sourcesBucket         = "data-source"
	vulnerabilitiesBucket = "vulnerability"
)

// maxDepth is how deep buckets lie within each other; Trivy's lie three deep.
const maxDepth = 8

// Check reads the whole database: every page must be there, every value be JSON, and there
// must be sources, vulnerabilities and advisories. It takes some seconds for 500 MB.
func (d *Database) Check(ctx context.Context) error {
	return d.use(ctx, func(b *bolt.DB) error {
		if err := whole(b.Path(), b); err != nil {
			return err
		}
		return b.View(func(tx *bolt.Tx) error {
			// A damaged branch page can point to one above it: no entry is smaller than 16 bytes (bbolt's
			// leaf and branch elements), so more of them than that means going in circles.
			w := walk{left: tx.Size()/16 + 1}
			if err := tx.ForEach(func(name []byte, b *bolt.Bucket) error { return w.bucket(ctx, name, b, 1) }); err != nil {
				return err
			}
			return contents(tx)
		})
	})
}

// walk goes through all buckets.
type walk struct {
	left int64 // entries that may still come
}

func (w *walk) bucket(ctx context.Context, name []byte, b *bolt.Bucket, depth int) error {
	if depth > maxDepth {
		return &damaged{fmt.Sprintf("%q lies too deep", name)}
	}
	return b.ForEach(func(k, v []byte) error {
		if w.left--; w.left < 0 {
			return &damaged{"its pages lead in circles"}
		}
		if w.left%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if v == nil {
			inner := b.Bucket(k)
			if inner == nil {
				return &damaged{fmt.Sprintf("%q in %q cannot be read", k, name)}
			}
			return w.bucket(ctx, k, inner, depth+1)
		}
		if !json.Valid(v) {
			return &damaged{fmt.Sprintf("%q in %q is no JSON", k, name)}
		}
		return nil
	})
}

// contents says whether the database has what matching needs.
func contents(tx *bolt.Tx) error {
	sources := tx.Bucket([]byte(sourcesBucket))
	if sources == nil {
		return errors.New("this is no vulnerability database of Trivy: it names no sources")
	}
	if first(tx.Bucket([]byte(vulnerabilitiesBucket))) == nil {
		return errors.New("this is no vulnerability database of Trivy: it describes no vulnerability")
	}
	found := false
	err := sources.ForEach(func(name, v []byte) error {
		var s types.DataSource
		if err := json.Unmarshal(v, &s); err != nil {
			return &damaged{fmt.Sprintf("source %q: %v", name, err)}
		}
		found = found || first(tx.Bucket(name)) != nil
		return nil
	})
	switch {
	case err != nil:
		return err
	case !found:
		return errors.New("this is no vulnerability database of Trivy: it has no advisories")
	}
	return nil
}

// first is the first key of a bucket, nil if there is none.
func first(b *bolt.Bucket) []byte {
	if b == nil {
		return nil
	}
	k, _ := b.Cursor().First()
	return k
}

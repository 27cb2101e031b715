package trails_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/audit/segment"
	"github.com/berth-registry/berth/internal/domain/audit/trails/verify"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// alter changes a file of the store on the disk, packed anew.
func (w *world) alter(key, from, to string) {
	w.t.Helper()
	content := w.read(key)
	if !bytes.Contains(content, []byte(from)) {
		w.t.Fatalf("%s has no %q: %s", key, from, content)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(bytes.Replace(content, []byte(from), []byte(to), 1))
	w.must(errors.Join(err, z.Close()))
	w.must(os.WriteFile(filepath.Join(w.root, key), packed.Bytes(), 0o600))
}

// startAll has a trail of one region write files.
func (w *world) startAll(ctx context.Context) {
	w.t.Helper()
	in := all("")
	in.MultiRegion = false
	_, err := w.Create(ctx, in)
	w.must(err)
	w.must(w.Start(ctx, home, "all"))
}

func TestTampering(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		w.startAll(ctx)
		for range 3 {
			w.record(account, west, "ecr.amazonaws.com", 3)
			w.must(w.Deliver(ctx))
			w.clock.Advance(time.Hour)
		}
		w.must(w.Deliver(ctx))
		w.valid()
		files, digests := w.keysOf("CloudTrail"), w.keysOf("CloudTrail-Digest")
		slices.SortFunc(files, func(a, b string) int { return strings.Compare(a[:80], b[:80]) })
		if len(files) != 3 || len(digests) != 3 {
			t.Fatalf("%q %q", files, digests)
		}
		path := func(key string) string { return filepath.Join(w.root, key) }
		remove := func(key string) { w.must(os.Remove(path(key))) }
		exec := func(statement string, args ...any) {
			w.must(db.Update(ctx, func(tx *sqldb.Tx) error {
				n, err := tx.Exec(ctx, statement, args...)
				if err == nil && n == 0 {
					err = errors.New("nothing was changed")
				}
				return err
			}))
		}
		var middle struct {
			Records []struct{ EventID, RequestID string }
		}
		w.must(json.Unmarshal(w.read(files[1]), &middle))
		id := middle.Records[1].EventID
		for _, c := range []struct {
			name string
			do   func()
			// want are the kinds that are found with the files alone, known those with the
			// database beside them.
			want, known []string
			record      string
		}{
			{"a record of a file is altered", func() { w.alter(files[1], `"requestID":"r1"`, `"requestID":"r9"`) },
				[]string{verify.FileAltered}, []string{verify.FileAltered, verify.RecordAltered}, id},
			{"a record of a file is removed", func() {
				b := string(w.read(files[1]))
				i, j := strings.Index(b, `"requestID":"r0"`), strings.Index(b, `"requestID":"r1"`)
				from, to := strings.Index(b[i:], "},{")+i, strings.Index(b[j:], "},{")+j
				w.alter(files[1], b[from:to], "")
			}, []string{verify.FileAltered}, []string{verify.FileAltered, verify.RecordRemoved}, id},
			{"a file is removed", func() { remove(files[1]) }, []string{verify.FileMissing}, []string{verify.FileMissing}, ""},
			{"a file is no file", func() { w.must(os.WriteFile(path(files[1]), []byte("x"), 0o600)) }, []string{verify.FileAltered}, []string{verify.FileAltered}, ""},
			{"a file is put there", func() {
				b, err := os.ReadFile(path(files[1]))
				w.must(err)
				w.must(os.WriteFile(path(files[1][:len(files[1])-24]+"AAAAAAAAAAAAAAAA.json.gz"), b, 0o600))
			}, []string{verify.FileUnlisted}, []string{verify.FileUnlisted}, ""},
			{"a digest is altered", func() { w.alter(digests[1], files[1], files[0]) },
				[]string{verify.DigestInvalid, verify.FileUnlisted}, []string{verify.DigestInvalid}, ""},
			{"a digest is removed", func() { remove(digests[1]) },
				[]string{verify.DigestMissing, verify.DigestUnlinked, verify.FileUnlisted}, []string{verify.DigestMissing, verify.DigestUnlinked}, ""},
			{"the first digest is removed", func() { remove(digests[0]) }, []string{verify.DigestMissing}, []string{verify.DigestMissing}, ""},
			{"the last digest is removed", func() { remove(digests[2]) }, nil, []string{verify.DigestMissing}, ""},
			{"a signature is removed", func() { remove(digests[1] + ".sig") },
				[]string{verify.DigestInvalid, verify.FileUnlisted}, []string{verify.DigestInvalid}, ""},
			{"a record of the database is altered", func() {
				exec(`UPDATE audit SET record = replace(record, '"r1"', '"r8"') WHERE record LIKE $1`, "%"+id+"%")
			},
				nil, []string{verify.DatabaseAltered}, id},
			{"a record of the database is removed", func() { exec(`DELETE FROM audit WHERE record LIKE $1`, "%"+id+"%") },
				nil, []string{verify.DatabaseRemoved}, id},
		} {
			t.Run(c.name, func(t *testing.T) {
				saved := t.TempDir()
				w.must(os.CopyFS(saved, os.DirFS(w.root)))
				c.do()
				for _, known := range []bool{false, true} {
					r, want := w.verify(known), c.want
					if known {
						want = c.known
					}
					var kinds []string
					for _, p := range r.Problems {
						if kinds = append(kinds, p.Kind); strings.HasPrefix(p.Kind, "record") && p.EventID != c.record {
							t.Errorf("%+v, want the record %s", p, c.record)
						}
					}
					slices.Sort(kinds)
					if !slices.Equal(kinds, want) {
						t.Errorf("with the database: %v: got %q, want %q: %+v", known, kinds, want, r)
					}
				}
				for _, entry := range []string{"AWSLogs"} {
					w.must(os.RemoveAll(filepath.Join(w.root, entry)))
				}
				w.must(os.CopyFS(w.root, os.DirFS(saved)))
			})
		}
	})
}

// TestTamperingWithSegments: so it is with records that the database keeps together.
func TestTamperingWithSegments(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		w.startAll(ctx)
		const each = 40
		for range 2 {
			w.record(account, west, "ecr.amazonaws.com", each)
			w.must(w.Deliver(ctx))
			w.clock.Advance(time.Hour)
		}
		w.must(w.Deliver(ctx))
		w.once(2 * each)
		w.valid()
		type row struct {
			id      int64
			content []byte
		}
		var rows []row
		w.must(db.View(ctx, func(tx *sqldb.Tx) (err error) {
			rows, err = sqldb.Collect(ctx, tx, func(s sqldb.Scanner) (r row, err error) { return r, s.Scan(&r.id, &r.content) }, `SELECT id, content FROM audit_segment ORDER BY id`)
			return err
		}))
		if len(rows) != 2 {
			t.Fatalf("%d segments", len(rows))
		}
		last := rows[1]
		set := func(content []byte) {
			w.must(db.Update(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, `UPDATE audit_segment SET content = $1 WHERE id = $2`, content, last.id)
				return err
			}))
		}
		var r segment.Reader
		w.must(r.Open(last.content))
		var b segment.Builder
		b.Set("PutImage", nil)
		for i, one := range r.Records {
			front, back, err := r.Text(i)
			w.must(err)
			if i == 7 {
				front = strings.Replace(front, `"requestID":"r7"`, `"requestID":"r8"`, 1)
			}
			b.Add(one.At, 0, []byte(front+back), len(front))
		}
		set(b.Finish().Content)
		if got := w.verify(true).Problems; len(got) != 1 || got[0].Kind != verify.DatabaseAltered || got[0].EventID != lookup.IDOf(last.id+7) {
			t.Errorf("an altered record: %+v", got)
		}
		set([]byte("spoilt"))
		public, err := w.PublicKeys(ctx)
		w.must(err)
		o := verify.Options{Store: w.store, Keys: map[string]*rsa.PublicKey{}, Bucket: "logs", Known: w.Service}
		for _, k := range public {
			o.Keys[k.Fingerprint] = k.Public
		}
		if _, err := verify.Run(ctx, o); err == nil || !strings.Contains(err.Error(), "audit_segment") {
			t.Errorf("a spoilt segment: %v", err)
		}
		w.must(db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM audit_segment WHERE id = $1`, last.id)
			return err
		}))
		got := w.verify(true).Problems
		if len(got) != each || slices.ContainsFunc(got, func(f verify.Finding) bool { return f.Kind != verify.DatabaseRemoved }) {
			t.Errorf("a removed segment: %+v", got)
		}
	})
}

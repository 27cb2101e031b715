package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

var (
	registry = name.Registry{Account: "123456789012", Region: "eu-west-1"}

	_ image.Layers = (*layer.Service)(nil)
	_ image.Layers = (*shelf)(nil)
)

// shelf keeps layers in memory, by repository. It is a real, small
// implementation of what images need of layers.
type shelf struct {
	mu       sync.Mutex
	blobs    map[int64]map[name.Digest][]byte
	released []name.Digest
}

func (s *shelf) put(r repository.Repository, content []byte) name.Digest {
	return s.putAs(r, name.SHA256(content), content)
}

func (s *shelf) putAs(r repository.Repository, d name.Digest, content []byte) name.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs == nil {
		s.blobs = map[int64]map[name.Digest][]byte{}
	}
	if s.blobs[r.ID] == nil {
		s.blobs[r.ID] = map[name.Digest][]byte{}
	}
	s.blobs[r.ID][d] = content
	return d
}

func (s *shelf) RequireTx(_ context.Context, _ *sqldb.Tx, r repository.Repository, ds []name.Digest) (sizes map[name.Digest]int64, missing []name.Digest, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sizes = map[name.Digest]int64{}
	for _, d := range ds {
		if b, ok := s.blobs[r.ID][d]; ok {
			sizes[d] = int64(len(b))
		} else {
			missing = append(missing, d)
		}
	}
	return sizes, missing, nil
}

func (s *shelf) ReleaseTx(_ context.Context, tx *sqldb.Tx, _ repository.Repository, ds []name.Digest) error {
	tx.AfterCommit(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.released = append(s.released, ds...)
	})
	return nil
}

func (s *shelf) Open(_ context.Context, r repository.Repository, d name.Digest, offset, length int64) (io.ReadCloser, layer.Layer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[r.ID][d]
	if !ok {
		return nil, layer.Layer{}, errs.New(errs.LayersNotFound, "no layer %s", d)
	}
	if b = b[offset:]; length >= 0 {
		b = b[:length]
	}
	return io.NopCloser(bytes.NewReader(b)), layer.Layer{Digest: d, Size: int64(len(b))}, nil
}

// reporter is what testing.T and rapid.T have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// limits are ECR's but for what change does.
func limits(change func(*quota.Limits)) quota.Source {
	l := quota.Default()
	change(&l)
	return quota.Fixed(l)
}

// world is a registry with one repository, app.
type world struct {
	reporter
	*image.Service
	db           *sqldb.DB
	clk          *clock.Fake
	layers       *shelf
	repositories *repository.Service
	config       image.Config
	app          repository.Repository
}

func open(t testing.TB, db *sqldb.DB, change func(*image.Config)) *world {
	t.Helper()
	w := &world{reporter: t, db: db, layers: &shelf{}, clk: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	w.must(db.Migrate(t.Context(), "schema_version", schema.Durable()...))
	w.exec(`INSERT INTO account (id, name, created_at) VALUES ($1, 'test', 0)`, string(registry.Account))
	w.exec(`INSERT INTO registry (account_id, region, repositories, created_at) VALUES ($1, $2, 0, 0)`, string(registry.Account), string(registry.Region))
	w.repositories = repository.New(repository.Config{DB: db, Clock: w.clk, Quotas: quota.Fixed(quota.Default())})
	signer, err := manifest.NewSigner(bytes.Repeat([]byte("seed"), 12))
	w.must(err)
	w.config = image.Config{
		Durable: db, Repositories: w.repositories, Layers: w.layers, Outbox: event.NewOutbox(), Clock: w.clk,
		Log: slog.New(slog.DiscardHandler), Quotas: quota.Fixed(quota.Default()), Signer: signer,
	}
	if change != nil {
		change(&w.config)
	}
	w.Service = image.New(w.config)
	w.app = w.repo("app", repository.Mutability{Setting: repository.Mutable})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) exec(query string, args ...any) {
	w.Helper()
	w.must(w.db.Update(context.Background(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(context.Background(), query, slices.Clone(args)...)
		return err
	}))
}

// texts reads a query of one text column.
func (w *world) texts(query string, args ...any) []string {
	w.Helper()
	var all []string
	w.must(w.db.View(context.Background(), func(tx *sqldb.Tx) error {
		var err error
		all, err = sqldb.Collect(context.Background(), tx, func(row sqldb.Scanner) (string, error) {
			var s string
			err := row.Scan(&s)
			return s, err
		}, query, slices.Clone(args)...)
		return err
	}))
	return all
}

func (w *world) repo(repo name.Repository, m repository.Mutability) repository.Repository {
	w.Helper()
	filters := ""
	if len(m.Filters) > 0 {
		b, err := json.Marshal(m.Filters)
		w.must(err)
		filters = string(b)
	}
	w.exec(`INSERT INTO repository (id, account_id, region, name, created_at, tag_mutability, mutability_filters, scan_on_push, encryption, kms_key, key_id, data_key, images)
		VALUES ($1, $2, $3, $4, 0, $5, $6, $7, 'AES256', '', '', $8, 0)`,
		sqldb.NewID(), string(registry.Account), string(registry.Region), string(repo), string(m.Setting), filters, false, []byte{})
	r, err := w.repositories.Get(context.Background(), registry, repo)
	w.must(err)
	return r
}

// picture is the manifest of an image whose blobs are on the shelf.
type picture struct {
	body   string
	digest name.Digest
	config name.Digest
	layers []name.Digest
}

// oci makes an OCI image that differs from others by its seed. more is added to
// the end of the manifest.
func (w *world) oci(r repository.Repository, seed, more string) picture {
	return w.make(r, seed, more, manifest.OCIImage, "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")
}

// docker is oci in the form of docker schema 2.
func (w *world) docker(r repository.Repository, seed string) picture {
	return w.make(r, seed, "", manifest.DockerSchema2, "application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip")
}

func (w *world) make(r repository.Repository, seed, more, mediaType, configType, layerType string) picture {
	config := []byte(`{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05Z","seed":"` + seed + `","rootfs":{"type":"layers","diff_ids":["sha256:1","sha256:2"]},` +
		`"history":[{"created_by":"a"},{"created_by":"b","empty_layer":true},{"created_by":"c"}]}`)
	base, top := []byte("the base layer"), []byte("the layer of "+seed)
	p := picture{config: w.layers.put(r, config), layers: []name.Digest{w.layers.put(r, base), w.layers.put(r, top)}}
	p.body = fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","digest":"%s","size":%d},"layers":[{"mediaType":"%s","digest":"%s","size":%d},{"mediaType":"%s","digest":"%s","size":%d}]%s}`,
		mediaType, configType, p.config, len(config), layerType, p.layers[0], len(base), layerType, p.layers[1], len(top), more)
	p.digest = name.SHA256([]byte(p.body))
	return p
}

// index is the manifest of an index over the children.
func index(annotation string, children ...name.Digest) picture {
	var list []string
	for _, c := range children {
		list = append(list, fmt.Sprintf(`{"mediaType":"%s","digest":"%s","size":1}`, manifest.OCIImage, c))
	}
	body := `{"schemaVersion":2,"mediaType":"` + manifest.OCIIndex + `","manifests":[` + strings.Join(list, ",") + `],"annotations":{"a":"` + annotation + `"}}`
	return picture{body: body, digest: name.SHA256([]byte(body))}
}

// push puts a picture that has to be accepted.
func (w *world) push(r repository.Repository, p picture, tag name.Tag) image.Image {
	w.Helper()
	img, created, err := w.Put(context.Background(), r, image.Put{Manifest: []byte(p.body), Tag: tag})
	w.must(err)
	if !created || img.Digest != p.digest {
		w.Fatalf("created %v, digest %s", created, img.Digest)
	}
	return img
}

// state is what a repository holds, as List and Describe tell it: the tags by
// digest. It checks on the way that the counters and the two listings agree.
func (w *world) state(r repository.Repository) map[name.Digest]string {
	w.Helper()
	ctx := context.Background()
	details, next, err := w.Describe(ctx, r, image.DescribeQuery{Limit: 1000})
	w.must(err)
	if next != "" {
		w.Fatal("more images than expected")
	}
	state := map[name.Digest]string{}
	var want []image.Ref
	for _, d := range details {
		state[d.Digest] = fmt.Sprint(d.Tags)
		for _, t := range d.Tags {
			want = append(want, image.Ref{Digest: d.Digest, Tag: t})
		}
		if len(d.Tags) == 0 {
			want = append(want, image.Ref{Digest: d.Digest})
		}
	}
	refs, _, err := w.List(ctx, r, image.ListQuery{Limit: 1000})
	w.must(err)
	if !slices.Equal(refs, want) {
		w.Errorf("List says %v, Describe %v", refs, want)
	}
	wrong := w.texts(`SELECT 'counter of the repository' FROM repository r WHERE r.id = $1 AND r.images <> (SELECT count(*) FROM image i WHERE i.repository_id = r.id)
		UNION ALL SELECT 'counter of tags' FROM image i WHERE i.repository_id = $1 AND i.tags <> (SELECT count(*) FROM image_tag t WHERE t.image_id = i.id)
		UNION ALL SELECT 'image without manifest' FROM image i WHERE i.repository_id = $1 AND NOT EXISTS (SELECT 1 FROM manifest m WHERE m.image_id = i.id)
		UNION ALL SELECT 'tag across repositories' FROM image_tag t JOIN image i ON i.id = t.image_id WHERE i.repository_id <> t.repository_id
		UNION ALL SELECT 'missing child' FROM image_child c WHERE c.repository_id = $1 AND NOT EXISTS (SELECT 1 FROM image i WHERE i.repository_id = c.repository_id AND i.digest = c.digest)`, r.ID)
	if len(wrong) > 0 {
		w.Errorf("the database is inconsistent: %v", wrong)
	}
	return state
}

// events lists what was recorded, as "kind digest tag", with digests cut short.
func (w *world) events() []string {
	w.Helper()
	var out []string
	for _, line := range w.texts(`SELECT kind || ' ' || detail FROM event ORDER BY id`) {
		kind, detail, _ := strings.Cut(line, " ")
		var d event.ImageDetail
		w.must(json.Unmarshal([]byte(detail), &d))
		out = append(out, fmt.Sprintf("%s %s %s", kind, short(d.Digest), d.Tag))
	}
	return out
}

func short(d name.Digest) string { return d.Hex()[:8] }

// expect compares an error with a code and a text; "" for any text.
func expect(t testing.TB, err error, code errs.Code, text string) {
	t.Helper()
	var e *errs.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got %v, want the code %d", err, code)
	} else if text != "" && e.Message != text {
		t.Errorf("got %q\nwant %q", e.Message, text)
	}
}

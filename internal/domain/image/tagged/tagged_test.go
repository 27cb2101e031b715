package tagged_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/image/tagged"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

func TestOf(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx, reg := t.Context(), name.Registry{Account: "123456789012", Region: "eu-west-1"}
		clk := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		exec := func(query string, args ...any) {
			t.Helper()
			must(db.Update(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, query, slices.Clone(args)...)
				return err
			}))
		}
		must(db.Migrate(ctx, "schema_version", schema.Durable()...))
		exec(`INSERT INTO account (id, name, created_at) VALUES ($1, 'test', 0)`, string(reg.Account))
		repositories := repository.New(repository.Config{DB: db, Clock: clk, Registries: registry.New(db, clk, []name.Region{reg.Region}), Quotas: quota.Fixed(quota.Default())})
		digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
		for n, repo := range []name.Repository{"app", "other"} {
			r, err := repositories.Create(ctx, repository.Create{Registry: reg, Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable}})
			must(err)
			for k, c := range []string{"a", "b", "c"} {
				id := int64(100*n + k + 1)
				exec(`INSERT INTO image (id, repository_id, digest, media_type, artifact_type, size, manifest_size, pushed_at, subject, annotations)
					VALUES ($1, $2, $3, '', '', 0, 0, 0, '', '')`, id, r.ID, digest(c))
				for m := range k {
					exec(`INSERT INTO image_tag (repository_id, tag, image_id, updated_at) VALUES ($1, $2, $3, 0)`, r.ID, string(repo)+"-"+c+string(rune('0'+m)), id)
				}
			}
		}
		var many []string
		for range 1200 {
			many = append(many, digest("b"))
		}
		reader := tagged.Reader{Durable: db}
		is := func(reg name.Registry, repo name.Repository, digests []string, want ...string) {
			t.Helper()
			got, err := reader.Of(ctx, reg, repo, digests)
			slices.Sort(got)
			if err != nil || !slices.Equal(slices.Compact(got), want) {
				t.Errorf("%s %.3v: %v %v, want %v", repo, digests, got, err, want)
			}
		}
		is(reg, "app", nil)
		is(reg, "app", []string{digest("a")})
		is(reg, "app", []string{digest("b")}, "app-b0")
		is(reg, "app", []string{digest("c"), digest("b"), digest("b"), digest("d")}, "app-b0", "app-c0", "app-c1")
		is(reg, "other", []string{digest("c")}, "other-c0", "other-c1")
		is(reg, "app", append(many, digest("c")), "app-b0", "app-c0", "app-c1")
		is(reg, "app", []string{"sha256:short", "", "\x00", "x", digest("B")})
		is(reg, "none", []string{digest("b")})
		is(reg, "\x00", []string{digest("b")})
		is(name.Registry{Account: reg.Account, Region: "eu-west-2"}, "app", []string{digest("b")})

		// A deleted repository has none, under whatever name.
		must(repositories.SetSetting(ctx, reg, "app", "recovery-window", "1d"))
		_, err := repositories.Delete(ctx, reg, "app", true, nil)
		must(err)
		is(reg, "app", []string{digest("b")})
	})
}

func TestList(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(db.Migrate(ctx, "schema_version", schema.Durable()...))
		clk, reg := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), name.PublicRegistry("123456789012")
		repositories := repository.New(repository.Config{DB: db, Clock: clk, Registries: registry.New(db, clk, nil), Quotas: quota.Fixed(quota.Default())})
		must(db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, 'test', 0)`, string(reg.Account))
			return err
		}))
		var ids []int64
		for _, repo := range []name.Repository{"app", "other"} {
			r, err := repositories.Create(ctx, repository.Create{Registry: reg, Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable}})
			must(err)
			ids = append(ids, r.ID)
		}
		pushed := clk.Now().UTC()
		digest := name.Digest("sha256:" + strings.Repeat("a", 64))
		must(db.Update(ctx, func(tx *sqldb.Tx) error {
			for n, id := range ids {
				if _, err := tx.Exec(ctx, `INSERT INTO image (id, repository_id, digest, media_type, artifact_type, size, manifest_size, pushed_at, subject, annotations)
					VALUES ($1, $2, $3, 'm', 'a', 7, 0, $4, '', '')`, n+1, id, string(digest), pushed.UnixMicro()); err != nil {
					return err
				}
			}
			for i, tag := range []string{"v1", "V2", "_", "v10"} {
				if _, err := tx.Exec(ctx, `INSERT INTO image_tag (repository_id, tag, image_id, updated_at) VALUES ($1, $2, 1, $3)`,
					ids[0], tag, pushed.Add(time.Duration(i)*time.Hour).UnixMicro()); err != nil {
					return err
				}
			}
			return nil
		}))
		tag := func(n name.Tag, hours int) tagged.Tag {
			return tagged.Tag{Name: n, SetAt: pushed.Add(time.Duration(hours) * time.Hour), Digest: digest, MediaType: "m", ArtifactType: "a", Size: 7, PushedAt: pushed}
		}
		for _, c := range []struct {
			repository int64
			after      name.Tag
			limit      int
			want       []tagged.Tag
		}{
			{ids[0], "", 10, []tagged.Tag{tag("V2", 1), tag("_", 2), tag("v1", 0), tag("v10", 3)}},
			{ids[0], "", 2, []tagged.Tag{tag("V2", 1), tag("_", 2)}},
			{ids[0], "_", 1, []tagged.Tag{tag("v1", 0)}},
			{ids[0], "v10", 1, nil},
			{ids[0], "gone", 1, []tagged.Tag{tag("v1", 0)}},
			{ids[1], "", 10, nil},
		} {
			got, err := tagged.Reader{Durable: db}.List(ctx, c.repository, c.after, c.limit)
			for i := range got {
				got[i].SetAt, got[i].PushedAt = got[i].SetAt.UTC(), got[i].PushedAt.UTC()
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%+v: %+v, %v", c, got, err)
			}
		}
	})
}

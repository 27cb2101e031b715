package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

func TestLifeOfData(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, reg := t.Context(), name.PublicRegistry(us)
		r := w.create(us, "app")
		w.entry(r)
		if _, err := w.here.Data(ctx, reg, "app"); !errs.Is(err, errs.CatalogDataNotFound) {
			t.Errorf("before: %v", err)
		}
		in := catalog.DataInput{
			Description: "Ein Bild für\nalle", About: "# About\n\tit\r\n", Usage: "Run \u202eit", Architectures: []string{"ARM 64", "x86-64", "RISC-V"}, OperatingSystems: []string{"Linux"},
			Logo: picture(t, 200),
		}
		put, err := w.here.PutData(ctx, reg, "app", in)
		w.must(err)
		got, err := w.here.Data(ctx, reg, "app")
		if err != nil || !reflect.DeepEqual(got, put) || !got.Set || got.Description != in.Description || got.About != in.About || got.Usage != in.Usage ||
			!reflect.DeepEqual(got.Architectures, in.Architectures) || !reflect.DeepEqual(got.OperatingSystems, in.OperatingSystems) || got.Logo == "" || !got.UpdatedAt.Equal(w.clk.Now()) {
			t.Errorf("%+v\n%+v %v", put, got, err)
		}
		if !w.changed(r) {
			t.Error("the gallery was not told")
		}
		mediaType, body, at, err := w.here.Logo(ctx, got.Logo)
		if err != nil || mediaType != "image/png" || !at.Equal(w.clk.Now()) {
			t.Errorf("%s %v %v", mediaType, at, err)
		}
		if img, err := png.Decode(bytes.NewReader(body)); err != nil || img.Bounds().Dx() != 64 {
			t.Errorf("%v", err)
		}
		in.Logo = picture(t, 10)
		w.clk.Advance(time.Hour)
		second, err := w.here.PutData(ctx, reg, "app", in)
		if err != nil || second.Logo == got.Logo {
			t.Errorf("a new logo under the old id: %v", err)
		}
		if _, _, _, err := w.here.Logo(ctx, got.Logo); !errs.Is(err, errs.CatalogDataNotFound) {
			t.Errorf("the old logo: %v", err)
		}
		cleared, err := w.here.PutData(ctx, reg, "app", catalog.DataInput{Description: "Only this"})
		w.must(err)
		if got, err = w.here.Data(ctx, reg, "app"); err != nil || !reflect.DeepEqual(got, cleared) || got.Logo != "" || got.About != "" || got.Architectures != nil || !got.Set {
			t.Errorf("%+v %v", got, err)
		}
		if n := w.count(`SELECT count(*) FROM catalog_logo`); n != 0 {
			t.Errorf("%d logos are left", n)
		}
	})
}

func TestDataOfNoRepository(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, reg := t.Context(), name.PublicRegistry(us)
		w.create(them, "app")
		if _, err := w.here.Data(ctx, reg, "app"); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("%v", err)
		}
		if _, err := w.here.PutData(ctx, reg, "app", catalog.DataInput{}); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("%v", err)
		}
	})
}

func TestCreateRepositoryWithData(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, reg := t.Context(), name.PublicRegistry(us)
		c := public(us, "app")
		called := false
		c.After = func(context.Context, *sqldb.Tx, repository.Repository) error { called = true; return nil }
		made, d, err := w.here.CreateRepository(ctx, c, &catalog.DataInput{Description: "It", Logo: picture(t, 3)})
		if err != nil || made.Mutability.Setting != repository.Mutable || made.Registry != reg || !d.Set || d.Description != "It" || !called {
			t.Fatalf("%+v %+v %v", made, d, err)
		}
		if got, err := w.here.Data(ctx, reg, "app"); err != nil || !reflect.DeepEqual(got, d) {
			t.Errorf("%+v %v", got, err)
		}
		if _, d, err = w.here.CreateRepository(ctx, public(us, "bare"), nil); err != nil || d.Set {
			t.Errorf("%+v %v", d, err)
		}
		if _, _, err = w.here.CreateRepository(ctx, public(us, "bad"), &catalog.DataInput{Logo: []byte("GIF89a")}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("a bad logo: %v", err)
		}
		broken := errors.New("broken")
		c = public(us, "bad")
		c.After = func(context.Context, *sqldb.Tx, repository.Repository) error { return broken }
		if _, d, err = w.here.CreateRepository(ctx, c, &catalog.DataInput{Description: "It"}); !errors.Is(err, broken) || d.Set {
			t.Errorf("%+v %v", d, err)
		}
		if _, err := w.repos.Get(ctx, reg, "bad"); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("it was made all the same: %v", err)
		}
		if _, _, err = w.here.CreateRepository(ctx, repository.Create{Registry: name.Registry{Account: us, Region: "us-east-1"}, Name: "private"}, nil); err == nil {
			t.Error("a private repository")
		}
	})
}

// With its repository goes what was said of it; in the bin its logo is not served.
func TestDataGoesWithItsRepository(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, reg := t.Context(), name.PublicRegistry(us)
		w.create(us, "app")
		w.create(us, "binned")
		d, err := w.here.PutData(ctx, reg, "binned", catalog.DataInput{Logo: picture(t, 9)})
		w.must(err)
		w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE repository SET deleted_at = 5, expires_at = 6 WHERE name = 'binned'`)
			return err
		}))
		if _, _, _, err := w.here.Logo(ctx, d.Logo); !errs.Is(err, errs.CatalogDataNotFound) {
			t.Errorf("the logo of a deleted repository: %v", err)
		}
		if d, err = w.here.PutData(ctx, reg, "app", catalog.DataInput{Logo: picture(t, 9)}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repos.Delete(ctx, reg, "app", true, nothing); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := w.here.Logo(ctx, d.Logo); !errs.Is(err, errs.CatalogDataNotFound) {
			t.Errorf("its logo: %v", err)
		}
		w.create(us, "app")
		if _, err := w.here.Data(ctx, reg, "app"); !errs.Is(err, errs.CatalogDataNotFound) {
			t.Errorf("made again: %v", err)
		}
		if n := w.count(`SELECT count(*) FROM catalog_logo`); n != 1 { // the one in the bin
			t.Errorf("%d logos", n)
		}
		for _, id := range []string{"", "x", strings.Repeat("x", 65), "\xff", "a\x00"} {
			if _, _, _, err := w.here.Logo(ctx, id); !errs.Is(err, errs.CatalogDataNotFound) {
				t.Errorf("%q: %v", id, err)
			}
		}
	})
}

func TestRegistryChangesTellTheGallery(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		ours, second, theirs := w.create(us, "app"), w.create(us, "second"), w.create(them, "app")
		for _, r := range []repository.Repository{ours, second, theirs} {
			w.entry(r)
		}
		told := func(what string, err error) {
			t.Helper()
			w.must(err)
			if !w.changed(ours) || !w.changed(second) || w.changed(theirs) {
				t.Errorf("%s: not all of the account's repositories, and no others, were told of", what)
			}
			w.clk.Advance(time.Minute)
		}
		told("display name", w.here.SetDisplayName(ctx, us, "Us"))
		told("verified", w.here.SetVerified(ctx, us, true))
		_, err := w.here.RequestAlias(ctx, us, "acme")
		told("request", err)
		_, err = w.here.Approve(ctx, "acme", false)
		told("approve", err)
		_, err = w.here.SetPrimary(ctx, w.registry(w.here, us).Aliases[0].Name)
		told("primary", err)
		_, err = w.here.RemoveAlias(ctx, "acme")
		told("remove", err)
	})
}

func TestLimits(t *testing.T) {
	many := func(n int, one string) (all []string) {
		for range n {
			all = append(all, one)
		}
		return all
	}
	long := func(n int) string { return strings.Repeat("é", n) }
	for what, c := range map[string]struct {
		in   catalog.DataInput
		want string // a part of the refusal, "" for none
	}{
		"all at the limit": {catalog.DataInput{Description: long(1024), About: long(25600), Usage: long(25600), Architectures: many(50, long(50)), OperatingSystems: many(50, "x")}, ""},
		"nothing":          {catalog.DataInput{}, ""},
		"description":      {catalog.DataInput{Description: long(1025)}, "'description' failed to satisfy constraint: 'Member must have length less than or equal to 1024'"},
		"about":            {catalog.DataInput{About: long(25601)}, "'aboutText'"},
		"usage":            {catalog.DataInput{Usage: long(25601)}, "'usageText'"},
		"architectures":    {catalog.DataInput{Architectures: many(51, "x")}, "'architectures'"},
		"systems":          {catalog.DataInput{OperatingSystems: many(51, "x")}, "'operatingSystems'"},
		"long name":        {catalog.DataInput{OperatingSystems: []string{"a", long(51)}}, "'operatingSystems.2.member'"},
		"empty name":       {catalog.DataInput{Architectures: []string{""}}, "'architectures.1.member'"},
		"name with a line": {catalog.DataInput{Architectures: []string{"a\nb"}}, "U+000A"},
		"escape":           {catalog.DataInput{Description: "a\x1b[0m"}, "U+001B"},
		"override":         {catalog.DataInput{Description: "a\u202eb"}, "U+202E"},
		"isolate":          {catalog.DataInput{Description: "a\u2068b"}, "U+2068"},
		"marks":            {catalog.DataInput{Description: "שלום\u200f!"}, ""},
		"escape in about":  {catalog.DataInput{About: "a\x00"}, "U+0000"},
		"c1 in usage":      {catalog.DataInput{Usage: "a\u009b"}, "U+009B"},
		"not UTF-8":        {catalog.DataInput{Usage: "a\xff"}, "UTF-8"},
	} {
		err := c.in.Validate()
		if c.want == "" && err != nil || c.want != "" && (!errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	each(t, func(t *testing.T, w *world) {
		for text, ok := range map[string]bool{long(100): true, long(101): false, "A & B <b>": true, "a\nb": false, "a\u202eb": false, "a\xff": false} {
			if err := w.here.SetDisplayName(t.Context(), us, text); (err == nil) != ok || err != nil && !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

// Waiting for others' logos ends with the caller's patience.
func TestDecodingIsBounded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.create(us, "app")
		done := w.here.Decode(t)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := w.here.PutData(ctx, name.PublicRegistry(us), "app", catalog.DataInput{Logo: picture(t, 1)}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		done()
		if _, err := w.here.PutData(t.Context(), name.PublicRegistry(us), "app", catalog.DataInput{Logo: picture(t, 1)}); err != nil {
			t.Error(err)
		}
	})
}

package image_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	domainregistry "github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestManifestsAreSealed(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		w := open(t, db, nil)
		ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
		w.must(err)
		w.repositories = repository.New(repository.Config{DB: db, Clock: w.clk, Quotas: quota.Fixed(quota.Default()), Keys: ring, Sealing: true,
			Registries: domainregistry.New(db, w.clk, []name.Region{registry.Region})})
		w.config.Repositories = w.repositories
		w.Service = image.New(w.config)
		key, err := ring.Create(ctx, string(registry.Account), string(registry.Region), "alias/mine")
		w.must(err)
		r, err := w.repositories.Create(ctx, repository.Create{Registry: registry, Name: "sealed", Mutability: repository.Mutability{Setting: repository.Mutable},
			Encryption: repository.Encryption{Type: repository.KMS, KMSKey: "alias/mine"}})
		w.must(err)

		one, two := w.oci(r, "one", ""), w.oci(r, "two", "")
		w.push(r, one, "one")
		w.push(r, two, "two")
		var bodies [][]byte
		w.must(db.View(ctx, func(tx *sqldb.Tx) error {
			bodies, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (b []byte, err error) {
				err = row.Scan(&b)
				return b, err
			}, `SELECT body FROM manifest ORDER BY image_id`)
			return err
		}))
		for _, b := range bodies {
			if bytes.Contains(b, []byte("schemaVersion")) {
				t.Error("a manifest stands in the database as it is")
			}
		}
		if got, err := w.Get(ctx, r, image.Ref{Tag: "one"}, nil); err != nil || string(got.Manifest) != one.body {
			t.Errorf("%v", err)
		}
		// Somebody who can write to the database cannot pass one image off as
		// another.
		w.exec(`UPDATE manifest SET body = $1 WHERE image_id = (SELECT max(image_id) FROM manifest)`, bodies[0])
		_, err = w.Get(ctx, r, image.Ref{Tag: "two"}, nil)
		expect(t, err, errs.KeyFailure, "")

		_, err = ring.SetEnabled(ctx, key.ID, false)
		w.must(err)
		w.clk.Advance(time.Hour)
		_, failures, err := w.GetAll(context.Background(), r, []image.Ref{{Tag: "one"}}, nil, true)
		if err != nil || len(failures) != 1 || failures[0].Code != image.KeyFailed {
			t.Errorf("with a disabled key: %v %v", failures, err)
		}
		_, _, err = w.Put(ctx, r, image.Put{Manifest: []byte(w.oci(r, "three", "").body)})
		expect(t, err, errs.KeyFailure, "")
	})
}

package entity_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	mine   = name.AccountID("111111111111")
	theirs = name.AccountID("222222222222")

	anyone = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	inline = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}]}`
)

type world struct {
	*entity.Service
	t   *testing.T
	p   *principal.Service
	db  *sqldb.DB
	clk *clock.Fake
}

func each(t *testing.T, fn func(t *testing.T, w world)) {
	t.Helper()
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		clk := clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
		if err != nil {
			t.Fatal(err)
		}
		p, err := principal.New(db, ring, clk)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []name.AccountID{mine, theirs} {
			if err := p.EnsureAccount(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		fn(t, world{entity.New(p), t, p, db, clk})
	})
}

// sql changes the database behind everybody's back.
func (w world) sql(text string, args ...any) {
	w.t.Helper()
	if err := w.db.Update(w.t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.t.Context(), text, args...)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
}

// must makes an entity.
func (w world) must(c entity.Create) entity.Entity {
	w.t.Helper()
	if c.Account == "" {
		c.Account = mine
	}
	if c.Kind == entity.Role && c.Trust == "" {
		c.Trust = anyone
	}
	e, err := w.Create(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w world) user(entityName string) entity.Entity {
	w.t.Helper()
	return w.must(entity.Create{Kind: entity.User, Name: entityName})
}

// managed makes a managed policy and returns its ARN.
func (w world) managed(account name.AccountID, place string) string {
	w.t.Helper()
	arn := "arn:aws:iam::" + string(account) + ":policy/" + place
	cut := strings.LastIndexByte(place, '/') + 1
	id := principal.NewID(principal.PrefixPolicy)
	w.sql(`INSERT INTO iam_policy (id, account_id, arn, name, name_key, path, description, default_version, last_version, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, '', 1, 1, 0, 0)`, id, string(account), arn, place[cut:], strings.ToLower(place[cut:]), "/"+place[:cut])
	w.sql(`INSERT INTO iam_policy_version (policy_id, version, document, created_at) VALUES ($1, 1, $2, 0)`, id, inline)
	return arn
}

// ok fails the test for an error.
func (w world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
}

// refused expects a failure with its text.
func (w world) refused(err error, code errs.Code, text string) {
	w.t.Helper()
	var e *errs.Error
	if !errors.As(err, &e) || e.Code != code || e.Message != text {
		w.t.Errorf("got %v (code %d), want %q (code %d)", err, errs.CodeOf(err), text, code)
	}
}

func names(all []entity.Entity) string {
	var list []string
	for _, e := range all {
		list = append(list, e.Name)
	}
	return strings.Join(list, " ")
}

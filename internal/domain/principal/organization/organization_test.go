package organization_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/organization"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	boss   = name.AccountID("111111111111")
	member = name.AccountID("222222222222")
	third  = name.AccountID("333333333333")
)

const denyDelete = `{
  "Version": "2012-10-17",
  "Statement": {"Sid": "NoDeleting", "Effect": "Deny", "Action": "ecr:Delete*", "Resource": "*"}
}`

type world struct {
	*organization.Service
	t  *testing.T
	db *sqldb.DB
	// forgotten are the accounts that Forget was called with.
	mu        sync.Mutex
	forgotten []name.AccountID
}

func open(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db}
	w.Service = organization.New(organization.Config{
		DB: db, Clock: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		Forget: func(accounts ...name.AccountID) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(accounts) == 0 {
				t.Error("Forget without accounts, which forgets all")
			}
			w.forgotten = append(w.forgotten, accounts...)
		},
	})
	for _, a := range []name.AccountID{boss, member, third} {
		w.account(a)
	}
	return w
}

func (w *world) account(id name.AccountID) {
	w.t.Helper()
	w.exec(`INSERT INTO account (id, name, created_at) VALUES ($1, $2, 0)`, string(id), string(id))
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	if err := w.db.Update(w.t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.t.Context(), query, args...)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) load(id name.AccountID) organization.Membership {
	w.t.Helper()
	var m organization.Membership
	if err := w.db.View(w.t.Context(), func(tx *sqldb.Tx) (err error) {
		m, err = organization.Load(w.t.Context(), tx, id)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) revision(id name.AccountID) (n int64) {
	w.t.Helper()
	if err := w.db.View(w.t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(w.t.Context(), `SELECT revision FROM account WHERE id = $1`, string(id)).Scan(&n)
	}); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// touches runs a change that has to give the accounts a new revision and have
// them forgotten, and no others.
func (w *world) touches(change func() error, accounts ...name.AccountID) {
	w.t.Helper()
	all := []name.AccountID{boss, member, third}
	before := map[name.AccountID]int64{}
	for _, a := range all {
		before[a] = w.revision(a)
	}
	w.forgotten = nil
	if err := change(); err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
	for _, a := range all {
		want := slices.Contains(accounts, a)
		if got := w.revision(a) > before[a]; got != want {
			w.t.Errorf("account %s has a new revision: %t, want %t", a, got, want)
		}
		if got := slices.Contains(w.forgotten, a); got != want {
			w.t.Errorf("account %s was forgotten: %t, want %t", a, got, want)
		}
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused wants a failure of the code whose text has a word in it.
func (w *world) refused(err error, code errs.Code, text string) {
	w.t.Helper()
	if !errs.Is(err, code) || !strings.Contains(err.Error(), text) {
		w.t.Errorf("got %v, want code %d with %q", err, code, text)
	}
}

// each runs a test on both engines.
func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) { fn(t, open(t, db)) })
}

func create(t *testing.T, w *world) organization.Organization {
	t.Helper()
	o, err := w.Create(t.Context(), boss)
	w.must(err)
	return o
}

func names(levels [][]policy.Named) string {
	var b strings.Builder
	for _, l := range levels {
		for _, p := range l {
			b.WriteString(p.Name + "\n")
		}
		b.WriteString("--\n")
	}
	return b.String()
}

func TestCreate(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if m := w.load(boss); m.ID != "" || m.Path != "" || m.Management || m.ServiceControl != nil {
			t.Errorf("outside of any organization: %+v", m)
		}
		var o organization.Organization
		w.touches(func() error { o = create(t, w); return nil }, boss)
		for id, form := range map[string]string{o.ID: `^o-[a-z0-9]{10}$`, o.Root: `^r-[a-z0-9]{4}$`, o.Policies[0].ID: `^p-[a-z0-9]{8}$`} {
			if !regexp.MustCompile(form).MatchString(id) {
				t.Errorf("id %q is not like %s", id, form)
			}
		}
		if o.ManagementAccount != boss || !o.CreatedAt.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) ||
			len(o.Accounts) != 1 || o.Accounts[0].ID != boss || o.Accounts[0].Unit != "" || !slices.Equal(o.Accounts[0].Policies, []string{"FullAWSAccess"}) ||
			!slices.Equal(o.RootPolicies, []string{"FullAWSAccess"}) || len(o.Policies) != 1 || len(o.Units) != 0 {
			t.Errorf("%+v", o)
		}
		if text, err := json.Marshal(o); err != nil || !strings.Contains(string(text), `"units":[]`) || !strings.Contains(string(text), `"Action":"*"`) {
			t.Errorf("%s %v", text, err)
		}
		if m := w.load(boss); m.ID != o.ID || m.Path != o.ID+"/"+o.Root+"/" || !m.Management || m.ServiceControl != nil {
			t.Errorf("the management account: %+v", m)
		}
		_, err := w.Create(t.Context(), boss)
		w.refused(err, errs.EntityExists, o.ID)
		_, err = w.Create(t.Context(), "999999999999")
		w.refused(err, errs.EntityNotFound, "999999999999")
	})
}

func TestAccounts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.refused(w.AttachAccount(ctx, "", member, ""), errs.EntityNotFound, "berth organization create")
		o := create(t, w)
		w.touches(func() error { return w.AttachAccount(ctx, "", member, "") }, member)
		m := w.load(member)
		if m.ID != o.ID || m.Path != o.ID+"/"+o.Root+"/" || m.Management {
			t.Errorf("%+v", m)
		}
		id := o.Policies[0].ID
		want := "service control policy FullAWSAccess (" + id + ") on root " + o.Root + "\n--\nservice control policy FullAWSAccess (" + id + ") on account 222222222222\n--\n"
		if got := names(m.ServiceControl); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}

		var unit organization.Unit
		w.touches(func() (err error) { unit, err = w.CreateUnit(ctx, o.ID, "dev/team"); return err })
		if !regexp.MustCompile(`^ou-` + o.Root[2:] + `-[a-z0-9]{8}$`).MatchString(unit.ID) {
			t.Errorf("unit %s under %s", unit.ID, o.Root)
		}
		w.touches(func() error { return w.AttachAccount(ctx, "", member, "dev/team") }, member)
		got, err := w.Get(ctx, "")
		w.must(err)
		if len(got.Units) != 2 || got.Units[0].Path != "dev" || got.Units[1].Path != "dev/team" || got.Units[1].ID != unit.ID ||
			len(got.Accounts) != 2 || got.Accounts[1].Unit != "dev/team" {
			t.Errorf("%+v", got)
		}
		m = w.load(member)
		if want := o.ID + "/" + o.Root + "/" + got.Units[0].ID + "/" + unit.ID + "/"; m.Path != want || len(m.ServiceControl) != 4 {
			t.Errorf("path %s, want %s; %d levels", m.Path, want, len(m.ServiceControl))
		}
		if got := names(m.ServiceControl); !strings.Contains(got, "on unit "+unit.ID+" (team)\n") {
			t.Error(got)
		}
		if p, found, err := w.PlaceOf(ctx, member); err != nil || !found || p.ID != o.ID || p.Unit != "dev/team" || p.Management {
			t.Errorf("%+v %t %v", p, found, err)
		}
		if p, found, err := w.PlaceOf(ctx, boss); err != nil || !found || p.Unit != "" || !p.Management {
			t.Errorf("%+v %t %v", p, found, err)
		}
		if p, found, err := w.PlaceOf(ctx, third); err != nil || found {
			t.Errorf("%+v %t %v", p, found, err)
		}

		// The management account can be moved, which changes its paths alone.
		w.touches(func() error { return w.AttachAccount(ctx, "", boss, "dev") }, boss)
		if m := w.load(boss); !strings.HasSuffix(m.Path, got.Units[0].ID+"/") || !m.Management || m.ServiceControl != nil {
			t.Errorf("%+v", m)
		}

		w.refused(w.AttachAccount(ctx, "", "999999999999", ""), errs.EntityNotFound, "berth account list")
		w.refused(w.AttachAccount(ctx, "", third, "prod"), errs.EntityNotFound, "unit prod")
		w.refused(w.AttachAccount(ctx, "", third, "dev//x"), errs.InvalidInput, "name of a unit")
		w.refused(w.AttachAccount(ctx, "o-none", third, ""), errs.EntityNotFound, "o-none")
		w.refused(w.DetachAccount(ctx, boss), errs.EntityInUse, "management account")
		w.refused(w.DetachAccount(ctx, third), errs.EntityNotFound, "no organization")
		if m := w.load(third); m.ID != "" {
			t.Errorf("after refusals: %+v", m)
		}

		w.touches(func() error { return w.DetachAccount(ctx, member) }, member)
		if m := w.load(member); m.ID != "" || m.ServiceControl != nil {
			t.Errorf("after detaching: %+v", m)
		}
		// What hung on the account has gone with it.
		w.must(w.AttachAccount(ctx, "", member, ""))
		if got := names(w.load(member).ServiceControl); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

func TestOneOrganizationAnAccount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		first := create(t, w)
		second, err := w.Create(ctx, third)
		w.must(err)
		w.refused(w.AttachAccount(ctx, "", member, ""), errs.InvalidInput, "--organization")
		w.must(w.AttachAccount(ctx, second.ID, member, ""))
		w.refused(w.AttachAccount(ctx, first.ID, member, ""), errs.EntityExists, second.ID)
		w.refused(w.AttachAccount(ctx, first.ID, third, ""), errs.EntityExists, second.ID)
		_, err = w.Create(ctx, member)
		w.refused(err, errs.EntityExists, second.ID)

		// What is done to one organization leaves the other alone.
		w.touches(func() error {
			_, err := w.PutPolicy(ctx, first.ID, "NoDelete", denyDelete)
			return err
		}, boss)
		w.touches(func() error { return w.AttachPolicy(ctx, second.ID, "NoDelete", denyDelete, "root") }, member, third)
		w.refused(w.AttachPolicy(ctx, first.ID, "NoDelete", "", second.Root), errs.InvalidInput, "no target")
		w.refused(w.AttachPolicy(ctx, first.ID, "NoDelete", "", string(member)), errs.EntityNotFound, "account 222222222222")
		unit, err := w.CreateUnit(ctx, second.ID, "dev")
		w.must(err)
		w.refused(w.AttachPolicy(ctx, first.ID, "NoDelete", "", unit.ID), errs.EntityNotFound, unit.ID)
		all, err := w.List(ctx)
		w.must(err)
		if len(all) != 2 || all[0].ID >= all[1].ID {
			t.Fatalf("%+v", all)
		}
		for _, o := range all {
			if o.ID == first.ID && (len(o.Accounts) != 1 || len(o.Units) != 0) || o.ID == second.ID && (len(o.Accounts) != 2 || len(o.Units) != 1) {
				t.Errorf("%+v", o)
			}
		}

		w.refused(w.Delete(ctx, second.ID), errs.EntityInUse, "1 accounts")
		w.must(w.DetachAccount(ctx, member))
		w.touches(func() error { return w.Delete(ctx, second.ID) }, third)
		if m := w.load(third); m.ID != "" {
			t.Errorf("after its organization has gone: %+v", m)
		}
		if o, err := w.Get(ctx, ""); err != nil || o.ID != first.ID || len(o.Policies) != 2 {
			t.Errorf("the other one: %+v %v", o, err)
		}
		_, err = w.Create(ctx, third)
		w.must(err)
	})
}

func TestUnits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		o := create(t, w)
		for _, path := range []string{"b", "a/x", "a-1", "a"} {
			_, err := w.CreateUnit(ctx, "", path)
			if path == "a" {
				w.refused(err, errs.EntityExists, "unit a already")
			} else {
				w.must(err)
			}
		}
		got, err := w.Get(ctx, "")
		w.must(err)
		var paths []string
		for _, u := range got.Units {
			paths = append(paths, u.Path)
			if !slices.Equal(u.Policies, []string{"FullAWSAccess"}) {
				t.Errorf("unit %s begins with %v", u.Path, u.Policies)
			}
		}
		if !slices.Equal(paths, []string{"a", "a/x", "a-1", "b"}) {
			t.Errorf("units %v", paths)
		}
		_, err = w.CreateUnit(ctx, "", "1/2/3/4/5")
		w.must(err)
		_, err = w.CreateUnit(ctx, "", "1/2/3/4/5/6")
		w.refused(err, errs.EntityLimit, "6 levels")
		for _, bad := range []string{"", "/", "a/", "/a", "a//b", " a", "a\n", strings.Repeat("é", 129), "a\xff"} {
			_, err := w.CreateUnit(ctx, "", bad)
			w.refused(err, errs.InvalidInput, "name of a unit")
			w.refused(w.DeleteUnit(ctx, "", bad), errs.InvalidInput, "name of a unit")
		}
		_, err = w.CreateUnit(ctx, "", strings.Repeat("é", 128))
		w.must(err)

		w.refused(w.DeleteUnit(ctx, "", "a"), errs.EntityInUse, "0 accounts and 1 units")
		w.must(w.AttachAccount(ctx, "", member, "a/x"))
		w.refused(w.DeleteUnit(ctx, "", "a/x"), errs.EntityInUse, "1 accounts and 0 units")
		w.refused(w.DeleteUnit(ctx, "", "none"), errs.EntityNotFound, "unit none")
		w.must(w.AttachAccount(ctx, "", member, ""))
		w.touches(func() error { return w.DeleteUnit(ctx, o.ID, "a/x") })
		w.must(w.DeleteUnit(ctx, "", "a"))
	})
}

func TestPolicies(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		create(t, w)
		w.must(w.AttachAccount(ctx, "", member, ""))
		_, err := w.CreateUnit(ctx, "", "dev")
		w.must(err)
		var p organization.Policy
		w.touches(func() (err error) { p, err = w.PutPolicy(ctx, "", "NoDelete", denyDelete); return err }, boss, member)
		if p.Name != "NoDelete" || !strings.HasPrefix(p.ID, "p-") || strings.ContainsAny(string(p.Document), " \n") {
			t.Errorf("%+v", p)
		}
		for target, level := range map[string]int{"root": 0, "222222222222": 1, "unit:dev": -1} {
			w.touches(func() error { return w.AttachPolicy(ctx, "", "NoDelete", "", target) }, boss, member)
			w.must(w.AttachPolicy(ctx, "", "NoDelete", "", target)) // again
			levels := w.load(member).ServiceControl
			for i, l := range levels {
				if got, want := strings.Contains(names([][]policy.Named{l}), "policy NoDelete ("+p.ID+")"), i == level; got != want {
					t.Errorf("attached to %s: on level %d %t", target, i, got)
				}
			}
			decide(t, levels, "ecr:DeleteRepository", level < 0)
			decide(t, levels, "ecr:PutImage", true)
			w.touches(func() error { return w.DetachPolicy(ctx, "", "NoDelete", target) }, boss, member)
			w.refused(w.DetachPolicy(ctx, "", "NoDelete", target), errs.EntityNotFound, "not attached")
			decide(t, w.load(member).ServiceControl, "ecr:DeleteRepository", true)
		}
		got, err := w.Get(ctx, "")
		w.must(err)
		for _, target := range []string{got.Root, got.Units[0].ID} {
			w.must(w.AttachPolicy(ctx, "", "NoDelete", "", target))
		}
		w.refused(w.DeletePolicy(ctx, "", "NoDelete"), errs.EntityInUse, "2 places")

		// A new document holds where the old one did.
		old := p.ID
		w.touches(func() (err error) {
			p, err = w.PutPolicy(ctx, "", "NoDelete", strings.ReplaceAll(denyDelete, "ecr:Delete*", "ecr:Put*"))
			return err
		}, boss, member)
		if p.ID != old {
			t.Errorf("the policy has become another: %s, %s", old, p.ID)
		}
		decide(t, w.load(member).ServiceControl, "ecr:DeleteRepository", true)
		decide(t, w.load(member).ServiceControl, "ecr:PutImage", false)

		// Created and attached at once; nothing is kept where that fails.
		w.must(w.AttachPolicy(ctx, "", "NoBatch", strings.ReplaceAll(denyDelete, "ecr:Delete*", "ecr:Batch*"), "222222222222"))
		decide(t, w.load(member).ServiceControl, "ecr:BatchGetImage", false)
		w.refused(w.AttachPolicy(ctx, "", "Other", denyDelete, "unit:none"), errs.EntityNotFound, "unit none")
		w.refused(w.AttachPolicy(ctx, "", "Other", "", "root"), errs.EntityNotFound, "policy Other")
		w.refused(w.DetachPolicy(ctx, "", "Other", "root"), errs.EntityNotFound, "policy Other")
		w.refused(w.DeletePolicy(ctx, "", "Other"), errs.EntityNotFound, "policy Other")
		for _, target := range []string{"", "unit:", "p-12345678", "r-none", "12", "Root"} {
			w.refused(w.AttachPolicy(ctx, "", "NoDelete", "", target), errs.InvalidInput, "no target")
		}
		w.refused(w.AttachPolicy(ctx, "", "NoDelete", "", "ou-none-12345678"), errs.EntityNotFound, "unit ou-none")

		for _, target := range []string{"root", "unit:dev"} {
			w.must(w.DetachPolicy(ctx, "", "NoDelete", target))
		}
		w.touches(func() error { return w.DeletePolicy(ctx, "", "NoDelete") })
	})
}

// decide asks what someone whose own policies allow everything may do.
func decide(t *testing.T, levels [][]policy.Named, action string, want bool) {
	t.Helper()
	s := &policy.Sources{Root: true, ServiceControl: levels}
	d := policy.Decide(s, &policy.Request{Action: action, Resource: "*", Caller: policy.Caller{Type: policy.Root, Account: string(member), ARN: "arn:aws:iam::222222222222:root"}})
	if d.Allowed != want {
		t.Errorf("%s is allowed: %t, want %t (%+v)", action, d.Allowed, want, d)
	}
}

func TestPolicyLimits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		create(t, w)
		w.must(w.AttachAccount(ctx, "", member, ""))
		w.refused(w.DetachPolicy(ctx, "", "FullAWSAccess", "root"), errs.EntityInUse, "last policy of the root")
		w.refused(w.DetachPolicy(ctx, "", "FullAWSAccess", "222222222222"), errs.EntityInUse, "last policy of account")
		_, err := w.PutPolicy(ctx, "", "FullAWSAccess", denyDelete)
		w.refused(err, errs.EntityUnmodifiable, "FullAWSAccess")
		w.refused(w.AttachPolicy(ctx, "", "FullAWSAccess", denyDelete, "root"), errs.EntityUnmodifiable, "FullAWSAccess")
		w.refused(w.DeletePolicy(ctx, "", "FullAWSAccess"), errs.EntityUnmodifiable, "FullAWSAccess")

		for i := range 4 {
			w.must(w.AttachPolicy(ctx, "", fmt.Sprintf("P%d", i), denyDelete, "root"))
		}
		w.refused(w.AttachPolicy(ctx, "", "P4", denyDelete, "root"), errs.EntityLimit, "At most 5 policies")
		if o, err := w.Get(ctx, ""); err != nil || len(o.Policies) != 5 || len(o.RootPolicies) != 5 {
			t.Errorf("after a refusal: %+v %v", o, err)
		}
		w.must(w.AttachPolicy(ctx, "", "P3", "", "root")) // there already
		// An allow list in place of the policy that allows everything.
		allowPull := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:BatchGetImage","Resource":"*"}]}`
		w.must(w.AttachPolicy(ctx, "", "Pull", allowPull, "222222222222"))
		w.must(w.DetachPolicy(ctx, "", "FullAWSAccess", "222222222222"))
		levels := w.load(member).ServiceControl
		decide(t, levels, "ecr:BatchGetImage", true)
		decide(t, levels, "ecr:PutImage", false)

		text := func(n int) string { // n characters without white space
			head, tail := `{"Version":"2012-10-17","Statement":[{"Sid":"`, `","Effect":"Deny","Action":"*","Resource":"*"}]}`
			return head + strings.Repeat("a", n-len(head)-len(tail)) + tail
		}
		_, err = w.PutPolicy(ctx, "", "Long", strings.ReplaceAll(text(5120), `":"`, `"  :  "`))
		w.must(err)
		_, err = w.PutPolicy(ctx, "", "Long", text(5121))
		w.refused(err, errs.EntityLimit, "this one has 5121")

		for text, message := range map[string]string{
			"":                         "Syntax errors in policy.",
			"{}":                       "Syntax errors",
			`{"Version":"2012-10-17"}`: "Syntax errors",
			strings.Replace(allowPull, `"Resource"`, `"Principal":"*","Resource"`, 1): "should not specify a principal",
			strings.Replace(allowPull, `"Resource":"*"`, `"Sid":"x"`, 1):              "must contain resources",
		} {
			_, err := w.PutPolicy(ctx, "", "Bad", text)
			w.refused(err, errs.PolicyMalformed, message)
		}
		for _, bad := range []string{"", " x", "a\tb", strings.Repeat("x", 129)} {
			_, err := w.PutPolicy(ctx, "", bad, denyDelete)
			w.refused(err, errs.InvalidInput, "name of a policy")
		}
	})
}

func TestCounts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		o := create(t, w)
		w.exec(`INSERT INTO organization_unit (id, organization_id, parent_id, name)
			WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT 'ou-x-' || i, $1, $2, 'u' || i FROM n`, o.ID, o.Root)
		_, err := w.CreateUnit(ctx, "", "more")
		w.refused(err, errs.EntityLimit, "at most 2000 units")
		w.exec(`INSERT INTO organization_policy (id, organization_id, name, document, created_at)
			WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) SELECT 'p-x' || i, $1, 'P' || i, '{}', 0 FROM n`, o.ID)
		_, err = w.PutPolicy(ctx, "", "More", denyDelete)
		w.refused(err, errs.EntityLimit, "at most 10000 service control policies")
	})
}

// Whoever comes first wins, and nothing is counted past its limit.
func TestConcurrentChanges(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		first := create(t, w)
		second, err := w.Create(ctx, third)
		w.must(err)
		for i := range 8 {
			_, err := w.PutPolicy(ctx, first.ID, fmt.Sprintf("P%d", i), denyDelete)
			w.must(err)
		}
		var group sync.WaitGroup
		results := make([]error, 10)
		for i := range results {
			group.Go(func() {
				switch {
				case i < 8:
					results[i] = w.AttachPolicy(ctx, first.ID, fmt.Sprintf("P%d", i), "", "root")
				case i == 8:
					results[i] = w.AttachAccount(ctx, first.ID, member, "")
				default:
					results[i] = w.AttachAccount(ctx, second.ID, member, "")
				}
			})
		}
		group.Wait()
		attached := 0
		for i, err := range results[:8] {
			switch {
			case err == nil:
				attached++
			case !errs.Is(err, errs.EntityLimit):
				t.Errorf("policy %d: %v", i, err)
			}
		}
		if o, err := w.Get(ctx, first.ID); err != nil || attached != 4 || len(o.RootPolicies) != 5 {
			t.Errorf("%d attached: %v %v", attached, o.RootPolicies, err)
		}
		if (results[8] == nil) == (results[9] == nil) {
			t.Errorf("into two organizations at once: %v, %v", results[8], results[9])
		}
		for _, err := range results[8:] {
			if err != nil && !errs.Is(err, errs.EntityExists) {
				t.Error(err)
			}
		}
	})
}

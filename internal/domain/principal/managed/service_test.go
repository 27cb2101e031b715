package managed_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
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
	account  = name.AccountID("111111111111")
	other    = name.AccountID("222222222222")
	admin    = "arn:aws:iam::aws:policy/AdministratorAccess"
	readOnly = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"
	document = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecr:*","Resource":"*"}}`
	trust    = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"111111111111"}}}`
)

type world struct {
	*managed.Service
	principals *principal.Service
	entities   *entity.Service
	clk        *clock.Fake
}

func open(t *testing.T, db *sqldb.DB) world {
	t.Helper()
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
	for _, a := range []name.AccountID{account, other} {
		if err := p.EnsureAccount(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	return world{managed.New(p), p, entity.New(p), clk}
}

// make makes a policy and returns its ARN.
func (w world) make(t *testing.T, of name.AccountID, path, called string, tags ...managed.Tag) string {
	t.Helper()
	p, err := w.Create(t.Context(), managed.Create{Account: of, Path: path, Name: called, Document: document, Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	return p.ARN
}

// entity makes a user, group or role.
func (w world) entity(t *testing.T, kind entity.Kind, path, called string) entity.Entity {
	t.Helper()
	c := entity.Create{Account: account, Kind: kind, Path: path, Name: called}
	if kind == entity.Role {
		c.Trust = trust
	}
	e, err := w.entities.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (w world) attach(t *testing.T, e entity.Entity, arn string) {
	t.Helper()
	if err := w.entities.Attach(t.Context(), account, e.Kind, e.Name, arn); err != nil {
		t.Fatal(err)
	}
}

// refused checks an error's code and text.
func refused(t *testing.T, what string, err error, code errs.Code, text string) {
	t.Helper()
	if !errs.Is(err, code) || err.Error() != text {
		t.Errorf("%s: %v, want %q", what, err, text)
	}
}

func TestLifeOfAPolicy(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		made, err := w.Create(ctx, managed.Create{Account: account, Path: "/team/", Name: "Push", Description: "pushes", Document: " " + document + "\n", Tags: []managed.Tag{{Key: "Owner", Value: "me"}}})
		if err != nil {
			t.Fatal(err)
		}
		arn := "arn:aws:iam::111111111111:policy/team/Push"
		if made.ARN != arn || !strings.HasPrefix(made.ID, "ANPA") || len(made.ID) != 21 || made.Default != 1 || !made.Created.Equal(w.clk.Now()) || made.AWS {
			t.Errorf("%+v", made)
		}
		got, err := w.Get(ctx, account, arn)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(made) || got.Tags[0] != (managed.Tag{Key: "Owner", Value: "me"}) {
			t.Errorf("%+v, %v", got, err)
		}
		_, err = w.Create(ctx, managed.Create{Account: account, Path: "/", Name: "PUSH", Document: document})
		refused(t, "the name again", err, errs.EntityExists, "A policy called PUSH already exists. Duplicate names are not allowed.")
		w.make(t, other, "/", "Push")
		_, err = w.Get(ctx, other, arn)
		refused(t, "from another account", err, errs.EntityNotFound, "Policy "+arn+" was not found.")
		if v, err := w.Version(ctx, account, arn, 1); err != nil || v.Document != " "+document+"\n" || !v.Default {
			t.Errorf("the document as given: %+v, %v", v, err)
		}

		user := w.entity(t, entity.User, "/", "ann")
		w.attach(t, user, arn)
		if got, err := w.Get(ctx, account, arn); err != nil || got.Attachments != 1 || got.Boundaries != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		refused(t, "attached", w.Delete(ctx, account, arn), errs.EntityInUse, "Cannot delete a policy attached to entities.")
		if err := w.entities.Detach(ctx, account, entity.User, "ann", arn); err != nil {
			t.Fatal(err)
		}
		if err := w.entities.SetBoundary(ctx, account, entity.User, "ann", arn); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Get(ctx, account, arn); err != nil || got.Attachments != 0 || got.Boundaries != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		refused(t, "a boundary", w.Delete(ctx, account, arn), errs.EntityInUse, "Cannot delete a policy attached to entities.")
		if err := w.entities.SetBoundary(ctx, account, entity.User, "ann", ""); err != nil {
			t.Fatal(err)
		}
		if err := w.Delete(ctx, account, arn); err != nil {
			t.Fatal(err)
		}
		gone := "Policy " + arn + " was not found."
		refused(t, "again", w.Delete(ctx, account, arn), errs.EntityNotFound, gone)
		_, err = w.Versions(ctx, account, arn)
		refused(t, "its versions", err, errs.EntityNotFound, gone)
		again := w.make(t, account, "/team/", "Push")
		if got, err := w.Get(ctx, account, again); err != nil || len(got.Tags) != 0 || got.ID == made.ID {
			t.Errorf("a new one of the name: %+v, %v", got, err)
		}
	})
}

func TestVersions(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		arn := w.make(t, account, "/", "Push")
		user := w.entity(t, entity.User, "/", "ann")
		w.attach(t, user, arn)
		allows := func() int {
			t.Helper()
			who, err := w.principals.IdentityOf(ctx, account, user.ID)
			if err != nil {
				t.Fatal(err)
			}
			return len(who.Policies[0].Document.Actions())
		}
		if n := allows(); n != 1 {
			t.Errorf("%d actions", n)
		}
		two := strings.Replace(document, `"ecr:*"`, `["ecr:*","sts:*"]`, 1)
		w.clk.Advance(time.Hour)
		if v, err := w.CreateVersion(ctx, account, arn, two, true); err != nil || v.Number != 2 || !v.Default || v.ID() != "v2" {
			t.Errorf("%+v, %v", v, err)
		}
		if n := allows(); n != 2 {
			t.Errorf("the new default does not count: %d actions", n)
		}
		if got, err := w.Get(ctx, account, arn); err != nil || got.Default != 2 || !got.Updated.Equal(w.clk.Now()) || got.Updated.Equal(got.Created) {
			t.Errorf("%+v, %v", got, err)
		}
		for range 3 {
			if _, err := w.CreateVersion(ctx, account, arn, document, false); err != nil {
				t.Fatal(err)
			}
		}
		_, err := w.CreateVersion(ctx, account, arn, document, false)
		refused(t, "a sixth", err, errs.EntityLimit, "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
		refused(t, "the default one", w.DeleteVersion(ctx, account, arn, 2), errs.EntityInUse, "Cannot delete the default version of a policy.")
		if err := w.DeleteVersion(ctx, account, arn, 5); err != nil {
			t.Fatal(err)
		}
		none := "Policy " + arn + " version v5 does not exist or is not attachable."
		refused(t, "deleting it again", w.DeleteVersion(ctx, account, arn, 5), errs.EntityNotFound, none)
		refused(t, "making it the default", w.SetDefault(ctx, account, arn, 5), errs.EntityNotFound, none)
		_, err = w.Version(ctx, account, arn, 5)
		refused(t, "reading it", err, errs.EntityNotFound, none)
		if v, err := w.CreateVersion(ctx, account, arn, document, false); err != nil || v.Number != 6 {
			t.Errorf("a number is given again: %+v, %v", v, err)
		}
		if err := w.SetDefault(ctx, account, arn, 1); err != nil {
			t.Fatal(err)
		}
		if n := allows(); n != 1 {
			t.Errorf("the default switched back does not count: %d actions", n)
		}
		all, err := w.Versions(ctx, account, arn)
		var numbers []int64
		for _, v := range all {
			numbers = append(numbers, v.Number)
			if v.Default != (v.Number == 1) {
				t.Errorf("%+v", v)
			}
		}
		if err != nil || !slices.Equal(numbers, []int64{6, 4, 3, 2, 1}) {
			t.Errorf("%v, %v", numbers, err)
		}
		if err := w.entities.Detach(ctx, account, entity.User, "ann", arn); err != nil {
			t.Fatal(err)
		}
		refused(t, "with versions", w.Delete(ctx, account, arn), errs.EntityInUse, "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		for _, n := range []int64{2, 3, 4, 6} {
			if err := w.DeleteVersion(ctx, account, arn, n); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Delete(ctx, account, arn); err != nil {
			t.Error(err)
		}
	})
}

func TestVersionIDs(t *testing.T) {
	for id, want := range map[string]int64{"v1": 1, "v12": 12, "": 0, "v": 0, "1": 0, "v0": 0, "v01": 0, "v+1": 0, "v-1": 0, "v1.a": 0, "V1": 0, "v99999999999999999999": 0} {
		if got := managed.ParseVersion(id); got != want {
			t.Errorf("%q: %d", id, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		arn := w.make(t, account, "/", "Push")
		padded := func(n int) string {
			return strings.Replace(document, "ecr:*", strings.Repeat("é", n-len(document)+len("ecr:*")), 1)
		}
		spaced := strings.Replace(document, `"Action"`, strings.Repeat(" \t\r\n", 2000)+`"Action"`, 1)
		full := strings.Replace(document, `"*"`, `"arn:aws:ecr:us-east-1:111111111111:`+strings.Repeat("r", managed.MaxSize-len(document)-len("arn:aws:ecr:us-east-1:111111111111:")+1)+`"`, 1)
		name := "The specified value for policyName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
		path := "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters."
		for _, c := range []struct {
			what   string
			change func(*managed.Create)
			code   errs.Code
			text   string
		}{
			{"no name", func(c *managed.Create) { c.Name = "" }, errs.Validation, name},
			{"a space in the name", func(c *managed.Create) { c.Name = "a b" }, errs.Validation, name},
			{"a slash in the name", func(c *managed.Create) { c.Name = "a/b" }, errs.Validation, name},
			{"a long name", func(c *managed.Create) { c.Name = strings.Repeat("a", 129) }, errs.Validation, name},
			{"a path without end", func(c *managed.Create) { c.Path = "/a" }, errs.Validation, path},
			{"no path", func(c *managed.Create) { c.Path = "" }, errs.Validation, path},
			{"a long path", func(c *managed.Create) { c.Path = "/" + strings.Repeat("a", 511) + "/" }, errs.Validation, path},
			{"no policy", func(c *managed.Create) { c.Document = "{}" }, errs.PolicyMalformed, "Syntax errors in policy."},
			{"a principal", func(c *managed.Create) {
				c.Document = strings.Replace(document, `"Action"`, `"Principal":"*","Action"`, 1)
			}, errs.PolicyMalformed, "Policy document should not specify a principal."},
			{"a long document", func(c *managed.Create) { c.Document = padded(managed.MaxSize + 1) }, errs.EntityLimit, "Cannot exceed quota for PolicySize: 6144"},
			{"AWS's tag", func(c *managed.Create) { c.Tags = []managed.Tag{{Key: "AWS:x"}} }, errs.InvalidInput, "Tag keys that begin with aws: are reserved for AWS; choose another one."},
			{"a tag twice", func(c *managed.Create) { c.Tags = []managed.Tag{{Key: "a"}, {Key: "A"}} }, errs.InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive."},
			{"a bad tag", func(c *managed.Create) { c.Tags = []managed.Tag{{Key: "a!"}} }, errs.InvalidInput, `The tag with the key "a!" is not valid.`},
			{"no account", func(c *managed.Create) { c.Account = "999999999999" }, errs.EntityNotFound, "The account with id 999999999999 cannot be found."},
		} {
			create := managed.Create{Account: account, Path: "/", Name: "New", Document: document}
			c.change(&create)
			_, err := w.Create(ctx, create)
			refused(t, c.what, err, c.code, c.text)
		}
		for what, text := range map[string]string{"white space": spaced, "the largest": full} {
			p, err := w.Create(ctx, managed.Create{Account: account, Path: "/", Name: "New", Document: text})
			if err != nil {
				t.Errorf("%s: %v", what, err)
			} else if err := w.Delete(ctx, account, p.ARN); err != nil {
				t.Error(err)
			}
		}
		_, err := w.CreateVersion(ctx, account, arn, "[]", true)
		refused(t, "a version", err, errs.PolicyMalformed, "Syntax errors in policy.")
		for _, bad := range []string{"", "Push", "arn:aws:iam::111111111111:user/ann", "arn:aws:s3:::111111111111:policy/a", "arn:aws-cn:iam::111111111111:policy/a", "arn:aws:iam:::policy/a"} {
			_, err := w.Get(ctx, account, bad)
			refused(t, "the ARN", err, errs.InvalidInput, "ARN "+bad+" is not valid.")
		}
		fixed := "The policy " + admin + " is managed by AWS and cannot be changed."
		_, err = w.CreateVersion(ctx, account, admin, document, true)
		refused(t, "CreateVersion of AWS's", err, errs.AccessDenied, fixed)
		refused(t, "Delete of AWS's", w.Delete(ctx, account, admin), errs.AccessDenied, fixed)
		refused(t, "DeleteVersion of AWS's", w.DeleteVersion(ctx, account, admin, 1), errs.AccessDenied, fixed)
		refused(t, "SetDefault of AWS's", w.SetDefault(ctx, account, admin, 1), errs.AccessDenied, fixed)
		refused(t, "Tag of AWS's", w.Tag(ctx, account, admin, []managed.Tag{{Key: "a"}}), errs.AccessDenied, fixed)
		refused(t, "Untag of AWS's", w.Untag(ctx, account, admin, []string{"a"}), errs.AccessDenied, fixed)
		_, err = w.Get(ctx, account, "arn:aws:iam::aws:policy/AWSLambda_FullAccess")
		refused(t, "one of AWS's that is not there", err, errs.EntityNotFound, "Policy arn:aws:iam::aws:policy/AWSLambda_FullAccess was not found.")
	})
}

func TestQuotaOfPolicies(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for i := range managed.MaxPolicies {
				n := fmt.Sprintf("p%d", i)
				if _, err := tx.Exec(ctx, `INSERT INTO iam_policy (id, account_id, arn, name, name_key, path, description, default_version, last_version, created_at, updated_at)
					VALUES ($1, $2, $1, $1, $1, '/', '', 1, 1, 0, 0)`, n, string(account)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		_, err := w.Create(ctx, managed.Create{Account: account, Path: "/", Name: "Push", Document: document})
		refused(t, "one too many", err, errs.EntityLimit, "Cannot exceed quota for PoliciesPerAccount: 1500")
		w.make(t, other, "/", "Push")
	})
}

func TestTags(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		arn := w.make(t, account, "/", "Push", managed.Tag{Key: "Owner", Value: "me"})
		read := func() string {
			t.Helper()
			p, err := w.Get(ctx, account, arn)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(p.Tags)
		}
		if err := w.Tag(ctx, account, arn, []managed.Tag{{Key: "OWNER", Value: "you"}, {Key: "env"}}); err != nil {
			t.Fatal(err)
		}
		if got := read(); got != "[{env } {OWNER you}]" {
			t.Error(got)
		}
		var many []managed.Tag
		for i := range 48 {
			many = append(many, managed.Tag{Key: fmt.Sprintf("k%d", i)})
		}
		if err := w.Tag(ctx, account, arn, many); err != nil {
			t.Fatal(err)
		}
		refused(t, "a 51st", w.Tag(ctx, account, arn, []managed.Tag{{Key: "more"}}), errs.EntityLimit, "Cannot exceed quota for TagsPerPolicy: 50")
		keys := []string{"oWNER", "absent"}
		for _, m := range many {
			keys = append(keys, m.Key)
		}
		if err := w.Untag(ctx, account, arn, keys); err != nil {
			t.Fatal(err)
		}
		if got := read(); got != "[{env }]" {
			t.Error(got)
		}
		refused(t, "a bad tag", w.Tag(ctx, account, arn, []managed.Tag{{Key: ""}}), errs.InvalidInput, `The tag with the key "" is not valid.`)
	})
}

func names(all []managed.Policy) string {
	var b strings.Builder
	for _, p := range all {
		fmt.Fprintf(&b, "%s ", p.Name)
	}
	return strings.TrimSpace(b.String())
}

func TestLists(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		push := w.make(t, account, "/", "Push")
		pull := w.make(t, account, "/team_a/", "Pull")
		w.make(t, account, "/teamXa/", "Nobody")
		w.make(t, other, "/", "Theirs")
		ann, bay := w.entity(t, entity.User, "/", "Ann"), w.entity(t, entity.User, "/x/", "bay")
		group, role := w.entity(t, entity.Group, "/x/", "devs"), w.entity(t, entity.Role, "/", "ci")
		for _, e := range []entity.Entity{ann, bay, group, role} {
			w.attach(t, e, push)
		}
		w.attach(t, ann, readOnly)
		for who, arn := range map[string]string{"Ann": push, "bay": pull} {
			if err := w.entities.SetBoundary(ctx, account, entity.User, who, arn); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.entities.SetBoundary(ctx, account, entity.Role, "ci", admin); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what string
			of   name.AccountID
			f    managed.Filter
			want string
		}{
			{"own", account, managed.Filter{Scope: managed.Local, PathPrefix: "/"}, "Push Nobody Pull"},
			{"under a path", account, managed.Filter{Scope: managed.Local, PathPrefix: "/team_a/"}, "Pull"},
			{"another's", other, managed.Filter{Scope: managed.Local}, "Theirs"},
			{"used", account, managed.Filter{Used: true}, "Push Pull AdministratorAccess AmazonEC2ContainerRegistryReadOnly"},
			{"attached", account, managed.Filter{Usage: managed.AsPermissions}, "Push AmazonEC2ContainerRegistryReadOnly"},
			{"boundaries", account, managed.Filter{Usage: managed.AsBoundary, Used: true}, "Push Pull AdministratorAccess"},
			{"AWS's, used", account, managed.Filter{Scope: managed.AWS, Used: true}, "AdministratorAccess AmazonEC2ContainerRegistryReadOnly"},
			{"AWS's, used by another", other, managed.Filter{Scope: managed.AWS, Used: true}, ""},
			{"AWS's under a path", account, managed.Filter{PathPrefix: "/service-role/"}, "AmazonEC2ContainerServiceforEC2Role"},
		} {
			all, err := w.List(ctx, c.of, c.f, "", 100)
			if err != nil || names(all) != c.want {
				t.Errorf("%s: %q, %v", c.what, names(all), err)
			}
			// The same, one by one.
			var single []managed.Policy
			after := ""
			for {
				page, err := w.List(ctx, c.of, c.f, after, 1)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					break
				}
				after = page[0].ARN
				single = append(single, page...)
			}
			if names(single) != c.want {
				t.Errorf("%s, one by one: %q", c.what, names(single))
			}
		}
		all, err := w.List(ctx, account, managed.Filter{}, "", 100)
		if err != nil || len(all) != 20 || all[0].Attachments != 4 || all[0].Boundaries != 1 {
			t.Errorf("%d, %+v, %v", len(all), all[0], err)
		}
		for _, p := range all {
			if p.ARN == readOnly && (p.Attachments != 1 || p.Boundaries != 0 || !p.AWS) || p.ARN == admin && (p.Attachments != 0 || p.Boundaries != 1) {
				t.Errorf("%+v", p)
			}
		}
		if p, err := w.Get(ctx, account, readOnly); err != nil || p.Attachments != 1 || p.Default != 3 || p.Description == "" || len(p.Tags) != 0 {
			t.Errorf("%+v, %v", p, err)
		}
		if vs, err := w.Versions(ctx, account, readOnly); err != nil || len(vs) != 2 || !vs[0].Default || vs[1].Default || vs[0].Number != 3 {
			t.Errorf("%+v, %v", vs, err)
		}

		for _, c := range []struct {
			what string
			arn  string
			f    managed.EntityFilter
			want string
		}{
			{"all", push, managed.EntityFilter{}, "group/devs role/ci user/Ann user/bay"},
			{"users", push, managed.EntityFilter{Kind: "user"}, "user/Ann user/bay"},
			{"under a path", push, managed.EntityFilter{PathPrefix: "/x/"}, "group/devs user/bay"},
			{"bounded", push, managed.EntityFilter{Usage: managed.AsBoundary}, "user/Ann"},
			{"attached", pull, managed.EntityFilter{Usage: managed.AsPermissions}, ""},
			{"either way", pull, managed.EntityFilter{}, "user/bay"},
			{"AWS's", admin, managed.EntityFilter{}, "role/ci"},
		} {
			var got []string
			var after managed.Entity
			for {
				page, err := w.Entities(ctx, account, c.arn, c.f, after, 1)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					break
				}
				after = page[0]
				got = append(got, after.Kind+"/"+after.Name)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s: %v", c.what, got)
			}
		}
		if all, err := w.Entities(ctx, other, admin, managed.EntityFilter{}, managed.Entity{}, 10); err != nil || len(all) != 0 {
			t.Errorf("another account's: %+v, %v", all, err)
		}
		_, err = w.Entities(ctx, other, push, managed.EntityFilter{}, managed.Entity{}, 10)
		refused(t, "another account's policy", err, errs.EntityNotFound, "Policy "+push+" was not found.")
	})
}

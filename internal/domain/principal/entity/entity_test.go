package entity_test

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

var kinds = []entity.Kind{entity.User, entity.Group, entity.Role}

func TestLife(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		for _, kind := range kinds {
			made := w.must(entity.Create{Kind: kind, Name: "Ann", Path: "/team/"})
			if made.ARN() != "arn:aws:iam::111111111111:"+string(kind)+"/team/Ann" || !made.CreatedAt.Equal(w.clk.Now()) || len(made.ID) != 21 {
				t.Errorf("%+v", made)
			}
			prefix := map[entity.Kind]string{entity.User: "AIDA", entity.Group: "AGPA", entity.Role: "AROA"}[kind]
			if !strings.HasPrefix(made.ID, prefix) {
				t.Errorf("the id of a %s is %s", kind, made.ID)
			}
			got, err := w.Get(ctx, mine, kind, "aNN")
			if err != nil || got.ID != made.ID || got.Name != "Ann" || got.Path != "/team/" || !got.CreatedAt.Equal(made.CreatedAt) {
				t.Errorf("%+v %v", got, err)
			}
			if got, found, err := w.ByID(ctx, mine, made.ID); err != nil || !found || got.Name != "Ann" {
				t.Errorf("%+v %v %v", got, found, err)
			}
			if _, found, err := w.ByID(ctx, theirs, made.ID); err != nil || found {
				t.Errorf("in another account: %v %v", found, err)
			}
			title := strings.ToUpper(string(kind[:1])) + string(kind[1:])
			_, err = w.Create(ctx, entity.Create{Account: mine, Kind: kind, Name: "ANN", Trust: anyone})
			w.refused(err, errs.EntityExists, title+" with name ANN already exists.")
			_, err = w.Get(ctx, theirs, kind, "Ann")
			w.refused(err, errs.EntityNotFound, "The "+string(kind)+" with name Ann cannot be found.")
			w.must(entity.Create{Account: theirs, Kind: kind, Name: "Ann"}) // nobody is in its way there
			w.ok(w.Delete(ctx, mine, kind, "ANN"))
			w.refused(w.Delete(ctx, mine, kind, "Ann"), errs.EntityNotFound, "The "+string(kind)+" with name Ann cannot be found.")
			if again := w.must(entity.Create{Kind: kind, Name: "Ann"}); again.ID == made.ID || again.Path != "/" {
				t.Errorf("made again: %+v", again)
			}
		}
		_, err := w.Create(ctx, entity.Create{Account: "333333333333", Kind: entity.User, Name: "Ann"})
		w.refused(err, errs.EntityNotFound, "The account with id 333333333333 cannot be found.")
	})
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		for name, path := range map[string]string{"b": "/", "A": "/team/", "C": "/team/red/", "d": "/te_m/", "e": "/100%/"} {
			w.must(entity.Create{Kind: entity.User, Name: name, Path: path})
		}
		w.must(entity.Create{Kind: entity.Group, Name: "a"})
		w.must(entity.Create{Account: theirs, Kind: entity.User, Name: "a"})
		for _, c := range []struct {
			prefix, after string
			limit         int
			want          string
		}{
			{"", "", 10, "A b C d e"},
			{"/", "", 10, "A b C d e"},
			{"/team/", "", 10, "A C"},
			{"/tea", "", 10, "A C"},
			{"/te_", "", 10, "d"},
			{"/100%", "", 10, "e"},
			{`/\`, "", 10, ""},
			{"/TEAM/", "", 10, ""},
			{"", "", 2, "A b"},
			{"", "B", 2, "C d"},
			{"/team/", "A", 10, "C"},
		} {
			all, err := w.List(ctx, mine, entity.User, c.prefix, c.after, c.limit)
			if err != nil || names(all) != c.want {
				t.Errorf("%+v: %s %v", c, names(all), err)
			}
		}
	})
}

func TestNamesAndPaths(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		long := strings.Repeat("x", 64)
		for _, good := range []entity.Create{
			{Kind: entity.User, Name: "a+b=c,d.e@f_g-h"}, {Kind: entity.User, Name: long}, {Kind: entity.Group, Name: long + long},
			{Kind: entity.User, Name: "p1", Path: "/" + strings.Repeat("x", 510) + "/"}, {Kind: entity.User, Name: "p2", Path: "/~!/"},
			{Kind: entity.User, Name: "AWSServiceRoleForMe", Path: "/aws-service-role/"},
		} {
			w.must(good)
		}
		const (
			badName = "Name is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
			badPath = "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters."
		)
		for _, c := range []struct {
			make entity.Create
			code errs.Code
			want string
		}{
			{entity.Create{Kind: entity.User, Name: ""}, errs.Validation, "The specified value for user" + badName},
			{entity.Create{Kind: entity.User, Name: "a/b"}, errs.Validation, "The specified value for user" + badName},
			{entity.Create{Kind: entity.User, Name: "ä"}, errs.Validation, "The specified value for user" + badName},
			{entity.Create{Kind: entity.Role, Name: long + "x"}, errs.Validation, "The specified value for role" + badName},
			{entity.Create{Kind: entity.Group, Name: long + long + "x"}, errs.Validation, "The specified value for group" + badName},
			{entity.Create{Kind: entity.User, Name: "a", Path: "x/"}, errs.Validation, badPath},
			{entity.Create{Kind: entity.User, Name: "a", Path: "/x"}, errs.Validation, badPath},
			{entity.Create{Kind: entity.User, Name: "a", Path: "/x y/"}, errs.Validation, badPath},
			{entity.Create{Kind: entity.User, Name: "a", Path: "/" + strings.Repeat("x", 511) + "/"}, errs.Validation, badPath},
			{entity.Create{Kind: entity.Role, Name: "a", Path: "/aws-service-role/ecr.amazonaws.com/"}, errs.InvalidInput, "The path /aws-service-role/ is reserved for service-linked roles. Use CreateServiceLinkedRole."},
			{entity.Create{Kind: entity.Role, Name: "awsserviceroleforX"}, errs.InvalidInput, "The role name prefix AWSServiceRoleFor is reserved for service-linked roles. Use CreateServiceLinkedRole."},
			{entity.Create{Kind: entity.Role, Name: "a", MaxSession: time.Hour - time.Second}, errs.Validation, "The maximum session duration must be between 3600 and 43200 seconds."},
			{entity.Create{Kind: entity.Role, Name: "a", MaxSession: 12*time.Hour + time.Second}, errs.Validation, "The maximum session duration must be between 3600 and 43200 seconds."},
			{entity.Create{Kind: entity.Role, Name: "a", Trust: "{"}, errs.PolicyMalformed, "This policy contains invalid Json"},
			{entity.Create{Kind: entity.Role, Name: "a", Trust: inline}, errs.PolicyMalformed, "Missing required field Principal"},
			{entity.Create{Kind: entity.Role, Name: "a", Trust: strings.Replace(anyone, `"Action"`, `"Resource":"*","Action"`, 1)}, errs.PolicyMalformed, "Has prohibited field Resource"},
		} {
			c.make.Account = mine
			if c.make.Trust == "" {
				c.make.Trust = anyone
			}
			_, err := w.Create(ctx, c.make)
			w.refused(err, c.code, c.want)
		}
		w.refused(w.Rename(ctx, mine, entity.User, "p2", "a/b", ""), errs.Validation, "The specified value for user"+badName)
		w.refused(w.Rename(ctx, mine, entity.User, "p2", "", "b"), errs.Validation, badPath)
	})
}

func TestRename(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		ann := w.must(entity.Create{Kind: entity.User, Name: "Ann", Tags: []entity.Tag{{Key: "k", Value: "v"}}})
		w.user("Bay")
		w.must(entity.Create{Kind: entity.Group, Name: "Red"})
		w.ok(w.AddUser(ctx, mine, "Red", "Ann"))
		w.ok(w.PutInline(ctx, mine, entity.User, "Ann", "p", inline))
		w.refused(w.Rename(ctx, mine, entity.User, "Ann", "BAY", ""), errs.EntityExists, "User with name BAY already exists.")
		w.refused(w.Rename(ctx, mine, entity.User, "Cid", "Dan", ""), errs.EntityNotFound, "The user with name Cid cannot be found.")
		w.ok(w.Rename(ctx, mine, entity.User, "ann", "ANN", "")) // only its case
		w.ok(w.Rename(ctx, mine, entity.User, "ann", "Elm", "/new/"))
		w.ok(w.Rename(ctx, mine, entity.User, "elm", "", ""))
		got, err := w.Get(ctx, mine, entity.User, "elm")
		if err != nil || got.ID != ann.ID || got.ARN() != "arn:aws:iam::111111111111:user/new/Elm" || got.Tags["k"] != "v" {
			t.Errorf("%+v %v", got, err)
		}
		_, err = w.Get(ctx, mine, entity.User, "Ann")
		w.refused(err, errs.EntityNotFound, "The user with name Ann cannot be found.")
		if _, document, err := w.Inline(ctx, mine, entity.User, "Elm", "p"); err != nil || document != inline {
			t.Errorf("%q %v", document, err)
		}
		w.ok(w.Rename(ctx, mine, entity.Group, "Red", "Blue", "/g/"))
		if _, users, err := w.Members(ctx, mine, "blue", "", 10); err != nil || names(users) != "Elm" {
			t.Errorf("%v %v", users, err)
		}
	})
}

func TestRoleSettings(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		made := w.must(entity.Create{Kind: entity.Role, Name: "r", Description: "what for", MaxSession: 2 * time.Hour})
		if got, err := w.Get(ctx, mine, entity.Role, "r"); err != nil || *got.Role != *made.Role || got.Role.Trust != anyone || got.Role.MaxSession != 2*time.Hour || got.Role.Description != "what for" {
			t.Errorf("%+v %v", got.Role, err)
		}
		if plain := w.must(entity.Create{Kind: entity.Role, Name: "plain"}); plain.Role.MaxSession != time.Hour {
			t.Errorf("%+v", plain.Role)
		}
		e, err := w.UpdateRole(ctx, mine, "R", entity.RoleChange{})
		if err != nil || e.Role.Description != "what for" || e.Role.MaxSession != 2*time.Hour {
			t.Errorf("%+v %v", e.Role, err)
		}
		w.must(entity.Create{Kind: entity.Role, Name: "other"})
		if _, err = w.UpdateRole(ctx, mine, "r", entity.RoleChange{Description: new(""), MaxSession: 12 * time.Hour}); err != nil {
			t.Fatal(err)
		}
		if e, err = w.Get(ctx, mine, entity.Role, "r"); err != nil || e.Role.Description != "" || e.Role.MaxSession != 12*time.Hour {
			t.Errorf("%+v %v", e.Role, err)
		}
		if e, err = w.Get(ctx, mine, entity.Role, "other"); err != nil || e.Role.MaxSession != time.Hour {
			t.Errorf("another role: %+v %v", e.Role, err)
		}
		_, err = w.UpdateRole(ctx, mine, "r", entity.RoleChange{MaxSession: time.Minute})
		w.refused(err, errs.Validation, "The maximum session duration must be between 3600 and 43200 seconds.")
		_, err = w.UpdateRole(ctx, mine, "no", entity.RoleChange{})
		w.refused(err, errs.EntityNotFound, "The role with name no cannot be found.")
		if user := w.user("u"); user.Role != nil {
			t.Errorf("%+v", user)
		}
	})
}

// What hangs on an entity has to go before it; what is only its own goes with
// it.
func TestDelete(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		arn := w.managed(mine, "p")
		for _, kind := range kinds {
			e := w.must(entity.Create{Kind: kind, Name: "x"})
			w.ok(w.Attach(ctx, mine, kind, "x", arn))
			w.refused(w.Delete(ctx, mine, kind, "x"), errs.EntityInUse, "Cannot delete entity, must detach all policies first.")
			w.ok(w.Detach(ctx, mine, kind, "x", arn))
			w.ok(w.PutInline(ctx, mine, kind, "x", "p", inline))
			w.refused(w.Delete(ctx, mine, kind, "x"), errs.EntityInUse, "Cannot delete entity, must delete policies first.")
			w.ok(w.DeleteInline(ctx, mine, kind, "x", "p"))
			if kind != entity.Group {
				w.ok(w.Tag(ctx, mine, kind, "x", []entity.Tag{{Key: "k", Value: "v"}}))
				w.ok(w.SetBoundary(ctx, mine, kind, "x", arn))
			}
			w.ok(w.Delete(ctx, mine, kind, "x"))
			w.sql(`INSERT INTO iam_tag (owner, key_fold, tag_key, tag_value) VALUES ($1, 'k', 'k', 'v')`, e.ID) // fails if the tag is still there
		}
		ann := w.user("ann")
		w.must(entity.Create{Kind: entity.Group, Name: "g"})
		w.ok(w.AddUser(ctx, mine, "g", "ann"))
		for _, kind := range []entity.Kind{entity.User, entity.Group} {
			name := map[entity.Kind]string{entity.User: "ann", entity.Group: "g"}[kind]
			w.refused(w.Delete(ctx, mine, kind, name), errs.EntityInUse, "Cannot delete entity, must remove users from group first.")
		}
		w.ok(w.RemoveUser(ctx, mine, "g", "ann"))
		w.ok(w.Delete(ctx, mine, entity.Group, "g"))
		w.sql(`INSERT INTO access_key (id, account_id, user_id, secret, enabled, created_at) VALUES ('AKIAX', $1, $2, $3, $4, 0)`, string(mine), ann.ID, []byte("x"), true)
		w.refused(w.Delete(ctx, mine, entity.User, "ann"), errs.EntityInUse, "Cannot delete entity, must delete access keys first.")
		w.sql(`DELETE FROM access_key`)
		w.sql(`INSERT INTO iam_login_profile (user_id, hash, reset_required, created_at, changed_at, used_at) VALUES ($1, 'h', $2, 0, 0, $3)`, ann.ID, false, w.clk.Now().UnixMicro())
		w.refused(w.Delete(ctx, mine, entity.User, "ann"), errs.EntityInUse, "Cannot delete entity, must delete login profile first.")
		if got, err := w.Get(ctx, mine, entity.User, "ann"); err != nil || !got.PasswordUsed.Equal(w.clk.Now()) {
			t.Errorf("%+v %v", got, err)
		}
		w.sql(`DELETE FROM iam_login_profile`)
		w.sql(`INSERT INTO iam_mfa_device (serial, account_id, name, path, user_id, seed, created_at) VALUES ('arn', $1, 'n', '/', $2, $3, 0)`, string(mine), ann.ID, []byte("x"))
		w.refused(w.Delete(ctx, mine, entity.User, "ann"), errs.EntityInUse, "Cannot delete entity, must delete MFA device first.")
		w.sql(`UPDATE iam_mfa_device SET user_id = ''`)
		w.ok(w.Delete(ctx, mine, entity.User, "ann"))
	})
}

// A change decides at once: what principal knows of the entity is read anew.
func TestChangesDecide(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		ann := w.user("ann")
		policies := func() int {
			t.Helper()
			who, err := w.p.IdentityOf(ctx, mine, ann.ID)
			if err != nil {
				t.Fatal(err)
			}
			return len(who.Policies)
		}
		if n := policies(); n != 0 {
			t.Errorf("at first: %d", n)
		}
		w.ok(w.PutInline(ctx, mine, entity.User, "ann", "p", inline))
		w.must(entity.Create{Kind: entity.Group, Name: "g"})
		w.ok(w.Attach(ctx, mine, entity.Group, "g", w.managed(mine, "m")))
		w.ok(w.AddUser(ctx, mine, "g", "ann"))
		if n := policies(); n != 2 {
			t.Errorf("with an inline policy and a group: %d", n)
		}
		w.ok(w.RemoveUser(ctx, mine, "g", "ann"))
		w.ok(w.DeleteInline(ctx, mine, entity.User, "ann", "p"))
		w.ok(w.SetBoundary(ctx, mine, entity.User, "ann", w.managed(mine, "b")))
		who, err := w.p.IdentityOf(ctx, mine, ann.ID)
		if err != nil || !who.Found || len(who.Policies) != 0 || who.Boundary == nil || who.ARN != ann.ARN() {
			t.Errorf("%+v %v", who, err)
		}
		w.ok(w.Delete(ctx, mine, entity.User, "ann"))
		if who, err := w.p.IdentityOf(ctx, mine, ann.ID); err != nil || who.Found {
			t.Errorf("after the deletion: %+v %v", who, err)
		}
	})
}

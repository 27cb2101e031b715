package entity_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

func TestMemberships(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		for _, name := range []string{"Ann", "bay", "Cid"} {
			w.user(name)
			w.must(entity.Create{Kind: entity.Group, Name: "G" + name})
			w.ok(w.AddUser(ctx, mine, "gann", name))
		}
		w.ok(w.AddUser(ctx, mine, "gann", "ann")) // once more changes nothing
		w.ok(w.AddUser(ctx, mine, "Gbay", "ann"))
		g, users, err := w.Members(ctx, mine, "GANN", "", 2)
		if err != nil || g.Name != "GAnn" || names(users) != "Ann bay" {
			t.Errorf("%+v %v %v", g, names(users), err)
		}
		if _, users, err = w.Members(ctx, mine, "GANN", "Bay", 2); err != nil || names(users) != "Cid" {
			t.Errorf("%v %v", names(users), err)
		}
		if groups, err := w.GroupsOf(ctx, mine, "ANN"); err != nil || names(groups) != "GAnn Gbay" {
			t.Errorf("%v %v", names(groups), err)
		}
		w.ok(w.RemoveUser(ctx, mine, "GAnn", "ann"))
		w.ok(w.RemoveUser(ctx, mine, "GAnn", "ann")) // it is not in it any more
		if groups, err := w.GroupsOf(ctx, mine, "ANN"); err != nil || names(groups) != "Gbay" {
			t.Errorf("%v %v", names(groups), err)
		}
		const noUser, noGroup = "The user with name no cannot be found.", "The group with name no cannot be found."
		w.refused(w.AddUser(ctx, mine, "no", "ann"), errs.EntityNotFound, noGroup)
		w.refused(w.AddUser(ctx, mine, "no", "no"), errs.EntityNotFound, noUser)
		w.refused(w.RemoveUser(ctx, mine, "no", "ann"), errs.EntityNotFound, noGroup)
		w.refused(w.RemoveUser(ctx, mine, "gann", "no"), errs.EntityNotFound, noUser)
		_, err = w.GroupsOf(ctx, mine, "no")
		w.refused(err, errs.EntityNotFound, noUser)
		_, _, err = w.Members(ctx, mine, "no", "", 1)
		w.refused(err, errs.EntityNotFound, noGroup)
	})
}

// A user is in ten groups at most, also when many add it at once.
func TestGroupsPerUser(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		w.user("ann")
		const groups = 14
		failures := make([]error, groups)
		var all sync.WaitGroup
		for i := range groups {
			w.must(entity.Create{Kind: entity.Group, Name: fmt.Sprint("g", i)})
		}
		for i := range groups {
			all.Go(func() { failures[i] = w.AddUser(ctx, mine, fmt.Sprint("g", i), "ann") })
		}
		all.Wait()
		var refused int
		for _, err := range failures {
			if err != nil {
				refused++
				w.refused(err, errs.EntityLimit, "Cannot exceed quota for GroupsPerUser: 10")
			}
		}
		in, err := w.GroupsOf(ctx, mine, "ann")
		if err != nil || len(in) != 10 || refused != groups-10 {
			t.Errorf("%d refused, in %s: %v", refused, names(in), errors.Join(failures...))
		}
	})
}

func TestEntitiesPerAccount(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		for kind, most := range map[entity.Kind]int{entity.User: 5000, entity.Group: 300, entity.Role: 1000} {
			w.sql(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
				INSERT INTO iam_entity (id, account_id, kind, name, name_key, path, created_at, max_session)
				SELECT $2 || '-' || i, $3, $2, 'n' || i, 'n' || i, '/', 0, 3600 FROM n`, most-1, string(kind), string(mine))
			w.must(entity.Create{Kind: kind, Name: "last"})
			_, err := w.Create(ctx, entity.Create{Account: mine, Kind: kind, Name: "more", Trust: anyone})
			title := map[entity.Kind]string{entity.User: "Users", entity.Group: "Groups", entity.Role: "Roles"}[kind]
			w.refused(err, errs.EntityLimit, fmt.Sprintf("Cannot exceed quota for %sPerAccount: %d", title, most))
			w.must(entity.Create{Account: theirs, Kind: kind, Name: "more"})
		}
		// What services need does not count.
		if _, err := w.EnsureServiceRole(ctx, mine, "ecr.amazonaws.com"); err != nil {
			t.Error(err)
		}
		w.ok(w.Delete(ctx, mine, entity.Role, "last"))
		w.must(entity.Create{Kind: entity.Role, Name: "last"})
	})
}

package template_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/template"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const (
	absent = "The repository creation template with the prefix 'prod' does not exist in the registry with id '111111111111'"
	there  = "The repository creation template with the prefix 'prod/' already exists in the registry with id '111111111111'"
)

func TestLifeOfATemplate(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		const linked = "AWSServiceRoleForECRTemplate"
		if _, err := w.Entities.Get(ctx, account, entity.Role, linked); !errs.Is(err, errs.EntityNotFound) {
			t.Fatalf("the role before the first template: %v", err)
		}
		if regions, err := w.InUse(ctx, account, "ecr.amazonaws.com"); err != nil || len(regions) > 0 {
			t.Errorf("in use: %v %v", regions, err)
		}
		made := w.make(plain("prod"))
		want := plain("prod")
		want.Encryption.Type = repository.AES256
		want.CreatedAt = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
		want.UpdatedAt = want.CreatedAt
		if !reflect.DeepEqual(made, want) {
			t.Errorf("made %+v, want %+v", made, want)
		}
		if _, err := w.Entities.Get(ctx, account, entity.Role, linked); err != nil {
			t.Errorf("the role after the first template: %v", err)
		}
		_, err := w.Create(ctx, plain("prod/", template.Replication))
		w.refused("again, with the slash that is meant", err, errs.TemplateExists, there)

		u, err := w.Entities.Create(ctx, entity.Create{Account: account, Kind: entity.User, Name: "puller"})
		w.must(err)
		w.clk.Advance(time.Second)
		d := w.policy(`{"Effect":"Allow","Principal":{"AWS":"` + u.ARN() + `"},"Action":"ecr:BatchGetImage"}`)
		setting, filters := repository.ImmutableWithExclusion, []string{"dev-*"}
		role, description, lifecycle := "arn:aws:iam::111111111111:role/x/maker", "for production", " {}\n"[1:]
		tags := map[string]string{"team": "blue", "empty": ""}
		triggers := []template.Trigger{template.Replication, template.CreateOnPush, template.Replication}
		key := "arn:aws:kms:us-east-1:111111111111:key/0000"
		changed, err := w.Update(ctx, reg, "prod/", template.Change{
			Setting: &setting, Filters: &filters, Description: &description, Tags: &tags, Policy: &d, Lifecycle: &lifecycle, AppliedFor: &triggers, CustomRole: &role,
			Encryption: &repository.Encryption{Type: repository.KMS, KMSKey: key},
		})
		w.must(err)
		want.Description, want.CustomRole, want.Lifecycle, want.Tags = description, role, lifecycle, tags
		want.Mutability = repository.Mutability{Setting: setting, Filters: filters}
		want.Encryption = repository.Encryption{Type: repository.KMS, KMSKey: key}
		want.AppliedFor, want.UpdatedAt = triggers[:2], want.UpdatedAt.Add(time.Second)
		same := func(what string, got template.Template) {
			t.Helper()
			if got.Policy == nil || got.Policy.JSON() != d.JSON() {
				t.Errorf("%s: the policy is %v", what, got.Policy)
			}
			got.Policy = nil
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v\nwant %+v", what, got, want)
			}
		}
		same("changed", changed)
		all, err := w.List(ctx, reg, []string{"prod/", "prod"}, "", 10)
		if w.must(err); len(all) != 1 {
			t.Fatalf("%d templates", len(all))
		}
		same("listed", all[0])
		found, ok, err := w.Match(ctx, reg, "prod/app", template.Replication)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		same("matched", found)

		// What is left out keeps its value, also a policy for somebody who has gone.
		w.must(w.Entities.Delete(ctx, account, entity.User, "puller"))
		w.clk.Advance(time.Second)
		want.UpdatedAt, want.Description = want.UpdatedAt.Add(time.Second), ""
		nothing := ""
		changed, err = w.Update(ctx, reg, "prod", template.Change{Description: &nothing})
		w.must(err)
		if d, err = policy.Parse(strings.Replace(d.JSON(), u.ARN(), u.ID, 1), policy.Repository); err != nil {
			t.Fatal(err)
		}
		same("with one thing changed", changed)

		// Filters go with the setting that has them; empty values take away.
		plainly, none, untagged, nobody := repository.Immutable, (*policy.Document)(nil), map[string]string{}, repository.Encryption{Type: repository.AES256}
		changed, err = w.Update(ctx, reg, "prod", template.Change{Setting: &plainly, Policy: &none, Tags: &untagged, Lifecycle: &nothing, CustomRole: &nothing, Encryption: &nobody})
		if w.must(err); len(changed.Mutability.Filters)+len(changed.Tags)+len(changed.Lifecycle)+len(changed.CustomRole) > 0 || changed.Policy != nil || changed.Encryption != nobody || changed.Mutability.Setting != plainly {
			t.Errorf("emptied: %+v", changed)
		}
		if regions, err := w.InUse(ctx, account, "ecr.amazonaws.com"); err != nil || !slices.Equal(regions, []name.Region{reg.Region}) {
			t.Errorf("in use: %v %v", regions, err)
		}
		if regions, err := w.InUse(ctx, account, "replication.ecr.amazonaws.com"); err != nil || len(regions) > 0 {
			t.Errorf("another service's in use: %v %v", regions, err)
		}
		if task, err := w.Entities.DeleteServiceRole(ctx, account, linked, w.InUse); err != nil || task == "" {
			t.Fatal(err)
		}
		if _, err := w.Entities.Get(ctx, account, entity.Role, linked); err != nil {
			t.Errorf("the role was deleted while it is in use: %v", err)
		}

		_, err = w.Update(ctx, elsewhere, "prod", template.Change{})
		w.refused("updated in another region", err, errs.TemplateNotFound, absent)
		_, err = w.Delete(ctx, elsewhere, "prod")
		w.refused("deleted in another region", err, errs.TemplateNotFound, absent)
		gone, err := w.Delete(ctx, reg, "prod")
		if w.must(err); !reflect.DeepEqual(gone, changed) {
			t.Errorf("deleted %+v, want %+v", gone, changed)
		}
		_, err = w.Delete(ctx, reg, "prod")
		w.refused("deleted again", err, errs.TemplateNotFound, absent)
		if _, err := w.Entities.DeleteServiceRole(ctx, account, linked, w.InUse); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Entities.Get(ctx, account, entity.Role, linked); !errs.Is(err, errs.EntityNotFound) {
			t.Errorf("the role when no template is left: %v", err)
		}
	})
}

func TestSettingsRefused(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		kept := w.make(plain("kept"))
		for what, c := range map[string]struct {
			change func(*template.Template)
			code   errs.Code
			says   string
		}{
			"for nothing":             {func(t *template.Template) { t.AppliedFor = nil }, errs.InvalidParameter, "'appliedFor'"},
			"filters alone":           {func(t *template.Template) { t.Mutability.Filters = []string{"x"} }, errs.InvalidParameter, "'imageTagMutabilityExclusionFilters'"},
			"no setting":              {func(t *template.Template) { t.Mutability.Setting = "" }, errs.InvalidParameter, "'imageTagMutability'"},
			"a key without KMS":       {func(t *template.Template) { t.Encryption.KMSKey = "k" }, errs.InvalidParameter, "kmsKey can only be set"},
			"GovCloud's":              {func(t *template.Template) { t.Encryption.Type = "KMS_DSSE" }, errs.InvalidParameter, "not supported in this region"},
			"a reserved tag":          {func(t *template.Template) { t.Tags = map[string]string{"aws:x": ""} }, errs.InvalidResourceTag, "reserved"},
			"no ARN":                  {func(t *template.Template) { t.CustomRole = "maker" }, errs.InvalidParameter, "'customRoleArn'"},
			"a user":                  {func(t *template.Template) { t.CustomRole = "arn:aws:iam::111111111111:user/x" }, errs.InvalidParameter, "'customRoleArn'"},
			"another account's role":  {func(t *template.Template) { t.CustomRole = "arn:aws:iam::222222222222:role/x" }, errs.InvalidParameter, "'customRoleArn'"},
			"a bad lifecycle policy":  {func(t *template.Template) { t.Lifecycle = "x" }, errs.InvalidParameter, "no policy"},
			"a region not served":     {func(t *template.Template) { t.Registry.Region = "eu-west-2" }, errs.InvalidParameter, "does not exist in region"},
			"another service's thing": {func(t *template.Template) { t.CustomRole = "arn:aws:s3:::role/x" }, errs.InvalidParameter, "'customRoleArn'"},
		} {
			bad := plain("bad")
			c.change(&bad)
			if _, err := w.Create(ctx, bad); !errs.Is(err, c.code) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", what, err)
			}
		}
		bad := plain("bad")
		bad.Policy = w.policy(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:user/nobody"},"Action":"ecr:*"}`)
		var unknown *entity.UnknownPrincipal
		if _, err := w.Create(ctx, bad); !errors.As(err, &unknown) {
			t.Errorf("a policy for nobody: %v", err)
		}
		if _, err := w.Update(ctx, reg, "kept", template.Change{Policy: &bad.Policy}); !errors.As(err, &unknown) {
			t.Errorf("a policy for nobody: %v", err)
		}
		none := []template.Trigger{}
		if _, err := w.Update(ctx, reg, "kept", template.Change{AppliedFor: &none}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("for nothing: %v", err)
		}
		if all, err := w.List(ctx, reg, nil, "", 10); err != nil || !reflect.DeepEqual(all, []template.Template{kept}) {
			t.Errorf("left: %+v %v", all, err)
		}
	})
}

// TestMatch: the rule by which one of several templates holds.
func TestMatch(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		find := func(repo name.Repository, trigger template.Trigger) string {
			t.Helper()
			m, ok, err := w.Match(ctx, reg, repo, trigger)
			if w.must(err); !ok {
				return ""
			}
			return m.Prefix
		}
		if got := find("prod/app", template.CreateOnPush); got != "" {
			t.Errorf("without a template: %s", got)
		}
		w.make(plain("prod"))
		if got := find("other/app", template.CreateOnPush); got != "" {
			t.Errorf("without one that covers it: %s", got)
		}
		w.make(plain("prod/team/", template.CreateOnPush, template.Replication))
		w.make(plain("prod/team/deep/down", template.PullThroughCache))
		w.make(plain("root")) // no more than a name
		w.make(plain(template.Root, template.CreateOnPush, template.PullThroughCache))
		for _, c := range []struct {
			repo    name.Repository
			trigger template.Trigger
			want    string
		}{
			{"prod/app", template.CreateOnPush, "prod"},
			{"prod/app/more", template.CreateOnPush, "prod"},
			{"prod", template.CreateOnPush, "ROOT"},
			{"production/app", template.CreateOnPush, "ROOT"},
			{"prod-1/app", template.CreateOnPush, "ROOT"},
			{"app", template.CreateOnPush, "ROOT"},
			{"a/prod/app", template.CreateOnPush, "ROOT"},
			{"root/app", template.CreateOnPush, "root"},
			{"prod/team", template.CreateOnPush, "prod"},
			{"prod/team/app", template.CreateOnPush, "prod/team/"},
			{"prod/team/deep", template.CreateOnPush, "prod/team/"},
			{"prod/team/deep/down/app", template.CreateOnPush, "prod/team/"}, // the longer one is not for pushes
			{"prod/team/deep/down/app", template.PullThroughCache, "prod/team/deep/down"},
			{"prod/team/app", template.PullThroughCache, "ROOT"},
			{"prod/team/app", template.Replication, "prod/team/"},
			{"prod/app", template.Replication, ""},
		} {
			if got := find(c.repo, c.trigger); got != c.want {
				t.Errorf("%s for %s: %q, want %q", c.repo, c.trigger, got, c.want)
			}
		}
		if _, ok, err := w.Match(ctx, elsewhere, "prod/app", template.CreateOnPush); err != nil || ok {
			t.Errorf("in another region: %v %v", ok, err)
		}
		deepest := name.Repository("ab" + strings.Repeat("/a", 127)) // as many segments as a name has room for
		if got := find(deepest, template.CreateOnPush); got != "ROOT" {
			t.Errorf("a deep name: %q", got)
		}
	})
}

func TestList(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		for _, p := range []string{"b/", "a/b", "ROOT", "a", "c"} {
			w.make(plain(p))
		}
		list := func(prefixes []string, after string, limit int) string {
			t.Helper()
			all, err := w.List(ctx, reg, prefixes, after, limit)
			w.must(err)
			var names []string
			for _, m := range all {
				names = append(names, m.Prefix)
			}
			return strings.Join(names, " ")
		}
		var many []string
		for i := range 1200 {
			many = append(many, "a"+strings.Repeat("x", i%200)+"-"+strings.Repeat("y", i/200))
		}
		for _, c := range []struct {
			prefixes []string
			after    string
			limit    int
			want     string
		}{
			{nil, "", 10, "ROOT a a/b b/ c"}, {nil, "", 2, "ROOT a"}, {nil, "a", 2, "a/b b/"}, {nil, "b/", 2, "c"}, {nil, "c", 2, ""},
			{[]string{"c", "a", "none", "c/", "b"}, "", 10, "a b/ c"}, {[]string{"c", "a", "b"}, "a", 1, "b/"}, {[]string{"c", "a", "b"}, "b/", 5, "c"}, {[]string{"a"}, "a", 5, ""},
			{append(many, "c", "ROOT"), "", 10, "ROOT c"}, {append(many, "c", "ROOT"), "", 1, "ROOT"},
		} {
			if got := list(c.prefixes, c.after, c.limit); got != c.want {
				t.Errorf("%d prefixes after %q, %d: %q, want %q", len(c.prefixes), c.after, c.limit, got, c.want)
			}
		}
		if all, err := w.List(ctx, elsewhere, nil, "", 10); err != nil || len(all) > 0 {
			t.Errorf("in another region: %v %v", all, err)
		}
	})
}

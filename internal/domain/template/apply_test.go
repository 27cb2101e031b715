package template_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/template"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const maker = `{"Effect":"Allow","Action":["ecr:CreateRepository","ecr:TagResource"],"Resource":"arn:aws:ecr:us-east-1:111111111111:repository/*"}`

func TestApply(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		if _, err := w.Apply(ctx, reg, "prod/app", template.Replication); !errs.Is(err, errs.TemplateNotFound) {
			t.Errorf("without a template: %v", err)
		}
		key, err := w.keys.Create(ctx, string(account), string(reg.Region), "alias/production")
		w.must(err)
		keyARN := "arn:aws:kms:us-east-1:111111111111:key/" + key.ID
		whole := plain("prod", template.Replication)
		whole.Mutability = repository.Mutability{Setting: repository.ImmutableWithExclusion, Filters: []string{"dev-*", "latest"}}
		whole.Encryption = repository.Encryption{Type: repository.KMS, KMSKey: keyARN}
		whole.Tags = map[string]string{"team": "blue", "empty": ""}
		whole.Policy = w.policy(`{"Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage"}`)
		whole.Lifecycle = `{"rules":[]}`
		whole.CustomRole = w.role("whole", "ecr.amazonaws.com", maker+`,{"Effect":"Allow","Action":["kms:CreateGrant","kms:RetireGrant","kms:DescribeKey"],"Resource":"`+keyARN+`"}`)
		w.make(whole)
		r, err := w.Apply(ctx, reg, "prod/app", template.Replication)
		w.must(err)
		got, err := w.Repositories.Get(ctx, reg, "prod/app")
		w.must(err)
		if got.ID != r.ID || got.Mutability.Setting != repository.ImmutableWithExclusion || strings.Join(got.Mutability.Filters, " ") != "dev-* latest" ||
			got.Encryption != (repository.Encryption{Type: repository.KMS, KMSKey: keyARN, KeyID: key.ID}) {
			t.Errorf("made %+v", got)
		}
		a, err := w.Repositories.Access(ctx, reg, "prod/app")
		if err != nil || a.Policy == nil || a.Policy.Document.JSON() != whole.Policy.JSON() || !maps.Equal(a.Tags, whole.Tags) {
			t.Errorf("made with %+v, %v", a, err)
		}
		if w.lifecycles["prod/app"] != whole.Lifecycle {
			t.Errorf("the lifecycle policy is %q", w.lifecycles["prod/app"])
		}
		if _, err := w.Apply(ctx, reg, "prod/app", template.Replication); !errs.Is(err, errs.RepositoryExists) {
			t.Errorf("again: %v", err)
		}
		// The last step fails: nothing is left.
		w.failing = errors.New("the disk is gone")
		if _, err := w.Apply(ctx, reg, "prod/broken", template.Replication); !errors.Is(err, w.failing) {
			t.Errorf("a failing step: %v", err)
		}
		w.missing("prod/broken")
		w.failing = nil
		// A template that changes does not touch what it has made.
		w.must(second(w.Update(ctx, reg, "prod", template.Change{Setting: ptr(repository.Mutable), Filters: ptr([]string(nil)), Tags: ptr(map[string]string{})})))
		if got, err := w.Repositories.Get(ctx, reg, "prod/app"); err != nil || got.Mutability.Setting != repository.ImmutableWithExclusion {
			t.Errorf("after a change of the template: %+v %v", got, err)
		}
		// A policy for somebody who has gone is as dead as in a repository of theirs.
		u, err := w.Entities.Create(ctx, entity.Create{Account: account, Kind: entity.User, Name: "puller"})
		w.must(err)
		own := plain("own", template.Replication)
		own.Policy = w.policy(`{"Effect":"Allow","Principal":{"AWS":"` + u.ARN() + `"},"Action":"ecr:BatchGetImage"}`)
		w.make(own)
		w.must(w.Entities.Delete(ctx, account, entity.User, "puller"))
		w.must(second(w.Apply(ctx, reg, "own/app", template.Replication)))
		if a, err := w.Repositories.Access(ctx, reg, "own/app"); err != nil || !strings.Contains(a.Policy.Document.JSON(), u.ID) {
			t.Errorf("%+v %v", a, err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func ptr[T any](v T) *T { return &v }

// TestRoles: what the role that makes repositories needs, and what is said when it
// has not got it.
func TestRoles(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		const create = `{"Effect":"Allow","Action":"ecr:CreateRepository","Resource":"*"}`
		key, err := w.keys.Create(ctx, string(account), string(reg.Region), "")
		w.must(err)
		kms := repository.Encryption{Type: repository.KMS, KMSKey: "arn:aws:kms:us-east-1:111111111111:key/" + key.ID}
		tags := map[string]string{"team": "blue"}
		for prefix, c := range map[string]struct {
			role string
			tags map[string]string
			key  repository.Encryption
			code errs.Code
			says string
		}{
			"linked":         {"", nil, repository.Encryption{}, 0, ""},
			"linked-tags":    {"", tags, repository.Encryption{}, errs.AccessDenied, "It has resource tags and no custom role. Give it a customRoleArn."},
			"linked-kms":     {"", nil, repository.Encryption{Type: repository.KMS}, errs.AccessDenied, "It has encryption with KMS and no custom role. Give it a customRoleArn."},
			"gone":           {"arn:aws:iam::111111111111:role/gone", nil, repository.Encryption{}, errs.AccessDenied, "The role arn:aws:iam::111111111111:role/gone does not exist."},
			"untrusted":      {w.role("untrusted", "replication.ecr.amazonaws.com", create), nil, repository.Encryption{}, errs.AccessDenied, "The trust policy of the role arn:aws:iam::111111111111:role/ecr/untrusted does not let ecr.amazonaws.com assume it."},
			"bare":           {w.role("bare", "ecr.amazonaws.com", ""), nil, repository.Encryption{}, errs.AccessDenied, "User: arn:aws:sts::111111111111:assumed-role/bare/ecr-template is not authorized to perform: ecr:CreateRepository on resource: arn:aws:ecr:us-east-1:111111111111:repository/bare/app because no identity-based policy allows the ecr:CreateRepository action"},
			"create":         {w.role("create", "ecr.amazonaws.com", create), nil, repository.Encryption{}, 0, ""},
			"create-tags":    {w.role("create-tags", "ecr.amazonaws.com", create), tags, repository.Encryption{}, errs.AccessDenied, "is not authorized to perform: ecr:TagResource"},
			"tags":           {w.role("tags", "ecr.amazonaws.com", maker), tags, repository.Encryption{}, 0, ""},
			"tags-condition": {w.role("tags-condition", "ecr.amazonaws.com", strings.TrimSuffix(maker, "}")+`,"Condition":{"StringEquals":{"aws:RequestTag/team":"red"}}}`), tags, repository.Encryption{}, errs.AccessDenied, "ecr:CreateRepository"},
			"create-kms":     {w.role("create-kms", "ecr.amazonaws.com", create+`,{"Effect":"Allow","Action":["kms:CreateGrant","kms:DescribeKey"],"Resource":"*"}`), nil, kms, errs.AccessDenied, "is not authorized to perform: kms:RetireGrant on resource: " + kms.KMSKey},
			"kms":            {w.role("kms", "ecr.amazonaws.com", create+`,{"Effect":"Allow","Action":["kms:CreateGrant","kms:DescribeKey","kms:RetireGrant"],"Resource":"*"}`), nil, kms, 0, ""},
			"aws-key":        {w.role("aws-key", "ecr.amazonaws.com", create), nil, repository.Encryption{Type: repository.KMS}, 0, ""},
			"no-key":         {w.role("no-key", "ecr.amazonaws.com", create+`,{"Effect":"Allow","Action":"kms:*","Resource":"*"}`), nil, repository.Encryption{Type: repository.KMS, KMSKey: "arn:aws:kms:us-east-1:111111111111:key/none"}, errs.KeyFailure, "NotFoundException"},
		} {
			one := plain(prefix)
			one.CustomRole, one.Tags, one.Encryption = c.role, c.tags, c.key
			w.make(one)
			repo := name.Repository(prefix + "/app")
			_, err := w.Apply(ctx, reg, repo, template.CreateOnPush)
			if c.says == "" {
				if err != nil {
					t.Errorf("%s: %v", prefix, err)
				}
				continue
			}
			start := "The repository cannot be created by the repository creation template with the prefix '" + prefix + "': "
			if !errs.Is(err, c.code) || !strings.HasPrefix(err.Error(), start) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", prefix, err)
			}
			w.missing(repo)
		}
	})
}

func TestCreateOnPush(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		asked := 0
		yes := func(context.Context, map[string]string) error { asked++; return nil }
		w.make(plain("cache", template.PullThroughCache))
		for _, repo := range []name.Repository{"prod/app", "cache/app"} {
			_, made, err := w.CreateOnPush(ctx, reg, repo, yes)
			if made || asked > 0 {
				t.Errorf("made %v, asked %d times", made, asked)
			}
			w.refused("without a template", err, errs.RepositoryNotFound, "The repository with name '"+string(repo)+"' does not exist in the registry with id '111111111111'")
		}
		tagged := plain("prod")
		tagged.Tags, tagged.CustomRole = map[string]string{"team": "blue"}, w.role("maker", "ecr.amazonaws.com", maker)
		w.make(tagged)
		no := errs.New(errs.AccessDenied, "no")
		_, made, err := w.CreateOnPush(ctx, reg, "prod/app", func(_ context.Context, tags map[string]string) error {
			if !maps.Equal(tags, tagged.Tags) {
				t.Errorf("asked about the tags %v", tags)
			}
			return no
		})
		if made || !errors.Is(err, no) {
			t.Errorf("without permission: %v %v", made, err)
		}
		w.missing("prod/app")

		// Many at once make one repository, and all get it.
		const n = 8
		var wait sync.WaitGroup
		var ids [n]int64
		var first [n]bool
		for i := range n {
			wait.Go(func() {
				r, made, err := w.CreateOnPush(ctx, reg, "prod/app", func(context.Context, map[string]string) error { return nil })
				if err != nil {
					t.Error(err)
				}
				ids[i], first[i] = r.ID, made
			})
		}
		wait.Wait()
		makers := 0
		for i := range n {
			if first[i] {
				makers++
			}
			if ids[i] == 0 || ids[i] != ids[0] {
				t.Errorf("the repositories are %v", ids)
				break
			}
		}
		if makers != 1 {
			t.Errorf("%d say that they have made it", makers)
		}
	})
}

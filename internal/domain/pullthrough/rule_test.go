package pullthrough_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestUpstreamRepository(t *testing.T) {
	for _, c := range []struct {
		prefix, upstream string
		repo             name.Repository
		want             string
	}{
		{"ecr-public", "ROOT", "ecr-public/my-app/image1", "my-app/image1"},
		{"ROOT", "ROOT", "my-app/image1", "my-app/image1"},
		{"ROOT", "ROOT", "nginx", "nginx"},
		{"team-a", "team-a", "team-a/myapp/image1", "team-a/myapp/image1"},
		{"my-app", "upstream-app", "my-app/image1", "upstream-app/image1"},
		{"my-app/", "upstream-app/", "my-app/image1", "upstream-app/image1"},
		{"a/b", "ROOT", "a/b/c", "c"},
		{"a/b", "ROOT", "a/b", ""},
		{"a/b", "ROOT", "a/bc/d", ""},
	} {
		r := pullthrough.Rule{Prefix: c.prefix, UpstreamPrefix: c.upstream}
		if got := r.UpstreamRepository(c.repo); got != c.want {
			t.Errorf("%s, %s: %s comes from %q, want %q", c.prefix, c.upstream, c.repo, got, c.want)
		}
	}
}

const absent = "The pull through cache rule with Amazon ECR repository prefix 'none' does not exist in the registry with id '111111111111'"

func TestLifeOfARule(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		const linked = "AWSServiceRoleForECRPullThroughCache"
		if _, err := w.Entities.Get(ctx, account, entity.Role, linked); !errs.Is(err, errs.EntityNotFound) {
			t.Fatalf("the role before the first rule: %v", err)
		}
		if r, found, err := w.Covering(ctx, reg, "quay/app"); found || err != nil {
			t.Fatalf("%+v %v", r, err)
		}
		made := w.make(pullthrough.Rule{Prefix: "quay/", URL: "Quay.io"})
		at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
		want := pullthrough.Rule{Registry: reg, Prefix: "quay/", Upstream: pullthrough.Quay, URL: "quay.io", UpstreamPrefix: "ROOT", CreatedAt: at, UpdatedAt: at}
		if made != want {
			t.Errorf("made %+v", made)
		}
		if _, err := w.Entities.Get(ctx, account, entity.Role, linked); err != nil {
			t.Errorf("the role after the first rule: %v", err)
		}
		w.make(pullthrough.Rule{Prefix: "a", URL: "public.ecr.aws", Registry: elsewhere})
		for service, want := range map[string][]name.Region{pullthrough.ServiceName: {"eu-west-1", "us-east-1"}, "ecr.amazonaws.com": nil} {
			if regions, err := w.InUse(ctx, account, service); err != nil || !reflect.DeepEqual(regions, want) {
				t.Errorf("%s is in use in %v, %v", service, regions, err)
			}
		}
		for _, prefix := range []string{"quay", "quay/"} {
			if got, err := w.Get(ctx, reg, prefix); err != nil || got != want {
				t.Errorf("%s: %+v %v", prefix, got, err)
			}
			_, err := w.Create(ctx, pullthrough.Rule{Registry: reg, Prefix: prefix, URL: "quay.io"})
			w.refused(prefix, err, errs.PullThroughRuleExists, "The pull through cache rule with Amazon ECR repository prefix '"+prefix+"' already exists in the registry with id '111111111111'")
		}

		arn := w.secret("ecr-pullthroughcache/quay", `{"username":"me","accessToken":"open"}`, "")
		w.clk.Advance(time.Minute)
		changed, err := w.Update(ctx, reg, "quay", pullthrough.Change{CredentialARN: &arn})
		want.CredentialARN, want.UpdatedAt = arn, at.Add(time.Minute)
		if err != nil || changed != want {
			t.Errorf("%+v %v", changed, err)
		}
		if r, found, err := w.Covering(ctx, reg, "quay/app"); r != want || !found || err != nil {
			t.Errorf("%+v %v", r, err)
		}
		none := arn[:len(arn)-6] + "??????"
		_, err = w.Update(ctx, reg, "quay", pullthrough.Change{CredentialARN: &none})
		w.refused("another secret", err, errs.SecretNotFound, "The ARN of the secret specified in the pull through cache rule was not found.")
		_, err = w.Update(ctx, reg, "none", pullthrough.Change{})
		w.refused("updating none", err, errs.PullThroughRuleNotFound, absent)

		w.make(pullthrough.Rule{Prefix: "k8s", URL: "registry.k8s.io"})
		w.make(pullthrough.Rule{Prefix: "ROOT", URL: "public.ecr.aws"})
		list := func(prefixes []string, after string, limit int) (all []string) {
			t.Helper()
			rules, err := w.List(ctx, reg, prefixes, after, limit)
			w.must(err)
			for _, r := range rules {
				all = append(all, r.Prefix)
			}
			return all
		}
		for _, c := range []struct {
			prefixes []string
			after    string
			limit    int
			want     string
		}{{nil, "", 9, "ROOT k8s quay/"}, {nil, "", 2, "ROOT k8s"}, {nil, "k8s", 2, "quay/"}, {[]string{"quay", "quay/", "ROOT"}, "", 9, "ROOT quay/"}, {[]string{"quay", "ROOT"}, "ROOT", 9, "quay/"}} {
			if got := strings.Join(list(c.prefixes, c.after, c.limit), " "); got != c.want {
				t.Errorf("%+v: %s", c, got)
			}
		}
		_, err = w.List(ctx, reg, []string{"k8s", "none"}, "", 9)
		w.refused("listing none", err, errs.PullThroughRuleNotFound, absent)

		gone, err := w.Delete(ctx, reg, "quay")
		if err != nil || gone != want {
			t.Errorf("%+v %v", gone, err)
		}
		_, err = w.Delete(ctx, reg, "none")
		w.refused("deleting none", err, errs.PullThroughRuleNotFound, absent)
		if r, found, err := w.Covering(ctx, reg, "quay/app"); r.Prefix != "ROOT" || !found || err != nil {
			t.Errorf("%+v %v", r, err)
		}
	})
}

func TestCovering(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		there := pullthrough.New(w.Config) // another node
		for _, prefix := range []string{"a", "a/b/c/", "a/b"} {
			w.make(pullthrough.Rule{Prefix: prefix, URL: "quay.io"})
		}
		check := func(s *pullthrough.Service, repo name.Repository, want string) {
			t.Helper()
			r, found, err := s.Covering(ctx, reg, repo)
			if err != nil || found != (want != "") || r.Prefix != want {
				t.Errorf("%s comes by %q, %v; want %q", repo, r.Prefix, err, want)
			}
		}
		for repo, want := range map[name.Repository]string{"a/x": "a", "a/b": "a", "a/b/x": "a/b", "a/b/c": "a/b", "a/b/c/d/e": "a/b/c/", "a/bc/x": "a", "ab/c": "", "a": "", "x": ""} {
			check(w.Service, repo, want)
			check(there, repo, want)
		}
		w.make(pullthrough.Rule{Prefix: "ROOT", URL: "quay.io"})
		check(w.Service, "x", "ROOT")
		w.clk.Advance(pullthrough.CacheLife)
		check(there, "x", "ROOT")
		check(there, "a/b/x", "a/b")
		if _, found, err := w.Covering(ctx, elsewhere, "a/x"); found || err != nil {
			t.Errorf("in another region: %v", err)
		}
	})
}

// TestUpstreams: which URLs make which kinds, and what they need.
func TestUpstreams(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		arn := w.secret("ecr-pullthroughcache/one", "test", "") // what is in it is not looked at
		empty := w.secret("ecr-pullthroughcache/empty", "", "")
		named := w.secret("mine", "test", "")
		own := "arn:aws:iam::111111111111:role/own"
		const (
			isnt     = "The specified upstream registry isn't supported: "
			unauth   = "The specified upstream registry requires authentication. Specify a valid Secrets Manager ARN"
			param    = "Invalid parameter at '"
			notThere = "The ARN of the secret specified in the pull through cache rule was not found."
		)
		for i, c := range []struct {
			rule pullthrough.Rule
			kind pullthrough.Kind
			code errs.Code
			says string
		}{
			{rule: pullthrough.Rule{URL: "public.ecr.aws"}, kind: pullthrough.ECRPublic},
			{rule: pullthrough.Rule{URL: "registry.k8s.io"}, kind: pullthrough.K8s},
			{rule: pullthrough.Rule{URL: "quay.io", Upstream: pullthrough.Quay}, kind: pullthrough.Quay},
			{rule: pullthrough.Rule{URL: "quay.io", CredentialARN: arn}, kind: pullthrough.Quay},
			{rule: pullthrough.Rule{URL: "registry-1.docker.io", CredentialARN: arn}, kind: pullthrough.DockerHub},
			{rule: pullthrough.Rule{URL: "registry-1.docker.io:443", CredentialARN: arn, Upstream: pullthrough.DockerHub}, kind: pullthrough.DockerHub},
			{rule: pullthrough.Rule{URL: "ghcr.io", CredentialARN: empty}, kind: pullthrough.GitHub},
			{rule: pullthrough.Rule{URL: "my-registry.azurecr.io", CredentialARN: arn[:len(arn)-7]}, kind: pullthrough.Azure},
			{rule: pullthrough.Rule{URL: "registry.gitlab.com", CredentialARN: arn}, kind: pullthrough.GitLab},
			{rule: pullthrough.Rule{URL: "cgr.dev", CredentialARN: arn}, kind: pullthrough.Chainguard},
			{rule: pullthrough.Rule{URL: "111111111111.dkr.ecr.eu-west-1.amazonaws.com"}, kind: pullthrough.ECR},
			{rule: pullthrough.Rule{URL: "111111111111.dkr.ecr.eu-west-1.registry.test:5000", UpstreamPrefix: "x"}, kind: pullthrough.ECR},
			{rule: pullthrough.Rule{URL: "222222222222.dkr.ecr.us-east-1.registry.test", CustomRole: own}, kind: pullthrough.ECR},
			{rule: pullthrough.Rule{URL: "registry.example:5000"}},
			{rule: pullthrough.Rule{URL: "mirror.example", CredentialARN: arn}},

			{rule: pullthrough.Rule{URL: "registry-1.docker.io"}, code: errs.UpstreamUnsupported, says: unauth},
			{rule: pullthrough.Rule{URL: "my.azurecr.io"}, code: errs.UpstreamUnsupported, says: unauth},
			{rule: pullthrough.Rule{URL: "ghcr.io", Upstream: pullthrough.Quay, CredentialARN: arn}, code: errs.UpstreamUnsupported, says: isnt + "'ghcr.io' is not the URL of an upstream registry of the type 'quay'."},
			{rule: pullthrough.Rule{URL: "registry.example:5000", Upstream: pullthrough.Quay}, code: errs.UpstreamUnsupported, says: isnt},
			{rule: pullthrough.Rule{URL: "docker.io", CredentialARN: arn}, code: errs.UpstreamUnsupported, says: isnt},
			{rule: pullthrough.Rule{URL: "https://quay.io"}, code: errs.UpstreamUnsupported, says: isnt},
			{rule: pullthrough.Rule{URL: "quay.io/x"}, code: errs.UpstreamUnsupported, says: isnt},
			{rule: pullthrough.Rule{URL: "a.b.azurecr.io", CredentialARN: arn}, code: errs.UpstreamUnsupported, says: isnt},
			{rule: pullthrough.Rule{URL: "registry.example"}, code: errs.UpstreamUnsupported, says: isnt},
			{rule: pullthrough.Rule{URL: ""}, code: errs.UpstreamUnsupported, says: isnt},
			{rule: pullthrough.Rule{Prefix: "ROOT", URL: "quay.io", UpstreamPrefix: "x"}, code: errs.InvalidParameter, says: param + "upstreamRepositoryPrefix"},
			{rule: pullthrough.Rule{URL: "quay.io", CustomRole: own}, code: errs.InvalidParameter, says: param + "customRoleArn"},
			{rule: pullthrough.Rule{URL: "quay.io", CredentialARN: named}, code: errs.InvalidParameter, says: param + "credentialArn"},
			{rule: pullthrough.Rule{URL: "quay.io", CredentialARN: strings.Replace(arn, "us-east-1", "eu-west-1", 1)}, code: errs.InvalidParameter, says: param + "credentialArn"},
			{rule: pullthrough.Rule{URL: "quay.io", CredentialARN: strings.Replace(arn, "1111", "2222", 1)}, code: errs.InvalidParameter, says: param + "credentialArn"},
			{rule: pullthrough.Rule{URL: "quay.io", CredentialARN: arn + "x"}, code: errs.SecretNotFound, says: notThere},
			{rule: pullthrough.Rule{URL: "111111111111.dkr.ecr.us-east-1.registry.test"}, code: errs.InvalidParameter, says: param + "upstreamRegistryUrl"},
			{rule: pullthrough.Rule{URL: "111111111111.dkr.ecr.eu-west-1.amazonaws.com", CredentialARN: arn}, code: errs.InvalidParameter, says: param + "credentialArn"},
			{rule: pullthrough.Rule{URL: "222222222222.dkr.ecr.us-east-1.amazonaws.com"}, code: errs.InvalidParameter, says: param + "customRoleArn' failed to satisfy constraint: 'A custom role is required"},
			{rule: pullthrough.Rule{URL: "222222222222.dkr.ecr.us-east-1.amazonaws.com", CustomRole: "arn:aws:iam::222222222222:role/own"}, code: errs.InvalidParameter, says: param + "customRoleArn"},
			{rule: pullthrough.Rule{URL: "222222222222.dkr.ecr.us-east-1.amazonaws.com", CustomRole: "arn:aws:iam::111111111111:user/own"}, code: errs.InvalidParameter, says: param + "customRoleArn"},
		} {
			c.rule.Registry = reg
			if c.rule.Prefix == "" {
				c.rule.Prefix = fmt.Sprint("p", i)
			}
			made, err := w.Create(ctx, c.rule)
			if c.says != "" {
				w.refused(fmt.Sprintf("%+v", c.rule), err, c.code, c.says)
				if _, err := w.Get(ctx, reg, c.rule.Prefix); !errs.Is(err, errs.PullThroughRuleNotFound) {
					t.Errorf("%+v was made", c.rule)
				}
				continue
			}
			if err != nil || made.Upstream != c.kind {
				t.Errorf("%+v: %+v %v", c.rule, made, err)
			}
		}
		_, err := w.Secrets.Delete(ctx, reg, "ecr-pullthroughcache/empty", nil, false)
		w.must(err)
		_, err = w.Create(ctx, pullthrough.Rule{Registry: reg, Prefix: "deleted", URL: "ghcr.io", CredentialARN: empty})
		w.refused("a deleted secret", err, errs.SecretNotFound, notThere)
		_, err = w.Update(ctx, reg, "p4", pullthrough.Change{CustomRole: &own})
		w.refused("a role for Docker Hub", err, errs.InvalidParameter, param+"customRoleArn")
		_, err = w.Update(ctx, reg, "p12", pullthrough.Change{CustomRole: new("")})
		w.refused("the role taken away", err, errs.InvalidParameter, param+"customRoleArn")
	})
}

func TestQuota(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		for i := range 50 {
			w.make(pullthrough.Rule{Prefix: fmt.Sprint("p", i), URL: "quay.io"})
		}
		_, err := w.Create(ctx, pullthrough.Rule{Registry: reg, Prefix: "more", URL: "quay.io"})
		w.refused("one more", err, errs.LimitExceeded, "The registry with id '111111111111' already has the maximum allowed number of pull through cache rules which is '50'")
		w.make(pullthrough.Rule{Registry: elsewhere, Prefix: "more", URL: "quay.io"})
		if rules, err := w.List(ctx, reg, nil, "", 100); err != nil || len(rules) != 50 {
			t.Errorf("%d %v", len(rules), err)
		}
	})
}

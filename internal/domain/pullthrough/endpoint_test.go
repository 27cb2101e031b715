package pullthrough_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/domain/secret"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

func TestCredentials(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		key, err := w.keys.Create(ctx, string(account), string(reg.Region), "alias/mine")
		w.must(err)
		arn := w.secret("ecr-pullthroughcache/hub", "test", "alias/mine")
		hub := w.make(pullthrough.Rule{Prefix: "hub", URL: "registry-1.docker.io", CredentialARN: arn})
		quay := w.make(pullthrough.Rule{Prefix: "quay", URL: "quay.io"})
		if e, err := w.Endpoint(ctx, quay); err != nil || e != (upstream.Endpoint{Host: "quay.io"}) {
			t.Errorf("%+v %v", e, err)
		}
		const form = "does not have the form that is needed: a JSON object with the members username and accessToken"
		put := func(value string) {
			t.Helper()
			_, _, err := w.Secrets.Put(ctx, reg, arn, "", secret.Content{Data: []byte(value)}, nil)
			w.must(err)
		}
		for _, bad := range []string{"test", `{"username":"sesame"}`, `{"username":"sesame","accessToken":7}`, `{"username":"","accessToken":"sesame"}`, `["sesame"]`} {
			put(bad)
			_, err := w.Endpoint(ctx, hub)
			if !errs.Is(err, errs.SecretInaccessible) || !strings.Contains(err.Error(), form) || strings.Contains(err.Error(), "sesame") {
				t.Errorf("%s: %v", bad, err)
			}
			if ok, failure, err := w.Validate(ctx, hub); ok || err != nil || !strings.Contains(failure, form) {
				t.Errorf("%s: %v %q %v", bad, ok, failure, err)
			}
		}
		put(`{"username":"me","accessToken":"closed"}`)
		if ok, failure, err := w.Validate(ctx, hub); ok || err != nil || failure != "The upstream registry 'registry-1.docker.io' refuses the credentials. Check the username and the access token in the secret." {
			t.Errorf("%v %q %v", ok, failure, err)
		}
		put(`{"username":"me","accessToken":"open","more":1}`)
		if e, err := w.Endpoint(ctx, hub); err != nil || e != (upstream.Endpoint{Host: "registry-1.docker.io", Username: "me", Password: "open"}) {
			t.Errorf("%+v %v", e, err)
		}
		for _, r := range []pullthrough.Rule{hub, quay} {
			if ok, failure, err := w.Validate(ctx, r); !ok || failure != "" || err != nil {
				t.Errorf("%s: %v %q %v", r.URL, ok, failure, err)
			}
		}

		_, err = w.keys.SetEnabled(ctx, key.ID, false)
		w.must(err)
		const undecryptable = "The secret is accessible but is unable to be decrypted."
		_, err = w.Endpoint(ctx, hub)
		w.refused("a disabled key", err, errs.SecretUndecryptable, undecryptable)
		_, err = w.Create(ctx, pullthrough.Rule{Registry: reg, Prefix: "new", URL: "ghcr.io", CredentialARN: arn})
		w.refused("a rule with it", err, errs.SecretUndecryptable, undecryptable)
		if ok, failure, err := w.Validate(ctx, hub); ok || err != nil || !strings.HasPrefix(failure, undecryptable) {
			t.Errorf("%v %q %v", ok, failure, err)
		}
		_, err = w.keys.SetEnabled(ctx, key.ID, true)
		w.must(err)

		_, err = w.Secrets.Delete(ctx, reg, arn, nil, false)
		w.must(err)
		_, err = w.Endpoint(ctx, hub)
		w.refused("a deleted secret", err, errs.SecretNotFound, "The ARN of the secret specified in the pull through cache rule was not found. Update the pull through cache rule with a valid secret ARN and try again.")

		// The service-linked role may read the secrets that are for it only.
		_, err = w.Endpoint(ctx, pullthrough.Rule{Registry: reg, Prefix: "x", Upstream: pullthrough.Quay, URL: "quay.io", CredentialARN: w.secret("mine", `{"username":"me","accessToken":"open"}`, "")})
		w.refused("a secret of another name", err, errs.SecretInaccessible, "The secret is unable to be accessed. Verify the resource permissions for the secret and try again.")

		empty := w.make(pullthrough.Rule{Prefix: "empty", URL: "ghcr.io", CredentialARN: w.secret("ecr-pullthroughcache/empty", "", "")})
		_, err = w.Endpoint(ctx, empty)
		w.refused("no value", err, errs.SecretInaccessible, "The secret "+empty.CredentialARN+" has no value.")

		gone := w.make(pullthrough.Rule{Prefix: "listed", URL: "mirror.example"})
		if ok, failure, err := w.Validate(ctx, gone); ok || err != nil || failure != "The upstream registry 'mirror.example' cannot be reached or does not answer. Check its URL and the network, then try again." {
			t.Errorf("%v %q %v", ok, failure, err)
		}
		delete(w.listed, "mirror.example")
		_, err = w.Endpoint(ctx, gone)
		w.refused("listed no more", err, errs.UpstreamUnsupported, "The registry 'mirror.example' is not among the upstreams that the operator has listed any more.")
	})
}

func TestRoles(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		same := w.make(pullthrough.Rule{Prefix: "same", URL: "111111111111.dkr.ecr.eu-west-1.amazonaws.com"})
		if from, ok := w.RegistryOf(same.URL); !ok || from != elsewhere {
			t.Errorf("%v %v", from, ok)
		}
		if e, err := w.Endpoint(ctx, same); err != nil || e.Host != same.URL {
			t.Errorf("%+v %v", e, err)
		}
		const token = `{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"}`
		whole := w.role("whole", pullthrough.ServiceName, token)
		across := func(role string) pullthrough.Rule {
			r := pullthrough.Rule{Registry: reg, Prefix: "across", URL: "222222222222.dkr.ecr.us-east-1.amazonaws.com", Upstream: pullthrough.ECR, CustomRole: role}
			return r
		}
		if e, err := w.Endpoint(ctx, across(whole)); err != nil || e.Password != "token" {
			t.Errorf("%+v %v", e, err)
		}
		if want := []string{"arn:aws:iam::111111111111:role/aws-service-role/pullthroughcache.ecr.amazonaws.com/AWSServiceRoleForECRPullThroughCache", whole}; !slices.Equal(w.local, want) {
			t.Errorf("reached as %v", w.local)
		}
		for role, says := range map[string]string{
			w.role("untrusted", "ecr.amazonaws.com", token): "The trust policy of the role arn:aws:iam::111111111111:role/ecr/untrusted does not let pullthroughcache.ecr.amazonaws.com assume it.",
			w.role("bare", pullthrough.ServiceName, ""):     "User: arn:aws:sts::111111111111:assumed-role/bare/ecr-pull-through-cache is not authorized to perform: ecr:GetAuthorizationToken",
			"arn:aws:iam::111111111111:role/gone":           "The role arn:aws:iam::111111111111:role/gone does not exist.",
		} {
			_, err := w.Endpoint(ctx, across(role))
			w.refused(role, err, errs.AccessDenied, says)
			if ok, failure, err := w.Validate(ctx, across(role)); ok || err != nil || !strings.HasPrefix(failure, says) {
				t.Errorf("%s: %v %q %v", role, ok, failure, err)
			}
		}
		if ok, failure, err := w.Validate(ctx, across(whole)); !ok || err != nil {
			t.Errorf("%v %q %v", ok, failure, err)
		}
		nowhere := pullthrough.New(func() pullthrough.Config { c := w.Config; c.Local = nil; return c }())
		_, err := nowhere.Endpoint(ctx, same)
		w.refused("without a way", err, errs.UpstreamUnsupported, "The registry '111111111111.dkr.ecr.eu-west-1.amazonaws.com' cannot be reached from here.")

		// What the service-linked role may not, no rule may.
		hub := w.make(pullthrough.Rule{Prefix: "hub", URL: "registry-1.docker.io", CredentialARN: w.secret("ecr-pullthroughcache/hub", `{"username":"me","accessToken":"open"}`, "")})
		w.must(func() error {
			_, err := w.Entities.DeleteServiceRole(ctx, account, "AWSServiceRoleForECRPullThroughCache", nil)
			return err
		}())
		if e, err := w.Endpoint(ctx, hub); err != nil || e.Password != "open" {
			t.Errorf("the role made again: %+v %v", e, err)
		}
		if _, err := w.Entities.Get(ctx, account, entity.Role, "AWSServiceRoleForECRPullThroughCache"); err != nil {
			t.Error(err)
		}
	})
}

package pullthrough

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/secret"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

// Endpoint says how the rule's upstream is spoken to: with what is in the secret, or
// as the role that ECR registries are asked with. errs.SecretNotFound,
// errs.SecretInaccessible, also for a secret without the members username and
// accessToken, errs.SecretUndecryptable; errs.AccessDenied for a role that cannot be
// used, errs.UpstreamUnsupported for an ECR registry that cannot be reached, or a host
// that the operator lists no more.
func (s *Service) Endpoint(ctx context.Context, r Rule) (upstream.Endpoint, error) {
	if r.Upstream == ECR {
		return s.registry(ctx, r)
	}
	if r.Upstream == "" && (s.Upstreams == nil || !s.Upstreams(r.URL)) {
		return upstream.Endpoint{}, errs.New(errs.UpstreamUnsupported, "The registry '%s' is not among the upstreams that the operator has listed any more.", r.URL)
	}
	e := upstream.Endpoint{Host: r.URL}
	if r.CredentialARN == "" {
		return e, nil
	}
	v, err := s.secret(ctx, r)
	if err != nil {
		return upstream.Endpoint{}, err
	}
	var credentials struct {
		Username    string `json:"username"`
		AccessToken string `json:"accessToken"`
	}
	// The error of the parser may quote the secret, and stays here.
	if json.Unmarshal(v.Data, &credentials) != nil || credentials.Username == "" || credentials.AccessToken == "" {
		return upstream.Endpoint{}, errs.New(errs.SecretInaccessible, "The secret %s does not have the form that is needed: a JSON object with the members username and accessToken, both texts. Put such a value into it.", r.CredentialARN)
	}
	e.Username, e.Password = credentials.Username, credentials.AccessToken
	return e, nil
}

// source is on whose behalf the service acts: the repositories of the rule.
func (r Rule) source() name.ARN {
	if r.Prefix == Root {
		return r.Registry.RepositoryARN("*")
	}
	return r.Registry.RepositoryARN(name.Repository(key(r.Prefix) + "/*"))
}

// registry reaches an ECR registry as the rule's role, or the service-linked one.
func (s *Service) registry(ctx context.Context, r Rule) (upstream.Endpoint, error) {
	role := r.CustomRole
	if role == "" {
		linked, err := s.Entities.EnsureServiceRole(ctx, r.Registry.Account, ServiceName)
		if err != nil {
			return upstream.Endpoint{}, err
		}
		role = linked.ARN()
	}
	err := s.Access.AuthorizeService(ctx, authz.ServiceRole{
		Service: ServiceName, Role: role, Session: sessionName, Source: r.source(), Region: r.Registry.Region,
		Needs: []authz.Need{{Action: "ecr:GetAuthorizationToken"}},
	})
	if err != nil {
		return upstream.Endpoint{}, err
	}
	if s.Local == nil {
		return upstream.Endpoint{}, errs.New(errs.UpstreamUnsupported, "The registry '%s' cannot be reached from here.", r.URL)
	}
	return s.Local(ctx, r, role)
}

// secret reads the rule's secret as the service-linked role.
func (s *Service) secret(ctx context.Context, r Rule) (secret.Version, error) {
	found, err := s.Secrets.Find(ctx, r.Registry, r.CredentialARN)
	if errs.Is(err, errs.SecretMissing) || err == nil && !found.EndsAt.IsZero() {
		return secret.Version{}, errs.New(errs.SecretNotFound, "The ARN of the secret specified in the pull through cache rule was not found. Update the pull through cache rule with a valid secret ARN and try again.")
	}
	if err != nil {
		return secret.Version{}, err
	}
	linked, err := s.Entities.EnsureServiceRole(ctx, r.Registry.Account, ServiceName)
	if err != nil {
		return secret.Version{}, err
	}
	tags := map[string][]string{"secretsmanager:secretid": {found.ARN().String()}, "secretsmanager:versionstage": {secret.Current}}
	for k, v := range found.Tags {
		tags["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
		tags["secretsmanager:resourcetag/"+strings.ToLower(k)] = []string{v}
	}
	err = s.Access.AuthorizeService(ctx, authz.ServiceRole{
		Service: ServiceName, Role: linked.ARN(), Session: sessionName, Source: r.source(), Region: r.Registry.Region,
		Needs: []authz.Need{{Action: "secretsmanager:GetSecretValue", Resource: found.ARN(), Context: tags}},
	})
	if errs.Is(err, errs.AccessDenied) {
		return secret.Version{}, errs.Wrap(err, errs.SecretInaccessible, "The secret is unable to be accessed. Verify the resource permissions for the secret and try again.")
	}
	if err != nil {
		return secret.Version{}, err
	}
	_, v, err := s.Secrets.Get(ctx, r.Registry, r.CredentialARN, secret.Which{})
	switch {
	case errs.Is(err, errs.SecretUndecryptable):
		return secret.Version{}, errs.Wrap(err, errs.SecretUndecryptable, "The secret is accessible but is unable to be decrypted. Verify the resource permissions and try again.")
	case errs.Is(err, errs.SecretMissing):
		return secret.Version{}, errs.Wrap(err, errs.SecretInaccessible, "The secret %s has no value. Put one into it, with the members username and accessToken, and try again.", r.CredentialARN)
	case errs.Is(err, errs.SecretInvalid): // deleted meanwhile
		return secret.Version{}, errs.Wrap(err, errs.SecretInaccessible, "The secret is unable to be accessed. Verify the resource permissions for the secret and try again.")
	}
	return v, err
}

// reachable makes sure that the secret of a rule is there and may be read. A secret
// may have its value later than the rule.
func (s *Service) reachable(ctx context.Context, r Rule) error {
	if r.CredentialARN == "" {
		return nil
	}
	_, err := s.secret(ctx, r)
	var e *errs.Error
	if errors.As(err, &e) && errs.Is(e.Cause, errs.SecretMissing) {
		return nil
	}
	return err
}

// Validate tries the rule out: reads its secret, looks at what is in it, and logs in to
// the upstream. ok says that all of this went well, and failure else what did not. An
// error is a fault of ours.
func (s *Service) Validate(ctx context.Context, r Rule) (ok bool, failure string, err error) {
	e, err := s.Endpoint(ctx, r)
	if err == nil {
		err = s.Upstream.Ping(ctx, e, "")
	}
	var told *errs.Error
	var upstreamFailed *upstream.Failure
	switch {
	case err == nil:
		return true, "", nil
	case ctx.Err() != nil:
		return false, "", err
	case errors.As(err, &upstreamFailed):
		return false, failureText(r, upstreamFailed), nil
	case errors.As(err, &told) && told.Code != errs.Internal && told.Code != errs.Unavailable:
		return false, told.Message, nil
	}
	return false, "", err
}

// failureText says what an upstream did wrong, without its own words: these may quote
// what was sent.
func failureText(r Rule, f *upstream.Failure) string {
	who := "The upstream registry '" + r.URL + "' "
	switch f.Kind {
	case upstream.Unauthorized:
		if r.Upstream == ECR {
			return who + "refuses the role. Check the role's permissions and the policies of the upstream registry."
		}
		return who + "refuses the credentials. Check the username and the access token in the secret."
	case upstream.TooManyRequests:
		return who + "answers that too many requests came. Try again later."
	case upstream.Unavailable:
		return who + "cannot be reached or does not answer. Check its URL and the network, then try again."
	case upstream.Refused:
		return who + "leads to an address that may not be used: a private address, a host that is not one of its own, or a certificate that cannot be verified. Ask the operator."
	case upstream.NotFound, upstream.Invalid:
		return who + "does not answer as a registry does. Check its URL."
	}
	return who + "cannot be used."
}

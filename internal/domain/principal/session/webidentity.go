package session

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
	"github.com/berth-registry/berth/internal/infra/oidcverify"
)

// WebIdentity is a request for a role by somebody with a web identity token.
type WebIdentity struct {
	// RoleARN is the role's ARN, with its path.
	RoleARN string
	// Name is the name of the session.
	Name  string
	Token string
	Bounds
	// Duration is 0 for the usual one.
	Duration time.Duration
	// Context are the condition keys of every request ("aws:sourceip"), in lower
	// case.
	Context map[string][]string
}

// GivenForIdentity is a session for a web identity.
type GivenForIdentity struct {
	Given
	// Provider is the ARN of the OIDC provider, Subject and Audience are the
	// token's.
	Provider, Subject, Audience string
	// SourceIdentity is "" for none.
	SourceIdentity string
}

// Texts of AWS.
const (
	textNotAuthorized = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
	textNoJWT         = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
	textNoKey         = "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
	textCertificate   = "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint"
	textAudience      = "Incorrect token audience"
)

// maxSubject bounds a token's subject, in bytes (STS API reference,
// SubjectFromWebIdentityToken).
const maxSubject = 255

// AssumeRoleWithWebIdentity gives out a session of a role to the owner of a web
// identity token: its issuer has to be a provider of the role's account, and the
// role's trust policy has to allow it.
//
// errs.IdentityTokenInvalid and errs.IdentityTokenExpired for tokens that are no
// good, errs.ProviderUnreachable when the issuer cannot be asked for its keys,
// errs.AccessDenied when the role is not given, whether it exists or not.
func (s *Service) AssumeRoleWithWebIdentity(ctx context.Context, in WebIdentity) (GivenForIdentity, error) {
	arn, err := RoleARN(in.RoleARN)
	if err != nil {
		return GivenForIdentity{}, err
	}
	if err := in.check(); err != nil {
		return GivenForIdentity{}, err
	}
	issuer, err := oidcverify.UnverifiedIssuer(in.Token)
	if err != nil {
		return GivenForIdentity{}, tokenError(err)
	}
	issued, found, err := s.Providers.Find(ctx, arn.Account, issuer)
	if err != nil {
		return GivenForIdentity{}, err
	}
	if !found {
		return GivenForIdentity{}, errs.New(errs.IdentityTokenInvalid, "No OpenIDConnect provider found in your account for %s", issuer)
	}
	claims, err := s.Verifier.Verify(ctx, oidcverify.Issuer{URL: issuer, ClientIDs: issued.ClientIDs, Thumbprints: issued.Thumbprints}, in.Token)
	if err != nil {
		return GivenForIdentity{}, tokenError(err)
	}
	id, err := identityOf(issued, claims)
	if err != nil {
		return GivenForIdentity{}, err
	}
	packed, err := in.packed(id.chain.tags)
	if err != nil {
		return GivenForIdentity{}, err
	}
	role, found, err := s.role(ctx, arn)
	if err != nil {
		return GivenForIdentity{}, err
	}
	if !found || role.Role.Service != "" {
		return GivenForIdentity{}, errs.New(errs.AccessDenied, textNotAuthorized)
	}
	if err := s.trusts(ctx, role, issued, id, in); err != nil {
		return GivenForIdentity{}, err
	}
	d, err := durationOf(in.Duration, role.Role.MaxSession, false)
	if err != nil {
		return GivenForIdentity{}, err
	}
	who := roleSession(role, in.Name)
	who.Session.Provider, who.Session.SourceIdentity, who.Session.Claims = issued.ARN, id.source, id.lasting
	id.chain.into(who.Session)
	if err := s.limit(ctx, role.Account, in.Bounds, who.Session); err != nil {
		return GivenForIdentity{}, err
	}
	given, err := s.issue(who, d, packed)
	audience := id.clients[0]
	for _, c := range id.clients {
		if slices.Contains(issued.ClientIDs, c) {
			audience = c
			break
		}
	}
	return GivenForIdentity{
		Given: given, Provider: issued.ARN, Subject: claims.Subject, Audience: audience, SourceIdentity: id.source,
	}, err
}

// tokenError puts what the verifier says in STS's words.
func tokenError(err error) error {
	var expired *oidcverify.ExpiredError
	switch {
	case errors.As(err, &expired):
		return errs.New(errs.IdentityTokenExpired, "Token expired: current date/time %d must be before the expiration date/time %d", expired.Now.Unix(), expired.Expires.Unix())
	case errors.Is(err, oidcverify.ErrUnreachable):
		return errs.Wrap(err, errs.ProviderUnreachable, "The identity provider could not be reached to verify the token. Try again; if it goes on, have its address checked from where the registry runs.")
	case errors.Is(err, oidcverify.ErrKey):
		return errs.Wrap(err, errs.IdentityTokenInvalid, textNoKey)
	case errors.Is(err, oidcverify.ErrCertificate):
		return errs.Wrap(err, errs.IdentityTokenInvalid, textCertificate)
	case errors.Is(err, oidcverify.ErrAudience):
		return errs.Wrap(err, errs.IdentityTokenInvalid, textAudience)
	case errors.Is(err, oidcverify.ErrSignature):
		return errs.Wrap(err, errs.IdentityTokenInvalid, "The signature of the token is not one of the identity provider's keys.")
	case errors.Is(err, oidcverify.ErrNotYet):
		return errs.Wrap(err, errs.IdentityTokenInvalid, "The token is not valid yet.")
	case errors.Is(err, oidcverify.ErrMalformed), errors.Is(err, oidcverify.ErrIssuer):
		return errs.Wrap(err, errs.IdentityTokenInvalid, textNoJWT)
	}
	return err
}

// trusts asks the role's trust policy.
func (s *Service) trusts(ctx context.Context, role entity.Entity, by provider.Provider, id identity, in WebIdentity) error {
	trust, err := s.Roles.TrustPolicy(ctx, role)
	if err != nil {
		return err
	}
	keys := webContext{in.Context, id.keys, {
		"sts:rolesessionname": {in.Name},
		"aws:resourceaccount": {string(role.Account)},
	}}
	for key, value := range role.Tags {
		lower := strings.ToLower(key)
		keys[2]["aws:resourcetag/"+lower], keys[2]["iam:resourcetag/"+lower] = []string{value}, []string{value}
	}
	sources := &policy.Sources{
		Resource:        []policy.Named{{Name: "trust policy of " + role.ARN(), Document: trust}},
		ResourceAccount: string(role.Account), ResourceRequired: true,
	}
	actions := []string{"sts:AssumeRoleWithWebIdentity"}
	if len(id.chain.tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if id.source != "" {
		actions = append(actions, "sts:SetSourceIdentity")
	}
	for _, action := range actions {
		d := policy.Decide(sources, &policy.Request{
			Action: action, Resource: role.ARN(), Context: keys,
			Caller: policy.Caller{Type: policy.WebIdentity, Provider: by.ARN},
		})
		if !d.Allowed {
			return errs.New(errs.AccessDenied, textNotAuthorized)
		}
	}
	return nil
}

// webContext gives condition keys out of the first map that has them.
type webContext [3]map[string][]string

// Lookup returns the values of a key.
func (c webContext) Lookup(key string) ([]string, bool) {
	for _, m := range c {
		if values, ok := m[key]; ok {
			return values, true
		}
	}
	return nil, false
}

// identity is what a verified token says, in the words of policies.
type identity struct {
	keys    map[string][]string // for the trust policy
	lasting map[string][]string // for the session's own requests
	clients []string
	chain   chain
	source  string
}

// Claims that AWS gives a meaning (IAM user guide, "Passing session tags using
// AssumeRoleWithWebIdentity" and "source identity").
const (
	claimPrefix     = "https://aws.amazon.com/"
	claimTags       = claimPrefix + "tags"
	claimTagPrefix  = claimTags + "/principal_tags/"
	claimTransitive = claimTags + "/transitive_tag_keys"
	claimSource     = claimPrefix + "source_identity"
)

var sourceForm = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// identityOf reads the claims.
//
// <host>:sub and <host>:amr are the claims; <host>:aud is azp where the token
// has it, else aud, and <host>:oaud is aud then, as in STS. Every other claim
// that can be compared is <host>:<claim>. Condition keys have no case and claims
// have: of claims that differ in case only, the one in lower case counts, and
// none without it; nothing but the claim itself stands for those named here. Only sub, aud and amr are kept for the session
// itself, as in STS.
func identityOf(by provider.Provider, claims oidcverify.Claims) (identity, error) {
	if len(claims.Subject) > maxSubject {
		return identity{}, errs.New(errs.IdentityTokenInvalid, "The subject of the token is longer than %d bytes.", maxSubject)
	}
	host := strings.ToLower(by.Host)
	id := identity{
		keys: map[string][]string{"aws:federatedprovider": {by.ARN}}, lasting: map[string][]string{}, clients: claims.Clients(),
	}
	texts := claims.Texts()
	folded := map[string]int{}
	for claim := range texts {
		folded[strings.ToLower(claim)]++
	}
	for claim, values := range texts {
		lower := strings.ToLower(claim)
		switch {
		case strings.HasPrefix(lower, claimPrefix), lower != claim && folded[lower] > 1:
		case lower == "sub", lower == "aud", lower == "oaud", lower == "amr", lower == "azp":
		default:
			id.keys[host+":"+lower] = values
		}
	}
	if claims.AuthorizedParty != "" {
		id.keys[host+":azp"], id.keys[host+":oaud"] = id.clients, claims.Audience
	}
	id.lasting[host+":sub"], id.lasting[host+":aud"] = []string{claims.Subject}, id.clients
	if amr, ok := texts["amr"]; ok {
		id.lasting[host+":amr"] = amr
	}
	for key, values := range id.lasting {
		id.keys[key] = values
	}
	if err := id.session(claims, texts); err != nil {
		return identity{}, err
	}
	return id, nil
}

// session reads the tags and the source identity that the session will have.
func (id *identity) session(claims oidcverify.Claims, texts map[string][]string) error {
	var nested struct {
		Principal  map[string]textList `json:"principal_tags"`
		Transitive []string            `json:"transitive_tag_keys"`
	}
	if _, err := claims.Decode(claimTags, &nested); err != nil {
		return errs.Wrap(err, errs.IdentityTokenInvalid, "The claim %s of the token is malformed.", claimTags)
	}
	given := map[string][]string{}
	for key, values := range nested.Principal {
		given[key] = values
	}
	for claim, values := range texts { // the flat form, for providers that cannot nest
		if key, ok := strings.CutPrefix(claim, claimTagPrefix); ok {
			given[key] = values
		}
	}
	transitive := append(nested.Transitive, texts[claimTransitive]...)
	var tags []Tag
	for _, key := range slices.Sorted(maps.Keys(given)) {
		values := given[key]
		if len(values) != 1 {
			return errs.New(errs.IdentityTokenInvalid, "The session tag %s of the token must have one value.", key)
		}
		tags = append(tags, Tag{Key: key, Value: values[0]})
	}
	var err error
	if id.chain, err = chainOf(tags, transitive, nil); err != nil {
		return err
	}
	id.chain.context(id.keys)
	if source, ok := texts[claimSource]; ok {
		if len(source) != 1 || !sourceForm.MatchString(source[0]) {
			return errs.New(errs.IdentityTokenInvalid, "The claim %s of the token must be a text of 2 to 64 letters, digits and characters out of _+=,.@-.", claimSource)
		}
		id.source = source[0]
		id.keys["sts:sourceidentity"] = source
	}
	return nil
}

// textList is a list of texts, or one text.
type textList []string

// UnmarshalJSON reads either.
func (l *textList) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*l = textList{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(l))
}

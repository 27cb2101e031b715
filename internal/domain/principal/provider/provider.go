// Package provider keeps the OIDC identity providers that an account trusts:
// whose tokens AssumeRoleWithWebIdentity takes, and for which audiences.
//
// It verifies no token and fetches no keys (principal/session), and does not
// decide what a token's bearer may do.
package provider

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Quotas (IAM user guide, "IAM and STS quotas").
const (
	maxProviders   = 100
	maxClientIDs   = 100
	maxThumbprints = 5
)

// Limits of the service model, in characters.
const (
	maxURL      = 255
	maxClientID = 255
)

// thumbprintLength is that of a SHA-1 sum in hexadecimal digits.
const thumbprintLength = 40

// Provider is an OIDC identity provider.
type Provider struct {
	// ARN is arn:aws:iam::<account>:oidc-provider/<Host>.
	ARN     string
	Account name.AccountID
	// URL is the issuer as it was given, with its scheme.
	URL string
	// Host is the URL without scheme and without a slash at the end; a path is
	// part of it. It stands before the colon of the provider's condition keys.
	Host string
	// ClientIDs are the audiences that are taken.
	ClientIDs []string
	// Thumbprints are SHA-1 sums of certificates of the issuer's server, in
	// hexadecimal digits; with none, the system's authorities have to vouch.
	Thumbprints []string
	CreatedAt   time.Time
	Tags        map[string]string
}

// Create is what a new provider is made of.
type Create struct {
	URL                    string
	ClientIDs, Thumbprints []string
	Tags                   []tag.Tag
}

// Service keeps providers. It is safe for concurrent use.
type Service struct {
	principals *principal.Service
}

// taggedKind names the quota of tags.
const taggedKind = "OpenIDConnectProvider"

// New returns the service.
func New(principals *principal.Service) *Service { return &Service{principals: principals} }

// parseURL takes an issuer's address apart: its scheme, and what ARN and
// condition keys call it.
func parseURL(text string) (scheme, host string, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Hostname() == "" || u.Opaque != "" || u.User != nil ||
		u.RawQuery != "" || u.ForceQuery || strings.ContainsAny(text, "#*?") || len(text) > maxURL {
		return "", "", errs.New(errs.Validation, "Invalid Open ID Connect Provider URL")
	}
	// On premises an issuer for tests runs beside the registry without a
	// certificate. Nothing can listen in on a loopback address; everywhere else
	// whoever can change a packet could sign tokens.
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return "", "", errs.New(errs.InvalidInput, "Invalid Open ID Connect Provider URL. The URL must begin with https://.")
	}
	// AWS takes no port. Issuers on premises often have one.
	return u.Scheme, strings.ToLower(u.Host) + strings.TrimSuffix(u.EscapedPath(), "/"), nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

func arnOf(account name.AccountID, host string) string {
	return principal.EntityARN(account, "oidc-provider", "/", host)
}

// ARN is what the provider of the URL would have, for deciding about its making
// in advance. errs.Validation and errs.InvalidInput for what is no such URL.
func ARN(account name.AccountID, providerURL string) (string, error) {
	_, host, err := parseURL(providerURL)
	return arnOf(account, host), err
}

// once drops entries that come again, as equal tells.
func once(list []string, equal func(a, b string) bool) []string {
	out := []string{}
	for _, v := range list {
		if !slices.ContainsFunc(out, func(o string) bool { return equal(o, v) }) {
			out = append(out, v)
		}
	}
	return out
}

func checkClientIDs(list []string) ([]string, error) {
	list = once(list, func(a, b string) bool { return a == b })
	for _, id := range list {
		if id == "" || len(id) > maxClientID {
			return nil, errs.New(errs.InvalidInput, "A client id has 1 to %d characters.", maxClientID)
		}
	}
	if len(list) > maxClientIDs {
		return nil, errs.New(errs.EntityLimit, "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", maxClientIDs)
	}
	return list, nil
}

func checkThumbprints(list []string) ([]string, error) {
	list = once(list, strings.EqualFold)
	if len(list) > maxThumbprints {
		return nil, errs.New(errs.InvalidInput, "Thumbprint list must contain fewer than %d entries.", maxThumbprints)
	}
	for _, t := range list {
		if _, err := hex.DecodeString(t); err != nil || len(t) != thumbprintLength {
			return nil, errs.New(errs.InvalidInput, "A thumbprint has to be a SHA-1 sum in %d hexadecimal digits.", thumbprintLength)
		}
	}
	return list, nil
}

// Create makes a provider. Nothing asks the issuer whether it is there.
// errs.Validation and errs.InvalidInput for what it is made of,
// errs.EntityExists when the account has one for the URL, errs.EntityLimit.
func (s *Service) Create(ctx context.Context, account name.AccountID, c Create) (Provider, error) {
	_, host, err := parseURL(c.URL)
	if err != nil {
		return Provider{}, err
	}
	p := Provider{ARN: arnOf(account, host), Account: account, URL: c.URL, Host: host, Tags: tagMap(c.Tags)}
	if p.ClientIDs, err = checkClientIDs(c.ClientIDs); err != nil {
		return Provider{}, err
	}
	if p.Thumbprints, err = checkThumbprints(c.Thumbprints); err != nil {
		return Provider{}, err
	}
	now := s.principals.Now().UnixMicro()
	p.CreatedAt = time.UnixMicro(now).UTC()
	err = s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		var n int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM iam_oidc_provider WHERE account_id = $1 AND arn <> $2`, string(account), p.ARN).Scan(&n); err != nil {
			return err
		}
		if n >= maxProviders {
			return errs.New(errs.EntityLimit, "Cannot exceed quota for OpenIdConnectProvidersPerAccount: %d", maxProviders)
		}
		made, err := tx.Exec(ctx, `INSERT INTO iam_oidc_provider (arn, account_id, url, client_ids, thumbprints, created_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (arn) DO NOTHING`, p.ARN, string(account), p.URL, encode(p.ClientIDs), encode(p.Thumbprints), now)
		if err != nil {
			return err
		}
		if made == 0 {
			return errs.New(errs.EntityExists, "Provider with url %s already exists.", c.URL)
		}
		return tag.Put(ctx, tx, p.ARN, taggedKind, c.Tags)
	})
	return p, err
}

func tagMap(tags []tag.Tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}

// encode writes a list as it is stored.
func encode(list []string) string {
	text, _ := json.Marshal(list) // texts always have a JSON form
	return string(text)
}

// load reads a provider of the account. errs.EntityNotFound.
func load(ctx context.Context, tx *sqldb.Tx, account name.AccountID, arn string) (Provider, error) {
	p := Provider{ARN: arn, Account: account}
	var clients, thumbprints string
	var created int64
	err := tx.QueryRow(ctx, `SELECT url, client_ids, thumbprints, created_at FROM iam_oidc_provider WHERE arn = $1 AND account_id = $2`, arn, string(account)).
		Scan(&p.URL, &clients, &thumbprints, &created)
	if errors.Is(err, sqldb.ErrNoRows) {
		return Provider{}, errs.New(errs.EntityNotFound, "OpenIDConnect Provider not found for arn %s", arn)
	}
	if err != nil {
		return Provider{}, err
	}
	p.CreatedAt = time.UnixMicro(created).UTC()
	if err := errors.Join(json.Unmarshal([]byte(clients), &p.ClientIDs), json.Unmarshal([]byte(thumbprints), &p.Thumbprints)); err != nil {
		return Provider{}, fmt.Errorf("the provider %s cannot be read: %w", arn, err)
	}
	if _, p.Host, err = parseURL(p.URL); err != nil {
		return Provider{}, fmt.Errorf("the URL of the provider %s cannot be read: %w", arn, err)
	}
	tags, err := tag.Load(ctx, tx, arn)
	p.Tags = tagMap(tags)
	return p, err
}

// Get finds a provider of the account. errs.EntityNotFound.
func (s *Service) Get(ctx context.Context, account name.AccountID, arn string) (Provider, error) {
	var p Provider
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		p, err = load(ctx, tx, account, arn)
		return err
	})
	return p, err
}

// Find finds the account's provider for an issuer as it stands in the iss claim
// of a token; a slash at its end makes no difference, the scheme does.
func (s *Service) Find(ctx context.Context, account name.AccountID, issuer string) (Provider, bool, error) {
	scheme, host, err := parseURL(issuer)
	if err != nil {
		// What cannot be a provider's URL is no provider's.
		return Provider{}, false, nil
	}
	p, err := s.Get(ctx, account, arnOf(account, host))
	if errs.Is(err, errs.EntityNotFound) {
		return Provider{}, false, nil
	}
	if err != nil {
		return Provider{}, false, err
	}
	if own, _, err := parseURL(p.URL); err != nil || own != scheme {
		return Provider{}, false, err
	}
	return p, true, nil
}

// List gives the ARNs of the account's providers, in their order.
func (s *Service) List(ctx context.Context, account name.AccountID) ([]string, error) {
	var all []string
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		all, err = sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT arn FROM iam_oidc_provider WHERE account_id = $1 ORDER BY arn`, string(account))
		return err
	})
	return all, err
}

// Delete removes a provider with its tags; one that is not there is no error
// (IAM API reference, DeleteOpenIDConnectProvider). Roles that trust it stay.
func (s *Service) Delete(ctx context.Context, account name.AccountID, arn string) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM iam_oidc_provider WHERE arn = $1 AND account_id = $2`, arn, string(account))
		if err != nil || n == 0 {
			return err
		}
		return tag.Clear(ctx, tx, arn)
	})
}

// AddClientID adds an audience; one that is there is no error.
// errs.EntityNotFound, errs.EntityLimit, errs.InvalidInput.
func (s *Service) AddClientID(ctx context.Context, account name.AccountID, arn, id string) error {
	return s.update(ctx, account, arn, func(p *Provider) (err error) {
		p.ClientIDs, err = checkClientIDs(append(p.ClientIDs, id))
		return err
	})
}

// RemoveClientID takes an audience away; one that is not there is no error.
// errs.EntityNotFound.
func (s *Service) RemoveClientID(ctx context.Context, account name.AccountID, arn, id string) error {
	return s.update(ctx, account, arn, func(p *Provider) error {
		p.ClientIDs = slices.DeleteFunc(p.ClientIDs, func(c string) bool { return c == id })
		return nil
	})
}

// SetThumbprints replaces all thumbprints. errs.EntityNotFound,
// errs.InvalidInput.
func (s *Service) SetThumbprints(ctx context.Context, account name.AccountID, arn string, thumbprints []string) error {
	return s.update(ctx, account, arn, func(p *Provider) (err error) {
		p.Thumbprints, err = checkThumbprints(thumbprints)
		return err
	})
}

func (s *Service) update(ctx context.Context, account name.AccountID, arn string, change func(*Provider) error) error {
	return s.onProvider(ctx, account, arn, func(tx *sqldb.Tx, p Provider) error {
		if err := change(&p); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE iam_oidc_provider SET client_ids = $2, thumbprints = $3 WHERE arn = $1`, arn, encode(p.ClientIDs), encode(p.Thumbprints))
		return err
	})
}

// Tags lists a provider's tags. errs.EntityNotFound.
func (s *Service) Tags(ctx context.Context, account name.AccountID, arn string) ([]tag.Tag, error) {
	var tags []tag.Tag
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		if _, err := load(ctx, tx, account, arn); err != nil {
			return err
		}
		var err error
		tags, err = tag.Load(ctx, tx, arn)
		return err
	})
	return tags, err
}

// Tag sets tags of a provider. errs.EntityNotFound, and those of tag.Put.
func (s *Service) Tag(ctx context.Context, account name.AccountID, arn string, tags []tag.Tag) error {
	return s.onProvider(ctx, account, arn, func(tx *sqldb.Tx, _ Provider) error { return tag.Put(ctx, tx, arn, taggedKind, tags) })
}

// Untag takes tags from a provider. errs.EntityNotFound.
func (s *Service) Untag(ctx context.Context, account name.AccountID, arn string, keys []string) error {
	return s.onProvider(ctx, account, arn, func(tx *sqldb.Tx, _ Provider) error { return tag.Remove(ctx, tx, arn, keys) })
}

func (s *Service) onProvider(ctx context.Context, account name.AccountID, arn string, fn func(*sqldb.Tx, Provider) error) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		p, err := load(ctx, tx, account, arn)
		if err != nil {
			return err
		}
		return fn(tx, p)
	})
}

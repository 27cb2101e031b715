package provider_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
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
	account = name.AccountID("111111111111")
	other   = name.AccountID("222222222222")
	prefix  = "arn:aws:iam::111111111111:oidc-provider/"
)

func open(t *testing.T, db *sqldb.DB) (*provider.Service, *clock.Fake) {
	t.Helper()
	ctx := t.Context()
	if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
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
		if err := p.EnsureAccount(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	return provider.New(p), clk
}

func refused(t *testing.T, err error, code errs.Code, text string) {
	t.Helper()
	if !errs.Is(err, code) || err.Error() != text {
		t.Errorf("got %v (code %d), want %q (code %d)", err, errs.CodeOf(err), text, code)
	}
}

const (
	noURL   = "Invalid Open ID Connect Provider URL"
	noHTTPS = "Invalid Open ID Connect Provider URL. The URL must begin with https://."
)

func TestURLs(t *testing.T) {
	for _, c := range []struct {
		url, arn string
		code     errs.Code
		text     string
	}{
		{url: "https://token.actions.githubusercontent.com", arn: prefix + "token.actions.githubusercontent.com"},
		{url: "https://Example.COM/Realms/One/", arn: prefix + "example.com/Realms/One"},
		{url: "https://example.com/", arn: prefix + "example.com"},
		{url: "https://keycloak.internal:8443/realms/ci", arn: prefix + "keycloak.internal:8443/realms/ci"},
		{url: "https://10.0.0.1/x", arn: prefix + "10.0.0.1/x"},
		{url: "http://127.0.0.1:9000", arn: prefix + "127.0.0.1:9000"},
		{url: "http://localhost/x", arn: prefix + "localhost/x"},
		{url: "http://[::1]:80", arn: prefix + "[::1]:80"},
		{url: "http://example.com", code: errs.InvalidInput, text: noHTTPS},
		{url: "http://10.0.0.1", code: errs.InvalidInput, text: noHTTPS},
		{url: "http://localhost.example.com", code: errs.InvalidInput, text: noHTTPS},
		{url: "http://127.0.0.1.example.com", code: errs.InvalidInput, text: noHTTPS},
		{url: "ftp://localhost", code: errs.InvalidInput, text: noHTTPS},
		{url: "example.com", code: errs.Validation, text: noURL},
		{url: "https:example.com", code: errs.Validation, text: noURL},
		{url: "https://", code: errs.Validation, text: noURL},
		{url: "https://:443", code: errs.Validation, text: noURL},
		{url: "https://user:pw@example.com", code: errs.Validation, text: noURL},
		{url: "https://example.com?x=1", code: errs.Validation, text: noURL},
		{url: "https://example.com/?", code: errs.Validation, text: noURL},
		{url: "https://example.com#x", code: errs.Validation, text: noURL},
		{url: "https://example.com/#", code: errs.Validation, text: noURL},
		{url: "https://*.example.com", code: errs.Validation, text: noURL},
		{url: "https://example.com/\n", code: errs.Validation, text: noURL},
		{url: "https://example.com/" + strings.Repeat("x", 236), code: errs.Validation, text: noURL},
		{url: "", code: errs.Validation, text: noURL},
	} {
		arn, err := provider.ARN(account, c.url)
		if c.text != "" {
			refused(t, err, c.code, c.text)
		} else if err != nil || arn != c.arn {
			t.Errorf("%s: %s %v", c.url, arn, err)
		}
	}
}

func TestLifeOfAProvider(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		s, clk := open(t, db)
		ctx := t.Context()
		print1, print2 := strings.Repeat("a1", 20), strings.Repeat("B2", 20)
		made, err := s.Create(ctx, account, provider.Create{
			URL: "https://Idp.example.com/team/", ClientIDs: []string{"sts.amazonaws.com", "ci", "ci"}, Thumbprints: []string{print1, strings.ToUpper(print1)},
			Tags: []tag.Tag{{Key: "Team", Value: "red"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		arn := prefix + "idp.example.com/team"
		if made.ARN != arn || made.URL != "https://Idp.example.com/team/" || made.Host != "idp.example.com/team" || made.Account != account ||
			!slices.Equal(made.ClientIDs, []string{"sts.amazonaws.com", "ci"}) || !slices.Equal(made.Thumbprints, []string{print1}) ||
			!maps.Equal(made.Tags, map[string]string{"Team": "red"}) || !made.CreatedAt.Equal(clk.Now()) {
			t.Errorf("%+v", made)
		}
		got, err := s.Get(ctx, account, arn)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(made) {
			t.Errorf("%+v %v", got, err)
		}
		_, err = s.Create(ctx, account, provider.Create{URL: "https://idp.example.com/team"})
		refused(t, err, errs.EntityExists, "Provider with url https://idp.example.com/team already exists.")
		if _, err = s.Create(ctx, other, provider.Create{URL: "https://idp.example.com/team"}); err != nil {
			t.Errorf("in another account: %v", err)
		}
		if _, err = s.Create(ctx, account, provider.Create{URL: "https://idp.example.com/Team"}); err != nil {
			t.Errorf("with another path: %v", err)
		}
		if all, err := s.List(ctx, account); err != nil || !slices.Equal(all, []string{prefix + "idp.example.com/Team", arn}) {
			t.Errorf("%v %v", all, err)
		}

		for range 2 { // the second time changes nothing
			if err := s.AddClientID(ctx, account, arn, "deploy"); err != nil {
				t.Fatal(err)
			}
			if err := s.RemoveClientID(ctx, account, arn, "ci"); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.SetThumbprints(ctx, account, arn, []string{print2}); err != nil {
			t.Fatal(err)
		}
		got, err = s.Get(ctx, account, arn)
		if err != nil || !slices.Equal(got.ClientIDs, []string{"sts.amazonaws.com", "deploy"}) || !slices.Equal(got.Thumbprints, []string{print2}) {
			t.Errorf("%+v %v", got, err)
		}
		if err := s.SetThumbprints(ctx, account, arn, nil); err != nil {
			t.Fatal(err)
		}
		if got, err = s.Get(ctx, account, arn); err != nil || got.Thumbprints == nil || len(got.Thumbprints) != 0 {
			t.Errorf("%#v %v", got.Thumbprints, err)
		}

		if err := s.Tag(ctx, account, arn, []tag.Tag{{Key: "a", Value: "1"}, {Key: "team", Value: "blue"}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Untag(ctx, account, arn, []string{"A"}); err != nil {
			t.Fatal(err)
		}
		if tags, err := s.Tags(ctx, account, arn); err != nil || !slices.Equal(tags, []tag.Tag{{Key: "team", Value: "blue"}}) {
			t.Errorf("%v %v", tags, err)
		}

		// Another account's provider is nobody's business.
		none := "OpenIDConnect Provider not found for arn " + arn
		_, err = s.Get(ctx, other, arn)
		refused(t, err, errs.EntityNotFound, none)
		_, err = s.Tags(ctx, other, arn)
		refused(t, err, errs.EntityNotFound, none)
		refused(t, s.AddClientID(ctx, other, arn, "x"), errs.EntityNotFound, none)
		refused(t, s.RemoveClientID(ctx, other, arn, "x"), errs.EntityNotFound, none)
		refused(t, s.SetThumbprints(ctx, other, arn, nil), errs.EntityNotFound, none)
		refused(t, s.Tag(ctx, other, arn, nil), errs.EntityNotFound, none)
		refused(t, s.Untag(ctx, other, arn, nil), errs.EntityNotFound, none)
		if err := s.Delete(ctx, other, arn); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(ctx, account, arn); err != nil {
			t.Errorf("deleted by another account: %v", err)
		}
		for range 2 {
			if err := s.Delete(ctx, account, arn); err != nil {
				t.Fatal(err)
			}
		}
		_, err = s.Get(ctx, account, arn)
		refused(t, err, errs.EntityNotFound, none)
		if _, err = s.Create(ctx, account, provider.Create{URL: "https://idp.example.com/team"}); err != nil {
			t.Fatal(err)
		}
		if tags, err := s.Tags(ctx, account, arn); err != nil || len(tags) != 0 {
			t.Errorf("tags of the one before: %v %v", tags, err)
		}
	})
}

func TestFind(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		s, _ := open(t, db)
		ctx := t.Context()
		for _, url := range []string{"https://idp.example.com/team/", "https://plain.example.com", "http://localhost:9000"} {
			if _, err := s.Create(ctx, account, provider.Create{URL: url}); err != nil {
				t.Fatal(err)
			}
		}
		for issuer, want := range map[string]string{
			"https://idp.example.com/team":   "https://idp.example.com/team/",
			"https://idp.example.com/team/":  "https://idp.example.com/team/",
			"https://IDP.example.com/team":   "https://idp.example.com/team/",
			"https://plain.example.com/":     "https://plain.example.com",
			"https://plain.example.com":      "https://plain.example.com",
			"http://localhost:9000/":         "http://localhost:9000",
			"https://idp.example.com/Team":   "",
			"https://idp.example.com":        "",
			"https://localhost:9000":         "", // another scheme is another issuer
			"http://plain.example.com":       "",
			"plain.example.com":              "",
			"https://plain.example.com?x":    "",
			"https://plain.example.com:443":  "",
			"https://plain.example.com//":    "",
			"https://x@plain.example.com":    "",
			"https://plain.example.com\x00/": "",
			"":                               "",
		} {
			p, found, err := s.Find(ctx, account, issuer)
			if err != nil || found != (want != "") || p.URL != want {
				t.Errorf("%q: %+v %v %v", issuer, p, found, err)
			}
		}
		if _, found, err := s.Find(ctx, other, "https://plain.example.com"); err != nil || found {
			t.Errorf("for another account: %v %v", found, err)
		}
	})
}

func TestLimits(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		s, _ := open(t, db)
		ctx := t.Context()
		many := func(n int, form string) (all []string) {
			for i := range n {
				all = append(all, fmt.Sprintf(form, i))
			}
			return all
		}
		create := func(c provider.Create) error {
			if c.URL == "" {
				c.URL = "https://limits.example.com"
			}
			_, err := s.Create(ctx, account, c)
			return err
		}
		const clients = "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100"
		refused(t, create(provider.Create{ClientIDs: many(101, "c%d")}), errs.EntityLimit, clients)
		refused(t, create(provider.Create{ClientIDs: []string{""}}), errs.InvalidInput, "A client id has 1 to 255 characters.")
		refused(t, create(provider.Create{Thumbprints: many(6, "%040d")}), errs.InvalidInput, "Thumbprint list must contain fewer than 5 entries.")
		const print = "A thumbprint has to be a SHA-1 sum in 40 hexadecimal digits."
		refused(t, create(provider.Create{Thumbprints: []string{strings.Repeat("g", 40)}}), errs.InvalidInput, print)
		refused(t, create(provider.Create{Thumbprints: []string{strings.Repeat("a", 38)}}), errs.InvalidInput, print)
		refused(t, create(provider.Create{Tags: []tag.Tag{{Key: "a"}, {Key: "A"}}}), errs.InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		refused(t, create(provider.Create{URL: "x"}), errs.Validation, noURL)
		if all, err := s.List(ctx, account); err != nil || len(all) != 0 {
			t.Errorf("something was made: %v %v", all, err)
		}
		if err := create(provider.Create{ClientIDs: many(100, "c%d"), Thumbprints: many(5, "%040d")}); err != nil {
			t.Fatal(err)
		}
		arn := prefix + "limits.example.com"
		refused(t, s.AddClientID(ctx, account, arn, "one more"), errs.EntityLimit, clients)
		if err := s.AddClientID(ctx, account, arn, "c1"); err != nil {
			t.Errorf("one that is there: %v", err)
		}
		refused(t, s.SetThumbprints(ctx, account, arn, many(6, "%040d")), errs.InvalidInput, "Thumbprint list must contain fewer than 5 entries.")
		for i := range 99 {
			if err := create(provider.Create{URL: fmt.Sprintf("https://p%d.example.com", i)}); err != nil {
				t.Fatal(err)
			}
		}
		refused(t, create(provider.Create{URL: "https://last.example.com"}), errs.EntityLimit, "Cannot exceed quota for OpenIdConnectProvidersPerAccount: 100")
		refused(t, create(provider.Create{}), errs.EntityExists, "Provider with url https://limits.example.com already exists.")
	})
}

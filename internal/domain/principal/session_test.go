package principal_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const here = name.AccountID("111111111111")

func exec(t *testing.T, s *principal.Service, statement string, args ...any) {
	t.Helper()
	if err := s.Change(t.Context(), here, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), statement, args...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// addEntity writes the row of a user or role, as principal/entity does.
func addEntity(t *testing.T, s *principal.Service, id, kind, entityName, path string) {
	t.Helper()
	exec(t, s, `INSERT INTO iam_entity (id, account_id, kind, name, name_key, path, created_at) VALUES ($1, $2, $3, $4, $4, $5, 0)`,
		id, string(here), kind, entityName, path)
}

func roleSession(now time.Time) principal.Principal {
	return principal.Principal{
		Account: here, ARN: "arn:aws:sts::111111111111:assumed-role/puller/run-1", ID: "AROATEST:run-1", Entity: "AROATEST",
		Session: &principal.Session{
			Kind: principal.RoleSession, RoleARN: "arn:aws:iam::111111111111:role/ci/puller", Name: "run-1", Issued: now, Expires: now.Add(time.Hour),
			Tags: map[string]string{"team": "a"}, TransitiveKeys: []string{"team"}, Claims: map[string][]string{"issuer.example:sub": {"x"}},
		},
	}
}

func TestSessions(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		s, clk := open(t, db)
		ctx := t.Context()
		addEntity(t, s, "AROATEST", "role", "puller", "/ci/")
		given := roleSession(clk.Now())
		c, err := s.IssueSession(given)
		if err != nil {
			t.Fatal(err)
		}
		if account, ok := principal.AccountOfKey(c.AccessKeyID); !ok || account != here || c.AccessKeyID[:4] != "ASIA" || len(c.Secret) != 40 {
			t.Errorf("%+v is of account %s", c, account)
		}
		k, found, err := s.Credentials(ctx, c.AccessKeyID, c.SessionToken)
		if err != nil || !found || k.Secret != c.Secret || !k.Enabled || !k.Expires.Equal(clk.Now().Add(time.Hour)) {
			t.Fatalf("%+v %v %v", k, found, err)
		}
		p := k.Principal
		if p.ARN != given.ARN || p.ID != given.ID || p.Entity != "AROATEST" || p.AccessKeyID != c.AccessKeyID || p.IsRoot() ||
			p.Session.Tags["team"] != "a" || p.Session.Claims["issuer.example:sub"][0] != "x" || !p.Session.Issued.Equal(clk.Now()) {
			t.Errorf("%+v %+v", p, p.Session)
		}
		a := p.AuditIdentity()
		if a.Type != "AssumedRole" || a.Session.IssuerName != "puller" || a.Session.IssuerID != "AROATEST" || a.UserName != "" {
			t.Errorf("%+v", a)
		}

		// Without its token, with another key's or with an altered one it is nothing.
		other, err := s.IssueSession(given)
		if err != nil {
			t.Fatal(err)
		}
		for what, try := range map[string][2]string{
			"no token": {c.AccessKeyID, ""}, "another's token": {c.AccessKeyID, other.SessionToken}, "rubbish": {c.AccessKeyID, "BQxx"}, "short": {c.AccessKeyID, "B"},
			"altered": {c.AccessKeyID, c.SessionToken[:40] + "A" + c.SessionToken[41:]}, "cut": {c.AccessKeyID, c.SessionToken[:len(c.SessionToken)-4]},
		} {
			if try[1] == c.SessionToken {
				continue // the letter was an A already
			}
			if k, found, err := s.Credentials(ctx, try[0], try[1]); err != nil || found {
				t.Errorf("%s: %+v %v", what, k, err)
			}
		}

		// A token fetched with the session ends with it.
		password, expires, err := s.IssueToken(t.Context(), p, "us-east-1")
		if err != nil || !expires.Equal(c.Expires) {
			t.Fatalf("%v %v", expires, err)
		}
		if got, err := s.Verify(ctx, password, "us-east-1"); err != nil || got.ARN != p.ARN || got.Session.Name != "run-1" {
			t.Errorf("%+v %v", got, err)
		}
		clk.Advance(time.Hour)
		if _, err := s.Verify(ctx, password, "us-east-1"); !errs.Is(err, errs.TokenExpired) {
			t.Errorf("after the session: %v", err)
		}

		// Neither works once the role has gone.
		later := roleSession(clk.Now())
		if c, err = s.IssueSession(later); err != nil {
			t.Fatal(err)
		}
		if password, _, err = s.IssueToken(t.Context(), later, "us-east-1"); err != nil {
			t.Fatal(err)
		}
		exec(t, s, `DELETE FROM iam_entity WHERE id = $1`, "AROATEST")
		if _, found, err := s.Credentials(ctx, c.AccessKeyID, c.SessionToken); err != nil || found {
			t.Errorf("a session of a deleted role: %v %v", found, err)
		}
		if _, err := s.Verify(ctx, password, "us-east-1"); !errs.Is(err, errs.AccessDenied) {
			t.Errorf("a token of a deleted role: %v", err)
		}
	})
}

const (
	allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	allowECR = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:*","Resource":"*"}]}`
)

func TestIdentity(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		s, clk := open(t, db)
		ctx := t.Context()
		addEntity(t, s, "AIDATEST", "user", "build", "/")
		addEntity(t, s, "AGPATEST", "group", "builders", "/")
		exec(t, s, `INSERT INTO iam_membership (user_id, group_id) VALUES ($1, $2)`, "AIDATEST", "AGPATEST")
		exec(t, s, `INSERT INTO iam_inline_policy (entity_id, name, document) VALUES ($1, $2, $3)`, "AIDATEST", "own", allowECR)
		exec(t, s, `INSERT INTO iam_inline_policy (entity_id, name, document) VALUES ($1, $2, $3)`, "AGPATEST", "ours", allowAll)
		exec(t, s, `INSERT INTO iam_policy (id, account_id, arn, name, name_key, path, description, default_version, last_version, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $4, '/', '', 2, 2, 0, 0)`, "ANPATEST", string(here), "arn:aws:iam::111111111111:policy/p", "p")
		exec(t, s, `INSERT INTO iam_policy_version (policy_id, version, document, created_at) VALUES ($1, 1, $2, 0), ($1, 2, $3, 0)`, "ANPATEST", allowAll, allowECR)
		exec(t, s, `INSERT INTO iam_attachment (entity_id, policy_arn) VALUES ($1, $2)`, "AGPATEST", "arn:aws:iam::111111111111:policy/p")
		exec(t, s, `UPDATE iam_entity SET boundary = $1 WHERE id = $2`, "arn:aws:iam::111111111111:policy/p", "AIDATEST")
		exec(t, s, `INSERT INTO iam_tag (owner, key_fold, tag_key, tag_value) VALUES ($1, $2, $3, $4)`, "AIDATEST", "team", "Team", "a")

		who, err := s.IdentityOf(ctx, here, "AIDATEST")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range who.Policies {
			names = append(names, p.Name)
		}
		if len(names) != 3 || names[0] != "inline policy ours of group builders" || names[1] != "inline policy own of user build" || names[2] != "arn:aws:iam::111111111111:policy/p" {
			t.Errorf("policies: %q", names)
		}
		if who.Policies[2].Document.Actions()[0] != "ecr:*" {
			t.Error("not the default version of the policy")
		}
		if !who.Found || who.ARN != "arn:aws:iam::111111111111:user/build" || who.Tags["Team"] != "a" || who.Boundary == nil {
			t.Errorf("%+v", who)
		}

		// The last change on this node holds at once, one of another node within
		// CacheLife.
		exec(t, s, `DELETE FROM iam_membership`)
		if who, err = s.IdentityOf(ctx, here, "AIDATEST"); err != nil || len(who.Policies) != 1 {
			t.Errorf("after a change: %d policies, %v", len(who.Policies), err)
		}
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			if _, err := tx.Exec(ctx, `DELETE FROM iam_inline_policy`); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `UPDATE account SET revision = revision + 1`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		clk.Advance(principal.CacheLife)
		if who, err = s.IdentityOf(ctx, here, "AIDATEST"); err != nil || len(who.Policies) != 0 {
			t.Errorf("after a change elsewhere: %d policies, %v", len(who.Policies), err)
		}
		for _, gone := range []struct {
			account name.AccountID
			entity  string
		}{{here, "AIDANOBODY"}, {"999999999999", ""}, {"999999999999", "AIDATEST"}} {
			if who, err := s.IdentityOf(ctx, gone.account, gone.entity); err != nil || who.Found {
				t.Errorf("%v: %+v %v", gone, who, err)
			}
		}
		if who, err := s.Identity(ctx, principal.Root(here)); err != nil || !who.Found || len(who.Policies) != 0 {
			t.Errorf("root: %+v %v", who, err)
		}
	})
}

func TestSessionPolicies(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		s, clk := open(t, db)
		p := roleSession(clk.Now())
		if all, err := s.SessionPolicies(t.Context(), p); err != nil || all != nil {
			t.Errorf("an unlimited session: %v %v", all, err)
		}
		p.AccessKeyID = "ASIAONE"
		p.Session.Limited, p.Session.Policies = true, []string{allowECR}
		if all, err := s.SessionPolicies(t.Context(), p); err != nil || len(all) != 1 || all[0].Document.Actions()[0] != "ecr:*" {
			t.Errorf("%v %v", all, err)
		}
		p.AccessKeyID, p.Session.PolicyARNs = "ASIATWO", []string{"arn:aws:iam::111111111111:policy/gone"}
		if all, err := s.SessionPolicies(t.Context(), p); err != nil || len(all) != 2 || all[1].Document != nil {
			t.Errorf("a session policy that is gone: %v %v", all, err)
		}
	})
}

func TestUsage(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		s, clk := open(t, db)
		ctx := t.Context()
		if err := s.PutRootKey(ctx, here, "AKIAUSED", "secret"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s.Used("AKIAUSED", "us-east-1", "ecr")
			s.Used("AKIANOBODY", "us-east-1", "ecr")
			s.Used("ASIATEMPORARY", "us-east-1", "ecr")
			clk.Advance(time.Minute)
			if err := s.FlushUsage(ctx); err != nil {
				t.Fatal(err)
			}
		}
		var n, at int64
		if err := db.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT count(*), CAST(max(used_at) AS BIGINT) FROM access_key_use`).Scan(&n, &at)
		}); err != nil || n != 1 || at != clk.Now().Add(-time.Minute).UnixMicro() {
			t.Errorf("%d uses, the last at %d: %v", n, at, err)
		}
	})
}

func TestAccountOfKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		account := name.AccountID(rapid.StringMatching(`[0-9]{12}`).Draw(t, "account"))
		id, _ := principal.NewAccessKeyPair(principal.PrefixAccessKey, account)
		if got, ok := principal.AccountOfKey(id); !ok || got != account || len(id) != 20 {
			t.Fatalf("%s is of %s, %v", id, got, ok)
		}
	})
	for _, bad := range []string{"", "AKIA", "AKIAIOSFODNN7EXAMPL1", "AKIAIOSFODNN7EXAMPLEE", "AKIAIOSFODNN7EXAMPL!"} {
		if got, ok := principal.AccountOfKey(bad); ok {
			t.Errorf("%q is of %s", bad, got)
		}
	}
}

func TestCallers(t *testing.T) {
	now := time.Now()
	user := principal.Principal{Account: here, ARN: "arn:aws:iam::111111111111:user/build", ID: "AIDATEST", Entity: "AIDATEST"}
	again := user
	again.Session = &principal.Session{Kind: principal.TokenSession, Issued: now}
	guest := principal.Principal{Account: here, ARN: "arn:aws:sts::111111111111:federated-user/guest", ID: "111111111111:guest", Entity: "AIDATEST",
		Session: &principal.Session{Kind: principal.FederatedSession, Name: "guest"}}
	rootAgain := principal.Root(here)
	rootAgain.Session = &principal.Session{Kind: principal.TokenSession}
	for _, c := range []struct {
		p      principal.Principal
		want   policy.CallerType
		parent string
	}{
		{principal.Root(here), policy.Root, ""}, {rootAgain, policy.Root, ""}, {user, policy.User, ""}, {again, policy.User, ""},
		{roleSession(now), policy.AssumedRole, "arn:parent"}, {guest, policy.FederatedUser, "arn:parent"},
	} {
		got := c.p.Caller(&principal.Identity{ARN: "arn:parent"})
		if got.Type != c.want || got.ParentARN != c.parent || got.ARN != c.p.ARN || got.Account != string(here) {
			t.Errorf("%s: %+v", c.p.ARN, got)
		}
	}
	// A user whose path ends like a root user is none.
	odd := principal.Principal{Account: here, ARN: principal.RootARN(here), Entity: "AIDATEST"}
	if odd.IsRoot() {
		t.Error("a principal with an entity is taken for root")
	}
}

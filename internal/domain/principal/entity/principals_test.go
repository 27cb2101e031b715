package entity_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// trusting is a trust policy for principals of type AWS.
func trusting(principals ...string) string {
	list, _ := json.Marshal(principals)
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":` + string(list) + `},"Action":"sts:AssumeRole"}]}`
}

// shown is a role's trust policy as people read it.
func (w world) shown(role string) string {
	w.t.Helper()
	e, err := w.Get(w.t.Context(), mine, entity.Role, role)
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := w.Trusts(w.t.Context(), []entity.Entity{e})
	if err != nil {
		w.t.Fatal(err)
	}
	return all[0]
}

// A user who is deleted and made again does not get the role back.
func TestPinnedTrust(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		ann := w.must(entity.Create{Kind: entity.User, Name: "ann", Path: "/team/"})
		far := w.must(entity.Create{Account: theirs, Kind: entity.Role, Name: "far"})
		text := trusting(ann.ARN(), far.ARN())
		made := w.must(entity.Create{Kind: entity.Role, Name: "r", Trust: text})
		if made.Role.Trust != trusting(ann.ID, far.ID) || w.shown("r") != text {
			t.Errorf("%s\n%s", made.Role.Trust, w.shown("r"))
		}
		compiled, err := w.TrustPolicy(ctx, made)
		if err != nil {
			t.Fatal(err)
		}
		if refs := compiled.Principals(); len(refs) != 2 || refs[0] != (policy.PrincipalRef{Type: "AWS", Value: ann.ID}) {
			t.Errorf("%v", refs)
		}
		w.ok(w.Rename(ctx, mine, entity.User, "ann", "elm", "/"))
		if got := w.shown("r"); got != trusting("arn:aws:iam::111111111111:user/elm", far.ARN()) {
			t.Errorf("after a rename: %s", got)
		}
		w.ok(w.Delete(ctx, mine, entity.User, "elm"))
		w.must(entity.Create{Kind: entity.User, Name: "elm"})
		if got := w.shown("r"); got != trusting(ann.ID, far.ARN()) {
			t.Errorf("after the deletion: %s", got)
		}
		// What is shown then cannot be stored again, as it is with AWS.
		w.refused(w.SetTrust(ctx, mine, "r", w.shown("r")), errs.PolicyMalformed, `Invalid principal in policy: "AWS":"`+ann.ID+`"`)
		w.ok(w.SetTrust(ctx, mine, "R", trusting("arn:aws:iam::111111111111:user/elm", far.ID)))
		if got := w.shown("r"); got != trusting("arn:aws:iam::111111111111:user/elm", far.ARN()) {
			t.Errorf("set again: %s", got)
		}
		w.refused(w.SetTrust(ctx, mine, "no", anyone), errs.EntityNotFound, "The role with name no cannot be found.")
		w.refused(w.SetTrust(ctx, mine, "r", "{"), errs.PolicyMalformed, "This policy contains invalid Json")
		if _, err := w.TrustPolicy(ctx, ann); err == nil {
			t.Error("a user has a trust policy")
		}
	})
}

func TestPrincipals(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		ann := w.must(entity.Create{Kind: entity.User, Name: "Ann", Path: "/team/"})
		role := w.must(entity.Create{Kind: entity.Role, Name: "Role"})
		group := w.must(entity.Create{Kind: entity.Group, Name: "Group"})
		const root = "arn:aws:iam::111111111111:root"
		for _, c := range []struct{ kind, value, want string }{
			{"AWS", "*", "*"},
			{"AWS", "111111111111", root},
			{"AWS", root, root},
			{"AWS", "222222222222", "arn:aws:iam::222222222222:root"},
			{"AWS", "333333333333", ""},
			{"AWS", "arn:aws:iam::333333333333:root", ""},
			{"AWS", "arn:aws-cn:iam::111111111111:root", ""},
			{"AWS", ann.ARN(), ann.ID},
			{"AWS", ann.ID, ann.ID},
			{"AWS", role.ARN(), role.ID},
			{"AWS", group.ID, ""},
			{"AWS", "AIDAAAAAAAAAAAAAAAAAA", ""},
			{"AWS", "arn:aws:iam::111111111111:user/Ann", ""},
			{"AWS", "arn:aws:iam::111111111111:user/team/ann", ""},
			{"AWS", "arn:aws:iam::222222222222:user/team/Ann", ""},
			{"AWS", "arn:aws:iam::111111111111:role/Ann", ""},
			{"AWS", "arn:aws:iam::111111111111:role/team/Role", ""},
			{"AWS", "arn:aws:iam::333333333333:role/Role", ""},
			{"AWS", "arn:aws:sts::111111111111:assumed-role/Role/session", "arn:aws:sts::111111111111:assumed-role/Role/session"},
			{"AWS", "arn:aws:sts::111111111111:assumed-role/role/session", ""},
			{"AWS", "arn:aws:sts::222222222222:assumed-role/Role/session", ""},
			{"AWS", "arn:aws:sts::111111111111:federated-user/Anyone", "arn:aws:sts::111111111111:federated-user/Anyone"},
			{"AWS", "arn:aws:sts::333333333333:federated-user/Anyone", ""},
			{"Service", "ec2.amazonaws.com", "ec2.amazonaws.com"},
			{"Federated", "arn:aws:iam::333333333333:oidc-provider/example.com", "arn:aws:iam::333333333333:oidc-provider/example.com"},
		} {
			// In a list, and as a NotPrincipal, both count the same.
			text := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","NotPrincipal":{"` + c.kind + `":"` + c.value + `"},"Action":"ecr:*"},` +
				`{"Effect":"Allow","Principal":{"Service":"a.example","` + c.kind + `2":0},"Action":"ecr:*"}]}`
			text = strings.Replace(text, `,"`+c.kind+`2":0`, "", 1)
			d, err := policy.Parse(text, policy.Repository)
			if err != nil {
				t.Errorf("%s: %v", c.value, err)
				continue
			}
			var pinned, shown *policy.Document
			err = w.p.View(ctx, func(tx *sqldb.Tx) error {
				if pinned, err = w.PinPrincipals(ctx, tx, d); err != nil {
					return err
				}
				shown, err = w.ShowPrincipals(ctx, tx, pinned)
				return err
			})
			var unknown *entity.UnknownPrincipal
			if c.want == "" {
				if !errors.As(err, &unknown) || unknown.Ref != (policy.PrincipalRef{Type: c.kind, Value: c.value}) {
					t.Errorf("%s: %v", c.value, err)
				}
				continue
			}
			if err != nil || pinned.JSON() != strings.Replace(text, `"`+c.value+`"`, `"`+c.want+`"`, 1) {
				t.Errorf("%s: %v %v", c.value, pinned, err)
				continue
			}
			back := c.want
			switch c.want {
			case ann.ID:
				back = ann.ARN()
			case role.ID:
				back = role.ARN()
			}
			if shown.JSON() != strings.Replace(text, `"`+c.value+`"`, `"`+back+`"`, 1) {
				t.Errorf("%s: shown as %s", c.value, shown.JSON())
			}
		}
	})
}

func TestTrustSize(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		sized := func(n int) string {
			return strings.Replace(strings.Replace(anyone, `"Effect"`, `"Sid":"`+strings.Repeat("x", n-len(anyone)-len(`"Sid":"",`))+`","Effect"`, 1), "[", " \n\t[", 1)
		}
		w.must(entity.Create{Kind: entity.Role, Name: "r", Trust: sized(2048)})
		w.refused(w.SetTrust(ctx, mine, "r", sized(2049)), errs.EntityLimit, "Cannot exceed quota for ACLSizePerRole: 2048")
		_, err := w.Create(ctx, entity.Create{Account: mine, Kind: entity.Role, Name: "s", Trust: sized(2049)})
		w.refused(err, errs.EntityLimit, "Cannot exceed quota for ACLSizePerRole: 2048")
	})
}

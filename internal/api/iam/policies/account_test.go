package policies_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestAccountSummary(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		summary := func() map[string]int32 {
			t.Helper()
			out, err := w.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
			ok(t, err)
			return out.SummaryMap
		}
		before := summary()
		if got := w.needs(); got != "iam:GetAccountSummary *" {
			t.Error(got)
		}
		if len(before) != 34 {
			t.Errorf("%d keys", len(before))
		}
		for key, want := range map[string]int32{
			"UsersQuota": 5000, "GroupsQuota": 300, "RolesQuota": 1000, "PoliciesQuota": 1500, "PolicySizeQuota": 6144, "VersionsPerPolicyQuota": 5,
			"GroupsPerUserQuota": 10, "AttachedPoliciesPerUserQuota": 10, "AttachedPoliciesPerGroupQuota": 10, "AttachedPoliciesPerRoleQuota": 10,
			"UserPolicySizeQuota": 2048, "GroupPolicySizeQuota": 5120, "RolePolicySizeQuota": 10240, "AssumeRolePolicySizeQuota": 2048,
			"AccessKeysPerUserQuota": 2, "Users": 0, "Roles": 0, "AccountAccessKeysPresent": 0, "AccountMFAEnabled": 0,
		} {
			if before[key] != want {
				t.Errorf("%s: %d", key, before[key])
			}
		}
		w.push(t)
		_, err := w.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: new(push), PolicyDocument: new(document)})
		ok(t, err)
		w.entity(t, entity.User, "/", "ann")
		w.entity(t, entity.User, "/", "bay")
		w.entity(t, entity.Group, "/", "devs")
		w.entity(t, entity.Role, "/", "ci")
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for _, statement := range []string{
				`INSERT INTO iam_oidc_provider (arn, account_id, url, client_ids, thumbprints, created_at) VALUES ('p', '111111111111', 'u', '', '', 0)`,
				`INSERT INTO iam_mfa_device (serial, account_id, name, path, user_id, seed, created_at) VALUES ('free', '111111111111', 'a', '/', '', '', 0)`,
				`INSERT INTO iam_mfa_device (serial, account_id, name, path, user_id, seed, created_at) VALUES ('root', '111111111111', 'b', '/', '111111111111', '', 0)`,
				`INSERT INTO access_key (id, account_id, user_id, secret, enabled, created_at) VALUES ('k', '111111111111', '', '', true, 0)`,
			} {
				if _, err := tx.Exec(ctx, statement); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		after := summary()
		for key, want := range map[string]int32{
			"Users": 2, "Groups": 1, "Roles": 1, "Policies": 1, "PolicyVersionsInUse": 2, "Providers": 1, "MFADevices": 2, "MFADevicesInUse": 1,
			"AccountMFAEnabled": 1, "AccountAccessKeysPresent": 1,
		} {
			if after[key] != want {
				t.Errorf("%s: %d", key, after[key])
			}
		}
	})
}

// details reads all pages of a size, and gives one line an item.
func (w *world) details(ctx context.Context, t *testing.T, size int32, filter ...types.EntityType) []string {
	t.Helper()
	var lines []string
	inline := func(all []types.PolicyDetail) string {
		var b strings.Builder
		for _, p := range all {
			fmt.Fprintf(&b, "%s=%s;", *p.PolicyName, plain(t, p.PolicyDocument))
		}
		return b.String()
	}
	attached := func(all []types.AttachedPolicy) string {
		var b strings.Builder
		for _, p := range all {
			fmt.Fprintf(&b, "%s %s;", *p.PolicyName, *p.PolicyArn)
		}
		return b.String()
	}
	boundary := func(b *types.AttachedPermissionsBoundary) string {
		if b == nil {
			return ""
		}
		return string(b.PermissionsBoundaryType) + " " + *b.PermissionsBoundaryArn
	}
	tags := func(all []types.Tag) string {
		var b strings.Builder
		for _, tag := range all {
			fmt.Fprintf(&b, "%s=%s;", *tag.Key, *tag.Value)
		}
		return b.String()
	}
	pages := iam.NewGetAccountAuthorizationDetailsPaginator(w, &iam.GetAccountAuthorizationDetailsInput{Filter: filter, MaxItems: &size})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		ok(t, err)
		if n := len(page.UserDetailList) + len(page.GroupDetailList) + len(page.RoleDetailList) + len(page.Policies); n > int(size) || n == 0 && page.IsTruncated {
			t.Errorf("a page of %d: %d", size, n)
		}
		for _, u := range page.UserDetailList {
			lines = append(lines, fmt.Sprint("user ", *u.Arn, " ", u.GroupList, inline(u.UserPolicyList), attached(u.AttachedManagedPolicies), boundary(u.PermissionsBoundary), tags(u.Tags)))
		}
		for _, g := range page.GroupDetailList {
			lines = append(lines, fmt.Sprint("group ", *g.Arn, " ", inline(g.GroupPolicyList), attached(g.AttachedManagedPolicies)))
		}
		for _, r := range page.RoleDetailList {
			lines = append(lines, fmt.Sprint("role ", *r.Arn, " ", plain(t, r.AssumeRolePolicyDocument), inline(r.RolePolicyList), attached(r.AttachedManagedPolicies), boundary(r.PermissionsBoundary), tags(r.Tags)))
		}
		for _, p := range page.Policies {
			line := fmt.Sprint("policy ", *p.Arn, " ", *p.DefaultVersionId, " ", *p.AttachmentCount, *p.PermissionsBoundaryUsageCount)
			for _, v := range p.PolicyVersionList {
				line += fmt.Sprint(" ", *v.VersionId, v.IsDefaultVersion, len(plain(t, v.Document)) > 50)
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func TestAuthorizationDetails(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		if got := w.details(ctx, t, 1000); len(got) != 0 {
			t.Errorf("an empty account: %q", got)
		}
		if got := w.needs(); got != "iam:GetAccountAuthorizationDetails *" {
			t.Error(got)
		}
		w.push(t)
		_, err := w.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: new(push), PolicyDocument: new(document), SetAsDefault: true})
		ok(t, err)
		_, err = w.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: new("Unused"), PolicyDocument: new(document)})
		ok(t, err)
		ann := w.entity(t, entity.User, "/", "ann", entity.Tag{Key: "team", Value: "a b"})
		w.entity(t, entity.User, "/", "bay")
		devs, ops := w.entity(t, entity.Group, "/", "devs"), w.entity(t, entity.Group, "/g/", "Ops")
		ci := w.entity(t, entity.Role, "/r/", "ci", entity.Tag{Key: "k", Value: "v"})
		// The trust policy, which names ann, follows.
		ok(t, w.entities.Rename(ctx, account, entity.User, "ann", "Ann", "/x/"))
		for _, g := range []entity.Entity{devs, ops} {
			ok(t, w.entities.AddUser(ctx, account, g.Name, "Ann"))
		}
		ok(t, w.entities.PutInline(ctx, account, entity.User, "Ann", "own", document))
		ok(t, w.entities.PutInline(ctx, account, entity.Group, "devs", "theirs", document))
		w.attach(t, ann, push)
		w.attach(t, ann, admin)
		w.attach(t, ops, readOnly)
		ok(t, w.entities.SetBoundary(ctx, account, entity.Role, "ci", push))
		w.attach(t, ci, push)

		shown := strings.Replace(trust, "user/ann", "user/x/Ann", 1)
		want := []string{
			"user arn:aws:iam::111111111111:user/x/Ann [devs Ops]own=" + document + ";Push " + push + ";AdministratorAccess " + admin + ";team=a b;",
			"user arn:aws:iam::111111111111:user/bay []",
			"group arn:aws:iam::111111111111:group/devs theirs=" + document + ";",
			"group arn:aws:iam::111111111111:group/g/Ops AmazonEC2ContainerRegistryReadOnly " + readOnly + ";",
			"role arn:aws:iam::111111111111:role/r/ci " + shown + "Push " + push + ";PermissionsBoundaryPolicy " + push + "k=v;",
			"policy arn:aws:iam::111111111111:policy/Unused v1 0 0 v1 true true",
			"policy " + push + " v2 2 1 v2 true true v1 false true",
			"policy " + admin + " v1 1 0 v1 true true",
			"policy " + readOnly + " v3 1 0 v3 true true v2 false true",
		}
		same := func(what string, got, want []string) {
			t.Helper()
			if clean(got) != clean(want) {
				t.Errorf("%s:\n%s\n\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		for size := int32(1); size <= int32(len(want))+1; size++ {
			same(fmt.Sprint("pages of ", size), w.details(ctx, t, size), want)
		}
		same("users", w.details(ctx, t, 2, types.EntityTypeUser), want[:2])
		same("groups", w.details(ctx, t, 2, types.EntityTypeGroup), want[2:4])
		same("roles and AWS's", w.details(ctx, t, 1, types.EntityTypeRole, types.EntityTypeAWSManagedPolicy), append([]string{want[4]}, want[7:]...))
		same("local policies", w.details(ctx, t, 1, types.EntityTypeLocalManagedPolicy), want[5:7])
		for _, marker := range []string{"%%%", "MQ==", "eAB5"} { // no base64, one key, no number
			_, err := w.GetAccountAuthorizationDetails(ctx, &iam.GetAccountAuthorizationDetailsInput{Marker: &marker})
			refused(t, marker, err, "ValidationError", "Invalid Marker.")
		}
	})
}

// clean joins lines without the spaces, which fmt puts where it likes.
func clean(lines []string) string {
	return strings.ReplaceAll(strings.Join(lines, "\n"), " ", "")
}

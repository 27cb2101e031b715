package identity

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func roleAttempts() group {
	const denied = "AccessDenied"
	unassumable := crossed(denied, "sts:AssumeRole")
	return group{"Roles", []attempt{
		{"a role of another account that demands an external id: without, and with a wrong one", unassumable, func(t *testing.T, w *world) error {
			u := w.b.user(t, allow("sts:AssumeRole", "*"))
			role := w.a.role(t, trust(rootARN(accountB)).when("StringEquals", "sts:ExternalId", "agreed"))
			with := func(id *string) error {
				_, err := u.assume(t.Context(), role, func(in *sts.AssumeRoleInput) { in.ExternalId = id })
				return err
			}
			rightful(t, "with the id", with(aws.String("agreed")))
			return each(with(nil), with(aws.String("Agreed")), with(aws.String("agreed2")))
		}},
		{"a role that trusts the account, by a user without sts:AssumeRole, here or there", lacking(denied, "sts:AssumeRole"), func(t *testing.T, w *world) error {
			role := w.a.role(t, trust(rootARN(accountA), rootARN(accountB)))
			_, here := w.a.user(t).assume(t.Context(), role, nil)
			_, there := w.b.user(t).assume(t.Context(), role, nil)
			return each(here, there)
		}},
		{"a role that trusts another user of the account; one that does not exist", unassumable, func(t *testing.T, w *world) error {
			role := w.a.role(t, trust(w.a.user(t).arn))
			u := w.a.user(t, allow("sts:AssumeRole", "*"))
			_, other := u.assume(t.Context(), role, nil)
			_, nowhere := u.assume(t.Context(), "arn:aws:iam::"+accountA+":role/"+unique("role"), nil)
			return each(other, nowhere)
		}},
		{"a role by its name in other capitals, or under another path", unassumable, func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("sts:AssumeRole", "*"))
			role := w.a.role(t, trust(u.arn))
			must(u.assume(t.Context(), role, nil))(t)
			name := lastOf(role)
			_, capitals := u.assume(t.Context(), strings.Replace(role, name, strings.ToUpper(name), 1), nil)
			_, path := u.assume(t.Context(), strings.Replace(role, name, "other/"+name, 1), nil)
			return each(capitals, path)
		}},
		{"a role by a user who has the name of the one that it trusted and that was deleted", unassumable, func(t *testing.T, w *world) error {
			u := w.a.user(t)
			role := w.a.role(t, trust(u.arn))
			must(u.assume(t.Context(), role, nil))(t)
			w.a.dismiss(t, u)
			again := w.a.userIn(t, &iam.CreateUserInput{UserName: &u.name}, allow("sts:AssumeRole", "*"))
			_, err := again.assume(t.Context(), role, nil)
			return err
		}},
		{"a repository's policy, by a user who has the name of the one that it named and that was deleted", "AccessDeniedException, because no identity-based policy allows the ecr:DescribeRepositories action", func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			u := w.a.user(t)
			w.a.setPolicy(t, repo, grant("ecr:*", principals(u.arn)))
			rightful(t, "the first", u.describe(t, repo))
			w.a.dismiss(t, u)
			return w.a.userIn(t, &iam.CreateUserInput{UserName: &u.name}).describe(t, repo)
		}},
		{"the same after a rename: a new user under the old name of one who was renamed", "AccessDeniedException, because no identity-based policy allows the ecr:DescribeRepositories action", func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			u := w.a.user(t)
			w.a.setPolicy(t, repo, grant("ecr:*", principals(u.arn)))
			must(w.a.iam.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: &u.name, NewUserName: aws.String(unique("user"))}))(t)
			rightful(t, "the renamed user", u.describe(t, repo))
			return w.a.userIn(t, &iam.CreateUserInput{UserName: &u.name}).describe(t, repo)
		}},
		{"a role assumed by a root user", "AccessDenied: Roles may not be assumed by root accounts.", func(t *testing.T, w *world) error {
			role := w.a.role(t, trust(rootARN(accountA), rootARN(accountB)))
			_, own := w.a.assume(t.Context(), role, nil)
			_, other := w.b.assume(t.Context(), role, nil)
			return each(own, other)
		}},
		{"a service-linked role assumed by an administrator; its trust changed; a policy put on it", "AccessDenied, UnmodifiableEntity, UnmodifiableEntity", func(t *testing.T, w *world) error {
			made, err := w.a.iam.CreateServiceLinkedRole(t.Context(), &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("pullthroughcache.ecr.amazonaws.com")})
			if err != nil {
				t.Fatal(err)
			}
			u := w.a.user(t, allow("*", "*"))
			_, assume := u.assume(t.Context(), *made.Role.Arn, nil)
			_, change := u.iam.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: made.Role.RoleName, PolicyDocument: aws.String(document(trust(u.arn)))})
			_, attach := u.iam.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: made.Role.RoleName, PolicyArn: aws.String(administrator)})
			return outcome(answerOf(denialOf(assume)) + ", " + answerOf(codeOf(change)) + ", " + answerOf(codeOf(attach)))
		}},
		{"a chain of roles for longer than an hour", "ValidationError: The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining", func(t *testing.T, w *world) error {
			u := w.a.user(t)
			first := w.a.role(t, trust(u.arn), allow("sts:AssumeRole", "*"))
			second := w.a.role(t, trust(first))
			must(w.a.iam.UpdateRole(t.Context(), &iam.UpdateRoleInput{RoleName: aws.String(lastOf(second)), MaxSessionDuration: aws.Int32(43200)}))(t)
			session := must(u.assume(t.Context(), first, nil))(t)
			_, err := session.assume(t.Context(), second, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3601) })
			return err
		}},
		{"a session for longer than the role admits", "ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role.", func(t *testing.T, w *world) error {
			u := w.a.user(t)
			_, err := u.assume(t.Context(), w.a.role(t, trust(u.arn)), func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3601) })
			return err
		}},
		{"AssumeRole without a signature", "MissingAuthenticationToken: Missing Authentication Token", func(t *testing.T, w *world) error {
			role := w.a.role(t, grant("sts:AssumeRole", "*"))
			return w.a.call(t, request{unsigned: true, form: form(stsVersion, "AssumeRole", "RoleArn", role, "RoleSessionName", "nobody")})
		}},
		{"a role that trusts everybody, by a user of another account without sts:AssumeRole", lacking(denied, "sts:AssumeRole"), func(t *testing.T, w *world) error {
			_, err := w.b.user(t).assume(t.Context(), w.a.role(t, grant("sts:AssumeRole", principals("*"))), nil)
			return err
		}},
		{"a role for web identities, assumed with an access key", unassumable, func(t *testing.T, w *world) error {
			s := grant("sts:AssumeRoleWithWebIdentity", map[string]any{"Federated": "arn:aws:iam::" + accountA + ":oidc-provider/token.example"})
			_, err := w.a.user(t, allow("sts:*", "*")).assume(t.Context(), w.a.role(t, s, allow("*", "*")), nil)
			return err
		}},
		{"a session that began before the role's sessions were revoked by aws:TokenIssueTime", "AccessDeniedException, with an explicit deny in an identity-based policy", func(t *testing.T, w *world) error {
			u := w.a.user(t)
			role := w.a.role(t, trust(u.arn), allow("ecr:*", "*"))
			session := must(u.assume(t.Context(), role, nil))(t)
			_, err := session.ecr.DescribeRegistry(t.Context(), nil)
			rightful(t, "before", err)
			must(w.a.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String(lastOf(role)), PolicyName: aws.String("revoked"),
				PolicyDocument: aws.String(document(deny("*", "*").when("DateLessThan", "aws:TokenIssueTime", "2099-01-01T00:00:00Z")))}))(t)
			_, err = session.ecr.DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{})
			return err
		}},
	}}
}

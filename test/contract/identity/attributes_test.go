package identity

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
)

// tagged makes a repository with a tag team.
func (c *caller) tagged(t *testing.T, team string) string {
	t.Helper()
	repo := unique("repo")
	must(c.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &repo, Tags: []ecrtypes.Tag{{Key: aws.String("team"), Value: &team}}}))(t)
	return repo
}

func (c *caller) describe(t *testing.T, repo string) error {
	t.Helper()
	_, err := c.ecr.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repo}})
	return err
}

func attributeAttempts() group {
	const denied, deniedECR = "AccessDenied", "AccessDeniedException"
	return group{"Tags that policies rely on", []attempt{
		{"taking the tag off a repository on which it denies: UntagResource without permission", lacking(deniedECR, "ecr:UntagResource"), func(t *testing.T, w *world) error {
			repo := w.a.tagged(t, "blue")
			u := w.a.user(t, allow("ecr:DescribeRepositories", "*"), deny("ecr:DescribeRepositories", "*").when("StringEquals", "aws:ResourceTag/team", "blue"))
			if err := u.describe(t, repo); err == nil {
				t.Error("the tag does not deny")
			}
			_, err := u.ecr.UntagResource(t.Context(), &ecr.UntagResourceInput{ResourceArn: aws.String(repoARN(accountA, repo)), TagKeys: []string{"team"}})
			return err
		}},
		{"putting the tag on a repository for which it allows: TagResource, allowed for other keys", lacking(deniedECR, "ecr:TagResource"), func(t *testing.T, w *world) error {
			repo := w.a.tagged(t, "blue")
			u := w.a.user(t, allow("ecr:DescribeRepositories", "*").when("StringEquals", "aws:ResourceTag/team", "red"),
				allow("ecr:TagResource", "*").when("ForAllValues:StringEquals", "aws:TagKeys", "note"))
			tag := func(keys ...string) error {
				var tags []ecrtypes.Tag
				for _, k := range keys {
					tags = append(tags, ecrtypes.Tag{Key: aws.String(k), Value: aws.String("red")})
				}
				_, err := u.ecr.TagResource(t.Context(), &ecr.TagResourceInput{ResourceArn: aws.String(repoARN(accountA, repo)), Tags: tags})
				return err
			}
			rightful(t, "another key", tag("note"))
			return each(tag("team"), tag("note", "team"), tag("Team"))
		}},
		{"a second tag whose key has other capitals, beside the one on which it denies", "AccessDeniedException, with an explicit deny in an identity-based policy", func(t *testing.T, w *world) error {
			repo := w.a.tagged(t, "blue")
			u := w.a.user(t, allow("ecr:DescribeRepositories", "*"), deny("ecr:DescribeRepositories", "*").when("StringEquals", "aws:ResourceTag/team", "blue"),
				allow("ecr:TagResource", "*").when("ForAllValues:StringNotEquals", "aws:TagKeys", "team"))
			_, err := u.ecr.TagResource(t.Context(), &ecr.TagResourceInput{ResourceArn: aws.String(repoARN(accountA, repo)), Tags: []ecrtypes.Tag{{Key: aws.String("Team"), Value: aws.String("red")}, {Key: aws.String("TEAM"), Value: aws.String("red")}}})
			if err != nil {
				t.Logf("TagResource: %v", err) // so there is none
			}
			var results []error
			for range 30 {
				results = append(results, u.describe(t, repo))
			}
			return each(results...)
		}},
		{"two spellings of a key in one request, past a condition on aws:RequestTag", "refused", func(t *testing.T, w *world) error {
			repo := w.a.tagged(t, "blue")
			u := w.a.user(t, allow("ecr:TagResource", "*").when("StringEquals", "aws:RequestTag/team", "blue"))
			for range 30 {
				_, err := u.ecr.TagResource(t.Context(), &ecr.TagResourceInput{ResourceArn: aws.String(repoARN(accountA, repo)), Tags: []ecrtypes.Tag{
					{Key: aws.String("team"), Value: aws.String("red")}, {Key: aws.String("Team"), Value: aws.String("blue")},
				}})
				if err == nil {
					return err
				}
			}
			return outcome("refused")
		}},
		{"a repository that is made with the tag, without ecr:TagResource", lacking(deniedECR, "ecr:TagResource"), func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("ecr:CreateRepository", "*"))
			_, err := u.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String(unique("repo")), Tags: []ecrtypes.Tag{{Key: aws.String("team"), Value: aws.String("red")}}})
			return err
		}},
		{"a user that tags itself: TagUser without permission; CreateUser with tags and without iam:TagUser", lacking(denied, "iam:TagUser"), func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("iam:CreateUser", "*"), allow("ecr:*", "*").when("StringEquals", "aws:PrincipalTag/team", "red"))
			red := []iamtypes.Tag{{Key: aws.String("team"), Value: aws.String("red")}}
			_, tag := u.iam.TagUser(t.Context(), &iam.TagUserInput{UserName: &u.name, Tags: red})
			_, create := u.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String(unique("user")), Tags: red})
			return each(tag, create)
		}},
		{"a role's session with the tag, where the role does not trust with sts:TagSession", "AccessDenied, because no resource-based policy allows the sts:TagSession action", func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("sts:*", "*"))
			role := w.a.role(t, trust(u.arn), allow("ecr:*", "*").when("StringEquals", "aws:PrincipalTag/team", "red"))
			_, err := u.assume(t.Context(), role, func(in *sts.AssumeRoleInput) {
				in.Tags = []ststypes.Tag{{Key: aws.String("team"), Value: aws.String("red")}}
			})
			return err
		}},
		{"another tag in a chain of roles than the one that was handed on", "InvalidParameterValue", func(t *testing.T, w *world) error {
			u := w.a.user(t)
			both := func(arn string) statement { return grant("sts:AssumeRole sts:TagSession", principals(arn)) }
			first := w.a.role(t, both(u.arn), allow("sts:*", "*"))
			second := w.a.role(t, both(first))
			tag := func(value string) []ststypes.Tag {
				return []ststypes.Tag{{Key: aws.String("team"), Value: &value}}
			}
			session := must(u.assume(t.Context(), first, func(in *sts.AssumeRoleInput) { in.Tags, in.TransitiveTagKeys = tag("blue"), []string{"team"} }))(t)
			must(session.assume(t.Context(), second, nil))(t)
			_, err := session.assume(t.Context(), second, func(in *sts.AssumeRoleInput) { in.Tags = tag("red") })
			return codeOf(err)
		}},
		{"an address that a policy demands, made up in X-Forwarded-For, signed or not, by a client that is no trusted proxy", lacking(deniedECR, "ecr:DescribeRegistry"), func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("ecr:DescribeRegistry", "*").when("IpAddress", "aws:SourceIp", "203.0.113.0/24"))
			made := map[string]string{"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9", "X-Real-Ip": "203.0.113.9"}
			return each(u.call(t, request{target: "DescribeRegistry", header: made}), u.call(t, request{target: "DescribeRegistry", late: made}))
		}},
		{"the same at the registry", "403 DENIED, because no identity-based policy allows the ecr:ListImages action", func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			r := w.a.user(t, allow(signIn, "*"), allow("ecr:*", "*").when("IpAddress", "aws:SourceIp", "203.0.113.0/24")).registry(t)
			_, err := r.Do(t.Context(), registryRequest("/v2/"+repo+"/tags/list", "X-Forwarded-For", "203.0.113.9"), http.StatusOK)
			return err
		}},
		{"TLS that a policy demands, made up in X-Forwarded-Proto", "AccessDeniedException, with an explicit deny in an identity-based policy", func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("ecr:DescribeRegistry", "*"), deny("*", "*").when("Bool", "aws:SecureTransport", "false"))
			return u.call(t, request{target: "DescribeRegistry", header: map[string]string{"X-Forwarded-Proto": "https"}})
		}},
	}}
}

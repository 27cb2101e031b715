package identity

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

// change is a change of permissions that the very next request sees, made with
// a token that was fetched before.
type change struct {
	name string
	// before prepares what the user may, if not by its own policy.
	before func(t *testing.T, x *changed)
	// make makes the change, undo takes it back; nil for what cannot be.
	make, undo func(t *testing.T, x *changed)
	// refused is the answer afterwards.
	refused string
}

// changed is what a change works on.
type changed struct {
	w    *world
	u    *caller
	repo string
	r    *harness.Registry // with the token
}

func changes() []change {
	const gone = "401: Not Authorized"
	lacks := lacking("403 DENIED", "ecr:BatchGetImage")
	key := func(t *testing.T, x *changed, status iamtypes.StatusType) {
		t.Helper()
		must(x.w.a.iam.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: &x.u.name, AccessKeyId: &x.u.credentials.AccessKeyID, Status: status}))(t)
	}
	dropPolicy := func(t *testing.T, x *changed) {
		t.Helper()
		must(x.w.a.iam.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: &x.u.name, PolicyName: aws.String("own")}))(t)
	}
	tag := func(value string) func(*testing.T, *changed) {
		return func(t *testing.T, x *changed) {
			t.Helper()
			must(x.w.a.ecr.TagResource(t.Context(), &ecr.TagResourceInput{ResourceArn: aws.String(repoARN(accountA, x.repo)), Tags: []ecrtypes.Tag{{Key: aws.String("stage"), Value: &value}}}))(t)
		}
	}
	const readOnly = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"
	return []change{
		{
			name: "deactivate the access key", refused: gone,
			make: func(t *testing.T, x *changed) { key(t, x, iamtypes.StatusTypeInactive) },
			undo: func(t *testing.T, x *changed) { key(t, x, iamtypes.StatusTypeActive) },
		},
		{
			name: "delete the access key", refused: gone,
			make: func(t *testing.T, x *changed) {
				must(x.w.a.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: &x.u.name, AccessKeyId: &x.u.credentials.AccessKeyID}))(t)
			},
		},
		{name: "delete the user", refused: gone, make: func(t *testing.T, x *changed) { x.w.a.dismiss(t, x.u) }},
		{
			name: "delete the inline policy", refused: lacks, make: dropPolicy,
			undo: func(t *testing.T, x *changed) { x.w.a.put(t, x.u.name, allow("ecr:*", "*")) },
		},
		{
			name: "detach the managed policy", refused: lacks,
			before: func(t *testing.T, x *changed) {
				must(x.w.a.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &x.u.name, PolicyArn: aws.String(readOnly)}))(t)
				dropPolicy(t, x)
			},
			make: func(t *testing.T, x *changed) {
				must(x.w.a.iam.DetachUserPolicy(t.Context(), &iam.DetachUserPolicyInput{UserName: &x.u.name, PolicyArn: aws.String(readOnly)}))(t)
			},
			undo: func(t *testing.T, x *changed) {
				must(x.w.a.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &x.u.name, PolicyArn: aws.String(readOnly)}))(t)
			},
		},
		{
			name: "put a deny", refused: "403 DENIED, with an explicit deny in an identity-based policy",
			make: func(t *testing.T, x *changed) {
				must(x.w.a.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &x.u.name, PolicyName: aws.String("deny"), PolicyDocument: aws.String(document(deny("ecr:BatchGetImage", "*")))}))(t)
			},
			undo: func(t *testing.T, x *changed) {
				must(x.w.a.iam.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: &x.u.name, PolicyName: aws.String("deny")}))(t)
			},
		},
		{
			name: "set a boundary", refused: "403 DENIED, because no permissions boundary allows the ecr:BatchGetImage action",
			make: func(t *testing.T, x *changed) {
				boundary := x.w.a.policy(t, allow("ecr:Describe*", "*"))
				must(x.w.a.iam.PutUserPermissionsBoundary(t.Context(), &iam.PutUserPermissionsBoundaryInput{UserName: &x.u.name, PermissionsBoundary: &boundary}))(t)
			},
			undo: func(t *testing.T, x *changed) {
				must(x.w.a.iam.DeleteUserPermissionsBoundary(t.Context(), &iam.DeleteUserPermissionsBoundaryInput{UserName: &x.u.name}))(t)
			},
		},
		{
			name: "leave the group", refused: lacks,
			before: func(t *testing.T, x *changed) {
				group := x.u.name + "-group"
				must(x.w.a.iam.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: &group}))(t)
				must(x.w.a.iam.AttachGroupPolicy(t.Context(), &iam.AttachGroupPolicyInput{GroupName: &group, PolicyArn: aws.String(readOnly)}))(t)
				must(x.w.a.iam.AddUserToGroup(t.Context(), &iam.AddUserToGroupInput{GroupName: &group, UserName: &x.u.name}))(t)
				dropPolicy(t, x)
			},
			make: func(t *testing.T, x *changed) {
				must(x.w.a.iam.RemoveUserFromGroup(t.Context(), &iam.RemoveUserFromGroupInput{GroupName: aws.String(x.u.name + "-group"), UserName: &x.u.name}))(t)
			},
			undo: func(t *testing.T, x *changed) {
				must(x.w.a.iam.AddUserToGroup(t.Context(), &iam.AddUserToGroupInput{GroupName: aws.String(x.u.name + "-group"), UserName: &x.u.name}))(t)
			},
		},
		{
			name: "delete the repository policy", refused: lacks,
			before: func(t *testing.T, x *changed) {
				x.w.a.setPolicy(t, x.repo, grant(pulling, principals(x.u.arn)))
				dropPolicy(t, x)
			},
			make: func(t *testing.T, x *changed) {
				must(x.w.a.ecr.DeleteRepositoryPolicy(t.Context(), &ecr.DeleteRepositoryPolicyInput{RepositoryName: &x.repo}))(t)
			},
			undo: func(t *testing.T, x *changed) { x.w.a.setPolicy(t, x.repo, grant(pulling, principals(x.u.arn))) },
		},
		{
			name: "deny in the repository policy", refused: "403 DENIED, with an explicit deny in a resource-based policy",
			make: func(t *testing.T, x *changed) {
				s := grant("ecr:BatchGetImage", principals(x.u.arn))
				s["Effect"] = "Deny"
				x.w.a.setPolicy(t, x.repo, s)
			},
			undo: func(t *testing.T, x *changed) {
				must(x.w.a.ecr.DeleteRepositoryPolicy(t.Context(), &ecr.DeleteRepositoryPolicyInput{RepositoryName: &x.repo}))(t)
			},
		},
		{
			name: "tag the repository", refused: lacks,
			before: func(t *testing.T, x *changed) {
				tag("test")(t, x)
				x.w.a.put(t, x.u.name, allow("ecr:*", "*").when("StringEquals", "aws:ResourceTag/stage", "test"))
			},
			make: tag("production"), undo: tag("test"),
		},
		{
			name: "tag the user", refused: lacks,
			before: func(t *testing.T, x *changed) {
				x.w.a.put(t, x.u.name, allow("ecr:*", "*").when("Null", "aws:PrincipalTag/left", "true"))
			},
			make: func(t *testing.T, x *changed) {
				must(x.w.a.iam.TagUser(t.Context(), &iam.TagUserInput{UserName: &x.u.name, Tags: []iamtypes.Tag{{Key: aws.String("left"), Value: aws.String("yes")}}}))(t)
			},
			undo: func(t *testing.T, x *changed) {
				must(x.w.a.iam.UntagUser(t.Context(), &iam.UntagUserInput{UserName: &x.u.name, TagKeys: []string{"left"}}))(t)
			},
		},
		{
			name: "give the policy another version", refused: lacks,
			before: func(t *testing.T, x *changed) {
				arn := x.w.a.policy(t, allow("ecr:*", "*"))
				must(x.w.a.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &x.u.name, PolicyArn: &arn}))(t)
				must(x.w.a.iam.CreatePolicyVersion(t.Context(), &iam.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: aws.String(document(allow("ecr:Describe*", "*")))}))(t)
				dropPolicy(t, x)
			},
			make: func(t *testing.T, x *changed) { x.version(t, "v2") },
			undo: func(t *testing.T, x *changed) { x.version(t, "v1") },
		},
	}
}

// version makes a version of the user's only attached policy its default.
func (x *changed) version(t *testing.T, id string) {
	t.Helper()
	attached := must(x.w.a.iam.ListAttachedUserPolicies(t.Context(), &iam.ListAttachedUserPoliciesInput{UserName: &x.u.name}))(t).AttachedPolicies
	must(x.w.a.iam.SetDefaultPolicyVersion(t.Context(), &iam.SetDefaultPolicyVersionInput{PolicyArn: attached[0].PolicyArn, VersionId: &id}))(t)
}

// atOnce: one token, and the request right after each change. Nothing is waited
// for: on the node that took a change it holds with its answer.
func atOnce(t *testing.T, w *world) {
	repo, _ := w.a.filled(t)
	for _, c := range changes() {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			x := &changed{w: w, u: w.a.user(t, allow("ecr:*", "*")), repo: repo}
			if strings.Contains(c.name, "repository") {
				x.repo, _ = w.a.filled(t) // a repository of its own to change
			}
			x.r = w.registryOf(accountA, x.u.login(t))
			if c.before != nil {
				c.before(t, x)
			}
			rounds := 3
			if c.undo == nil {
				rounds = 1
			}
			for range rounds {
				rightful(t, "before", pull(t.Context(), x.r, x.repo))
				c.make(t, x)
				if got := answerOf(pull(t.Context(), x.r, x.repo)); got != c.refused {
					t.Fatalf("right afterwards the answer is\n%s\nwant\n%s", got, c.refused)
				}
				if c.undo != nil {
					c.undo(t, x)
				}
			}
		})
	}
}

package guides

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
)

// identityPolicies are the ones that the private guide gives to users and roles.
func identityPolicies() []policy {
	return []policy{
		{file: "01-ECR_on_ECS-container-instance-role.json", show: func(t *testing.T, w *world, text texts) {
			pullingRole(t, w, "ecsInstanceRole", text.printed)
			// The page: whoever uses this managed policy has what is needed.
			u := w.root.user(t, "ecs-managed")
			w.root.attach(t, u, "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role")
			u.login(t).pulls(t, w.root.repository(t, "ecs-managed"))
		}},
		{file: "02-ECR_on_EKS-node-instance-role.json", show: func(t *testing.T, w *world, text texts) {
			pullingRole(t, w, "NodeInstanceRole", text.printed)
		}},
		{file: "03-ecr-supported-iam-actions-tagging-create-or-tag-dev.json", show: createOrTagDev},
		{file: "04-ecr-supported-iam-actions-tagging-unless-tagged-prod.json", show: unlessTaggedProd},
		{file: "14-repository-policies-describe-iam.json", corrected: true, show: describeByIdentity},
		{file: "22-security_iam_id-based-policy-examples-console.json", show: func(t *testing.T, w *world, text texts) {
			u := w.root.userWith(t, "console", text.printed)
			readsOnly(t, w, u, w.root.repository(t, "console"))
		}},
		{file: "23-security_iam_id-based-policy-examples-own-permissions.json", show: func(t *testing.T, w *world, text texts) {
			viewsOwn(t, w, text.printed)
		}},
		{file: "24-security_iam_id-based-policy-examples-one-repository.json", show: oneRepository},
	}
}

// pullingRole shows a role that pulls and does nothing else.
func pullingRole(t *testing.T, w *world, role, policy string) {
	r := w.root.repository(t, strings.ToLower(role))
	s := w.root.session(t, role, "i-0123456789abcdef0", policy)
	s.may(t, r, "BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer")
	s.mayNot(t, r, noIdentityPolicy, "ListImages", "DescribeImages", "DescribeRepositories", "GetRepositoryPolicy",
		"InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage", "BatchDeleteImage", "DeleteRepository")
	c := s.login(t)
	c.pulls(t, r)
	c.cannotPush(t, r, noIdentityPolicy)
	c.craneRefused(t, "DENIED: "+s.sentence("ecr:ListImages", r.arn, noIdentityPolicy), "ls", c.host+"/"+r.name)
}

func createOrTagDev(t *testing.T, w *world, text texts) {
	u := w.root.user(t, "tags-dev")
	w.root.attach(t, u, w.root.manage(t, "TagsDev", text.printed))
	create := func(name string, tags []types.Tag) error {
		_, err := u.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name, Tags: tags})
		return err
	}
	const prefix = "arn:aws:ecr:" + region + ":" + account + ":repository/"
	must(t, "a repository tagged dev", create("tagging/dev", tags("environment", "dev")))
	// The policy asks for this tag; it does not forbid others beside it.
	must(t, "a repository with another tag beside it", create("tagging/both", tags("environment", "dev", "owner", "tests")))
	u.refused(t, create("tagging/none", nil), "ecr:CreateRepository", prefix+"tagging/none", noIdentityPolicy)
	u.refused(t, create("tagging/prod", tags("environment", "prod")), "ecr:CreateRepository", prefix+"tagging/prod", noIdentityPolicy)
	u.refused(t, create("tagging/other", tags("owner", "dev")), "ecr:CreateRepository", prefix+"tagging/other", noIdentityPolicy)

	r := w.root.repository(t, "tagging/there")
	tag := func(tags []types.Tag) error {
		_, err := u.ecr.TagResource(t.Context(), &ecr.TagResourceInput{ResourceArn: &r.arn, Tags: tags})
		return err
	}
	must(t, "tagging dev", tag(tags("environment", "dev")))
	u.refused(t, tag(tags("environment", "prod")), "ecr:TagResource", r.arn, noIdentityPolicy)
	u.refused(t, tag(tags("owner", "tests")), "ecr:TagResource", r.arn, noIdentityPolicy)
	u.mayNot(t, r, noIdentityPolicy, "UntagResource", "ListTagsForResource", "DescribeRepositories", "PutImage", "BatchGetImage", "DeleteRepository")
	u.noToken(t)
	// Those who may log in by another policy find the registry closed as well.
	w.root.inline(t, u, mayLogIn)
	c := u.login(t)
	c.cannotPull(t, r, noIdentityPolicy)
	c.cannotPush(t, r, noIdentityPolicy)
}

// onRepository are all operations on a repository, DeleteRepository last.
func onRepository() []string {
	var names []string
	for name := range operations {
		if name != "DeleteRepository" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return append(names, "DeleteRepository")
}

func unlessTaggedProd(t *testing.T, w *world, text texts) {
	u := w.root.userWith(t, "not-prod", text.printed)
	plain, dev := w.root.repository(t, "not-prod/plain"), w.root.repository(t, "not-prod/dev", tags("environment", "dev")...)
	prod := w.root.repository(t, "not-prod/prod", tags("environment", "prod")...)
	c := u.login(t)
	for _, r := range []*repository{plain, dev} {
		c.pulls(t, r)
		c.pushes(t, r)
	}
	u.may(t, plain, onRepository()...)
	u.mayNot(t, prod, identityDeny, onRepository()...)
	c.cannotPull(t, prod, identityDeny)
	c.cannotPush(t, prod, identityDeny)
	// A repository that does not exist yet has no tags: it can be made with the
	// tag, and from then on nothing can be done with it, untagging included.
	out, err := u.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("not-prod/made"), Tags: tags("environment", "prod")})
	must(t, "CreateRepository", err)
	u.mayNot(t, w.root.filled(t, *out.Repository.RepositoryArn), identityDeny, onRepository()...)
	_, err = u.ecr.TagResource(t.Context(), &ecr.TagResourceInput{ResourceArn: &dev.arn, Tags: tags("environment", "prod")})
	must(t, "TagResource", err)
	u.mayNot(t, dev, identityDeny, "UntagResource", "BatchGetImage")
	c.cannotPull(t, dev, identityDeny)
	_, err = w.root.ecr.UntagResource(t.Context(), &ecr.UntagResourceInput{ResourceArn: &dev.arn, TagKeys: []string{"environment"}})
	must(t, "UntagResource", err)
	c.pulls(t, dev)
}

// malformed fails unless IAM refuses a policy, with one of AWS's texts.
func (i *identity) malformed(t *testing.T, user *identity, policy string, texts ...string) {
	t.Helper()
	_, err := i.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String(user.name()), PolicyName: aws.String("printed"), PolicyDocument: &policy})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "MalformedPolicyDocument" || !slices.Contains(texts, api.ErrorMessage()) {
		t.Errorf("the policy is refused with %v, want MalformedPolicyDocument: one of %q\n%s", err, texts, policy)
	}
}

// What IAM says of the slips in the guides.
const (
	blankInSid    = "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
	withPrincipal = "Policy document should not specify a principal."
	brokenJSON    = "Syntax errors in policy."
)

func describeByIdentity(t *testing.T, w *world, text texts) {
	u := w.root.user(t, "describes")
	values := []string{"region", region, "account-id", account, "repository-name", "describes"}
	printed := fill(t, text.printed, append(values, "username", "describes")...)
	w.root.malformed(t, u, printed, blankInSid, withPrincipal)
	w.root.malformed(t, u, fill(t, printed, "ECR Repository Policy", "ECRRepositoryPolicy"), withPrincipal)
	corrected := fill(t, text.corrected, values...)
	w.root.malformed(t, u, fill(t, corrected, "ECRRepositoryPolicy", "ECR Repository Policy"), blankInSid)

	w.root.inline(t, u, corrected)
	r, other := w.root.repository(t, "describes"), w.root.repository(t, "describes-not")
	u.may(t, r, "DescribeImages", "DescribeRepositories")
	u.mayNot(t, r, noIdentityPolicy, "ListImages", "BatchGetImage", "PutImage", "GetRepositoryPolicy", "ListTagsForResource")
	u.mayNot(t, other, noIdentityPolicy, "DescribeImages", "DescribeRepositories")
	_, err := u.ecr.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{})
	u.refused(t, err, "ecr:DescribeRepositories", "arn:aws:ecr:"+region+":"+account+":repository/*", noIdentityPolicy)
	u.noToken(t)
	w.root.attach(t, u, w.root.manage(t, "LogIn", mayLogIn))
	u.login(t).cannotPull(t, r, noIdentityPolicy)
}

// readsOnly shows what AmazonEC2ContainerRegistryReadOnly gives.
func readsOnly(t *testing.T, w *world, u *identity, r *repository) {
	t.Helper()
	u.may(t, r, "BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "GetRepositoryPolicy", "DescribeRepositories", "ListImages",
		"DescribeImages", "BatchGetImage", "ListTagsForResource")
	notBuilt := []string{"ecr:GetLifecyclePolicy", "ecr:GetLifecyclePolicyPreview", "ecr:DescribeImageScanFindings"}
	decided(t, w.root.decide(t, u, r.arn, nil, notBuilt...), "allowed", notBuilt...)
	u.mayNot(t, r, noIdentityPolicy, "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage", "BatchDeleteImage",
		"TagResource", "UntagResource", "PutImageTagMutability", "SetRepositoryPolicy", "DeleteRepositoryPolicy", "DeleteRepository")
	_, err := u.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String(r.name + "/new")})
	u.refused(t, err, "ecr:CreateRepository", r.arn+"/new", noIdentityPolicy)
	c := u.login(t)
	c.pulls(t, r)
	c.cannotPush(t, r, noIdentityPolicy)
	c.lists(t, r, "v1")
}

// viewsOwn shows that a user sees its own permissions, and whatever the console
// has to list.
func viewsOwn(t *testing.T, w *world, policy string) {
	root := w.newAccount(t)
	u, other := root.userWith(t, "viewer", policy), root.userWith(t, "viewed", mayLogIn)
	arn := root.manage(t, "Shown", mayAll)
	_, err := root.iam.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: aws.String("people")})
	must(t, "CreateGroup", err)
	_, err = root.iam.PutGroupPolicy(t.Context(), &iam.PutGroupPolicyInput{GroupName: aws.String("people"), PolicyName: aws.String("inline"), PolicyDocument: aws.String(mayLogIn)})
	must(t, "PutGroupPolicy", err)

	own := map[string]func(user *string) error{
		"GetUserPolicy": func(user *string) error {
			_, err := u.iam.GetUserPolicy(t.Context(), &iam.GetUserPolicyInput{UserName: user, PolicyName: aws.String("guide")})
			return err
		},
		"ListGroupsForUser": func(user *string) error {
			_, err := u.iam.ListGroupsForUser(t.Context(), &iam.ListGroupsForUserInput{UserName: user})
			return err
		},
		"ListAttachedUserPolicies": func(user *string) error {
			_, err := u.iam.ListAttachedUserPolicies(t.Context(), &iam.ListAttachedUserPoliciesInput{UserName: user})
			return err
		},
		"ListUserPolicies": func(user *string) error {
			_, err := u.iam.ListUserPolicies(t.Context(), &iam.ListUserPoliciesInput{UserName: user})
			return err
		},
		"GetUser": func(user *string) error {
			_, err := u.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: user})
			return err
		},
	}
	for action, call := range own {
		must(t, action+" of the user itself", call(aws.String("viewer")))
		u.refused(t, call(aws.String("viewed")), "iam:"+action, other.arn, noIdentityPolicy)
	}
	must(t, "GetUser without a name", own["GetUser"](nil))

	group := aws.String("people")
	for action, call := range map[string]func() error{
		"GetGroupPolicy": func() error {
			_, err := u.iam.GetGroupPolicy(t.Context(), &iam.GetGroupPolicyInput{GroupName: group, PolicyName: aws.String("inline")})
			return err
		},
		"GetPolicyVersion": func() error {
			_, err := u.iam.GetPolicyVersion(t.Context(), &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v1")})
			return err
		},
		"GetPolicy": func() error {
			_, err := u.iam.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: &arn})
			return err
		},
		"ListAttachedGroupPolicies": func() error {
			_, err := u.iam.ListAttachedGroupPolicies(t.Context(), &iam.ListAttachedGroupPoliciesInput{GroupName: group})
			return err
		},
		"ListGroupPolicies": func() error {
			_, err := u.iam.ListGroupPolicies(t.Context(), &iam.ListGroupPoliciesInput{GroupName: group})
			return err
		},
		"ListPolicyVersions": func() error {
			_, err := u.iam.ListPolicyVersions(t.Context(), &iam.ListPolicyVersionsInput{PolicyArn: &arn})
			return err
		},
		"ListPolicies": func() error {
			_, err := u.iam.ListPolicies(t.Context(), &iam.ListPoliciesInput{Scope: iamtypes.PolicyScopeTypeLocal})
			return err
		},
		"ListUsers": func() error {
			_, err := u.iam.ListUsers(t.Context(), &iam.ListUsersInput{})
			return err
		},
	} {
		must(t, action, call())
	}
	_, err = u.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("new")})
	u.refused(t, err, "iam:CreateUser", "arn:aws:iam::"+root.account+":user/new", noIdentityPolicy)
	_, err = u.iam.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: aws.String("viewer"), PolicyName: aws.String("guide")})
	u.refused(t, err, "iam:DeleteUserPolicy", u.arn, noIdentityPolicy)
	_, err = u.iam.GetGroup(t.Context(), &iam.GetGroupInput{GroupName: group})
	u.refused(t, err, "iam:GetGroup", "arn:aws:iam::"+root.account+":group/people", noIdentityPolicy)
	u.noToken(t)
	_, err = u.ecr.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{})
	u.refused(t, err, "ecr:DescribeRepositories", "arn:aws:ecr:"+region+":"+root.account+":repository/*", noIdentityPolicy)
}

func oneRepository(t *testing.T, w *world, text texts) {
	u := w.root.userWith(t, "one-repository", text.printed)
	r, other := w.root.repository(t, "my-repo"), w.root.repository(t, "my-repo-2")
	contents := []string{
		"BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "GetRepositoryPolicy", "DescribeRepositories", "ListImages",
		"DescribeImages", "BatchGetImage", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage",
	}
	u.may(t, r, contents...)
	u.mayNot(t, other, noIdentityPolicy, contents...)
	u.mayNot(t, r, noIdentityPolicy, "BatchDeleteImage", "SetRepositoryPolicy", "DeleteRepositoryPolicy", "TagResource", "PutImageTagMutability", "DeleteRepository")
	c := u.login(t)
	c.pushes(t, r)
	c.pulls(t, r)
	c.lists(t, r, "pushed")
	c.cannotPull(t, other, noIdentityPolicy)
	c.cannotPush(t, other, noIdentityPolicy)
	c.craneRefused(t, "DENIED: "+u.sentence("ecr:BatchDeleteImage", r.arn, noIdentityPolicy), "delete", c.ref(r, "v1"))
	// The same name in another Region is another repository.
	west := w.root.in(registryRegion).repository(t, "my-repo")
	u.in(registryRegion).mayNot(t, west, noIdentityPolicy, "BatchGetImage", "ListImages")
}

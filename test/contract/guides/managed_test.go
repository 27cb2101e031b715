package guides

import (
	"errors"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// managedPolicies are AWS's own ones as the private guide prints them.
func managedPolicies() []policy {
	return []policy{
		{file: "05-ecr_managed_policies-full-access.json", show: fullAccess},
		{file: "06-ecr_managed_policies-power-user.json", show: powerUser},
		{file: "07-ecr_managed_policies-read-only.json", show: func(t *testing.T, w *world, text texts) {
			u := w.root.user(t, "read-only")
			w.root.attach(t, u, w.managed(t, "AmazonEC2ContainerRegistryReadOnly", "v3", "v3", text.printed))
			readsOnly(t, w, u, w.root.repository(t, "read-only"))
		}},
		{file: "25-using-service-linked-roles-replication.json", show: replicationRole},
	}
}

// managed returns the ARN of a policy of AWS's. It fails unless the version that
// the guide prints says what is printed, and today's version is the one given.
func (w *world) managed(t *testing.T, name, printed, today, text string) string {
	t.Helper()
	arn := "arn:aws:iam::aws:policy/" + name
	got, err := w.root.iam.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: &arn})
	must(t, "GetPolicy", err)
	if *got.Policy.DefaultVersionId != today {
		t.Errorf("the default version of %s is %s, want %s", name, *got.Policy.DefaultVersionId, today)
	}
	sameJSON(t, name+" "+printed, w.version(t, arn, printed), text)
	if printed != today && compact(t, w.version(t, arn, today)) == compact(t, text) {
		t.Errorf("%s is printed as it is today", name)
	}
	return arn
}

// version is the document of a managed policy's version.
func (w *world) version(t *testing.T, arn, version string) string {
	t.Helper()
	out, err := w.root.iam.GetPolicyVersion(t.Context(), &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: &version})
	must(t, "GetPolicyVersion", err)
	text, err := url.PathUnescape(*out.PolicyVersion.Document)
	must(t, "the document", err)
	return text
}

const (
	replication     = "replication.ecr.amazonaws.com"
	replicationName = "AWSServiceRoleForECRReplication"
)

func (i *identity) serviceRole(t *testing.T, service string) error {
	t.Helper()
	_, err := i.iam.CreateServiceLinkedRole(t.Context(), &iam.CreateServiceLinkedRoleInput{AWSServiceName: &service})
	return err
}

func fullAccess(t *testing.T, w *world, text texts) {
	arn := w.managed(t, "AmazonEC2ContainerRegistryFullAccess", "v2", "v3", text.printed)
	root := w.newAccount(t)
	linked := "arn:aws:iam::" + root.account + ":role/aws-service-role/" + replication + "/" + replicationName
	today, printed := root.user(t, "full-access"), root.user(t, "full-access-as-printed")
	root.attach(t, today, arn)
	root.attach(t, printed, root.manage(t, "AsPrinted", text.printed))
	for _, u := range []*identity{printed, today} {
		u.may(t, root.repository(t, u.name()), onRepository()...)
		_, err := u.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String(u.name())})
		must(t, "CreateRepository", err)
		_, err = u.ecr.DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{})
		must(t, "DescribeRegistry", err)
		c := u.loginAt(t, w.front(t, "", registryHost(root.account, region)))
		r := root.repository(t, u.name()+"/images")
		c.pushes(t, r)
		c.pulls(t, r)
		decided(t, root.decide(t, u, "", nil, "cloudtrail:LookupEvents", "cloudtrail:DeleteTrail"), "allowed", "cloudtrail:LookupEvents")
		decided(t, root.decide(t, u, "", nil, "cloudtrail:LookupEvents", "cloudtrail:DeleteTrail"), "implicitDeny", "cloudtrail:DeleteTrail")
		_, err = u.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("new")})
		u.refused(t, err, "iam:CreateUser", "arn:aws:iam::"+root.account+":user/new", noIdentityPolicy)
	}
	// What today's version has beside the printed one.
	printed.refused(t, printed.serviceRole(t, replication), "iam:CreateServiceLinkedRole", linked, noIdentityPolicy)
	must(t, "CreateServiceLinkedRole", today.serviceRole(t, replication))
	today.refused(t, today.serviceRole(t, "pullthroughcache.ecr.amazonaws.com"), "iam:CreateServiceLinkedRole",
		"arn:aws:iam::"+root.account+":role/aws-service-role/pullthroughcache.ecr.amazonaws.com/AWSServiceRoleForECRPullThroughCache", noIdentityPolicy)
}

func powerUser(t *testing.T, w *world, text texts) {
	u := w.root.user(t, "power-user")
	w.root.attach(t, u, w.managed(t, "AmazonEC2ContainerRegistryPowerUser", "v3", "v3", text.printed))
	r := w.root.repository(t, "power-user")
	u.may(t, r, "BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "GetRepositoryPolicy", "DescribeRepositories", "ListImages",
		"DescribeImages", "BatchGetImage", "ListTagsForResource", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage")
	notBuilt := []string{"ecr:GetLifecyclePolicy", "ecr:GetLifecyclePolicyPreview", "ecr:DescribeImageScanFindings"}
	decided(t, w.root.decide(t, u, r.arn, nil, notBuilt...), "allowed", notBuilt...)
	// Neither delete repositories nor change the policy documents.
	u.mayNot(t, r, noIdentityPolicy, "DeleteRepository", "SetRepositoryPolicy", "DeleteRepositoryPolicy", "BatchDeleteImage",
		"TagResource", "UntagResource", "PutImageTagMutability")
	_, err := u.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("power-user/new")})
	u.refused(t, err, "ecr:CreateRepository", r.arn+"/new", noIdentityPolicy)
	c := u.login(t)
	c.pushes(t, r)
	c.pulls(t, r)
	c.craneRefused(t, "DENIED: "+u.sentence("ecr:BatchDeleteImage", r.arn, noIdentityPolicy), "delete", c.ref(r, "v1"))
}

// replicationRole shows the role that ECR replicates with. Replicating is not
// built: what the role could do is asked of berth explain.
func replicationRole(t *testing.T, w *world, text texts) {
	root := w.newAccount(t)
	must(t, "CreateServiceLinkedRole", root.serviceRole(t, replication))
	name := aws.String(replicationName)
	role, err := root.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: name})
	must(t, "GetRole", err)
	trust, err := url.PathUnescape(*role.Role.AssumeRolePolicyDocument)
	must(t, "the trust policy", err)
	sameJSON(t, "the trust policy", trust,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"`+replication+`"},"Action":"sts:AssumeRole"}]}`)
	attached, err := root.iam.ListAttachedRolePolicies(t.Context(), &iam.ListAttachedRolePoliciesInput{RoleName: name})
	must(t, "ListAttachedRolePolicies", err)
	if len(attached.AttachedPolicies) != 1 {
		t.Fatalf("the role has the policies %v", attached.AttachedPolicies)
	}
	arn := *attached.AttachedPolicies[0].PolicyArn
	if want := "arn:aws:iam::aws:policy/aws-service-role/ECRReplicationServiceRolePolicy"; arn != want {
		t.Errorf("the role has the policy %s, want %s", arn, want)
	}
	sameJSON(t, arn, w.version(t, arn, "v1"), text.printed)

	r := root.repository(t, "replicated")
	self := w.identity(root.account, *role.Role.Arn, root.config)
	for action, want := range map[string]bool{"ecr:CreateRepository": true, "ecr:ReplicateImage": true, "ecr:BatchGetImage": false, "ecr:PutImage": false} {
		if got := w.explained(t, self, region, action, r.arn); got != want {
			t.Errorf("the role's %s is explained as allowed: %v", action, got)
		}
	}
	// Nobody but ECR can assume it, and no other entity can have its policy.
	u := root.userWith(t, "assumes", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:*","Resource":"*"}]}`)
	_, err = sts.NewFromConfig(u.config).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("me")})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "AccessDenied" {
		t.Errorf("a user assumes the role: %v", err)
	}
	_, err = root.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String("assumes"), PolicyArn: &arn})
	if !errors.As(err, &api) || api.ErrorCode() != "PolicyNotAttachable" {
		t.Errorf("a user gets the role's policy: %v", err)
	}
	// The printed text can be set as anybody's own policy; ReplicateImage is no
	// operation that could be called.
	own := root.userWith(t, "replicates", text.printed)
	_, err = own.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("made")})
	must(t, "CreateRepository", err)
	own.mayNot(t, r, noIdentityPolicy, "PutImage", "BatchGetImage", "InitiateLayerUpload")
	own.noToken(t)
}

package guides

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
)

// publicPolicies are those of the public guide. They are set where the guide says, on
// users and on public repositories, and called against, through the AWS API and the
// public registry.
func publicPolicies() []policy {
	return []policy{
		{file: "26-public-guide-describe.json", show: publicDescribe},
		{file: "27-public-guide-describe-iam.json", corrected: true, show: publicDescribeByIdentity},
		{file: "28-public-guide-push-users.json", show: publicPushUsers},
		{file: "29-public-guide-another-account-push.json", corrected: true, show: publicAnotherAccountPushes},
		{file: "30-public-guide-full-access.json", show: publicFullAccess},
		{file: "31-public-guide-power-user.json", show: func(t *testing.T, w *world, text texts) {
			u, r := publicManaged(t, w, "PowerUser", text.printed)
			u.mayPublic(t, r, publicUpload...)
			u.publicLogin(t).pushesPublic(t, r)
			u.mayNotPublic(t, r, noIdentityPolicy, slices.DeleteFunc(publicRest(), func(op string) bool { return slices.Contains(publicUpload, op) })...)
		}},
		{file: "32-public-guide-read-only.json", show: func(t *testing.T, w *world, text texts) {
			u, r := publicManaged(t, w, "ReadOnly", text.printed)
			u.mayNotPublic(t, r, noIdentityPolicy, publicRest()...)
			u.publicLogin(t).cannotPushPublic(t, r, noIdentityPolicy)
		}},
		{file: "33-public-guide-console.json", show: func(t *testing.T, w *world, text texts) {
			u, r := w.root.userWith(t, "public-console", text.printed), w.root.publicRepository(t, "public-console")
			u.mayPublic(t, r, publicRead...)
			u.mayNotPublic(t, r, noIdentityPolicy, publicRest()...)
			u.publicLogin(t).cannotPushPublic(t, r, noIdentityPolicy)
			privateClosed(t, w, u)
		}},
		{file: "34-public-guide-own-permissions.json", corrected: true, show: func(t *testing.T, w *world, text texts) {
			w.root.malformed(t, w.root.user(t, "public-own"), text.printed, brokenJSON)
			viewsOwn(t, w, text.corrected)
		}},
		{file: "35-public-guide-one-repository.json", corrected: true, show: publicOneRepository},
		{file: "36-public-guide-create-or-tag-dev.json", show: publicCreateOrTagDev},
		{file: "37-public-guide-unless-tagged-prod.json", corrected: true, show: publicUnlessTaggedProd},
	}
}

var (
	publicRead = []string{
		"BatchCheckLayerAvailability", "GetRepositoryPolicy", "DescribeRepositories", "DescribeRegistries",
		"DescribeImages", "DescribeImageTags", "GetRepositoryCatalogData", "GetRegistryCatalogData",
	}
	publicUpload = []string{"InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage"}
	publicPush   = append([]string{"BatchCheckLayerAvailability"}, publicUpload...)
)

// publicRest is what reading does not need, with the repository's deletion at the end.
func publicRest() []string {
	return append(slices.Clone(publicUpload), "SetRepositoryPolicy", "DeleteRepositoryPolicy", "BatchDeleteImage", "PutRepositoryCatalogData",
		"PutRegistryCatalogData", "TagResource", "UntagResource", "DeleteRepository")
}

// mayLogInPublic is what the public guide says that everybody needs who pushes.
const mayLogInPublic = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr-public:GetAuthorizationToken","sts:GetServiceBearerToken"],"Resource":"*"}]}`

// mayAllPublic gives all of ECR Public, and the login.
const mayAllPublic = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr-public:*","sts:GetServiceBearerToken"],"Resource":"*"}]}`

func publicARN(account, name string) string {
	return "arn:aws:ecr-public::" + account + ":repository/" + name
}

// publicManaged is a user with one of AWS's policies, which has to be the printed one, and
// a repository; all of the policies read.
func publicManaged(t *testing.T, w *world, name, printed string) (*identity, *publicRepository) {
	t.Helper()
	u, r := w.root.user(t, "public-"+strings.ToLower(name)), w.root.publicRepository(t, "public-"+strings.ToLower(name))
	u.noPublicToken(t, "ecr-public:GetAuthorizationToken")
	w.root.attach(t, u, w.managed(t, "AmazonElasticContainerRegistryPublic"+name, "v1", "v1", printed))
	u.mayPublic(t, r, publicRead...)
	u.publicLogin(t).pullsPublic(t, r)
	privateClosed(t, w, u)
	return u, r
}

// privateClosed fails unless a policy for public repositories leaves the private
// registry closed.
func privateClosed(t *testing.T, w *world, u *identity) {
	t.Helper()
	u.noToken(t)
	u.mayNot(t, w.root.repository(t, u.name()), noIdentityPolicy, "DescribeRepositories", "BatchGetImage", "PutImage")
}

func publicDescribe(t *testing.T, w *world, text texts) {
	u, other := w.root.user(t, "public-describes"), w.root.user(t, "public-describes-not")
	r, beside := w.root.publicRepository(t, "public-describes"), w.root.publicRepository(t, "public-describes-not")
	r.setPolicy(t, fill(t, text.printed, "account-id", account, "username", u.name()))
	allowed := []string{"DescribeImages", "DescribeRepositories"}
	u.mayPublic(t, r, allowed...)
	u.mayNotPublic(t, r, noIdentityPolicy, append(slices.Clone(publicPush), "DescribeImageTags", "GetRepositoryPolicy", "GetRepositoryCatalogData", "DeleteRepository")...)
	u.mayNotPublic(t, beside, noIdentityPolicy, allowed...)
	other.mayNotPublic(t, r, noIdentityPolicy, allowed...)
	// The page: to push, a user needs two permissions of its own for a token. To pull,
	// nobody needs any.
	u.noPublicToken(t, "ecr-public:GetAuthorizationToken")
	w.root.inline(t, u, mayLogInPublic)
	c := u.publicLogin(t)
	c.pullsPublic(t, r)
	c.pullsPublic(t, beside)
	c.cannotPushPublic(t, r, noIdentityPolicy)
	// One of the two policies suffices, and a denial in either wins.
	w.root.inline(t, u, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ecr-public:DescribeImages","Resource":"*"}]}`)
	u.mayNotPublic(t, r, identityDeny, "DescribeImages")
	u.mayPublic(t, r, "DescribeRepositories")
}

func publicDescribeByIdentity(t *testing.T, w *world, text texts) {
	u := w.root.user(t, "public-describes-iam")
	r, beside := w.root.publicRepository(t, "public-describes-iam"), w.root.publicRepository(t, "public-describes-iam-not")
	values := []string{"account-id", account, "repository-name", r.name}
	printed := fill(t, text.printed, append(values, "username", u.name())...)
	w.root.malformed(t, u, printed, blankInSid, withPrincipal)
	w.root.malformed(t, u, fill(t, printed, "ECR Public Repository Policy", ""), withPrincipal)
	w.root.inline(t, u, fill(t, text.corrected, values...))
	allowed := []string{"DescribeImages", "DescribeRepositories"}
	u.mayPublic(t, r, allowed...)
	u.mayNotPublic(t, r, noIdentityPolicy, append(slices.Clone(publicPush), "DescribeImageTags", "GetRepositoryPolicy")...)
	u.mayNotPublic(t, beside, noIdentityPolicy, allowed...)
	privateClosed(t, w, u)
}

func publicPushUsers(t *testing.T, w *world, text texts) {
	root := w.newAccount(t)
	r := root.publicRepository(t, "pushed")
	first, second, third := root.user(t, "push-pull-user-1"), root.user(t, "push-pull-user-2"), root.userWith(t, "push-pull-user-3", mayLogInPublic)
	r.setPolicy(t, fill(t, text.printed, "account-id", root.account))
	for _, u := range []*identity{first, second} {
		u.mayPublic(t, r, publicPush...)
		u.mayNotPublic(t, r, noIdentityPolicy, "DescribeImages", "DescribeImageTags", "BatchDeleteImage", "GetRepositoryPolicy", "SetRepositoryPolicy", "DeleteRepository")
		u.noPublicToken(t, "ecr-public:GetAuthorizationToken")
		root.inline(t, u, mayLogInPublic)
		c := u.publicLogin(t)
		c.pushesPublic(t, r)
		c.pullsPublic(t, r)
	}
	third.mayNotPublic(t, r, noIdentityPolicy, publicPush...)
	c := third.publicLogin(t)
	c.cannotPushPublic(t, r, noIdentityPolicy)
	c.pullsPublic(t, r)
}

func publicAnotherAccountPushes(t *testing.T, w *world, text texts) {
	w.root.malformed(t, w.root.user(t, "public-another"), text.printed, brokenJSON)
	theirs, stranger := w.newAccount(t), w.newAccount(t)
	r := w.root.publicRepository(t, "public-another-account-push")
	r.setPolicy(t, fill(t, text.corrected, "account-id", theirs.account))
	may, bare := theirs.userWith(t, "may", mayAllPublic), theirs.userWith(t, "bare", mayLogInPublic)
	for _, u := range []*identity{theirs, may} {
		u.mayPublic(t, r, publicPush...)
		u.mayNotPublic(t, r, noResourcePolicy, "DescribeImages", "DescribeImageTags", "BatchDeleteImage", "SetRepositoryPolicy", "DeleteRepository")
	}
	bare.mayNotPublic(t, r, noIdentityPolicy, publicPush...)
	stranger.mayNotPublic(t, r, noResourcePolicy, publicPush...)
	c := may.publicLogin(t)
	c.pushesPublic(t, r)
	c.pullsPublic(t, r)
	bare.publicLogin(t).cannotPushPublic(t, r, noIdentityPolicy)
	c = stranger.userWith(t, "may", mayAllPublic).publicLogin(t)
	c.cannotPushPublic(t, r, noResourcePolicy)
	c.pullsPublic(t, r)
}

func publicFullAccess(t *testing.T, w *world, text texts) {
	u, r := publicManaged(t, w, "FullAccess", text.printed)
	u.publicLogin(t).pushesPublic(t, r)
	must(t, "CreateRepository", u.createsPublic(t, "public-fullaccess-new", publicTags("a", "b")...))
	u.mayPublic(t, r, publicRest()...)
}

func publicOneRepository(t *testing.T, w *world, text texts) {
	u := w.root.user(t, "public-one-repository")
	w.root.malformed(t, u, text.printed, brokenJSON)
	r, beside := w.root.publicRepository(t, "my-repo"), w.root.publicRepository(t, "my-repo-2")
	w.root.inline(t, u, text.corrected)
	contents := append([]string{"GetRepositoryPolicy", "DescribeRepositories", "DescribeImages"}, publicPush...)
	u.mayPublic(t, r, contents...)
	u.mayNotPublic(t, beside, noIdentityPolicy, contents...)
	u.mayNotPublic(t, r, noIdentityPolicy, "DeleteRepository", "DescribeImageTags")
	// The token needs a second permission, which the guide forgets here.
	u.noPublicToken(t, "sts:GetServiceBearerToken")
	privateClosed(t, w, u)
	// With its three colons the printed ARN is nobody's repository.
	w.root.inline(t, u, fill(t, text.corrected, "ecr-public::", "ecr-public:::"))
	u.mayNotPublic(t, r, noIdentityPolicy, contents...)
}

func publicCreateOrTagDev(t *testing.T, w *world, text texts) {
	u, r := w.root.user(t, "public-tags-dev"), w.root.publicRepository(t, "public-tags-dev")
	w.root.attach(t, u, w.root.manage(t, "PublicTagsDev", text.printed))
	must(t, "CreateRepository", u.createsPublic(t, "public-tags-dev-1", publicTags("environment", "dev")...))
	must(t, "CreateRepository", u.createsPublic(t, "public-tags-dev-2", publicTags("environment", "dev", "owner", "me")...))
	for _, pairs := range [][]string{nil, {"environment", "prod"}, {"owner", "dev"}} {
		u.refused(t, u.createsPublic(t, "public-tags-dev-3", publicTags(pairs...)...), "ecr-public:CreateRepository", publicARN(account, "public-tags-dev-3"), noIdentityPolicy)
	}
	set := func(pairs ...string) error {
		_, err := u.public().TagResource(t.Context(), &ecrpublic.TagResourceInput{ResourceArn: &r.arn, Tags: publicTags(pairs...)})
		return err
	}
	must(t, "TagResource", set("environment", "dev"))
	u.refused(t, set("environment", "prod"), "ecr-public:TagResource", r.arn, noIdentityPolicy)
	u.refused(t, set("owner", "dev"), "ecr-public:TagResource", r.arn, noIdentityPolicy)
	u.mayNotPublic(t, r, noIdentityPolicy, "UntagResource", "DescribeImages", "DeleteRepository")
	privateClosed(t, w, u)
}

func publicUnlessTaggedProd(t *testing.T, w *world, text texts) {
	u := w.root.user(t, "public-not-prod")
	w.root.malformed(t, u, text.printed, brokenJSON)
	w.root.inline(t, u, text.corrected)
	plain, dev := w.root.publicRepository(t, "public-not-prod-1"), w.root.publicRepository(t, "public-not-prod-2", publicTags("environment", "dev")...)
	prod := w.root.publicRepository(t, "public-not-prod-3", publicTags("environment", "prod")...)
	all := func() []string { return append(slices.Clone(publicRead), publicRest()...) }
	ofRepository := slices.DeleteFunc(all(), func(op string) bool { return registryOperations[op] != nil })
	u.mayPublic(t, dev, all()...)
	u.mayNotPublic(t, prod, identityDeny, ofRepository...)
	// From the moment that the tag is set until root takes it away.
	u.mayPublic(t, plain, "DescribeImages")
	_, err := w.root.public().TagResource(t.Context(), &ecrpublic.TagResourceInput{ResourceArn: &plain.arn, Tags: publicTags("environment", "prod")})
	must(t, "TagResource", err)
	u.mayNotPublic(t, plain, identityDeny, "DescribeImages", "UntagResource")
	_, err = w.root.public().UntagResource(t.Context(), &ecrpublic.UntagResourceInput{ResourceArn: &plain.arn, TagKeys: []string{"environment"}})
	must(t, "UntagResource", err)
	u.mayPublic(t, plain, all()...)
	privateClosed(t, w, u)
	// The printed key is the private service's; it protects public repositories as well.
	w.root.inline(t, u, fill(t, text.corrected, "ecr-public:ResourceTag", "ecr:ResourceTag"))
	u.mayNotPublic(t, prod, identityDeny, ofRepository...)
}

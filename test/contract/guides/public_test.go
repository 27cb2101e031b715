package guides

import (
	"strings"
	"testing"
)

// publicPolicies are those of the public guide. The public registry is not built,
// so nothing can be called: policies of users are set, and what they decide is
// simulated with SimulatePrincipalPolicy; policies of repositories are simulated
// with SimulateCustomPolicy as the policy of the resource.
func publicPolicies() []policy {
	return []policy{
		{file: "26-public-guide-describe.json", show: publicDescribe},
		{file: "27-public-guide-describe-iam.json", corrected: true, show: publicDescribeByIdentity},
		{file: "28-public-guide-push-users.json", show: publicPushUsers},
		{file: "29-public-guide-another-account-push.json", corrected: true, show: publicAnotherAccountPushes},
		{file: "30-public-guide-full-access.json", show: func(t *testing.T, w *world, text texts) {
			u := publicManaged(t, w, "FullAccess", text.printed)
			decided(t, w.root.decide(t, u, "", nil, publicRest...), "allowed", publicRest...)
		}},
		{file: "31-public-guide-power-user.json", show: func(t *testing.T, w *world, text texts) {
			u := publicManaged(t, w, "PowerUser", text.printed)
			decided(t, w.root.decide(t, u, "", nil, publicPush...), "allowed", publicPush...)
			rest := []string{"ecr-public:DeleteRepository", "ecr-public:SetRepositoryPolicy", "ecr-public:DeleteRepositoryPolicy", "ecr-public:CreateRepository", "ecr-public:BatchDeleteImage"}
			decided(t, w.root.decide(t, u, "", nil, rest...), "implicitDeny", rest...)
		}},
		{file: "32-public-guide-read-only.json", show: func(t *testing.T, w *world, text texts) {
			u := publicManaged(t, w, "ReadOnly", text.printed)
			decided(t, w.root.decide(t, u, "", nil, publicRest...), "implicitDeny", publicRest...)
		}},
		{file: "33-public-guide-console.json", show: func(t *testing.T, w *world, text texts) {
			u := w.root.userWith(t, "public-console", text.printed)
			decided(t, w.root.decide(t, u, "", nil, publicRead...), "allowed", publicRead...)
			decided(t, w.root.decide(t, u, "", nil, publicRest...), "implicitDeny", publicRest...)
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
	publicLogIn = []string{"ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"}
	publicRead  = append([]string{
		"ecr-public:BatchCheckLayerAvailability", "ecr-public:GetRepositoryPolicy", "ecr-public:DescribeRepositories", "ecr-public:DescribeRegistries",
		"ecr-public:DescribeImages", "ecr-public:DescribeImageTags", "ecr-public:GetRepositoryCatalogData", "ecr-public:GetRegistryCatalogData",
	}, publicLogIn...)
	publicUpload = []string{"ecr-public:InitiateLayerUpload", "ecr-public:UploadLayerPart", "ecr-public:CompleteLayerUpload", "ecr-public:PutImage"}
	publicPush   = append([]string{"ecr-public:BatchCheckLayerAvailability"}, publicUpload...)
	// publicRest is what reading does not need.
	publicRest = append([]string{
		"ecr-public:CreateRepository", "ecr-public:DeleteRepository", "ecr-public:SetRepositoryPolicy", "ecr-public:DeleteRepositoryPolicy",
		"ecr-public:BatchDeleteImage", "ecr-public:PutRepositoryCatalogData", "ecr-public:PutRegistryCatalogData", "ecr-public:TagResource", "ecr-public:UntagResource",
	}, publicUpload...)
)

// mayLogInPublic is what the public guide says that everybody needs who pushes.
const mayLogInPublic = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr-public:GetAuthorizationToken","sts:GetServiceBearerToken"],"Resource":"*"}]}`

// mayAllPublic gives all of ECR Public.
const mayAllPublic = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr-public:*","Resource":"*"}]}`

func publicARN(account, name string) string {
	return "arn:aws:ecr-public::" + account + ":repository/" + name
}

// publicManaged is a user with one of AWS's policies, which has to be the printed
// one; all of them read.
func publicManaged(t *testing.T, w *world, name, printed string) *identity {
	t.Helper()
	u := w.root.user(t, "public-"+strings.ToLower(name))
	w.root.attach(t, u, w.managed(t, "AmazonElasticContainerRegistryPublic"+name, "v1", "v1", printed))
	decided(t, w.root.decide(t, u, "", nil, publicRead...), "allowed", publicRead...)
	privateClosed(t, w, u)
	return u
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
	r := publicARN(account, "describes")
	printed := fill(t, text.printed, "account-id", account, "username", u.name())
	allowed := []string{"ecr-public:DescribeImages", "ecr-public:DescribeRepositories"}
	decided(t, w.root.decideOn(t, r, printed, u, mayLogInPublic, allowed...), "allowed", allowed...)
	decided(t, w.root.decideOn(t, r, printed, u, mayLogInPublic, publicPush...), "implicitDeny", publicPush...)
	decided(t, w.root.decideOn(t, r, printed, other, mayLogInPublic, allowed...), "implicitDeny", allowed...)
}

func publicDescribeByIdentity(t *testing.T, w *world, text texts) {
	u := w.root.user(t, "public-describes-iam")
	values := []string{"account-id", account, "repository-name", "describes"}
	printed := fill(t, text.printed, append(values, "username", u.name())...)
	w.root.malformed(t, u, printed, blankInSid, withPrincipal)
	w.root.malformed(t, u, fill(t, printed, "ECR Public Repository Policy", ""), withPrincipal)
	w.root.inline(t, u, fill(t, text.corrected, values...))
	allowed := []string{"ecr-public:DescribeImages", "ecr-public:DescribeRepositories"}
	decided(t, w.root.decide(t, u, publicARN(account, "describes"), nil, allowed...), "allowed", allowed...)
	decided(t, w.root.decide(t, u, publicARN(account, "describes"), nil, publicPush...), "implicitDeny", publicPush...)
	decided(t, w.root.decide(t, u, publicARN(account, "other"), nil, allowed...), "implicitDeny", allowed...)
	privateClosed(t, w, u)
}

func publicPushUsers(t *testing.T, w *world, text texts) {
	root := w.newAccount(t)
	printed, r := fill(t, text.printed, "account-id", root.account), publicARN(root.account, "pushed")
	for _, name := range []string{"push-pull-user-1", "push-pull-user-2"} {
		u := root.user(t, name)
		decided(t, root.decideOn(t, r, printed, u, mayLogInPublic, publicPush...), "allowed", publicPush...)
		decided(t, root.decideOn(t, r, printed, u, mayLogInPublic, "ecr-public:DeleteRepository", "ecr-public:DescribeImages"), "implicitDeny", "ecr-public:DeleteRepository", "ecr-public:DescribeImages")
	}
	decided(t, root.decideOn(t, r, printed, root.user(t, "push-pull-user-3"), mayLogInPublic, publicPush...), "implicitDeny", publicPush...)
}

func publicAnotherAccountPushes(t *testing.T, w *world, text texts) {
	w.root.malformed(t, w.root.user(t, "public-another"), text.printed, brokenJSON)
	theirs, stranger := w.newAccount(t).user(t, "may"), w.newAccount(t).user(t, "may")
	corrected, r := fill(t, text.corrected, "account-id", theirs.account), publicARN(account, "pushed")
	decided(t, w.root.decideOn(t, r, corrected, theirs, mayAllPublic, publicPush...), "allowed", publicPush...)
	decided(t, w.root.decideOn(t, r, corrected, theirs, mayAllPublic, "ecr-public:DeleteRepository"), "implicitDeny", "ecr-public:DeleteRepository")
	decided(t, w.root.decideOn(t, r, corrected, theirs, mayLogInPublic, publicPush...), "implicitDeny", publicPush...)
	decided(t, w.root.decideOn(t, r, corrected, stranger, mayAllPublic, publicPush...), "implicitDeny", publicPush...)
}

func publicOneRepository(t *testing.T, w *world, text texts) {
	u := w.root.user(t, "public-one-repository")
	w.root.malformed(t, u, text.printed, brokenJSON)
	w.root.inline(t, u, text.corrected)
	contents := append([]string{"ecr-public:GetRepositoryPolicy", "ecr-public:DescribeRepositories", "ecr-public:ListImages", "ecr-public:DescribeImages"}, publicPush...)
	mine := publicARN(account, "my-repo")
	decided(t, w.root.decide(t, u, mine, nil, contents...), "allowed", contents...)
	decided(t, w.root.decide(t, u, publicARN(account, "my-repo-2"), nil, contents...), "implicitDeny", contents...)
	decided(t, w.root.decide(t, u, mine, nil, "ecr-public:DeleteRepository"), "implicitDeny", "ecr-public:DeleteRepository")
	// The token needs a second permission, which the guide forgets here.
	token := w.root.decide(t, u, "", nil, publicLogIn...)
	decided(t, token, "allowed", "ecr-public:GetAuthorizationToken")
	decided(t, token, "implicitDeny", "sts:GetServiceBearerToken")
	privateClosed(t, w, u)
	// With its three colons the printed ARN is nobody's repository.
	w.root.inline(t, u, fill(t, text.corrected, "ecr-public::", "ecr-public:::"))
	decided(t, w.root.decide(t, u, mine, nil, contents...), "implicitDeny", contents...)
}

func publicCreateOrTagDev(t *testing.T, w *world, text texts) {
	u := w.root.user(t, "public-tags-dev")
	w.root.attach(t, u, w.root.manage(t, "PublicTagsDev", text.printed))
	r, actions := publicARN(account, "new"), []string{"ecr-public:CreateRepository", "ecr-public:TagResource"}
	for want, context := range map[string][]map[string]string{
		"allowed":      {{"aws:RequestTag/environment": "dev"}},
		"implicitDeny": {nil, {"aws:RequestTag/environment": "prod"}, {"aws:RequestTag/owner": "dev"}},
	} {
		for _, c := range context {
			decided(t, w.root.decide(t, u, r, c, actions...), want, actions...)
		}
	}
	dev := map[string]string{"aws:RequestTag/environment": "dev"}
	decided(t, w.root.decide(t, u, r, dev, "ecr-public:UntagResource"), "implicitDeny", "ecr-public:UntagResource")
	privateClosed(t, w, u)
}

func publicUnlessTaggedProd(t *testing.T, w *world, text texts) {
	u := w.root.user(t, "public-not-prod")
	w.root.malformed(t, u, text.printed, brokenJSON)
	w.root.inline(t, u, text.corrected)
	r, prod := publicARN(account, "any"), map[string]string{"ecr-public:ResourceTag/environment": "prod"}
	decided(t, w.root.decide(t, u, r, nil, publicRest...), "allowed", publicRest...)
	decided(t, w.root.decide(t, u, r, map[string]string{"ecr-public:ResourceTag/environment": "dev"}, publicRest...), "allowed", publicRest...)
	decided(t, w.root.decide(t, u, r, prod, publicRest...), "explicitDeny", publicRest...)
	privateClosed(t, w, u)
	// The printed key is the private service's: it protects nothing here.
	w.root.inline(t, u, fill(t, text.corrected, "ecr-public:ResourceTag", "ecr:ResourceTag"))
	decided(t, w.root.decide(t, u, r, prod, publicRest...), "allowed", publicRest...)
}

package guides

import (
	"errors"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/test/contract/harness"
)

// repositoryPolicies are the ones that the private guide hangs on a repository.
func repositoryPolicies() []policy {
	return []policy{
		{file: "13-repository-policies-describe.json", show: describeByRepository},
		{file: "15-repository-policy-examples-push-pull-users.json", show: pushPullUsers},
		{file: "16-repository-policy-examples-another-account-push.json", show: anotherAccountPushes},
		{file: "17-repository-policy-examples-pull-users-and-admin.json", show: pullUsersAndAdmin},
		{file: "18-repository-policy-examples-all-accounts-pull.json", show: allAccountsPull},
		{file: "19-repository-policy-examples-deny-pull.json", show: denyPull},
		{file: "20-repository-policy-examples-source-ip.json", show: sourceIP},
		{file: "21-repository-policy-examples-codebuild.json", show: codeBuild},
	}
}

func describeByRepository(t *testing.T, w *world, text texts) {
	u, other := w.root.user(t, "policy-describes"), w.root.user(t, "policy-describes-not")
	r, beside := w.root.repository(t, "policy-describes"), w.root.repository(t, "policy-describes-not")
	r.setPolicy(t, fill(t, text.printed, "account-id", account, "username", u.name()))
	u.may(t, r, "DescribeImages", "DescribeRepositories")
	u.mayNot(t, r, noIdentityPolicy, "ListImages", "BatchGetImage", "PutImage", "GetRepositoryPolicy")
	u.mayNot(t, beside, noIdentityPolicy, "DescribeImages", "DescribeRepositories")
	other.mayNot(t, r, noIdentityPolicy, "DescribeImages", "DescribeRepositories")
	u.noToken(t)
	w.root.inline(t, u, mayLogIn)
	u.login(t).cannotPull(t, r, noIdentityPolicy)
	// The page: one of the two policies suffices, and a denial in either wins.
	w.root.inline(t, u, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ecr:DescribeImages","Resource":"*"}]}`)
	u.mayNot(t, r, identityDeny, "DescribeImages")
	u.may(t, r, "DescribeRepositories")
}

func pushPullUsers(t *testing.T, w *world, text texts) {
	first, second := w.root.userWith(t, "push-pull-user-1", mayLogIn), w.root.user(t, "push-pull-user-2")
	third := w.root.userWith(t, "push-pull-user-3", mayLogIn)
	r := w.root.repository(t, "push-pull")
	r.setPolicy(t, fill(t, text.printed, "account-id", account))
	allowed := []string{
		"BatchGetImage", "BatchCheckLayerAvailability", "CompleteLayerUpload", "GetDownloadUrlForLayer", "InitiateLayerUpload", "PutImage", "UploadLayerPart",
	}
	for _, u := range []*identity{first, second} {
		u.may(t, r, allowed...)
		u.mayNot(t, r, noIdentityPolicy, "ListImages", "DescribeImages", "BatchDeleteImage", "GetRepositoryPolicy", "SetRepositoryPolicy", "DeleteRepository")
	}
	third.mayNot(t, r, noIdentityPolicy, allowed...)
	// The page: without a policy of its own a user gets no token.
	second.noToken(t)
	w.root.inline(t, second, mayLogIn)
	for _, u := range []*identity{first, second} {
		c := u.login(t)
		c.pushes(t, r)
		c.pulls(t, r)
		c.craneRefused(t, "DENIED: "+u.sentence("ecr:ListImages", r.arn, noIdentityPolicy), "ls", c.host+"/"+r.name)
	}
	c := third.login(t)
	c.cannotPull(t, r, noIdentityPolicy)
	c.cannotPush(t, r, noIdentityPolicy)
}

func anotherAccountPushes(t *testing.T, w *world, text texts) {
	theirs, stranger := w.newAccount(t), w.newAccount(t)
	r := w.root.repository(t, "another-account-push")
	r.setPolicy(t, fill(t, text.printed, "account-id", theirs.account))
	allowed := []string{"BatchCheckLayerAvailability", "CompleteLayerUpload", "InitiateLayerUpload", "PutImage", "UploadLayerPart"}
	may, bare := theirs.userWith(t, "may", mayAll), theirs.userWith(t, "bare", mayLogIn)
	for _, u := range []*identity{theirs, may} {
		u.may(t, r, allowed...)
		u.mayNot(t, r, noResourcePolicy, "BatchGetImage", "GetDownloadUrlForLayer", "ListImages", "BatchDeleteImage", "DeleteRepository")
	}
	bare.mayNot(t, r, noIdentityPolicy, allowed...)
	stranger.mayNot(t, r, noResourcePolicy, allowed...)

	c := may.login(t)
	c.pushes(t, r)
	c.cannotPull(t, r, noResourcePolicy)
	c = bare.login(t)
	c.cannotPush(t, r, noIdentityPolicy)
	c = stranger.userWith(t, "may", mayAll).login(t)
	c.cannotPush(t, r, noResourcePolicy)
	c.cannotPull(t, r, noResourcePolicy)
	// The repository's own users get nothing from it; nor where the account named
	// is their own, which only lets it give permissions.
	u := w.root.userWith(t, "another-account-push", mayLogIn)
	u.mayNot(t, r, noIdentityPolicy, allowed...)
	home := w.root.repository(t, "own-account-push")
	home.setPolicy(t, fill(t, text.printed, "account-id", account))
	u.mayNot(t, home, noIdentityPolicy, allowed...)
}

func pullUsersAndAdmin(t *testing.T, w *world, text texts) {
	first, second := w.root.userWith(t, "pull-user-1", mayLogIn), w.root.userWith(t, "pull-user-2", mayLogIn)
	admin, other := w.root.userWith(t, "admin-user", mayLogIn), w.root.userWith(t, "pull-user-3", mayLogIn)
	r, beside := w.root.repository(t, "pull-and-admin"), w.root.repository(t, "pull-and-admin-not")
	r.setPolicy(t, fill(t, text.printed, "account-id", account))
	for _, u := range []*identity{first, second} {
		u.may(t, r, "BatchGetImage", "GetDownloadUrlForLayer")
		u.mayNot(t, r, noIdentityPolicy, "ListImages", "BatchCheckLayerAvailability", "PutImage", "InitiateLayerUpload", "BatchDeleteImage", "DeleteRepository")
		c := u.login(t)
		c.pulls(t, r)
		c.cannotPush(t, r, noIdentityPolicy)
	}
	other.login(t).cannotPull(t, r, noIdentityPolicy)
	c := admin.login(t)
	c.pulls(t, r)
	c.pushes(t, r)
	c.cannotPull(t, beside, noIdentityPolicy)
	admin.mayNot(t, beside, noIdentityPolicy, "ListImages", "DeleteRepository")
	// Full access to the repository: with SetRepositoryPolicy the admin takes the
	// pullers' permission away, and its own.
	own := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + admin.arn + `"},"Action":"ecr:*"}]}`
	_, err := admin.ecr.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: &r.name, PolicyText: &own})
	must(t, "SetRepositoryPolicy", err)
	first.mayNot(t, r, noIdentityPolicy, "BatchGetImage")
	admin.may(t, r, "ListImages", "DescribeImages", "BatchDeleteImage", "TagResource", "UntagResource", "ListTagsForResource", "PutImageTagMutability", "DeleteRepository")
}

func allAccountsPull(t *testing.T, w *world, text texts) {
	theirs := w.newAccount(t)
	r := w.root.repository(t, "all-accounts-pull")
	r.setPolicy(t, text.printed)
	own, may, bare := w.root.userWith(t, "all-accounts-pull", mayLogIn), theirs.userWith(t, "may", mayAll), theirs.userWith(t, "bare", mayLogIn)
	for u, why := range map[*identity]reason{own: noIdentityPolicy, may: noResourcePolicy} {
		u.may(t, r, "BatchGetImage", "GetDownloadUrlForLayer")
		u.mayNot(t, r, why, "ListImages", "DescribeImages", "PutImage", "InitiateLayerUpload", "BatchDeleteImage", "DeleteRepository")
		c := u.login(t)
		c.pulls(t, r)
		c.cannotPush(t, r, why)
	}
	theirs.login(t).pulls(t, r)
	bare.login(t).cannotPull(t, r, noIdentityPolicy) // another account's users need their own account's leave too
	// "All AWS accounts" is not everybody.
	var status *harness.StatusError
	_, _, err := harness.NewRegistry(w.Endpoint, "", http.DefaultTransport).Manifest(t.Context(), r.name, "v1")
	if !errors.As(err, &status) || status.Status != http.StatusUnauthorized {
		t.Errorf("a pull without a login: %v", err)
	}
}

func denyPull(t *testing.T, w *world, text texts) {
	r, beside := w.root.repository(t, "deny-pull"), w.root.repository(t, "deny-pull-not")
	u := w.root.userWith(t, "deny-pull", mayAll)
	r.setPolicy(t, text.printed)
	for _, i := range []*identity{w.root, u} {
		i.mayNot(t, r, resourceDeny, "BatchGetImage", "GetDownloadUrlForLayer")
		i.may(t, r, "ListImages", "DescribeImages", "BatchCheckLayerAvailability", "PutImage", "GetRepositoryPolicy")
		c := i.login(t)
		c.cannotPull(t, r, resourceDeny)
		c.pulls(t, beside)
		c.pushes(t, r)
	}
	c := u.login(t)
	u.may(t, r, "DeleteRepositoryPolicy")
	c.pulls(t, r)
	c.pushes(t, r)
}

// sourceIP drives the printed policy unchanged: proxies that the server trusts
// speak for the addresses.
func sourceIP(t *testing.T, w *world, text texts) {
	r := w.root.repository(t, "source-ip")
	r.setPolicy(t, text.printed)
	u, foreign := w.root.userWith(t, "source-ip", mayLogIn), w.newAccount(t).userWith(t, "source-ip", mayAll)
	all := []string{"BatchGetImage", "GetDownloadUrlForLayer", "ListImages", "PutImage", "InitiateLayerUpload"}
	for address, allowed := range map[string]bool{
		"": false, "54.240.143.0": true, "54.240.143.187": true, "54.240.143.188": false, "54.240.143.189": true, "54.240.143.255": true,
		"54.240.142.255": false, "54.240.144.0": false, "2001:db8::1": false,
		"54.240.143.7, 192.0.2.1": false, // what stands before the last address anybody can have written
		"192.0.2.1, 54.240.143.7": true,
	} {
		endpoint := w.front(t, address, "")
		u, foreign := u.through(endpoint), foreign.through(endpoint)
		if !allowed {
			u.mayNot(t, r, noIdentityPolicy, all...)
			foreign.mayNot(t, r, noResourcePolicy, all...)
		} else {
			u.may(t, r, all...)
			foreign.may(t, r, all...)
		}
		switch address {
		case "54.240.143.187":
			c := u.login(t)
			c.pulls(t, r)
			c.pushes(t, r)
		case "54.240.143.188", "54.240.144.0", "":
			c := u.login(t)
			c.cannotPull(t, r, noIdentityPolicy)
			c.cannotPush(t, r, noIdentityPolicy)
		}
	}
	// Without a proxy the client is 127.0.0.1.
	u.mayNot(t, r, noIdentityPolicy, all...)
	u.login(t).cannotPull(t, r, noIdentityPolicy)
	inside := u.through(w.front(t, "54.240.143.7", ""))
	inside.may(t, r, "DescribeRepositories", "GetRepositoryPolicy", "BatchDeleteImage", "TagResource", "DeleteRepository")
}

// codeBuild is a grant to a service. No service calls a registry of one's own:
// what is shown is that the policy is kept as it is and opens nothing to anybody
// else.
func codeBuild(t *testing.T, w *world, text texts) {
	r := w.root.repository(t, "codebuild")
	r.setPolicy(t, text.printed)
	u, foreign := w.root.userWith(t, "codebuild", mayLogIn), w.newAccount(t).userWith(t, "codebuild.amazonaws.com", mayAll)
	for i, why := range map[*identity]reason{u: noIdentityPolicy, foreign: noResourcePolicy} {
		i.mayNot(t, r, why, "BatchGetImage", "GetDownloadUrlForLayer", "PutImage")
		i.login(t).cannotPull(t, r, why)
	}
	actions := []string{"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
	decided(t, w.root.decideOn(t, r.arn, text.printed, u, mayLogIn, actions...), "implicitDeny", actions...)
	w.root.login(t).pulls(t, r)
}

package identity

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

// ask sends a request without a body and wants the status.
func ask(t *testing.T, r *harness.Registry, method, path string, want int) error {
	t.Helper()
	_, err := r.Do(t.Context(), harness.Request{Method: method, Path: path}, want)
	return err
}

// version asks whether the token is good at all.
func version(t *testing.T, r *harness.Registry) error {
	t.Helper()
	return ask(t, r, http.MethodGet, "/v2/", http.StatusOK)
}

// rightful fails the test where the rightful use is refused.
func rightful(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// dismiss deletes a user with everything that it has.
func (c *caller) dismiss(t *testing.T, u *caller) {
	t.Helper()
	must(c.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: &u.name, AccessKeyId: &u.credentials.AccessKeyID}))(t)
	if _, err := c.iam.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: &u.name, PolicyName: aws.String("own")}); err != nil && !strings.HasPrefix(answerOf(err), "NoSuchEntity") {
		t.Fatal(err)
	}
	must(c.iam.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: &u.name}))(t)
}

func tokenAttempts() group {
	return group{"Tokens of the registry", []attempt{
		{"a token of one region at the registry of another", "401: Not Authorized", func(t *testing.T, w *world) error {
			token := w.a.login(t)
			rightful(t, "at home", version(t, w.registryOf(accountA, token)))
			return version(t, w.RegistryAt(registryHost(accountA, abroad), token))
		}},
		{"a token under another user name than AWS", "401: Not Authorized", func(t *testing.T, w *world) error {
			password := w.a.password(t)
			return version(t, w.registryOf(accountA, "Basic "+base64.StdEncoding.EncodeToString([]byte("root:"+password))))
		}},
		{"a token as a bearer token", "401: Not Authorized", func(t *testing.T, w *world) error {
			return version(t, w.registryOf(accountA, "Bearer "+w.a.password(t)))
		}},
		{"a token with a character changed", "401: Not Authorized", func(t *testing.T, w *world) error {
			password := w.a.password(t)
			var results []error
			for _, at := range []int{10, len(password) / 3, len(password) / 2, len(password) - 10} {
				with := byte('A')
				if password[at] == with {
					with = 'B'
				}
				changed := password[:at] + string(with) + password[at+1:]
				results = append(results, version(t, w.registryOf(accountA, "Basic "+base64.StdEncoding.EncodeToString([]byte("AWS:"+changed)))))
			}
			return each(results...)
		}},
		{"a secret access key in place of a token", "401: Not Authorized", func(t *testing.T, w *world) error {
			c := w.a.credentials
			return each(
				version(t, w.registryOf(accountA, "Basic "+base64.StdEncoding.EncodeToString([]byte("AWS:"+c.SecretAccessKey)))),
				version(t, w.registryOf(accountA, "Basic "+base64.StdEncoding.EncodeToString([]byte(c.AccessKeyID+":"+c.SecretAccessKey)))))
		}},
		{"a token whose access key was deactivated since", "401: Not Authorized", func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("ecr:*", "*"))
			r := u.registry(t)
			rightful(t, "before", version(t, r))
			must(w.a.iam.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: &u.name, AccessKeyId: &u.credentials.AccessKeyID, Status: iamtypes.StatusTypeInactive}))(t)
			return version(t, r)
		}},
		{"a token of a user who was deleted, and made again under the name", "401: Not Authorized", func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("ecr:*", "*"))
			r := u.registry(t)
			rightful(t, "before", version(t, r))
			w.a.dismiss(t, u)
			gone := version(t, r)
			w.a.userIn(t, &iam.CreateUserInput{UserName: &u.name}, allow("ecr:*", "*"))
			return each(gone, version(t, r))
		}},
		{"a token of a role's session after the role was deleted, and made again under the name", "401: Not Authorized", func(t *testing.T, w *world) error {
			u := w.a.user(t)
			role := w.a.role(t, trust(u.arn), allow("ecr:*", "*"))
			session := must(u.assume(t.Context(), role, nil))(t)
			r := session.registry(t)
			rightful(t, "before", version(t, r))
			name := lastOf(role)
			must(w.a.iam.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: aws.String("own")}))(t)
			must(w.a.iam.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: &name}))(t)
			gone := version(t, r)
			must(w.a.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(document(trust(u.arn)))}))(t)
			must(w.a.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("own"), PolicyDocument: aws.String(document(allow("ecr:*", "*")))}))(t)
			return each(gone, version(t, r))
		}},
		{"a token of one account at the registry of another, where every action is allowed by the user's own policy", "403 DENIED, because no resource-based policy allows the ecr:BatchGetImage action", func(t *testing.T, w *world) error {
			repo, _ := w.a.filled(t)
			u := w.b.user(t, allow("*", "*"))
			return pull(t.Context(), w.registryOf(accountA, u.login(t)), repo)
		}},
		{"a token that was asked for the registry of another account", "403 DENIED, because no resource-based policy allows the ecr:BatchGetImage action", func(t *testing.T, w *world) error {
			repo, _ := w.a.filled(t)
			//lint:ignore SA1019 it is deprecated, and served all the same
			in := &ecr.GetAuthorizationTokenInput{RegistryIds: []string{accountA}}
			out := must(w.b.ecr.GetAuthorizationToken(t.Context(), in))(t)
			return pull(t.Context(), w.registryOf(accountA, "Basic "+*out.AuthorizationData[0].AuthorizationToken), repo)
		}},
		{"a token without ecr:GetAuthorizationToken", "AccessDeniedException, because no identity-based policy allows the ecr:GetAuthorizationToken action", func(t *testing.T, w *world) error {
			_, err := w.a.user(t, allow(pushing, "*")).ecr.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{})
			return err
		}},
		{"a token of a user who may push to one repository, to push to another", "403 DENIED, because no identity-based policy allows the ecr:InitiateLayerUpload action", func(t *testing.T, w *world) error {
			mine, other := w.a.repo(t), w.a.repo(t)
			r := w.a.user(t, can(pushing, mine)...).registry(t)
			rightful(t, "to its own", push(t.Context(), r, mine, newImage(t)))
			return push(t.Context(), r, other, newImage(t))
		}},
		{"reading tags, layers and referrers of a repository that is not allowed, and of one that does not exist", "403 DENIED", func(t *testing.T, w *world) error {
			mine := w.a.repo(t)
			secret, i := w.a.filled(t)
			r := w.a.user(t, can(pushing+" ecr:ListImages", mine)...).registry(t)
			var results []error
			for _, path := range []string{"/tags/list", "/manifests/v1", "/blobs/" + i.layerDigest(), "/referrers/" + harness.Digest(i.manifest)} {
				there := ask(t, r, http.MethodGet, "/v2/"+secret+path, http.StatusOK)
				nowhere := ask(t, r, http.MethodGet, "/v2/"+unique("repo")+path, http.StatusOK)
				if answerOf(there) != answerOf(nowhere) {
					t.Errorf("%s tells whether the repository exists: %v and %v", path, there, nowhere)
				}
				code, _, _ := strings.Cut(answerOf(there), ",")
				results = append(results, outcome(code))
			}
			return each(results...)
		}},
		{"listing the repositories of another account", "403 DENIED, because no resource-based policy allows the ecr:DescribeRepositories action", func(t *testing.T, w *world) error {
			r := w.registryOf(accountA, w.b.login(t))
			return ask(t, r, http.MethodGet, "/v2/_catalog", http.StatusOK)
		}},
	}}
}

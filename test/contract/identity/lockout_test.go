package identity

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
)

// denyAll is a statement of a resource policy that refuses everybody.
func denyAll() statement { return statement{"Effect": "Deny", "Action": "ecr:*", "Principal": "*"} }

func lockoutAttempts() group {
	const resourceDeny = "with an explicit deny in a resource-based policy"
	return group{"Policies against the owner", []attempt{
		{"a repository policy that denies everything to everybody, without force", "InvalidParameterException", func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			u := w.a.user(t, allow("ecr:*", "*"))
			_, err := u.ecr.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: &repo, PolicyText: aws.String(document(denyAll()))})
			return codeOf(err)
		}},
		{"the same by force: the root user pulls", "403 DENIED, " + resourceDeny, func(t *testing.T, w *world) error {
			repo, _ := w.a.filled(t)
			lock := &ecr.SetRepositoryPolicyInput{RepositoryName: &repo, PolicyText: aws.String(document(denyAll())), Force: true}
			u := w.a.user(t, allow("ecr:*", "*"))
			must(u.ecr.SetRepositoryPolicy(t.Context(), lock))(t)
			root := w.a.registry(t)
			err := pull(t.Context(), root, repo)
			must(w.a.ecr.GetRepositoryPolicy(t.Context(), &ecr.GetRepositoryPolicyInput{RepositoryName: &repo}))(t)
			must(w.a.ecr.SetRepositoryPolicy(t.Context(), lock))(t)
			must(w.a.ecr.DeleteRepositoryPolicy(t.Context(), &ecr.DeleteRepositoryPolicyInput{RepositoryName: &repo}))(t)
			rightful(t, "after root has deleted the policy", pull(t.Context(), root, repo))
			return err
		}},
		{"the same by force: the user who set it takes it back, or deletes the repository", "AccessDeniedException, " + resourceDeny, func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			u := w.a.user(t, allow("ecr:*", "*"))
			must(u.ecr.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: &repo, PolicyText: aws.String(document(denyAll())), Force: true}))(t)
			_, back := u.ecr.DeleteRepositoryPolicy(t.Context(), &ecr.DeleteRepositoryPolicyInput{RepositoryName: &repo})
			_, remove := u.ecr.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: &repo, Force: true})
			must(w.a.ecr.DeleteRepositoryPolicy(t.Context(), &ecr.DeleteRepositoryPolicyInput{RepositoryName: &repo}))(t)
			return each(back, remove)
		}},
		{"a registry policy that denies everything to everybody, in a region of its own; root deletes it", "AccessDeniedException, " + resourceDeny, func(t *testing.T, w *world) error {
			// Account B uses that region for nothing else.
			r := w.b.abroad()
			s := denyAll()
			s["Resource"] = "*"
			must(r.PutRegistryPolicy(t.Context(), &ecr.PutRegistryPolicyInput{PolicyText: aws.String(document(s))}))(t)
			_, err := r.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{})
			must(r.GetRegistryPolicy(t.Context(), nil))(t)
			must(r.DeleteRegistryPolicy(t.Context(), nil))(t)
			_, after := r.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{})
			rightful(t, "after root has deleted the policy", after)
			return err
		}},
		{"a repository policy that lets a user in, past a deny in the user's own policy", "403 DENIED, with an explicit deny in an identity-based policy", func(t *testing.T, w *world) error {
			repo, _ := w.a.filled(t)
			u := w.a.user(t, allow(signIn, "*"), deny("ecr:BatchGetImage", "*"))
			w.a.setPolicy(t, repo, grant("ecr:*", principals(u.arn)))
			return pull(t.Context(), u.registry(t), repo)
		}},
		{"a repository policy about IAM: Action iam:*", "InvalidParameterException", func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			_, err := w.a.ecr.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: &repo, PolicyText: aws.String(document(grant("iam:*", "*")))})
			return codeOf(err)
		}},
		{"a repository policy for a user who does not exist yet", "InvalidParameterException: Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Principal not found'", func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			_, err := w.a.ecr.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: &repo, PolicyText: aws.String(document(grant("ecr:*", principals(userARN(unique("user"))))))})
			return err
		}},
		{"a repository policy that lets everybody in, without a token", "401: Not Authorized", func(t *testing.T, w *world) error {
			repo, _ := w.a.filled(t)
			w.a.setPolicy(t, repo, grant("ecr:*", "*"))
			return ask(t, w.registryOf(accountA, ""), http.MethodGet, "/v2/"+repo+"/manifests/v1", http.StatusOK)
		}},
		{"the same, by a user of another account without a policy", "403 DENIED, because no identity-based policy allows the ecr:BatchGetImage action", func(t *testing.T, w *world) error {
			repo, _ := w.a.filled(t)
			w.a.setPolicy(t, repo, grant("ecr:*", "*"))
			return pull(t.Context(), w.registryOf(accountA, w.b.user(t, allow(signIn, "*")).login(t)), repo)
		}},
	}}
}

package guides

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
)

// registryPolicies are the permissions for replication. ReplicateImage is none of
// the operations that can be called, and replication is not built: whether it is
// allowed is asked of berth explain, about the policy that is set. CreateRepository
// is called from the source account.
func registryPolicies() []policy {
	return []policy{
		{file: "08-registry-permissions-create-replication.json", show: replicatesAll},
		{file: "09-registry-permissions-examples-replicate-all.json", show: replicatesAll},
		{file: "10-registry-permissions-examples-multiple-accounts.json", corrected: true, show: func(t *testing.T, w *world, text texts) {
			// As printed it is two statements about one account.
			replicatesAll(t, w, text)
			s := newReplication(t, w)
			second := w.newAccount(t).in(registryRegion)
			s.set(t, fill(t, text.corrected, "second_source_account_id", second.account, "source_account_id", s.source.account, "your_account_id", s.registry.account))
			for _, root := range []*identity{s.source, second} {
				s.creates(t, root, "from-"+root.account, true)
				s.replicates(t, root, "from-"+root.account, true)
			}
			s.creates(t, s.stranger, "stranger", false)
			s.replicates(t, s.stranger, "stranger", false)
		}},
		{file: "11-registry-permissions-examples-prod.json", show: func(t *testing.T, w *world, text texts) {
			s := newReplication(t, w)
			s.set(t, s.filled(t, text.printed))
			for name, want := range map[string]bool{"prod-app": true, "prod-team/app": true, "app": false, "team/prod-app": false, "prod/app": false} {
				s.creates(t, s.source, name, want)
				s.replicates(t, s.source, name, want)
			}
			s.creates(t, s.stranger, "prod-stranger", false)
		}},
		{file: "12-registry-permissions-examples-replicate-only.json", show: func(t *testing.T, w *world, text texts) {
			s := newReplication(t, w)
			s.set(t, s.filled(t, text.printed))
			s.creates(t, s.source, "app", false)
			s.registry.repository(t, "app")
			s.replicates(t, s.source, "app", true)
			s.replicates(t, s.stranger, "app", false)
			s.nothingElse(t, s.registry.repository(t, "closed"))
		}},
	}
}

// replicated is a registry with a policy, and the accounts around it.
type replicated struct {
	w *world
	// registry, source and stranger are root users, in the registry's Region.
	registry, source, stranger *identity
}

func newReplication(t *testing.T, w *world) *replicated {
	t.Helper()
	return &replicated{w, w.newAccount(t).in(registryRegion), w.newAccount(t).in(registryRegion), w.newAccount(t).in(registryRegion)}
}

func (s *replicated) filled(t *testing.T, policy string) string {
	t.Helper()
	return fill(t, policy, "source_account_id", s.source.account, "your_account_id", s.registry.account)
}

func (s *replicated) set(t *testing.T, policy string) {
	t.Helper()
	_, err := s.registry.ecr.PutRegistryPolicy(t.Context(), &ecr.PutRegistryPolicyInput{PolicyText: &policy})
	must(t, "PutRegistryPolicy", err)
	out, err := s.registry.ecr.GetRegistryPolicy(t.Context(), &ecr.GetRegistryPolicyInput{})
	must(t, "GetRegistryPolicy", err)
	sameJSON(t, "the registry's policy", *out.PolicyText, policy)
}

func (s *replicated) arn(name string) string {
	return "arn:aws:ecr:" + registryRegion + ":" + s.registry.account + ":repository/" + name
}

// creates fails unless somebody can, or cannot, make a repository in the
// registry.
func (s *replicated) creates(t *testing.T, who *identity, name string, want bool) {
	t.Helper()
	_, err := who.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RegistryId: &s.registry.account, RepositoryName: &name})
	if !want {
		who.refused(t, err, "ecr:CreateRepository", s.arn(name), noResourcePolicy)
		return
	}
	must(t, who.arn+": CreateRepository "+name, err)
	_, err = s.registry.ecr.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{name}})
	must(t, "the registry has no "+name, err)
}

func (s *replicated) replicates(t *testing.T, who *identity, name string, want bool) {
	t.Helper()
	if got := s.w.explained(t, who, registryRegion, "ecr:ReplicateImage", s.arn(name)); got != want {
		t.Errorf("%s may replicate %s: %v, want %v", who.arn, name, got, want)
	}
}

// nothingElse fails unless the source account finds everything closed but what
// replication needs: the API, and the registry for docker and crane.
func (s *replicated) nothingElse(t *testing.T, r *repository) {
	t.Helper()
	u := s.w.identity(s.source.account, s.source.arn, s.source.config)
	u.mayNot(t, r, noResourcePolicy, "BatchGetImage", "ListImages", "DescribeImages", "DescribeRepositories", "InitiateLayerUpload",
		"PutImage", "BatchDeleteImage", "DeleteRepository", "SetRepositoryPolicy")
	c := u.loginAt(t, s.w.front(t, "", registryHost(s.registry.account, registryRegion)))
	c.cannotPull(t, r, noResourcePolicy)
	c.cannotPush(t, r, noResourcePolicy)
}

func replicatesAll(t *testing.T, w *world, text texts) {
	s := newReplication(t, w)
	s.creates(t, s.source, "too-early", false)
	s.set(t, s.filled(t, text.printed))
	s.creates(t, s.source, "app", true)
	s.replicates(t, s.source, "app", true)
	s.creates(t, s.stranger, "stranger", false)
	s.replicates(t, s.stranger, "stranger", false)
	s.nothingElse(t, s.registry.repository(t, "closed"))

	// The statement names the account: its root user, and whom it lets. The
	// registry's own users get nothing from it.
	may := s.source.userWith(t, "may", mayAll).in(registryRegion)
	s.creates(t, may, "by-user", true)
	bare := s.source.user(t, "bare").in(registryRegion)
	_, err := bare.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RegistryId: &s.registry.account, RepositoryName: aws.String("by-bare")})
	bare.refused(t, err, "ecr:CreateRepository", s.arn("by-bare"), noIdentityPolicy)
	own := s.registry.user(t, "own").in(registryRegion)
	_, err = own.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("by-own")})
	own.refused(t, err, "ecr:CreateRepository", s.arn("by-own"), noIdentityPolicy)

	// A registry is of one Region.
	_, err = s.source.in(region).ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RegistryId: &s.registry.account, RepositoryName: aws.String("east")})
	s.source.refused(t, err, "ecr:CreateRepository", "arn:aws:ecr:"+region+":"+s.registry.account+":repository/east", noResourcePolicy)

	_, err = s.registry.ecr.DeleteRegistryPolicy(t.Context(), &ecr.DeleteRegistryPolicyInput{})
	must(t, "DeleteRegistryPolicy", err)
	s.creates(t, s.source, "too-late", false)
	s.replicates(t, s.source, "too-late", false)
}

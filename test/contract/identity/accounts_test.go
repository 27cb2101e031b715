package identity

import (
	"regexp"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// crossed is the refusal of an administrator at another account's things.
func crossed(code, action string) string {
	return code + ", because no resource-based policy allows the " + action + " action"
}

func accountAttempts() group {
	const denied = "AccessDeniedException"
	other := aws.String(accountA)
	return group{"Another account, by its administrator", []attempt{
		{"reading images: BatchGetImage with a foreign registryId", crossed(denied, "ecr:BatchGetImage"), func(t *testing.T, w *world) error {
			repo, _ := w.a.filled(t)
			var results []error
			for _, name := range []string{repo, unique("repo")} { // whether it exists stays untold
				_, err := w.b.ecr.BatchGetImage(t.Context(), &ecr.BatchGetImageInput{RegistryId: other, RepositoryName: &name, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("v1")}}})
				results = append(results, err)
			}
			return each(results...)
		}},
		{"pushing: PutImage with a foreign registryId", crossed(denied, "ecr:PutImage"), func(t *testing.T, w *world) error {
			repo, i := w.a.filled(t)
			_, err := w.b.ecr.PutImage(t.Context(), &ecr.PutImageInput{RegistryId: other, RepositoryName: &repo, ImageManifest: aws.String(string(i.manifest)), ImageTag: aws.String("mine")})
			return err
		}},
		{"letting oneself in: SetRepositoryPolicy with a foreign registryId", crossed(denied, "ecr:SetRepositoryPolicy"), func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			_, err := w.b.ecr.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{
				RegistryId: other, RepositoryName: &repo, Force: true, PolicyText: aws.String(document(grant("ecr:*", principals(accountB)))),
			})
			return err
		}},
		{"widening a policy that lets one pull: SetRepositoryPolicy", crossed(denied, "ecr:SetRepositoryPolicy"), func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			w.a.setPolicy(t, repo, grant(pulling, principals(accountB)))
			_, err := w.b.ecr.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{
				RegistryId: other, RepositoryName: &repo, PolicyText: aws.String(document(grant("ecr:*", principals(accountB)))),
			})
			return err
		}},
		{"deleting a repository that one may pull from", crossed(denied, "ecr:DeleteRepository"), func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			w.a.setPolicy(t, repo, grant(pulling, principals(accountB)))
			_, err := w.b.ecr.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RegistryId: other, RepositoryName: &repo, Force: true})
			return err
		}},
		{"making a repository in the other registry", crossed(denied, "ecr:CreateRepository"), func(t *testing.T, w *world) error {
			_, err := w.b.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RegistryId: other, RepositoryName: aws.String(unique("repo"))})
			return err
		}},
		{"listing the other registry: DescribeRepositories", crossed(denied, "ecr:DescribeRepositories"), func(t *testing.T, w *world) error {
			_, err := w.b.ecr.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RegistryId: other})
			return err
		}},
		{"tagging by a foreign ARN: TagResource", crossed(denied, "ecr:TagResource"), func(t *testing.T, w *world) error {
			_, err := w.b.ecr.TagResource(t.Context(), &ecr.TagResourceInput{
				ResourceArn: aws.String(repoARN(accountA, w.a.repo(t))), Tags: []ecrtypes.Tag{{Key: aws.String("team"), Value: aws.String("mine")}},
			})
			return err
		}},
		{"a registry policy of one's own about the other's repositories", "InvalidParameterException", func(t *testing.T, w *world) error {
			s := grant(pulling, principals(accountB))
			s["Resource"] = repoARN(accountA, "*")
			_, err := w.b.ecr.PutRegistryPolicy(t.Context(), &ecr.PutRegistryPolicyInput{PolicyText: aws.String(document(s))})
			return codeOf(err)
		}},
		{"an identity policy of one's own about the other's repositories", crossed(denied, "ecr:BatchGetImage"), func(t *testing.T, w *world) error {
			repo, _ := w.a.filled(t)
			u := w.b.user(t, allow("ecr:*", repoARN(accountA, "*")))
			_, err := u.ecr.BatchGetImage(t.Context(), &ecr.BatchGetImageInput{RegistryId: other, RepositoryName: &repo, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("v1")}}})
			return err
		}},
		{"changing the other's managed policy by its ARN: CreatePolicyVersion, SetDefaultPolicyVersion, DeletePolicy, GetPolicy", "AccessDenied", func(t *testing.T, w *world) error {
			arn := w.a.policy(t, allow("ecr:*", "*"))
			_, version := w.b.iam.CreatePolicyVersion(t.Context(), &iam.CreatePolicyVersionInput{PolicyArn: &arn, SetAsDefault: true, PolicyDocument: aws.String(document(allow("*", "*")))})
			_, setDefault := w.b.iam.SetDefaultPolicyVersion(t.Context(), &iam.SetDefaultPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v1")})
			_, remove := w.b.iam.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: &arn})
			_, get := w.b.iam.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: &arn})
			return each(denialOf(version), denialOf(setDefault), denialOf(remove), denialOf(get))
		}},
		{"attaching the other's managed policy, or bounding with it", "NoSuchEntity", func(t *testing.T, w *world) error {
			arn := w.a.policy(t, allow("*", "*"))
			u := w.b.user(t)
			_, attach := w.b.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &u.name, PolicyArn: &arn})
			_, bound := w.b.iam.PutUserPermissionsBoundary(t.Context(), &iam.PutUserPermissionsBoundaryInput{UserName: &u.name, PermissionsBoundary: &arn})
			return each(codeOf(attach), codeOf(bound))
		}},
		{"what a user of the other account may do: SimulatePrincipalPolicy, GetContextKeysForPrincipalPolicy", "AccessDenied", func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("ecr:*", "*"))
			_, simulate := w.b.iam.SimulatePrincipalPolicy(t.Context(), &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &u.arn, ActionNames: []string{"ecr:PutImage"}})
			_, keys := w.b.iam.GetContextKeysForPrincipalPolicy(t.Context(), &iam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: &u.arn})
			return each(denialOf(simulate), denialOf(keys))
		}},
		{"sealing a repository of one's own with the other's key", "KmsException", func(t *testing.T, w *world) error {
			alias := unique("key")
			out := must(w.Command(t.Context(), "keys", "create", "--data", w.Data, "--account", accountA, alias).CombinedOutput())(t)
			row := regexp.MustCompile(`(?m)^([0-9a-f-]{36}) +alias/` + alias + ` `).FindSubmatch(out)
			if row == nil {
				t.Fatalf("berth keys create does not show the key:\n%s", out)
			}
			id := string(row[1])
			arn := "arn:aws:kms:" + home + ":" + accountA + ":key/" + id
			create := func(c *caller, key string) error {
				_, err := c.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String(unique("repo")),
					EncryptionConfiguration: &ecrtypes.EncryptionConfiguration{EncryptionType: ecrtypes.EncryptionTypeKms, KmsKey: &key}})
				return err
			}
			rightful(t, "its owner", create(w.a, arn))
			return each(codeOf(create(w.b, arn)), codeOf(create(w.b, id)), codeOf(create(w.b, "alias/"+alias)),
				codeOf(create(w.b, "arn:aws:kms:"+home+":"+accountA+":alias/"+alias)))
		}},
		{"deleting the access key of a user of the other account", "NoSuchEntity", func(t *testing.T, w *world) error {
			victim := w.a.user(t)
			mine := w.b.user(t)
			_, asMine := w.b.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: &mine.name, AccessKeyId: &victim.credentials.AccessKeyID})
			_, asRoot := w.b.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{AccessKeyId: &victim.credentials.AccessKeyID})
			_, named := w.b.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: &victim.name, AccessKeyId: &victim.credentials.AccessKeyID})
			return each(codeOf(asMine), codeOf(asRoot), codeOf(named))
		}},
	}}
}

// denialOf is the code of a refusal without the action, for attempts with many
// actions.
func denialOf(err error) error {
	answer := answerOf(err)
	for i, r := range answer {
		if r == ',' || r == ':' {
			return outcome(answer[:i])
		}
	}
	return outcome(answer)
}

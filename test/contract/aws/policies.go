package aws

import (
	"strings"
	"testing"
)

// policyDocument is a policy of one statement.
func policyDocument(statement string) string {
	return `{"Version":"2012-10-17","Statement":[` + statement + `]}`
}

const invalidPolicy = "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'"

func (s *suite) repositoryPolicy(t *testing.T) {
	repo := s.repo(t, "policy")
	in := object{"repositoryName": repo}
	none := "Repository policy does not exist for the repository with name '" + repo + "' in the registry with id '" + s.Account + "'"
	s.refused(t, "GetRepositoryPolicy", in, "RepositoryPolicyNotFoundException", none)
	s.refused(t, "DeleteRepositoryPolicy", in, "RepositoryPolicyNotFoundException", none)

	given := `{"Version":"2008-10-17","Id":"one","Statement":[{"Sid":"any text, and spaces","Effect":"Allow","Principal":{"AWS":["` + s.Account + `"]},"Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"]},{"Effect":"Deny","Principal":"*","Action":"ecr:DeleteRepository","Condition":{"Bool":{"aws:SecureTransport":false}}}]}`
	pretty := `{
  "Version" : "2008-10-17",
  "Id" : "one",
  "Statement" : [ {
    "Sid" : "any text, and spaces",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : [ "arn:aws:iam::` + s.Account + `:root" ]
    },
    "Action" : [ "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer" ]
  }, {
    "Effect" : "Deny",
    "Principal" : "*",
    "Action" : "ecr:DeleteRepository",
    "Condition" : {
      "Bool" : {
        "aws:SecureTransport" : false
      }
    }
  } ]
}`
	set := object{"repositoryName": repo, "policyText": given}
	s.succeed(t, "SetRepositoryPolicy", set)
	want := object{"registryId": s.Account, "repositoryName": repo, "policyText": pretty}
	for range 2 {
		same(t, "GetRepositoryPolicy", want, s.succeed(t, "GetRepositoryPolicy", in))
		s.succeed(t, "SetRepositoryPolicy", object{"repositoryName": repo, "policyText": pretty}) // what comes back can be set
	}
	s.refused(t, "DeleteRepository", in, "AccessDeniedException", "User: arn:aws:iam::"+s.Account+":root is not authorized to perform: ecr:DeleteRepository on resource: arn:aws:ecr:"+
		s.Region+":"+s.Account+":repository/"+repo+" with an explicit deny in a resource-based policy")
	same(t, "DeleteRepositoryPolicy", want, s.succeed(t, "DeleteRepositoryPolicy", in))
	s.refused(t, "GetRepositoryPolicy", in, "RepositoryPolicyNotFoundException", none)
	s.succeed(t, "DeleteRepository", in)
	s.refused(t, "SetRepositoryPolicy", set, "RepositoryNotFoundException", s.noRepository(repo))
}

func (s *suite) repositoryPolicyRefused(t *testing.T) {
	repo := s.repo(t, "policy")
	for what, text := range map[string]string{
		"no JSON":              `x`,
		"nothing":              ``,
		"an unknown element":   `{"Version":"2012-10-17","Statements":[]}`,
		"no principal":         policyDocument(`{"Effect":"Allow","Action":"ecr:BatchGetImage"}`),
		"no action":            policyDocument(`{"Effect":"Allow","Principal":"*"}`),
		"another service":      policyDocument(`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}`),
		"a key twice":          policyDocument(`{"Effect":"Allow","Effect":"Deny","Principal":"*","Action":"ecr:BatchGetImage"}`),
		"an unknown operator":  policyDocument(`{"Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage","Condition":{"Same":{"aws:SourceIp":"10.0.0.0/8"}}}`),
		"a canonical user":     policyDocument(`{"Effect":"Allow","Principal":{"CanonicalUser":"79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"},"Action":"ecr:BatchGetImage"}`),
		"an unknown version":   `{"Version":"2020-01-01","Statement":[]}`,
		"a wildcard principal": policyDocument(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + s.Account + `:user/*"},"Action":"ecr:BatchGetImage"}`),
	} {
		t.Log(what)
		s.refused(t, "SetRepositoryPolicy", object{"repositoryName": repo, "policyText": text}, "InvalidParameterException", invalidPolicy)
	}
	for _, principal := range []string{"arn:aws:iam::" + s.Account + ":user/nobody", "arn:aws:iam::" + s.Account + ":role/nobody", "999999999999", "AIDAAAAAAAAAAAAAAAAAA"} {
		s.refused(t, "SetRepositoryPolicy", object{"repositoryName": repo, "policyText": policyDocument(`{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"ecr:BatchGetImage"}`)},
			"InvalidParameterException", "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Principal not found'")
	}
	long := policyDocument(`{"Sid":"` + strings.Repeat("x", 10240) + `","Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage"}`)
	s.refused(t, "SetRepositoryPolicy", object{"repositoryName": repo, "policyText": long},
		"InvalidParameterException", "Invalid parameter at 'policyText' failed to satisfy constraint: 'Member must have length less than or equal to 10240'")

	// A policy that would lock its author out has to be forced, and root can
	// take it back.
	locking := object{"repositoryName": repo, "policyText": policyDocument(`{"Effect":"Deny","Principal":"*","Action":"ecr:*"}`)}
	s.refused(t, "SetRepositoryPolicy", locking, "InvalidParameterException",
		"Invalid parameter at 'PolicyText' failed to satisfy constraint: 'The policy would prevent you from setting another policy in the future. Use force to set it all the same'")
	locking["force"] = true
	s.succeed(t, "SetRepositoryPolicy", locking)
	s.refused(t, "ListImages", object{"repositoryName": repo}, "AccessDeniedException", "User: arn:aws:iam::"+s.Account+":root is not authorized to perform: ecr:ListImages on resource: arn:aws:ecr:"+
		s.Region+":"+s.Account+":repository/"+repo+" with an explicit deny in a resource-based policy")
	s.succeed(t, "DeleteRepositoryPolicy", object{"repositoryName": repo})
	s.succeed(t, "ListImages", object{"repositoryName": repo})
}

// registryPolicy acts on the whole registry, so that it allows only what nobody
// else asks for.
func (s *suite) registryPolicy(t *testing.T) {
	none := "Registry policy does not exist in the registry with id '" + s.Account + "'"
	s.refused(t, "GetRegistryPolicy", object{}, "RegistryPolicyNotFoundException", none)
	s.refused(t, "DeleteRegistryPolicy", object{}, "RegistryPolicyNotFoundException", none)
	statement := `{"Sid":"in","Effect":"Allow","Principal":{"AWS":"` + s.Account + `"},"Action":["ecr:ReplicateImage"],"Resource":["arn:aws:ecr:` + s.Region + `:` + s.Account + `:repository/*"]}`
	invalid := "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid registry policy provided'"
	for what, text := range map[string]string{
		"no JSON":                 `x`,
		"no resource":             policyDocument(`{"Effect":"Allow","Principal":"*","Action":"ecr:ReplicateImage"}`),
		"another's repositories":  policyDocument(strings.Replace(statement, ":"+s.Account+":repository", ":999999999999:repository", 1)),
		"another service":         policyDocument(strings.Replace(statement, "ecr:ReplicateImage", "s3:GetObject", 1)),
		"another service's thing": policyDocument(strings.Replace(statement, "arn:aws:ecr", "arn:aws:s3", 1)),
	} {
		t.Log(what)
		s.refused(t, "PutRegistryPolicy", object{"policyText": text}, "InvalidParameterException", invalid)
	}
	put := object{"policyText": policyDocument(statement)}
	want := object{"registryId": s.Account, "policyText": `{
  "Version" : "2012-10-17",
  "Statement" : [ {
    "Sid" : "in",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::` + s.Account + `:root"
    },
    "Action" : [ "ecr:ReplicateImage" ],
    "Resource" : [ "arn:aws:ecr:` + s.Region + `:` + s.Account + `:repository/*" ]
  } ]
}`}
	s.succeed(t, "PutRegistryPolicy", put)
	same(t, "GetRegistryPolicy", want, s.succeed(t, "GetRegistryPolicy", object{}))

	// The first scope takes three actions only.
	setting := object{"name": "REGISTRY_POLICY_SCOPE"}
	same(t, "GetAccountSetting", object{"name": "REGISTRY_POLICY_SCOPE", "value": "V2"}, s.succeed(t, "GetAccountSetting", setting))
	pull := object{"policyText": policyDocument(strings.Replace(statement, "ecr:ReplicateImage", "ecr:BatchGetImage", 1))}
	s.succeed(t, "PutRegistryPolicy", pull)
	v1 := object{"name": "REGISTRY_POLICY_SCOPE", "value": "V1"}
	same(t, "PutAccountSetting", v1, s.succeed(t, "PutAccountSetting", v1))
	same(t, "GetAccountSetting", v1, s.succeed(t, "GetAccountSetting", setting))
	s.refused(t, "PutRegistryPolicy", pull, "InvalidParameterException", invalid)
	s.succeed(t, "PutRegistryPolicy", put)
	v1["value"] = "V2"
	s.succeed(t, "PutAccountSetting", v1)
	same(t, "DeleteRegistryPolicy", want, s.succeed(t, "DeleteRegistryPolicy", object{}))
	s.refused(t, "GetRegistryPolicy", object{}, "RegistryPolicyNotFoundException", none)

	s.refused(t, "GetAccountSetting", object{"name": "NO_SUCH"}, "ValidationException", "The account setting 'NO_SUCH' is not supported")
	s.refused(t, "PutAccountSetting", object{"name": "NO_SUCH", "value": "V1"}, "ValidationException", "The account setting 'NO_SUCH' is not supported")
	s.refused(t, "PutAccountSetting", object{"name": "REGISTRY_POLICY_SCOPE", "value": "V3"}, "ValidationException", "The value 'V3' is not valid for the account setting 'REGISTRY_POLICY_SCOPE'")
}

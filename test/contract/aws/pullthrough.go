package aws

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
)

// secretsCall is a call of Secrets Manager.
func (s *suite) secretsCall(op string, in any) call {
	return call{op: op, in: in, service: "secretsmanager", header: map[string]string{"X-Amz-Target": "secretsmanager." + op}}
}

func (s *suite) secretsSucceed(t *testing.T, op string, in any) object {
	t.Helper()
	return s.succeeded(t, op, s.do(t, s.secretsCall(op, in)))
}

func (s *suite) secretsRefused(t *testing.T, op string, in any, exception, message string) {
	t.Helper()
	s.refusal(t, op, s.do(t, s.secretsCall(op, in)), exception, message)
}

// secretARN is a secret's ARN without its suffix.
func (s *suite) secretARN(name string) string {
	return "arn:aws:secretsmanager:" + s.Region + ":" + s.Account + ":secret:" + name
}

const noSecret = "Secrets Manager can't find the specified secret."

// secrets are made, read in their versions, listed and deleted.
func (s *suite) secrets(t *testing.T) {
	before := time.Now()
	name, first, second := unique("secret"), "11111111111111111111111111111111", "22222222222222222222222222222222"
	for op, in := range map[string]object{
		"GetSecretValue": {"SecretId": name}, "DescribeSecret": {"SecretId": name}, "DeleteSecret": {"SecretId": name}, "PutSecretValue": {"SecretId": name, "SecretString": "x"},
	} {
		s.secretsRefused(t, op, in, "ResourceNotFoundException", noSecret)
	}
	made := s.secretsSucceed(t, "CreateSecret", object{"Name": name, "Description": "for tests", "SecretString": "one", "ClientRequestToken": first, "Tags": array{object{"Key": "k", "Value": "v"}}})
	same(t, "CreateSecret", object{"ARN": matching("^" + s.secretARN(name) + "-[A-Za-z0-9]{6}$"), "Name": name, "VersionId": first}, made)
	arn := text(t, made, "ARN")
	read := object{"ARN": arn, "Name": name, "VersionId": first, "SecretString": "one", "VersionStages": array{"AWSCURRENT"}, "CreatedDate": during(before)}
	for _, id := range []string{name, arn, s.secretARN(name)} {
		same(t, id, read, s.secretsSucceed(t, "GetSecretValue", object{"SecretId": id}))
	}
	same(t, "the same again", made, s.secretsSucceed(t, "CreateSecret", object{"Name": name, "SecretString": "one", "ClientRequestToken": first}))
	s.secretsRefused(t, "CreateSecret", object{"Name": name, "SecretString": "two", "ClientRequestToken": first}, "ResourceExistsException",
		"You can't use ClientRequestToken "+first+" because that value is already in use for a version of secret "+arn+".")
	s.secretsRefused(t, "CreateSecret", object{"Name": name}, "ResourceExistsException", "The operation failed because the secret "+name+" already exists.")

	same(t, "PutSecretValue", object{"ARN": arn, "Name": name, "VersionId": second, "VersionStages": array{"AWSCURRENT"}},
		s.secretsSucceed(t, "PutSecretValue", object{"SecretId": name, "SecretBinary": "AP8=", "ClientRequestToken": second}))
	same(t, "the version before", object{"ARN": arn, "Name": name, "VersionId": first, "SecretString": "one", "VersionStages": array{"AWSPREVIOUS"}, "CreatedDate": during(before)},
		s.secretsSucceed(t, "GetSecretValue", object{"SecretId": name, "VersionStage": "AWSPREVIOUS"}))
	same(t, "the current version", object{"ARN": arn, "Name": name, "VersionId": second, "SecretBinary": "AP8=", "VersionStages": array{"AWSCURRENT"}, "CreatedDate": during(before)},
		s.secretsSucceed(t, "GetSecretValue", object{"SecretId": name}))
	s.secretsRefused(t, "GetSecretValue", object{"SecretId": name, "VersionId": first, "VersionStage": "AWSCURRENT"}, "InvalidRequestException",
		"You provided a VersionStage that is not associated to the provided VersionId.")

	today := leaf(func(got any) string { return between(before.UTC().Truncate(24*time.Hour), 0)(got) })
	whole := object{
		"ARN": arn, "Name": name, "Description": "for tests", "Tags": array{object{"Key": "k", "Value": "v"}}, "CreatedDate": during(before), "LastChangedDate": during(before),
		"LastAccessedDate": today, "VersionIdsToStages": object{first: array{"AWSPREVIOUS"}, second: array{"AWSCURRENT"}},
	}
	same(t, "DescribeSecret", whole, s.secretsSucceed(t, "DescribeSecret", object{"SecretId": arn}))
	listed := object{}
	for k, v := range whole {
		listed[k] = v
	}
	listed["SecretVersionsToStages"] = listed["VersionIdsToStages"]
	delete(listed, "VersionIdsToStages")
	only := object{"Filters": array{object{"Key": "name", "Values": array{name}}}}
	same(t, "ListSecrets", object{"SecretList": array{listed}}, s.secretsSucceed(t, "ListSecrets", only))

	const month = 30 * 24 * time.Hour
	same(t, "DeleteSecret", object{"ARN": arn, "Name": name, "DeletionDate": between(before, month)}, s.secretsSucceed(t, "DeleteSecret", object{"SecretId": name}))
	s.secretsRefused(t, "GetSecretValue", object{"SecretId": arn}, "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	s.secretsRefused(t, "CreateSecret", object{"Name": name}, "InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
	same(t, "ListSecrets", object{"SecretList": array{}}, s.secretsSucceed(t, "ListSecrets", only))
	whole["DeletedDate"] = between(before, month)
	same(t, "DescribeSecret", whole, s.secretsSucceed(t, "DescribeSecret", object{"SecretId": arn}))
	s.secretsSucceed(t, "DeleteSecret", object{"SecretId": arn, "ForceDeleteWithoutRecovery": true})
	s.secretsRefused(t, "DescribeSecret", object{"SecretId": arn}, "ResourceNotFoundException", noSecret)

	for _, c := range []struct {
		op                 string
		in                 object
		exception, message string
	}{
		{"CreateSecret", object{}, "InvalidParameterException", parameterText("name", "Member must not be null")},
		{"CreateSecret", object{"Name": "no name"}, "ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"},
		{"CreateSecret", object{"Name": name, "SecretString": "x", "SecretBinary": "eA=="}, "InvalidParameterException", "You can't specify both a binary secret value and a string secret value in the same secret."},
		{"CreateSecret", object{"Name": name, "SecretString": ""}, "InvalidParameterException", parameterText("secretString", "Member must have length greater than or equal to 1")},
		{"CreateSecret", object{"Name": name, "KmsKeyId": "alias/" + name}, "EncryptionFailure",
			"Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key is available, enabled, and not in an invalid state."},
		{"PutSecretValue", object{"SecretId": name}, "InvalidParameterException", "You must provide either SecretString or SecretBinary."},
		{"DeleteSecret", object{"SecretId": name, "RecoveryWindowInDays": 31}, "InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."},
		{"DeleteSecret", object{"SecretId": name, "RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": true}, "InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."},
		{"ListSecrets", object{"NextToken": "x"}, "InvalidNextTokenException", "The NextToken value is invalid."},
	} {
		s.secretsRefused(t, c.op, c.in, c.exception, c.message)
	}
	s.refusal(t, "RotateSecret", s.do(t, s.secretsCall("RotateSecret", object{"SecretId": name})), "UnknownOperationException", "")
}

// rulePrefix is a prefix of its own, within the 30 characters that one may have.
func rulePrefix() string { return unique("rule") }

// noRule is the message for a rule that is not there.
func (s *suite) noRule(prefix string) string {
	return "The pull through cache rule with Amazon ECR repository prefix '" + prefix + "' does not exist in the registry with id '" + s.Account + "'"
}

const ruleNotFound = "PullThroughCacheRuleNotFoundException"

// pullThroughRules are made, changed and deleted. Nothing is asked of an upstream.
func (s *suite) pullThroughRules(t *testing.T) {
	const create, update, describe, remove, validate = "CreatePullThroughCacheRule", "UpdatePullThroughCacheRule", "DescribePullThroughCacheRules", "DeletePullThroughCacheRule", "ValidatePullThroughCacheRule"
	before := time.Now()
	prefix := rulePrefix()
	named := object{"ecrRepositoryPrefix": prefix}
	for _, op := range []string{update, remove, validate} {
		s.refused(t, op, named, ruleNotFound, s.noRule(prefix))
	}
	some := object{"ecrRepositoryPrefixes": array{prefix}}
	s.refused(t, describe, some, ruleNotFound, s.noRule(prefix))

	made := object{"ecrRepositoryPrefix": prefix, "upstreamRegistryUrl": "quay.io", "createdAt": during(before), "registryId": s.Account, "upstreamRegistry": "quay", "upstreamRepositoryPrefix": "ROOT"}
	s.want(t, create, object{"ecrRepositoryPrefix": prefix, "upstreamRegistryUrl": "quay.io", "registryId": s.Account}, made)
	shown := func(rule object) object {
		full := object{"updatedAt": during(before)}
		for k, v := range rule {
			full[k] = v
		}
		return full
	}
	s.want(t, describe, some, object{"pullThroughCacheRules": array{shown(made)}})
	for _, again := range []string{prefix, prefix + "/"} {
		s.refused(t, create, object{"ecrRepositoryPrefix": again, "upstreamRegistryUrl": "public.ecr.aws"}, "PullThroughCacheRuleAlreadyExistsException",
			"The pull through cache rule with Amazon ECR repository prefix '"+again+"' already exists in the registry with id '"+s.Account+"'")
	}

	secret := text(t, s.secretsSucceed(t, "CreateSecret", object{"Name": "ecr-pullthroughcache/" + prefix, "SecretString": "test"}), "ARN")
	without := func(rule object, member string) object {
		less := object{}
		for k, v := range rule {
			if k != member {
				less[k] = v
			}
		}
		return less
	}
	made["credentialArn"] = secret
	s.want(t, update, object{"ecrRepositoryPrefix": prefix, "credentialArn": secret},
		object{"ecrRepositoryPrefix": prefix, "registryId": s.Account, "updatedAt": during(before), "credentialArn": secret, "upstreamRepositoryPrefix": "ROOT"})
	s.want(t, describe, some, object{"pullThroughCacheRules": array{shown(made)}})
	s.want(t, validate, named, object{
		"ecrRepositoryPrefix": prefix, "registryId": s.Account, "upstreamRegistryUrl": "quay.io", "credentialArn": secret, "upstreamRepositoryPrefix": "ROOT", "isValid": false,
		"failure": "The secret " + secret + " does not have the form that is needed: a JSON object with the members username and accessToken, both texts. Put such a value into it.",
	})
	s.want(t, remove, named, without(made, "upstreamRegistry"))
	s.refused(t, remove, named, ruleNotFound, s.noRule(prefix))

	// Every kind by its URL alone.
	for url, kind := range map[string]string{
		"public.ecr.aws": "ecr-public", "registry.k8s.io": "k8s", "registry-1.docker.io": "docker-hub", "ghcr.io": "github-container-registry", "some.azurecr.io": "azure-container-registry",
		"registry.gitlab.com": "gitlab-container-registry", "cgr.dev": "chainguard", s.Account + ".dkr.ecr.ap-south-1.amazonaws.com": "ecr",
	} {
		in := object{"ecrRepositoryPrefix": prefix, "upstreamRegistryUrl": url, "upstreamRepositoryPrefix": "team"}
		if kind != "ecr" {
			in["credentialArn"] = secret
		}
		want := shown(in)
		delete(want, "updatedAt")
		want["createdAt"], want["registryId"], want["upstreamRegistry"] = during(before), s.Account, kind
		s.want(t, create, in, want)
		s.want(t, remove, named, without(want, "upstreamRegistry"))
	}

	s.secretsSucceed(t, "DeleteSecret", object{"SecretId": secret})
	s.refused(t, create, object{"ecrRepositoryPrefix": prefix, "upstreamRegistryUrl": "ghcr.io", "credentialArn": secret}, "SecretNotFoundException",
		"The ARN of the secret specified in the pull through cache rule was not found. Update the pull through cache rule with a valid secret ARN and try again.")

	// The SDK has types for all of this.
	_, err := s.ecr.DeletePullThroughCacheRule(t.Context(), &ecr.DeletePullThroughCacheRuleInput{EcrRepositoryPrefix: &prefix})
	if _, ok := errors.AsType[*types.PullThroughCacheRuleNotFoundException](err); !ok {
		t.Errorf("%v", err)
	}
	_, err = s.ecr.CreatePullThroughCacheRule(t.Context(), &ecr.CreatePullThroughCacheRuleInput{EcrRepositoryPrefix: &prefix, UpstreamRegistryUrl: aws.String("registry-1.docker.io")})
	if failure, ok := errors.AsType[smithy.APIError](err); !ok || failure.ErrorCode() != "UnsupportedUpstreamRegistryException" {
		t.Errorf("%v", err)
	}
}

// pullThroughPages: the SDK's paginator over pages of several sizes.
func (s *suite) pullThroughPages(t *testing.T) {
	under := unique("pages")
	var prefixes []string
	for i := range 12 {
		prefix := fmt.Sprintf("%s/%02d", under, i)
		prefixes = append(prefixes, prefix)
		s.succeed(t, "CreatePullThroughCacheRule", object{"ecrRepositoryPrefix": prefix, "upstreamRegistryUrl": "quay.io"})
	}
	defer func() {
		for _, prefix := range prefixes {
			s.do(t, call{op: "DeletePullThroughCacheRule", in: object{"ecrRepositoryPrefix": prefix}})
		}
	}()
	for _, in := range []*ecr.DescribePullThroughCacheRulesInput{
		{MaxResults: aws.Int32(1000)}, {MaxResults: aws.Int32(5)}, {MaxResults: aws.Int32(1)}, {}, {MaxResults: aws.Int32(5), EcrRepositoryPrefixes: prefixes},
	} {
		var seen []string
		for pages := ecr.NewDescribePullThroughCacheRulesPaginator(s.ecr, in); pages.HasMorePages(); {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.PullThroughCacheRules {
				if slices.Contains(prefixes, *r.EcrRepositoryPrefix) {
					seen = append(seen, *r.EcrRepositoryPrefix)
				}
			}
		}
		if slices.Sort(seen); !slices.Equal(seen, prefixes) {
			t.Errorf("pages of %v: %v", in.MaxResults, seen)
		}
	}
	token := text(t, s.succeed(t, "DescribePullThroughCacheRules", object{"maxResults": 1}), "nextToken")
	s.invalid(t, "DescribePullThroughCacheRules", object{"maxResults": 1, "nextToken": token, "ecrRepositoryPrefixes": array{prefixes[0]}}, "nextToken", badToken)
}

func badPullThroughs() []badCase {
	const op, update, remove, describe, validate = "CreatePullThroughCacheRule", "UpdatePullThroughCacheRule", "DeletePullThroughCacheRule", "DescribePullThroughCacheRules", "ValidatePullThroughCacheRule"
	const pattern = "Member must satisfy regular expression pattern: ^([a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*/?|ROOT)$"
	const kinds = "Member must satisfy enum value set: [ecr, ecr-public, quay, k8s, docker-hub, github-container-registry, azure-container-registry, gitlab-container-registry, chainguard]"
	const secret = "arn:aws:secretsmanager:<region>:<acct>:secret:ecr-pullthroughcache/none"
	const unsupported = "UnsupportedUpstreamRegistryException"
	const absent = "The pull through cache rule with Amazon ECR repository prefix '<none>' does not exist in the registry with id '<acct>'"
	rule := func(url, more string) string {
		return `{"ecrRepositoryPrefix":"<none>","upstreamRegistryUrl":"` + url + `"` + more + `}`
	}
	isnt := func(url string) string {
		return "The specified upstream registry isn't supported: '" + url + "' is none of the registries of the API, written as a host without a scheme, and the operator has not listed it as an upstream."
	}
	row := func(what, url, more, exception, message string) badCase {
		return badCase{op, what, rule(url, more), exception, message}
	}
	const locked = "The specified upstream registry requires authentication. Specify a valid Secrets Manager ARN in credentialArn, of a secret with the members username and accessToken, and try again."
	cases := []badCase{
		at(op, "no prefix", `{"upstreamRegistryUrl":"quay.io"}`, "ecrRepositoryPrefix", "Member must not be null"),
		at(op, "no URL", `{"ecrRepositoryPrefix":"<none>"}`, "upstreamRegistryUrl", "Member must not be null"),
		at(op, "a prefix of one character", `{"ecrRepositoryPrefix":"a","upstreamRegistryUrl":"quay.io"}`, "ecrRepositoryPrefix", "Member must have length greater than or equal to 2"),
		at(op, "a prefix of 31 characters", `{"ecrRepositoryPrefix":"«31 a»","upstreamRegistryUrl":"quay.io"}`, "ecrRepositoryPrefix", "Member must have length less than or equal to 30"),
		at(op, "a prefix in upper case", `{"ecrRepositoryPrefix":"Quay","upstreamRegistryUrl":"quay.io"}`, "ecrRepositoryPrefix", pattern),
		at(op, "an unknown upstream registry", rule("quay.io", `,"upstreamRegistry":"harbor"`), "upstreamRegistry", kinds),
		at(op, "a prefix of the upstream in upper case", rule("quay.io", `,"upstreamRepositoryPrefix":"Team"`), "upstreamRepositoryPrefix", pattern),
		at(op, "a prefix of the upstream under ROOT", `{"ecrRepositoryPrefix":"ROOT","upstreamRegistryUrl":"quay.io","upstreamRepositoryPrefix":"team"}`,
			"upstreamRepositoryPrefix", "An upstream repository prefix can be specified only when the repository prefix is not ROOT"),
		row("a URL with a scheme", "https://quay.io", "", unsupported, isnt("https://quay.io")),
		row("a URL with a path", "quay.io/team", "", unsupported, isnt("quay.io/team")),
		row("a registry that is not listed", "registry.example", "", unsupported, isnt("registry.example")),
		row("a registry of another kind", "quay.io", `,"upstreamRegistry":"docker-hub"`, unsupported, "The specified upstream registry isn't supported: 'quay.io' is not the URL of an upstream registry of the type 'docker-hub'."),
		at(op, "a secret of another name", rule("quay.io", `,"credentialArn":"arn:aws:secretsmanager:<region>:<acct>:secret:mine-abcdef"`), "credentialArn",
			`Member must satisfy regular expression pattern: ^arn:aws(-\w+)*:secretsmanager:[a-zA-Z0-9-:]+:secret:ecr\-pullthroughcache/[a-zA-Z0-9/_+=.@-]+$`),
		row("a secret that is not there", "quay.io", `,"credentialArn":"`+secret+`"`, "SecretNotFoundException",
			"The ARN of the secret specified in the pull through cache rule was not found. Update the pull through cache rule with a valid secret ARN and try again."),
		at(op, "another account's secret", rule("quay.io", `,"credentialArn":"arn:aws:secretsmanager:<region>:111122223333:secret:ecr-pullthroughcache/none"`), "credentialArn",
			"The secret has to be in the account and the region of the registry"),
		at(op, "a role for Quay", rule("quay.io", `,"customRoleArn":"arn:aws:iam::<acct>:role/puller"`), "customRoleArn", "A custom role can be specified only for an upstream registry of the type ecr"),
		at(op, "another account's registry without a role", rule("111122223333.dkr.ecr.<region>.amazonaws.com", ""), "customRoleArn", "A custom role is required for an upstream registry of another account"),
		at(op, "a secret for an ECR registry", rule("<acct>.dkr.ecr.ap-south-1.amazonaws.com", `,"credentialArn":"`+secret+`"`), "credentialArn", "An upstream registry of the type ecr is spoken to with a role, not with a secret"),
		at(op, "the registry itself", rule("<acct>.dkr.ecr.<region>.amazonaws.com", ""), "upstreamRegistryUrl", "The upstream registry has to be another one than the registry that the rule is for"),
		at(op, "a role that is no ARN", rule("111122223333.dkr.ecr.<region>.amazonaws.com", `,"customRoleArn":"puller"`), "customRoleArn", "Invalid ARN"),
		row("another account's role", "111122223333.dkr.ecr.<region>.amazonaws.com", `,"customRoleArn":"arn:aws:iam::111122223333:role/puller"`, "AccessDeniedException",
			"User: <caller> is not authorized to perform: iam:PassRole on resource: arn:aws:iam::111122223333:role/puller because no resource-based policy allows the iam:PassRole action"),
		at(describe, "a bad prefix among good ones", `{"ecrRepositoryPrefixes":["quay","Quay"]}`, "ecrRepositoryPrefixes", "Member must satisfy constraint: ["+pattern+"]"),
		{describe, "a rule that is not there", `{"ecrRepositoryPrefixes":["<none>"]}`, ruleNotFound, absent},
	}
	for _, url := range []string{"registry-1.docker.io", "ghcr.io", "some.azurecr.io", "registry.gitlab.com", "cgr.dev"} {
		cases = append(cases, row(url+" without a secret", url, "", unsupported, locked))
	}
	for _, o := range []string{update, remove, validate} {
		cases = append(cases, at(o, "no prefix", `{}`, "ecrRepositoryPrefix", "Member must not be null"), badCase{o, "a rule that is not there", `{"ecrRepositoryPrefix":"<none>"}`, ruleNotFound, absent})
	}
	for _, o := range []string{op, update, remove, validate} {
		more := ""
		if o == op {
			more = `"upstreamRegistryUrl":"quay.io",`
		}
		cases = append(cases, badCase{o, "another account's registry", `{"ecrRepositoryPrefix":"<none>",` + more + `"registryId":"111122223333"}`, "AccessDeniedException",
			"User: <caller> is not authorized to perform: ecr:" + o + " on resource: arn:aws:ecr:<region>:111122223333:repository/* because no resource-based policy allows the ecr:" + o + " action"})
	}
	return cases
}

package aws

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
)

// templateAnswer is a template for pushes with the settings that hold where
// nothing is said.
func templateAnswer(prefix string, before time.Time) object {
	return object{
		"prefix": prefix, "appliedFor": array{"CREATE_ON_PUSH"}, "imageTagMutability": "MUTABLE",
		"encryptionConfiguration": object{"encryptionType": "AES256"}, "createdAt": during(before), "updatedAt": during(before),
	}
}

func (s *suite) templateOut(t object) object {
	return object{"registryId": s.Account, "repositoryCreationTemplate": t}
}

// noTemplate is the message for a template that is not there.
func (s *suite) noTemplate(prefix string) string {
	return "The repository creation template with the prefix '" + prefix + "' does not exist in the registry with id '" + s.Account + "'"
}

func (s *suite) template(t *testing.T, more object) (prefix string) {
	t.Helper()
	prefix = unique("template")
	in := object{"prefix": prefix, "appliedFor": array{"CREATE_ON_PUSH"}}
	for k, v := range more {
		in[k] = v
	}
	s.succeed(t, "CreateRepositoryCreationTemplate", in)
	return prefix
}

// templates are made, changed and deleted, each setting by itself.
func (s *suite) templates(t *testing.T) {
	const create, update, describe, remove = "CreateRepositoryCreationTemplate", "UpdateRepositoryCreationTemplate", "DescribeRepositoryCreationTemplates", "DeleteRepositoryCreationTemplate"
	before := time.Now()
	prefix := unique("template")
	name := object{"prefix": prefix}
	s.refused(t, update, name, "TemplateNotFoundException", s.noTemplate(prefix))
	s.refused(t, remove, name, "TemplateNotFoundException", s.noTemplate(prefix))
	listed := object{"prefixes": array{prefix, prefix + "/", unique("none")}}
	s.want(t, describe, listed, object{"registryId": s.Account, "repositoryCreationTemplates": array{}})

	want := templateAnswer(prefix, before)
	s.want(t, create, object{"prefix": prefix, "appliedFor": array{"CREATE_ON_PUSH"}}, s.templateOut(want))
	s.want(t, describe, listed, object{"registryId": s.Account, "repositoryCreationTemplates": array{want}})
	for _, again := range []string{prefix, prefix + "/"} {
		s.refused(t, create, object{"prefix": again, "appliedFor": array{"REPLICATION"}}, "TemplateAlreadyExistsException",
			"The repository creation template with the prefix '"+again+"' already exists in the registry with id '"+s.Account+"'")
	}

	given := `{"Version":"2008-10-17","Statement":[{"Sid":"pull","Effect":"Allow","Principal":{"AWS":"` + s.Account + `"},"Action":["ecr:BatchGetImage"]}]}`
	pretty := `{
  "Version" : "2008-10-17",
  "Statement" : [ {
    "Sid" : "pull",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::` + s.Account + `:root"
    },
    "Action" : [ "ecr:BatchGetImage" ]
  } ]
}`
	role, key := "arn:aws:iam::"+s.Account+":role/maker", "arn:aws:kms:"+s.Region+":"+s.Account+":key/0000"
	for _, change := range []struct{ in, out object }{
		{object{"description": "for tests"}, nil},
		{object{"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION", "imageTagMutabilityExclusionFilters": wildcards("dev-*", "latest")}, nil},
		{object{"imageTagMutabilityExclusionFilters": wildcards("v*")}, nil},
		{object{"customRoleArn": role}, nil},
		{object{"encryptionConfiguration": object{"encryptionType": "KMS", "kmsKey": key}}, nil},
		{object{"encryptionConfiguration": object{"encryptionType": "KMS", "kmsKey": ""}}, object{"encryptionConfiguration": object{"encryptionType": "KMS"}}},
		{object{"resourceTags": array{object{"Key": "b", "Value": ""}, object{"Key": "a", "Value": "1"}}}, object{"resourceTags": anyOrder(object{"Key": "a", "Value": "1"}, object{"Key": "b", "Value": ""})}},
		{object{"repositoryPolicy": given}, object{"repositoryPolicy": pretty}},
		{object{"repositoryPolicy": pretty}, nil},
		{object{"appliedFor": array{"REPLICATION", "CREATE_ON_PUSH", "PULL_THROUGH_CACHE"}}, object{"appliedFor": anyOrder("CREATE_ON_PUSH", "PULL_THROUGH_CACHE", "REPLICATION")}},
		{object{"imageTagMutability": "IMMUTABLE"}, object{"imageTagMutability": "IMMUTABLE", "imageTagMutabilityExclusionFilters": nil}},
		{object{"description": "", "repositoryPolicy": "", "resourceTags": array{}, "customRoleArn": ""}, object{"description": nil, "repositoryPolicy": nil, "resourceTags": nil, "customRoleArn": nil}},
		{object{}, nil},
	} {
		out := change.out
		if out == nil {
			out = change.in
		}
		for k, v := range out {
			if want[k] = v; v == nil {
				delete(want, k)
			}
		}
		in := object{"prefix": prefix + "/"}
		for k, v := range change.in {
			in[k] = v
		}
		t.Log(change.in)
		s.want(t, update, in, s.templateOut(want))
		s.want(t, describe, object{"prefixes": array{prefix}}, object{"registryId": s.Account, "repositoryCreationTemplates": array{want}})
	}
	s.want(t, remove, name, s.templateOut(want))
	s.refused(t, remove, name, "TemplateNotFoundException", s.noTemplate(prefix))

	// All at once, under a prefix with the slash that is meant anyhow.
	full := unique("template") + "/deep/"
	all := object{
		"prefix": full, "description": "d", "appliedFor": array{"PULL_THROUGH_CACHE"}, "imageTagMutability": "MUTABLE_WITH_EXCLUSION",
		"imageTagMutabilityExclusionFilters": wildcards("v*"), "encryptionConfiguration": object{"encryptionType": "AES256"}, "customRoleArn": role,
		"resourceTags": array{object{"Key": "k", "Value": "v"}}, "repositoryPolicy": pretty,
	}
	want = templateAnswer(full, time.Now())
	for k, v := range all {
		want[k] = v
	}
	s.want(t, create, all, s.templateOut(want))
	s.want(t, remove, object{"prefix": strings.TrimSuffix(full, "/")}, s.templateOut(want))
	s.refused(t, create, object{"prefix": full, "appliedFor": array{"REPLICATION"}, "repositoryPolicy": policyDocument(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + s.Account + `:user/nobody"},"Action":"ecr:BatchGetImage"}`)},
		"InvalidParameterException", "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Principal not found'")
}

// templatePages: the SDK's paginator over pages of several sizes, and pages that
// stay right while templates come and go.
func (s *suite) templatePages(t *testing.T) {
	under := unique("pages")
	var prefixes []string
	for i := range 25 {
		prefix := fmt.Sprintf("%s/%02d", under, i)
		prefixes = append(prefixes, prefix)
		s.succeed(t, "CreateRepositoryCreationTemplate", object{"prefix": prefix, "appliedFor": array{"REPLICATION"}})
	}
	defer func() {
		for _, prefix := range prefixes {
			s.do(t, call{op: "DeleteRepositoryCreationTemplate", in: object{"prefix": prefix}})
		}
	}()
	walk := func(in *ecr.DescribeRepositoryCreationTemplatesInput, between func()) (seen []string, count int) {
		t.Helper()
		pages := ecr.NewDescribeRepositoryCreationTemplatesPaginator(s.ecr, in)
		for ; pages.HasMorePages(); count++ {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n := len(page.RepositoryCreationTemplates); in.MaxResults != nil && n > int(*in.MaxResults) || aws.ToString(page.RegistryId) != s.Account {
				t.Fatalf("a page of %d, of registry %s", n, aws.ToString(page.RegistryId))
			}
			for _, one := range page.RepositoryCreationTemplates {
				if p := aws.ToString(one.Prefix); strings.HasPrefix(p, under+"/") {
					seen = append(seen, p)
				}
			}
			between()
		}
		return seen, count
	}
	same := func(what string, seen, want []string) {
		t.Helper()
		slices.Sort(seen)
		if !slices.Equal(seen, want) {
			t.Errorf("%s: %v, want %v", what, seen, want)
		}
	}
	for _, size := range []int32{1000, 25, 24, 7, 1} {
		seen, _ := walk(&ecr.DescribeRepositoryCreationTemplatesInput{MaxResults: &size}, func() {})
		same(fmt.Sprintf("pages of %d", size), seen, prefixes)
	}
	seen, _ := walk(&ecr.DescribeRepositoryCreationTemplatesInput{}, func() {})
	same("pages of the usual size", seen, prefixes)
	chosen := slices.Clone(prefixes[3:12])
	slices.Reverse(chosen)
	seen, pages := walk(&ecr.DescribeRepositoryCreationTemplatesInput{Prefixes: append(chosen, unique("none")), MaxResults: aws.Int32(4)}, func() {})
	if same("pages of some", seen, prefixes[3:12]); pages != 3 {
		t.Errorf("9 templates came in %d pages of 4", pages)
	}
	goes, gone := slices.Clone(prefixes[5:15]), map[string]bool{}
	seen, _ = walk(&ecr.DescribeRepositoryCreationTemplatesInput{MaxResults: aws.Int32(3)}, func() {
		if len(goes) > 0 {
			s.succeed(t, "DeleteRepositoryCreationTemplate", object{"prefix": goes[0]})
			gone[goes[0]], goes = true, goes[1:]
		}
	})
	left := func(p string) bool { return gone[p] }
	same("pages while templates go", slices.DeleteFunc(seen, left), slices.DeleteFunc(slices.Clone(prefixes), left))

	// A token opens the listing that it is of.
	token := text(t, s.succeed(t, "DescribeRepositoryCreationTemplates", object{"maxResults": 1}), "nextToken")
	s.invalid(t, "DescribeRepositoryCreationTemplates", object{"maxResults": 1, "nextToken": token, "prefixes": array{under}}, "nextToken", badToken)
	s.invalid(t, "DescribeRepositories", object{"maxResults": 1, "nextToken": token}, "nextToken", badToken)
	s.succeed(t, "DescribeRepositoryCreationTemplates", object{"maxResults": 5, "nextToken": token})
}

// createOnPush: the first write of a push makes the repository as the template
// says.
func (s *suite) createOnPush(t *testing.T) {
	before := time.Now()
	prefix := s.template(t, object{
		"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION", "imageTagMutabilityExclusionFilters": wildcards("latest"),
		"repositoryPolicy": policyDocument(`{"Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage"}`),
	})
	repo := prefix + "/team/app"
	key := token(t, s.succeed(t, "GetAuthorizationToken", nil))
	start := func(repo string) answer {
		t.Helper()
		r := s.plain(t, "POST", s.URL+"/v2/"+repo+"/blobs/uploads/", nil)
		r.Header.Set("Authorization", "Basic "+key)
		return s.send(t, r)
	}
	for _, other := range []string{prefix, prefix + "-not/app"} {
		if a := start(other); a.status != 404 || !strings.Contains(string(a.body), "NAME_UNKNOWN") {
			t.Errorf("%s: %d %s", other, a.status, a.body)
		}
	}
	// The API itself makes nothing.
	s.refused(t, "InitiateLayerUpload", object{"repositoryName": repo}, "RepositoryNotFoundException", s.noRepository(repo))
	if a := start(repo); a.status != 202 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	want := s.repositoryAnswer(repo, before)
	want["imageTagMutability"], want["imageTagMutabilityExclusionFilters"] = "IMMUTABLE_WITH_EXCLUSION", wildcards("latest")
	s.want(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, object{"repositories": array{want}})
	if got := text(t, s.succeed(t, "GetRepositoryPolicy", object{"repositoryName": repo}), "policyText"); !strings.Contains(got, `"ecr:BatchGetImage"`) {
		t.Errorf("the policy is %s", got)
	}
	s.succeed(t, "DeleteRepositoryCreationTemplate", object{"prefix": prefix})
	s.want(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, object{"repositories": array{want}})
	s.succeed(t, "DeleteRepository", object{"repositoryName": repo})
	if a := start(repo); a.status != 404 {
		t.Errorf("without the template: %d %s", a.status, a.body)
	}

	// A template that cannot be followed leaves nothing behind.
	tagged := s.template(t, object{"resourceTags": array{object{"Key": "k", "Value": "v"}}})
	defer s.succeed(t, "DeleteRepositoryCreationTemplate", object{"prefix": tagged})
	repo = tagged + "/app"
	if a := start(repo); a.status != 403 || !strings.Contains(string(a.body), "DENIED") || !strings.Contains(string(a.body), "It has resource tags and no custom role.") {
		t.Errorf("tags without a role: %d %s", a.status, a.body)
	}
	s.refused(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, "RepositoryNotFoundException", s.noRepository(repo))
}

func badTemplates() []badCase {
	const op, update, remove, describe = "CreateRepositoryCreationTemplate", "UpdateRepositoryCreationTemplate", "DeleteRepositoryCreationTemplate", "DescribeRepositoryCreationTemplates"
	const pattern = "Member must satisfy regular expression pattern: ^([a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*/?|ROOT)$"
	const triggers = "Member must satisfy constraint: [Member must satisfy enum value set: [REPLICATION, PULL_THROUGH_CACHE, CREATE_ON_PUSH]]"
	with := func(more string) string { return `{"prefix":"<none>","appliedFor":["CREATE_ON_PUSH"],` + more + `}` }
	encrypted := func(by string) string { return with(`"encryptionConfiguration":{` + by + `}`) }
	const absent = "The repository creation template with the prefix '<none>' does not exist in the registry with id '<acct>'"
	return []badCase{
		at(op, "no prefix", `{"appliedFor":["REPLICATION"]}`, "prefix", "Member must not be null"),
		at(op, "a prefix of no length", `{"prefix":"","appliedFor":["REPLICATION"]}`, "prefix", "Member must have length greater than or equal to 1"),
		at(op, "a prefix of 257 characters", `{"prefix":"«257 a»","appliedFor":["REPLICATION"]}`, "prefix", "Member must have length less than or equal to 256"),
		at(op, "a prefix in upper case", `{"prefix":"Prod","appliedFor":["REPLICATION"]}`, "prefix", pattern),
		at(op, "a prefix with two slashes at the end", `{"prefix":"prod//","appliedFor":["REPLICATION"]}`, "prefix", pattern),
		at(op, "ROOT with a slash", `{"prefix":"ROOT/","appliedFor":["REPLICATION"]}`, "prefix", pattern),
		at(op, "no triggers", `{"prefix":"<none>"}`, "appliedFor", "Member must not be null"),
		at(op, "an empty list of triggers", `{"prefix":"<none>","appliedFor":[]}`, "appliedFor", "Member must have length greater than or equal to 1"),
		at(op, "an unknown trigger", `{"prefix":"<none>","appliedFor":["CREATE_ON_PUSH","PUSH"]}`, "appliedFor", triggers),
		at(op, "a description of 257 characters", with(`"description":"«257 d»"`), "description", "Member must have length less than or equal to 256"),
		at(op, "an unknown tag mutability", with(`"imageTagMutability":"SOMETIMES"`), "imageTagMutability", mutabilities),
		at(op, "filters and nothing else", with(filter("WILDCARD", "v*")), filters, "ImageTagMutabilityExclusionFilters can't be null when imageTagMutability is set as MUTABLE"),
		at(op, "a key id", encrypted(`"encryptionType":"KMS","kmsKey":"0000"`), "encryptionConfiguration.kmsKey", "Member must satisfy regular expression pattern: ^$|arn:aws[a-z0-9-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]+"),
		at(op, "a key without KMS", encrypted(`"encryptionType":"AES256","kmsKey":"arn:aws:kms:<region>:<acct>:key/0"`), "encryptionConfiguration", "kmsKey can only be set when encryptionType is KMS"),
		at(op, "an encryption of GovCloud", encrypted(`"encryptionType":"KMS_DSSE"`), "encryptionType", "encryptionType 'KMS_DSSE' is not supported in this region"),
		at(op, "a repository policy that is none", with(`"repositoryPolicy":"{}"`), "PolicyText", "Invalid repository policy provided"),
		at(op, "a repository policy about another service", with(`"repositoryPolicy":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\"}]}"`), "PolicyText", "Invalid repository policy provided"),
		at(op, "a repository policy of 10241 characters", with(`"repositoryPolicy":"«10241 p»"`), "repositoryPolicy", "Member must have length less than or equal to 10240"),
		at(op, "a lifecycle policy of 30721 characters", with(`"lifecyclePolicy":"«30721 p»"`), "lifecyclePolicy", "Member must have length less than or equal to 30720"),
		at(op, "a role that is no ARN", with(`"customRoleArn":"maker"`), "customRoleArn", "Invalid ARN"),
		at(op, "a user for a role", with(`"customRoleArn":"arn:aws:iam::<acct>:user/maker"`), "customRoleArn", "Invalid ARN"),
		{op, "another account's role", with(`"customRoleArn":"arn:aws:iam::111122223333:role/maker"`), "AccessDeniedException",
			"User: <caller> is not authorized to perform: iam:PassRole on resource: arn:aws:iam::111122223333:role/maker because no resource-based policy allows the iam:PassRole action"},
		{op, "a reserved resource tag", with(`"resourceTags":[{"Key":"aws:k","Value":"v"}]`), invalidTag, "Invalid tag key 'aws:k': the prefix 'aws:' is reserved"},
		{op, "a resource tag that stands twice", with(`"resourceTags":[{"Key":"k","Value":"1"},{"Key":"k","Value":"2"}]`), invalidTag, "Invalid tags: the tag key 'k' is given more than once"},
		at(update, "no prefix", `{}`, "prefix", "Member must not be null"),
		{update, "a template that is not there", `{"prefix":"<none>"}`, "TemplateNotFoundException", absent},
		at(remove, "no prefix", `{}`, "prefix", "Member must not be null"),
		{remove, "a template that is not there", `{"prefix":"<none>"}`, "TemplateNotFoundException", absent},
		at(describe, "a bad prefix among good ones", `{"prefixes":["<repo>","Prod"]}`, "prefixes", "Member must satisfy constraint: ["+pattern+"]"),
	}
}

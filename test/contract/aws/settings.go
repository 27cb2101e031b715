package aws

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
)

// accountSettings has every setting with each of its values; that of the registry
// policy is also in registryPolicy. It leaves what it has found.
func (s *suite) accountSettings(t *testing.T) {
	for setting, values := range map[string][]string{
		"BLOB_MOUNTING": {"ENABLED", "DISABLED", "ENABLED"}, "BASIC_SCAN_TYPE_VERSION": {"AWS_NATIVE", "AWS_NATIVE"}, "REGISTRY_POLICY_SCOPE": {"V2", "V1", "V2"},
	} {
		get := object{"name": setting}
		for i, value := range values {
			want := object{"name": setting, "value": value}
			if i > 0 { // the first one is there without being set
				s.want(t, "PutAccountSetting", want, want)
			}
			s.want(t, "GetAccountSetting", get, want)
		}
		s.refused(t, "PutAccountSetting", object{"name": setting, "value": "enabled"}, "ValidationException", "The value 'enabled' is not valid for the account setting '"+setting+"'")
		s.want(t, "GetAccountSetting", get, object{"name": setting, "value": values[0]})
	}
	s.refused(t, "PutAccountSetting", object{"name": "BASIC_SCAN_TYPE_VERSION", "value": "CLAIR"}, "ValidationException",
		"The value 'CLAIR' of the account setting 'BASIC_SCAN_TYPE_VERSION' has been withdrawn. Use 'AWS_NATIVE'")

	// Without mounting a push gets an upload; what was mounted stays.
	from, to := s.repo(t, "mount"), s.repo(t, "mount")
	one, two := s.kit(t, from), s.kit(t, from)
	s.put(t, from, "one", one.image(t))
	s.put(t, from, "two", two.image(t))
	key := token(t, s.succeed(t, "GetAuthorizationToken", nil))
	mount := func(digest string) int {
		t.Helper()
		r := s.plain(t, "POST", s.URL+"/v2/"+to+"/blobs/uploads/?mount="+digest+"&from="+from, nil)
		r.Header.Set("Authorization", "Basic "+key)
		return s.send(t, r).status
	}
	if status := mount(one.layer.Digest); status != 201 {
		t.Errorf("with mounting: %d", status)
	}
	s.succeed(t, "PutAccountSetting", object{"name": "BLOB_MOUNTING", "value": "DISABLED"})
	if status := mount(two.layer.Digest); status != 202 {
		t.Errorf("without mounting: %d", status)
	}
	s.want(t, "BatchCheckLayerAvailability", object{"repositoryName": to, "layerDigests": array{one.layer.Digest}}, object{"failures": array{}, "layers": array{
		object{"layerDigest": one.layer.Digest, "layerAvailability": "AVAILABLE", "layerSize": one.layer.Size},
	}})
	s.succeed(t, "PutAccountSetting", object{"name": "BLOB_MOUNTING", "value": "ENABLED"})
	if status := mount(two.layer.Digest); status != 201 {
		t.Errorf("with mounting again: %d", status)
	}
}

// pullTimeExclusions are listed as they are registered, up to a hundred.
func (s *suite) pullTimeExclusions(t *testing.T) {
	const register, deregister, list = "RegisterPullTimeUpdateExclusion", "DeregisterPullTimeUpdateExclusion", "ListPullTimeUpdateExclusions"
	s.want(t, list, nil, object{"pullTimeUpdateExclusions": array{}})
	under := unique("puller")
	var arns []string
	for i := range 100 {
		kind := "role"
		if i%2 == 1 {
			kind = "user"
		}
		arn := fmt.Sprintf("arn:aws:iam::%s:%s/team/%s-%02d", s.Account, kind, under, i)
		arns = append(arns, arn)
		s.want(t, register, object{"principalArn": arn}, object{"principalArn": arn, "createdAt": during(time.Now())})
	}
	defer func() {
		for _, arn := range arns {
			s.do(t, call{op: deregister, in: object{"principalArn": arn}})
		}
	}()
	s.refused(t, register, object{"principalArn": arns[0]}, "ExclusionAlreadyExistsException",
		"The pull time update exclusion for the principal '"+arns[0]+"' already exists in the registry with id '"+s.Account+"'")
	more := object{"principalArn": "arn:aws:iam::111122223333:role/" + under}
	s.refused(t, register, more, "LimitExceededException",
		"The registry with id '"+s.Account+"' already has the maximum allowed number of pull time update exclusions which is '100'")
	slices.Sort(arns)
	for _, size := range []int32{0, 1000, 100, 99, 30, 1} {
		var seen []string
		in := &ecr.ListPullTimeUpdateExclusionsInput{}
		if size > 0 {
			in.MaxResults = &size
		}
		for { // the SDK has no paginator for it
			page, err := s.ecr.ListPullTimeUpdateExclusions(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.PullTimeUpdateExclusions) > 100 || size > 0 && len(page.PullTimeUpdateExclusions) > int(size) {
				t.Fatalf("a page of %d, asked for %d", len(page.PullTimeUpdateExclusions), size)
			}
			seen = append(seen, page.PullTimeUpdateExclusions...)
			if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
				break
			}
		}
		if slices.Sort(seen); !slices.Equal(seen, arns) {
			t.Errorf("pages of %d have %v", size, seen)
		}
	}
	page := text(t, s.succeed(t, list, object{"maxResults": 1}), "nextToken")
	s.invalid(t, "DescribeRepositories", object{"nextToken": page}, "nextToken", badToken)
	gone := object{"principalArn": arns[0]}
	s.want(t, deregister, gone, gone)
	s.refused(t, deregister, gone, "ExclusionNotFoundException",
		"The pull time update exclusion for the principal '"+arns[0]+"' does not exist in the registry with id '"+s.Account+"'")
	s.want(t, register, more, object{"principalArn": more["principalArn"], "createdAt": during(time.Now())})
	s.want(t, deregister, more, more)
}

func badRegistrySettings() []badCase {
	const register, deregister = "RegisterPullTimeUpdateExclusion", "DeregisterPullTimeUpdateExclusion"
	const pattern = `Member must satisfy regular expression pattern: ^arn:aws(-[a-z]+)*:iam::[0-9]{12}:(role|user)/[\w+=,.@-]+(/[\w+=,.@-]+)*$`
	const unknown = "The account setting 'SCANNING' is not supported"
	cases := []badCase{
		at("GetAccountSetting", "no name", `{}`, "name", "Member must not be null"),
		{"GetAccountSetting", "an unknown setting", `{"name":"SCANNING"}`, "ValidationException", unknown},
		at("PutAccountSetting", "no value", `{"name":"BLOB_MOUNTING"}`, "value", "Member must not be null"),
		at("PutAccountSetting", "a name of 65 characters", `{"name":"«65 N»","value":"ENABLED"}`, "name", "Member must have length less than or equal to 64"),
		{"PutAccountSetting", "an unknown setting", `{"name":"SCANNING","value":"ENABLED"}`, "ValidationException", unknown},
		{"PutAccountSetting", "an unknown value", `{"name":"BLOB_MOUNTING","value":"on"}`, "ValidationException", "The value 'on' is not valid for the account setting 'BLOB_MOUNTING'"},
		{"PutAccountSetting", "an engine that was withdrawn", `{"name":"BASIC_SCAN_TYPE_VERSION","value":"CLAIR"}`, "ValidationException", "The value 'CLAIR' of the account setting 'BASIC_SCAN_TYPE_VERSION' has been withdrawn. Use 'AWS_NATIVE'"},
	}
	for _, op := range []string{register, deregister} {
		cases = append(cases,
			at(op, "no principal", `{}`, "principalArn", "Member must not be null"),
			at(op, "a root user", `{"principalArn":"arn:aws:iam::<acct>:root"}`, "principalArn", pattern),
			at(op, "a session of a role", `{"principalArn":"arn:aws:sts::<acct>:assumed-role/puller/session"}`, "principalArn", pattern),
			at(op, "a principal of 201 characters", `{"principalArn":"arn:aws:iam::000000000000:role/«170 r»"}`, "principalArn", "Member must have length less than or equal to 200"))
	}
	return append(cases, badCase{deregister, "a principal that is not excluded", `{"principalArn":"arn:aws:iam::<acct>:role/<none>"}`, "ExclusionNotFoundException",
		"The pull time update exclusion for the principal 'arn:aws:iam::<acct>:role/<none>' does not exist in the registry with id '<acct>'"})
}

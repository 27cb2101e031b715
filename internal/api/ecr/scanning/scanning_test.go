package scanning_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/repository"
)

const (
	putRegistry = "PutRegistryScanningConfiguration"
	getRegistry = "GetRegistryScanningConfiguration"
	batchGet    = "BatchGetRepositoryScanningConfiguration"
	putImage    = "PutImageScanningConfiguration"
	start       = "StartImageScan"
	describe    = "DescribeImageScanFindings"
	inspector   = "AWSServiceRoleForAmazonInspector2"
)

func parameter(member, constraint string) string {
	return "Invalid parameter at '" + member + "' failed to satisfy constraint: '" + constraint + "'"
}

// rule is one rule of a configuration.
func rule(frequency string, filters ...string) string {
	for i, f := range filters {
		filters[i] = `{"filter":"` + f + `","filterType":"WILDCARD"}`
	}
	return `{"scanFrequency":"` + frequency + `","repositoryFilters":[` + strings.Join(filters, ",") + `]}`
}

func TestRegistryConfiguration(t *testing.T) {
	w := newWorld(t)
	stands := func(c string) {
		t.Helper()
		w.wants(getRegistry, `{}`, `{"registryId":"111111111111","scanningConfiguration":`+c+`}`)
	}
	put := func(in, c string) {
		t.Helper()
		w.wants(putRegistry, in, `{"registryScanningConfiguration":`+c+`}`)
		stands(c)
	}
	stands(`{"scanType":"BASIC","rules":[]}`)
	for _, c := range []string{
		`{"scanType":"BASIC","rules":[` + rule("SCAN_ON_PUSH", "prod*", "team") + `]}`,
		`{"scanType":"ENHANCED","rules":[` + rule("SCAN_ON_PUSH", "*") + `,` + rule("CONTINUOUS_SCAN") + `]}`,
		`{"scanType":"ENHANCED","rules":[]}`,
	} {
		put(c, c)
	}
	const last = `{"scanType":"BASIC","rules":[{"scanFrequency":"MANUAL","repositoryFilters":[]}]}`
	put(`{"rules":[`+rule("MANUAL")+`]}`, last)
	w.refuses(putRegistry, `{"rules":[`+rule("CONTINUOUS_SCAN", "*")+`]}`, "InvalidParameterException",
		parameter("rules", "The scan frequency CONTINUOUS_SCAN is not supported for the scan type BASIC. Use SCAN_ON_PUSH or MANUAL"))
	w.refuses(putRegistry, `{"scanType":"ENHANCED","rules":[`+rule("MANUAL", "*")+`]}`, "InvalidParameterException",
		parameter("rules", "The scan frequency MANUAL is not supported for the scan type ENHANCED. Use CONTINUOUS_SCAN or SCAN_ON_PUSH"))
	w.refuses(putRegistry, `{"rules":[`+rule("SCAN_ON_PUSH", "*")+`,`+rule("SCAN_ON_PUSH", "*")+`]}`, "InvalidParameterException",
		parameter("rules", "There is more than one rule with the scan frequency SCAN_ON_PUSH. Put the filters into one rule"))
	w.refuses(putRegistry, `{"scanType":"CLAIR"}`, "InvalidParameterException", parameter("scanType", "Member must satisfy enum value set: [BASIC, ENHANCED]"))
	stands(last)
	put(`{}`, `{"scanType":"BASIC","rules":[]}`)

	// Each account has its own.
	put(`{"scanType":"ENHANCED"}`, `{"scanType":"ENHANCED","rules":[]}`)
	w.caller = principal.Root(theirs)
	w.wants(getRegistry, `{}`, `{"registryId":"222222222222","scanningConfiguration":{"scanType":"BASIC","rules":[]}}`)
}

func TestRepositoryConfigurations(t *testing.T) {
	w := newWorld(t)
	_, err := w.repositories.Create(t.Context(), repository.Create{Registry: here, Name: "team/flagged", ScanOnPush: true, Mutability: repository.Mutability{Setting: repository.Mutable}})
	w.must(err)
	is := func(repo string, onPush bool, frequency, filters string) string {
		return fmt.Sprintf(`{"repositoryArn":"arn:aws:ecr:us-east-1:111111111111:repository/%s","repositoryName":"%s","scanOnPush":%t,"scanFrequency":"%s","appliedScanFilters":[%s]}`, repo, repo, onPush, frequency, filters)
	}
	filter := func(f string) string { return `{"filter":"` + f + `","filterType":"WILDCARD"}` }
	const both = `{"repositoryNames":["team/flagged","app"]}`
	want := func(flagged, app string) {
		t.Helper()
		w.wants(batchGet, both, `{"scanningConfigurations":[`+flagged+`,`+app+`],"failures":[]}`)
	}
	configure := func(c string) {
		t.Helper()
		if status, body := w.call(putRegistry, c); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	want(is("team/flagged", true, "SCAN_ON_PUSH", ""), is("app", false, "MANUAL", ""))
	configure(`{"rules":[` + rule("SCAN_ON_PUSH", "team", "other", "*flag*") + `]}`)
	want(is("team/flagged", true, "SCAN_ON_PUSH", filter("team")+","+filter("*flag*")), is("app", false, "MANUAL", ""))
	configure(`{"scanType":"ENHANCED","rules":[` + rule("CONTINUOUS_SCAN", "ap") + `]}`)
	want(is("team/flagged", false, "MANUAL", ""), is("app", false, "CONTINUOUS_SCAN", filter("ap")))
	configure(`{"scanType":"ENHANCED","rules":[` + rule("CONTINUOUS_SCAN", "ap") + `,` + rule("SCAN_ON_PUSH", "*") + `]}`)
	want(is("team/flagged", true, "SCAN_ON_PUSH", filter("*")), is("app", false, "CONTINUOUS_SCAN", filter("ap")))

	w.wants(batchGet, `{"repositoryNames":["none","app"]}`, `{"scanningConfigurations":[`+is("app", false, "CONTINUOUS_SCAN", filter("ap"))+`],
		"failures":[{"repositoryName":"none","failureCode":"REPOSITORY_NOT_FOUND","failureReason":"REPOSITORY_NOT_FOUND"}]}`)
	w.refuses(batchGet, `{"repositoryNames":[]}`, "InvalidParameterException", parameter("repositoryNames", "Member must have length greater than or equal to 1"))
}

func TestScanOnPush(t *testing.T) {
	w := newWorld(t)
	const on, off = `{"repositoryName":"app","imageScanningConfiguration":{"scanOnPush":true}}`, `{"repositoryName":"app","imageScanningConfiguration":{}}`
	answer := func(on bool) string {
		return fmt.Sprintf(`{"registryId":"111111111111","repositoryName":"app","imageScanningConfiguration":{"scanOnPush":%t}}`, on)
	}
	w.wants(putImage, on, answer(true))
	w.wants(putImage, off, answer(false))
	w.refuses(putImage, strings.ReplaceAll(on, "app", "none"), "RepositoryNotFoundException", "The repository with name 'none' does not exist in the registry with id '111111111111'")
	w.wants(putRegistry, `{"scanType":"ENHANCED"}`, `{"registryScanningConfiguration":{"scanType":"ENHANCED","rules":[]}}`)
	w.refuses(putImage, on, "ValidationException", "This feature is disabled")
}

func TestStart(t *testing.T) {
	w := newWorld(t)
	d, e := w.put("one", "v1", nil), w.put("two", "v2", nil)
	const began = `"imageScanStatus":{"status":"IN_PROGRESS"}`
	w.wants(start, `{"repositoryName":"app","imageId":{"imageTag":"v1"}}`,
		`{"registryId":"111111111111","repositoryName":"app","imageId":{"imageDigest":"`+string(d)+`","imageTag":"v1"},`+began+`}`)
	w.wants(start, `{"repositoryName":"app","imageId":{"imageDigest":"`+string(e)+`"},"registryId":"111111111111"}`,
		`{"registryId":"111111111111","repositoryName":"app","imageId":{"imageDigest":"`+string(e)+`"},`+began+`}`)
	w.refuses(start, `{"repositoryName":"app","imageId":{"imageDigest":"`+string(d)+`"}}`, "LimitExceededException", "The scan quota per image has been exceeded. Wait and try again.")
	w.refuses(start, `{"repositoryName":"none","imageId":{"imageTag":"v1"}}`, "RepositoryNotFoundException", "The repository with name 'none' does not exist in the registry with id '111111111111'")
	w.refuses(start, `{"repositoryName":"app"}`, "InvalidParameterException", parameter("imageId", "Member must not be null"))
}

// TestPermissions: who may do one thing and no other.
func TestPermissions(t *testing.T) {
	w := newWorld(t)
	w.put("one", "v1", nil)
	denied := func(user, action, resource string) string {
		return "User: arn:aws:iam::111111111111:user/" + user + " is not authorized to perform: " + action + " on resource: " + resource +
			" because no identity-based policy allows the " + action + " action"
	}
	const app = "arn:aws:ecr:us-east-1:111111111111:repository/app"
	one := `{"repositoryName":"app","imageId":{"imageTag":"v1"}}`
	for i, c := range []struct{ operation, in, resource string }{
		{getRegistry, `{}`, "*"},
		{putRegistry, `{}`, "*"},
		{batchGet, `{"repositoryNames":["app"]}`, app},
		{putImage, `{"repositoryName":"app","imageScanningConfiguration":{}}`, app},
		{start, one, app},
		{describe, one, app},
	} {
		user := fmt.Sprintf("without%d", i)
		w.as(ours, user, `{"Effect":"Allow","NotAction":"ecr:`+c.operation+`","Resource":"*"}`, func() {
			w.refuses(c.operation, c.in, "AccessDeniedException", denied(user, "ecr:"+c.operation, c.resource))
		})
		w.as(ours, fmt.Sprintf("with%d", i), `{"Effect":"Allow","Action":"ecr:`+c.operation+`","Resource":"`+c.resource+`"}`, func() {
			if status, body := w.call(c.operation, c.in); strings.Contains(string(body), "AccessDenied") || status == http.StatusInternalServerError {
				t.Errorf("%s: %d %s", c.operation, status, body)
			}
		})
	}
	// Every repository of a batch counts, those that are not there as well.
	w.as(ours, "some", `{"Effect":"Allow","Action":"ecr:`+batchGet+`","Resource":"`+app+`"}`, func() {
		w.refuses(batchGet, `{"repositoryNames":["app","other"]}`, "AccessDeniedException", denied("some", "ecr:"+batchGet, "arn:aws:ecr:us-east-1:111111111111:repository/other"))
	})

	// From another account, by the repository's policy.
	foreign := strings.Replace(one, `{`, `{"registryId":"111111111111",`, 1)
	w.as(theirs, "stranger", `{"Effect":"Allow","Action":"ecr:*","Resource":"*"}`, func() {
		w.refuses(start, foreign, "AccessDeniedException", "User: arn:aws:iam::222222222222:user/stranger is not authorized to perform: ecr:StartImageScan on resource: "+app+
			" because no resource-based policy allows the ecr:StartImageScan action")
		d, err := policy.Parse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":["ecr:StartImageScan","ecr:DescribeImageScanFindings"]}]}`, policy.Repository)
		w.must(err)
		w.must(w.repositories.SetPolicy(t.Context(), here, "app", d, w.entities.PinPrincipals))
		if status, body := w.call(describe, foreign); !strings.Contains(string(body), "ScanNotFoundException") {
			t.Errorf("allowed by the repository: %d %s", status, body)
		}
	})
}

// TestInspector: enhanced scanning needs Inspector, and its service-linked role while
// that is not there.
func TestInspector(t *testing.T) {
	w := newWorld(t)
	const put, enable = `{"Effect":"Allow","Action":"ecr:PutRegistryScanningConfiguration","Resource":"*"}`, `{"Effect":"Allow","Action":"inspector2:Enable","Resource":"*"}`
	const enhanced = `{"scanType":"ENHANCED"}`
	const answer = `{"registryScanningConfiguration":{"scanType":"ENHANCED","rules":[]}}`
	role := func(service string) string {
		return `{"Effect":"Allow","Action":"iam:CreateServiceLinkedRole","Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":["` + service + `"]}}}`
	}
	noRole := func(user string) string {
		return "User: arn:aws:iam::111111111111:user/" + user + " is not authorized to perform: iam:CreateServiceLinkedRole on resource: arn:aws:iam::111111111111:role/aws-service-role/inspector2.amazonaws.com/" +
			inspector + " because no identity-based policy allows the iam:CreateServiceLinkedRole action"
	}
	noInspector := func(user string) string {
		return "User: arn:aws:iam::111111111111:user/" + user + " is not authorized to perform: inspector2:Enable on resource: * because no identity-based policy allows the inspector2:Enable action"
	}
	w.as(ours, "basic", put, func() {
		w.wants(putRegistry, `{}`, `{"registryScanningConfiguration":{"scanType":"BASIC","rules":[]}}`)
	})
	w.as(ours, "one", put+","+role("inspector2.amazonaws.com"), func() { w.refuses(putRegistry, enhanced, "AccessDeniedException", noInspector("one")) })
	w.as(ours, "two", put+","+enable, func() { w.refuses(putRegistry, enhanced, "AccessDeniedException", noRole("two")) })
	w.as(ours, "three", put+","+enable+","+role("replication.ecr.amazonaws.com"), func() { w.refuses(putRegistry, enhanced, "AccessDeniedException", noRole("three")) })
	w.wants(getRegistry, `{}`, `{"registryId":"111111111111","scanningConfiguration":{"scanType":"BASIC","rules":[]}}`)
	w.as(ours, "four", put+","+enable+","+role("inspector2.amazonaws.com"), func() { w.wants(putRegistry, enhanced, answer) })
	if _, err := w.entities.Get(t.Context(), ours, entity.Role, inspector); err != nil {
		t.Error(err)
	}
	w.as(ours, "five", put+","+enable, func() { w.wants(putRegistry, enhanced, answer) })
	w.as(ours, "six", put, func() { w.refuses(putRegistry, enhanced, "AccessDeniedException", noInspector("six")) })
}

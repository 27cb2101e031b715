package aws

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
)

// scanPatience is how long the scan of one small image may take.
const scanPatience = 2 * time.Minute

// Operations about scanning.
const (
	putScanning   = "PutRegistryScanningConfiguration"
	getScanning   = "GetRegistryScanningConfiguration"
	batchScanning = "BatchGetRepositoryScanningConfiguration"
	setScanning   = "PutImageScanningConfiguration"
	startScan     = "StartImageScan"
	scanFindings  = "DescribeImageScanFindings"
)

// disabled is what enhanced scanning answers to what is for basic scanning.
const disabled = "This feature is disabled"

// in is the suite in another region.
func (s *suite) in(region string) *suite {
	there := *s
	there.Region = region
	there.ecr = ecr.NewFromConfig(s.config(s.caller(), region))
	return &there
}

// scanFilters is a list of filters.
func scanFilters(values ...string) array {
	all := array{}
	for _, v := range values {
		all = append(all, object{"filter": v, "filterType": "WILDCARD"})
	}
	return all
}

func scanRule(frequency string, filters ...string) object {
	return object{"scanFrequency": frequency, "repositoryFilters": scanFilters(filters...)}
}

// scanned is a scanning configuration.
func scanned(scanType string, rules ...any) object {
	return object{"scanType": scanType, "rules": append(array{}, rules...)}
}

// configureScanning sets the scanning configuration; basic is what stands at first.
func (s *suite) configureScanning(t *testing.T, c object) {
	t.Helper()
	s.want(t, putScanning, c, object{"registryScanningConfiguration": c})
	s.want(t, getScanning, nil, object{"registryId": s.Account, "scanningConfiguration": c})
}

// basicAgain puts the configuration back to what stands at first.
func (s *suite) basicAgain(t *testing.T) {
	t.Helper()
	s.want(t, putScanning, object{}, object{"registryScanningConfiguration": scanned("BASIC")}) // what is left out
}

// treated is how a repository is scanned.
func (s *suite) treated(repo, frequency string, filters ...string) object {
	return object{
		"repositoryArn": s.arn(s.Account, repo), "repositoryName": repo, "scanOnPush": frequency == "SCAN_ON_PUSH", "scanFrequency": frequency,
		"appliedScanFilters": scanFilters(filters...),
	}
}

// scanningConfiguration: what is put stands there in place of what was, and filters
// have the meaning of ECR's table.
func (s *suite) scanningConfiguration(t *testing.T) {
	s.want(t, getScanning, nil, object{"registryId": s.Account, "scanningConfiguration": scanned("BASIC")})
	defer s.basicAgain(t)
	u := unique("prod")
	names := []string{u, "repo-" + u, u + "-repo", "repo-" + u + "-repo", u + "repo"}
	var asked array
	for _, n := range names {
		s.succeed(t, "CreateRepository", object{"repositoryName": n})
		asked = append(asked, n)
	}
	for filter, matches := range map[string]string{
		u: "yes yes yes yes yes", "*" + u: "yes yes no no no", u + "*": "yes no yes no yes", "*" + u + "*": "yes yes yes yes yes", u + "*repo": "no no yes no yes",
	} {
		s.configureScanning(t, scanned("BASIC", scanRule("SCAN_ON_PUSH", filter)))
		var want array
		for i, yes := range strings.Fields(matches) {
			if yes == "yes" {
				want = append(want, s.treated(names[i], "SCAN_ON_PUSH", filter))
			} else {
				want = append(want, s.treated(names[i], "MANUAL"))
			}
		}
		s.want(t, batchScanning, object{"repositoryNames": asked}, object{"scanningConfigurations": want, "failures": array{}})
	}

	// All filters that match, and none; the flag counts as well.
	one := names[0]
	treated := func(want object) {
		t.Helper()
		none := unique("none")
		s.want(t, batchScanning, object{"repositoryNames": array{none, one}}, object{"scanningConfigurations": array{want}, "failures": array{
			object{"repositoryName": none, "failureCode": "REPOSITORY_NOT_FOUND", "failureReason": "REPOSITORY_NOT_FOUND"},
		}})
	}
	flag := func(on bool) {
		t.Helper()
		s.succeed(t, setScanning, object{"repositoryName": one, "imageScanningConfiguration": object{"scanOnPush": on}})
	}
	s.configureScanning(t, scanned("BASIC", scanRule("SCAN_ON_PUSH", u, "x"+u, u+"*"), scanRule("MANUAL", "*")))
	treated(s.treated(one, "SCAN_ON_PUSH", u, u+"*"))
	s.configureScanning(t, scanned("BASIC", scanRule("SCAN_ON_PUSH")))
	treated(s.treated(one, "MANUAL"))
	flag(true)
	treated(s.treated(one, "SCAN_ON_PUSH"))
	flag(false)
	treated(s.treated(one, "MANUAL"))
	s.configureScanning(t, scanned("BASIC", scanRule("SCAN_ON_PUSH", "x"+u)))
	treated(s.treated(one, "MANUAL"))
}

// unscannedText is the message about an image that was never scanned.
func (s *suite) unscannedText(repo, digest, tag string) string {
	return "Image scan does not exist for the image with '{imageDigest:'" + digest + "', imageTag:'" + tag + "'}' in the repository with name '" + repo + "' in the registry with id '" + s.Account + "'"
}

// ended waits until the scan of an image has a final status, and returns the answer.
func (s *suite) ended(t *testing.T, in object) object {
	t.Helper()
	for limit := time.Now().Add(scanPatience); ; time.Sleep(50 * time.Millisecond) {
		a := s.do(t, call{op: scanFindings, in: in})
		if a.status == 200 {
			out := s.succeeded(t, scanFindings, a)
			if status := text(t, out, "imageScanStatus", "status"); status != "IN_PROGRESS" && status != "PENDING" {
				return out
			}
		} else if !strings.Contains(string(a.body), "ScanNotFoundException") { // a push is noticed a little later
			t.Fatalf("%d %s", a.status, a.body)
		}
		if time.Now().After(limit) {
			t.Fatalf("after %s the scan has not ended: %d %s", scanPatience, a.status, a.body)
		}
	}
}

// scans: an image is scanned when somebody says so, or when it is pushed; one that
// cannot be read says why. The layer of the kit is no archive, so that every scan of
// its images fails.
func (s *suite) scans(t *testing.T) {
	repo := s.repo(t, "scan")
	k := s.kit(t, repo)
	digest := s.put(t, repo, "v1", k.image(t))
	of := func(digest, tag string) object {
		return object{"repositoryName": repo, "imageId": imageID(digest, tag)}
	}
	s.refused(t, scanFindings, of("", "v1"), "ScanNotFoundException", s.unscannedText(repo, "null", "v1"))
	s.refused(t, scanFindings, of(digest, ""), "ScanNotFoundException", s.unscannedText(repo, digest, "null"))
	s.refused(t, scanFindings, of(digest, "v1"), "ScanNotFoundException", s.unscannedText(repo, digest, "v1"))

	s.want(t, startScan, of("", "v1"), object{"registryId": s.Account, "repositoryName": repo, "imageId": imageID(digest, "v1"), "imageScanStatus": object{"status": "IN_PROGRESS"}})
	end := s.ended(t, of("", "v1"))
	status := object{"status": "FAILED", "description": matching(`^\w+Error: .`)}
	want := object{"registryId": s.Account, "repositoryName": repo, "imageId": imageID(digest, "v1"), "imageScanStatus": status, "imageScanFindings": object{"findingSeverityCounts": object{}, "findings": array{}}}
	same(t, "the findings", want, end)
	want["imageId"] = imageID(digest, "")
	s.want(t, scanFindings, of(digest, ""), want)
	detail := s.succeed(t, "DescribeImages", ids(repo, byDigest(digest)))["imageDetails"].(array)[0].(object)
	same(t, "imageScanStatus", status, detail["imageScanStatus"])
	same(t, "imageScanFindingsSummary", nil, detail["imageScanFindingsSummary"])
	s.startedAgain(t, repo, digest, end)

	// On push, by the flag and by the registry's rules.
	s.succeed(t, setScanning, object{"repositoryName": repo, "imageScanningConfiguration": object{"scanOnPush": true}})
	pushed := s.put(t, repo, "v2", k.image(t))
	s.startedAgain(t, repo, pushed, s.ended(t, of("", "v2")))
	s.succeed(t, setScanning, object{"repositoryName": repo, "imageScanningConfiguration": object{"scanOnPush": false}})
	s.configureScanning(t, scanned("BASIC", scanRule("SCAN_ON_PUSH", repo+"*")))
	pushed = s.put(t, repo, "v3", k.image(t))
	s.ended(t, of(pushed, ""))
	s.basicAgain(t)

	// What cannot be scanned.
	unsupported := func(digest string) {
		t.Helper()
		s.refused(t, startScan, of(digest, ""), "UnsupportedImageTypeException", "The image with digest '"+digest+"' in the repository with name '"+repo+"' in the registry with id '"+s.Account+"' is of a type that cannot be scanned")
		s.refused(t, scanFindings, of(digest, ""), "ScanNotFoundException", s.unscannedText(repo, digest, "null"))
	}
	image := k.image(t)
	child := s.put(t, repo, "child", image)
	unsupported(s.put(t, repo, "index", indexOf(t, image)))
	artifact := k.manifest()
	config := *artifact.Config
	config.MediaType = "application/vnd.cncf.helm.config.v1+json"
	artifact.Config = &config
	unsupported(s.put(t, repo, "artifact", artifact.text(t)))
	s.want(t, startScan, of(child, ""), object{"registryId": s.Account, "repositoryName": repo, "imageId": imageID(child, ""), "imageScanStatus": object{"status": "IN_PROGRESS"}}) // child by child

	archived := s.put(t, repo, "archived", k.image(t))
	s.succeed(t, "UpdateImageStorageClass", object{"repositoryName": repo, "imageId": byDigest(archived), "targetStorageClass": "ARCHIVE"})
	s.refused(t, startScan, of(archived, ""), "ImageArchivedException", "The image with digest '"+archived+"' in the repository with name '"+repo+"' in the registry with id '"+s.Account+"' is archived and cannot be scanned")
	same(t, "an archived image", "IMAGE_ARCHIVED", text(t, s.succeed(t, scanFindings, of(archived, "")), "imageScanStatus", "status"))

	// Who is not let.
	s.succeed(t, "SetRepositoryPolicy", object{"repositoryName": repo, "policyText": policyDocument(`{"Effect":"Deny","Principal":"*","Action":["ecr:StartImageScan","ecr:DescribeImageScanFindings","ecr:BatchGetRepositoryScanningConfiguration"]}`)})
	for op, in := range map[string]object{startScan: of("", "v1"), scanFindings: of("", "none"), batchScanning: {"repositoryNames": array{repo}}} {
		s.refused(t, op, in, "AccessDeniedException", "User: "+s.me+" is not authorized to perform: ecr:"+op+" on resource: "+s.arn(s.Account, repo)+" with an explicit deny in a resource-based policy")
	}
}

// startedAgain: an image is scanned once in 24 hours, however the scan began and
// ended. Only where the target has no vulnerability database, which no image can be
// blamed for, another start is taken.
func (s *suite) startedAgain(t *testing.T, repo, digest string, end object) {
	t.Helper()
	in := object{"repositoryName": repo, "imageId": byDigest(digest)}
	if strings.HasPrefix(text(t, end, "imageScanStatus", "description"), "VulnerabilityDatabaseError: ") {
		same(t, "started again for want of a database", "IN_PROGRESS", text(t, s.succeed(t, startScan, in), "imageScanStatus", "status"))
		return
	}
	s.refused(t, startScan, in, "LimitExceededException", "The scan quota per image has been exceeded. Wait and try again.")
}

// enhancedScanning is turned on in a registry of its own, and off again: the results
// of the one are hidden by the other.
func (s *suite) enhancedScanning(t *testing.T) {
	there := s.in(s.OtherRegion)
	there.configureScanning(t, scanned("BASIC", scanRule("SCAN_ON_PUSH", unique("nothing"))))
	defer there.basicAgain(t)
	repo, other := there.repo(t, "enhanced"), there.repo(t, "basic")
	k, l := there.kit(t, repo), there.kit(t, other)
	of := func(repo string) object { return object{"repositoryName": repo, "imageId": byTag("v1")} }
	there.put(t, other, "v1", l.image(t))
	there.succeed(t, startScan, of(other))
	before := there.ended(t, of(other))

	there.configureScanning(t, scanned("ENHANCED", scanRule("SCAN_ON_PUSH", "enhanced", "*"+repo), scanRule("CONTINUOUS_SCAN", repo)))
	there.want(t, batchScanning, object{"repositoryNames": array{repo, other}}, object{
		"scanningConfigurations": array{there.treated(repo, "CONTINUOUS_SCAN", repo), there.treated(other, "MANUAL")}, "failures": array{},
	})
	there.configureScanning(t, scanned("ENHANCED", scanRule("SCAN_ON_PUSH", repo)))
	there.refused(t, setScanning, object{"repositoryName": repo, "imageScanningConfiguration": object{"scanOnPush": true}}, "ValidationException", disabled)
	there.refused(t, startScan, of(other), "ValidationException", disabled)
	there.refused(t, scanFindings, of(other), "ScanNotFoundException", there.unscannedText(other, "null", "v1"))
	for op, want := range map[string]string{startScan: "RepositoryNotFoundException", setScanning: "RepositoryNotFoundException"} {
		in := of(unique("none"))
		in["imageScanningConfiguration"] = object{}
		there.refused(t, op, in, want, there.noRepository(in["repositoryName"].(string)))
	}

	digest := there.put(t, repo, "v1", k.image(t))
	end := there.ended(t, of(repo))
	same(t, "the scan of what was pushed", object{
		"registryId": there.Account, "repositoryName": repo, "imageId": imageID(digest, "v1"),
		"imageScanStatus":   object{"status": matching(`^(FAILED|UNSUPPORTED_IMAGE)$`), "description": matching(`^\w+Error: .`)},
		"imageScanFindings": object{"findingSeverityCounts": object{}, "findings": array{}, "enhancedFindings": array{}},
	}, end)
	for _, r := range []string{repo, other} {
		detail := there.succeed(t, "DescribeImages", ids(r, byTag("v1")))["imageDetails"].(array)[0].(object)
		same(t, "imageScanStatus of "+r, nil, detail["imageScanStatus"])
	}

	there.basicAgain(t)
	same(t, "the basic scan from before", before["imageId"], there.succeed(t, scanFindings, of(other))["imageId"])
	there.refused(t, scanFindings, of(repo), "ScanNotFoundException", there.unscannedText(repo, "null", "v1"))
}

func badScans() []badCase {
	const filter = "rules.1.member.repositoryFilters.1.member."
	const enum = "Member must satisfy enum value set: [SCAN_ON_PUSH, CONTINUOUS_SCAN, MANUAL]"
	const pattern = `Member must satisfy regular expression pattern: ^[a-z0-9*](?:[._\-/a-z0-9*]?[a-z0-9*]+)*$`
	const name = "must satisfy regular expression '<name pattern>'"
	const noRepository = "The repository with name '<none>' does not exist in the registry with id '<acct>'"
	configuration := func(rules string) string { return `{"rules":[` + rules + `]}` }
	filters := func(filters string) string {
		return configuration(`{"scanFrequency":"SCAN_ON_PUSH","repositoryFilters":[` + filters + `]}`)
	}
	filtered := func(text string) string { return filters(`{"filter":"` + text + `","filterType":"WILDCARD"}`) }
	rule := func(frequency string) string {
		return `{"scanFrequency":"` + frequency + `","repositoryFilters":[{"filter":"*","filterType":"WILDCARD"}]}`
	}
	cases := []badCase{
		at(putScanning, "an unknown type", `{"scanType":"CLAIR"}`, "scanType", "Member must satisfy enum value set: [BASIC, ENHANCED]"),
		at(putScanning, "three rules", configuration(rule("SCAN_ON_PUSH")+","+rule("MANUAL")+","+rule("CONTINUOUS_SCAN")), "rules", "Member must have length less than or equal to 2"),
		at(putScanning, "a rule without a frequency", configuration(`{"repositoryFilters":[]}`), "rules.1.member.scanFrequency", "Member must not be null"),
		at(putScanning, "an unknown frequency", configuration(rule("DAILY")), "rules.1.member.scanFrequency", enum),
		at(putScanning, "a rule without a list of filters", configuration(`{"scanFrequency":"SCAN_ON_PUSH"}`), "rules.1.member.repositoryFilters", "Member must not be null"),
		at(putScanning, "101 filters", filters(`«100 {"filter":"*","filterType":"WILDCARD"},»{"filter":"*","filterType":"WILDCARD"}`), "rules.1.member.repositoryFilters", "Member must have length less than or equal to 100"),
		at(putScanning, "a filter without a value", filters(`{"filterType":"WILDCARD"}`), filter+"filter", "Member must not be null"),
		at(putScanning, "a filter without a type", filters(`{"filter":"*"}`), filter+"filterType", "Member must not be null"),
		at(putScanning, "an unknown type of filter", filters(`{"filter":"*","filterType":"PREFIX_MATCH"}`), filter+"filterType", "Member must satisfy enum value set: [WILDCARD]"),
		at(putScanning, "a filter of no length", filtered(""), filter+"filter", "Member must have length greater than or equal to 1"),
		at(putScanning, "a filter of 256 characters", filtered("«256 a»"), filter+"filter", "Member must have length less than or equal to 255"),
		at(putScanning, "a filter in upper case", filtered("Prod"), filter+"filter", pattern),
		at(putScanning, "a filter that ends in a slash", filtered("team/"), filter+"filter", pattern),
		at(putScanning, "continuous basic scanning", configuration(rule("CONTINUOUS_SCAN")), "rules", "The scan frequency CONTINUOUS_SCAN is not supported for the scan type BASIC. Use SCAN_ON_PUSH or MANUAL"),
		at(putScanning, "manual enhanced scanning", `{"scanType":"ENHANCED","rules":[`+rule("MANUAL")+`]}`, "rules", "The scan frequency MANUAL is not supported for the scan type ENHANCED. Use CONTINUOUS_SCAN or SCAN_ON_PUSH"),
		at(putScanning, "two rules of one frequency", configuration(rule("SCAN_ON_PUSH")+","+rule("SCAN_ON_PUSH")), "rules", "There is more than one rule with the scan frequency SCAN_ON_PUSH. Put the filters into one rule"),
		at(batchScanning, "no repositories", `{}`, "repositoryNames", "Member must not be null"),
		at(batchScanning, "an empty list of repositories", `{"repositoryNames":[]}`, "repositoryNames", "Member must have length greater than or equal to 1"),
		at(batchScanning, "26 repositories", `{"repositoryNames":[«25 "ab",»"ab"]}`, "repositoryNames", "Member must have length less than or equal to 25"),
		at(batchScanning, "a bad name among good ones", `{"repositoryNames":["<repo>","Team"]}`, "repositoryName", name),
		{setScanning, "a repository that is not there", `{"repositoryName":"<none>","imageScanningConfiguration":{}}`, "RepositoryNotFoundException", noRepository},
		at(scanFindings, "a page of none", `{"repositoryName":"<repo>","imageId":{"imageTag":"v1"},"maxResults":0}`, "maxResults", "Member must have value greater than or equal to 1"),
		at(scanFindings, "a page of 1001", `{"repositoryName":"<repo>","imageId":{"imageTag":"v1"},"maxResults":1001}`, "maxResults", "Member must have value less than or equal to 1000"),
		at(scanFindings, "a page token of nobody", `{"repositoryName":"<repo>","imageId":{"imageTag":"v1"},"nextToken":"x"}`, "nextToken", badToken),
		{scanFindings, "an image that was never scanned", `{"repositoryName":"<repo>","imageId":{"imageTag":"v1"}}`, "ScanNotFoundException",
			"Image scan does not exist for the image with '{imageDigest:'null', imageTag:'v1'}' in the repository with name '<repo>' in the registry with id '<acct>'"},
	}
	for _, op := range []string{startScan, scanFindings} {
		cases = append(cases,
			at(op, "no image", `{"repositoryName":"<repo>"}`, "imageId", "Member must not be null"),
			badCase{op, "an image without digest and tag", `{"repositoryName":"<repo>","imageId":{}}`, invalidParameter, "Invalid request parameters: both tag and digest cannot be null"},
			at(op, "a tag of 301 characters", `{"repositoryName":"<repo>","imageId":{"imageTag":"«301 v»"}}`, "imageId.imageTag", "Member must have length less than or equal to 300"),
			badCase{op, "a repository that is not there", `{"repositoryName":"<none>","imageId":{"imageTag":"v1"}}`, "RepositoryNotFoundException", noRepository},
			badCase{op, "a tag that is not there", `{"repositoryName":"<repo>","imageId":{"imageTag":"none"}}`, "ImageNotFoundException",
				"The image with imageId {imageDigest:'null', imageTag:'none'} does not exist within the repository with name '<repo>' in the registry with id '<acct>'"},
			badCase{op, "a digest that is not there", `{"repositoryName":"<repo>","imageId":{"imageDigest":"<absent>"}}`, "ImageNotFoundException",
				"The image with imageId {imageDigest:'<absent>', imageTag:'null'} does not exist within the repository with name '<repo>' in the registry with id '<acct>'"},
		)
	}
	return cases
}

package scanning_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
)

const byTag = `{"repositoryName":"app","imageId":{"imageTag":"v1"}}`

// complete is a basic scan that has ended.
func complete(findings ...finding.Basic) *scan.Page {
	p := &scan.Page{Type: rules.Basic, Basic: findings}
	p.Status, p.Description = scan.Complete, "The scan was completed successfully."
	p.CompletedAt, p.SourceUpdatedAt = now, now.Add(-time.Hour)
	p.Counts = map[finding.Severity]int64{}
	for _, f := range findings {
		p.Counts[f.Severity]++
	}
	return p
}

func envelope(d name.Digest, rest string) string {
	return `{"registryId":"111111111111","repositoryName":"app","imageId":{"imageDigest":"` + string(d) + `","imageTag":"v1"},` + rest + `}`
}

const (
	completed = `"imageScanStatus":{"status":"COMPLETE","description":"The scan was completed successfully."}`
	times     = `"imageScanCompletedAt":1767323045,"vulnerabilitySourceUpdatedAt":1767319445`
)

func TestBasicFindings(t *testing.T) {
	w := newWorld(t)
	d := w.put("one", "v1", complete(
		finding.Basic{Name: "CVE-2024-1", Description: "It breaks.", URI: "https://example.com/1", Severity: finding.High, Attributes: []finding.Attribute{{Key: "package_name", Value: "libc"}, {Key: "package_version", Value: "1:2-3"}, {Key: "empty"}}},
		finding.Basic{Name: "CVE-2024-2", Severity: finding.Undefined},
	))
	w.pages[d].Counts[finding.Low] = 0
	w.wants(describe, byTag, envelope(d, completed+`,"imageScanFindings":{`+times+`,"findingSeverityCounts":{"HIGH":1,"UNDEFINED":1},"findings":[
		{"name":"CVE-2024-1","description":"It breaks.","uri":"https://example.com/1","severity":"HIGH","attributes":[{"key":"package_name","value":"libc"},{"key":"package_version","value":"1:2-3"},{"key":"empty","value":""}]},
		{"name":"CVE-2024-2","severity":"UNDEFINED","attributes":[]}]}`))
	w.wants(describe, `{"repositoryName":"app","imageId":{"imageDigest":"`+string(d)+`"},"maxResults":1000,"nextToken":""}`, `{"registryId":"111111111111","repositoryName":"app","imageId":{"imageDigest":"`+string(d)+`"},`+completed+`,"imageScanFindings":{`+times+`,"findingSeverityCounts":{"HIGH":1,"UNDEFINED":1},"findings":[
		{"name":"CVE-2024-1","description":"It breaks.","uri":"https://example.com/1","severity":"HIGH","attributes":[{"key":"package_name","value":"libc"},{"key":"package_version","value":"1:2-3"},{"key":"empty","value":""}]},
		{"name":"CVE-2024-2","severity":"UNDEFINED","attributes":[]}]}}`)

	d = w.put("nothing", "v1", complete())
	w.wants(describe, byTag, envelope(d, completed+`,"imageScanFindings":{`+times+`,"findingSeverityCounts":{},"findings":[]}`))
	failed := &scan.Page{Type: rules.Basic}
	failed.Status, failed.Description = scan.Failed, "UnsupportedImageError: The operating system and/or package manager are not supported."
	d = w.put("failed", "v1", failed)
	w.wants(describe, byTag, envelope(d, `"imageScanStatus":{"status":"FAILED","description":"`+failed.Description+`"},"imageScanFindings":{"findingSeverityCounts":{},"findings":[]}`))
	running := &scan.Page{Type: rules.Basic}
	running.Status = scan.InProgress
	d = w.put("running", "v1", running)
	w.wants(describe, byTag, envelope(d, `"imageScanStatus":{"status":"IN_PROGRESS"},"imageScanFindings":{"findingSeverityCounts":{},"findings":[]}`))

	d = w.put("never", "v1", nil)
	w.refuses(describe, byTag, "ScanNotFoundException", "no scan of "+string(d))
	w.refuses(describe, `{"repositoryName":"none","imageId":{"imageTag":"v1"}}`, "RepositoryNotFoundException", "The repository with name 'none' does not exist in the registry with id '111111111111'")
	w.refuses(describe, `{"repositoryName":"app","imageId":{"imageTag":"none"}}`, "ImageNotFoundException", "no image  none")
	w.refuses(describe, `{"repositoryName":"app","imageId":{"imageTag":"v1"},"maxResults":1001}`, "InvalidParameterException", parameter("maxResults", "Member must have value less than or equal to 1000"))
}

func TestEnhancedFindings(t *testing.T) {
	w := newWorld(t)
	pending := &scan.Page{Type: rules.Enhanced}
	pending.Status, pending.Description = scan.Pending, "Pending start of the image scan."
	d := w.put("one", "v1", pending)
	w.wants(describe, byTag, envelope(d, `"imageScanStatus":{"status":"PENDING","description":"Pending start of the image scan."},"imageScanFindings":{"findingSeverityCounts":{},"findings":[],"enhancedFindings":[]}`))

	active := &scan.Page{Type: rules.Enhanced}
	active.Status, active.Description = scan.Active, "Continuous scan is selected for image."
	active.CompletedAt, active.SourceUpdatedAt = now, now.Add(-time.Hour)
	active.Counts = map[finding.Severity]int64{finding.Critical: 1, finding.Untriaged: 1}
	details := finding.ImageDetails{
		Registry: here, Repository: "app", Digest: d, Tags: []name.Tag{"v1", "latest"}, PushedAt: now, Author: "somebody", Architecture: "amd64", Platform: "DEBIAN_12",
	}
	bare := details
	bare.Tags, bare.Author, bare.LastInUseAt, bare.InUseCount = nil, "", now, 3
	active.Enhanced = []finding.Enhanced{
		{
			ARN: "arn:aws:inspector2:us-east-1:111111111111:finding/0123", Account: ours, Title: "CVE-2024-1 - libc", Description: "It breaks.",
			FirstObserved: now, LastObserved: now.Add(time.Hour), Update: now.Add(2 * time.Hour), Severity: finding.Critical, Status: "ACTIVE", Score: 9.8,
			ScoreOf: finding.CVSS{Source: "NVD", Version: "3.1", Vector: "CVSS:3.1/AV:N", Score: 9.8}, Remediation: "apt update && apt install libc", FixAvailable: "YES",
			ID: "CVE-2024-1", Source: "DEBIAN_CVE", SourceURL: "https://example.com/1", VendorSeverity: "important", VendorCreated: now, VendorUpdated: now.Add(time.Hour),
			References: []string{"https://example.com/2"}, Related: []string{"DSA-1"},
			CVSS: []finding.CVSS{{Source: "NVD", Version: "3.1", Vector: "CVSS:3.1/AV:N", Score: 9.8}, {Source: "REDHAT_CVE", Version: "2.0", Vector: "AV:N", Score: 0}},
			Packages: []finding.VulnerablePackage{
				{Name: "libc", Version: "2", Release: "3", Arch: "amd64", Epoch: 1, Manager: "OS", FixedInVersion: "2-4", SourceLayerHash: d},
				{Name: "example", Version: "1", Manager: "GOBINARY", FilePath: "usr/bin/app"},
			},
			Image: details,
		},
		{ARN: "arn:aws:inspector2:us-east-1:111111111111:finding/4567", Account: ours, ID: "CVE-2024-2", Severity: finding.Untriaged, Status: "ACTIVE", FixAvailable: "NO", Image: bare},
	}
	d = w.put("one", "v1", active)
	const status = `"imageScanStatus":{"status":"ACTIVE","description":"Continuous scan is selected for image."}`
	resource := func(details string) string {
		return `"resources":[{"type":"AWS_ECR_CONTAINER_IMAGE","id":"arn:aws:ecr:us-east-1:111111111111:repository/app/` + string(d) + `","tags":{},"details":{"awsEcrContainerImage":{
			"architecture":"amd64","platform":"DEBIAN_12","imageHash":"` + string(d) + `","pushedAt":1767323045,"registry":"111111111111","repositoryName":"app",` + details + `}}}]`
	}
	w.wants(describe, byTag, envelope(d, status+`,"imageScanFindings":{`+times+`,"findingSeverityCounts":{"CRITICAL":1,"UNTRIAGED":1},"enhancedFindings":[
		{"awsAccountId":"111111111111","findingArn":"arn:aws:inspector2:us-east-1:111111111111:finding/0123","type":"PACKAGE_VULNERABILITY","title":"CVE-2024-1 - libc","description":"It breaks.",
		 "severity":"CRITICAL","status":"ACTIVE","firstObservedAt":1767323045,"lastObservedAt":1767326645,"updatedAt":1767330245,"fixAvailable":"YES","score":9.8,
		 "scoreDetails":{"cvss":{"adjustments":[],"score":9.8,"scoreSource":"NVD","scoringVector":"CVSS:3.1/AV:N","version":"3.1"}},
		 "remediation":{"recommendation":{"text":"apt update && apt install libc"}},
		 "packageVulnerabilityDetails":{"vulnerabilityId":"CVE-2024-1","source":"DEBIAN_CVE","sourceUrl":"https://example.com/1","vendorSeverity":"important","vendorCreatedAt":1767323045,"vendorUpdatedAt":1767326645,
			"cvss":[{"baseScore":9.8,"scoringVector":"CVSS:3.1/AV:N","source":"NVD","version":"3.1"},{"baseScore":0,"scoringVector":"AV:N","source":"REDHAT_CVE","version":"2.0"}],
			"referenceUrls":["https://example.com/2"],"relatedVulnerabilities":["DSA-1"],"vulnerablePackages":[
				{"name":"libc","version":"2","release":"3","arch":"amd64","epoch":1,"packageManager":"OS","fixedInVersion":"2-4","sourceLayerHash":"`+string(d)+`"},
				{"name":"example","version":"1","epoch":0,"packageManager":"GOBINARY","filePath":"usr/bin/app","fixedInVersion":"NotAvailable"}]},
		 `+resource(`"author":"somebody","imageTags":["v1","latest"]`)+`},
		{"awsAccountId":"111111111111","findingArn":"arn:aws:inspector2:us-east-1:111111111111:finding/4567","type":"PACKAGE_VULNERABILITY","severity":"UNTRIAGED","status":"ACTIVE","fixAvailable":"NO",
		 "remediation":{"recommendation":{"text":"None Provided"}},
		 "packageVulnerabilityDetails":{"vulnerabilityId":"CVE-2024-2","cvss":[],"referenceUrls":[],"relatedVulnerabilities":[],"vulnerablePackages":[]},
		 `+resource(`"imageTags":[],"lastInUseAt":1767323045,"inUseCount":3`)+`}]}`))

	// The SDK reads all of it.
	out, err := w.sdk().DescribeImageScanFindings(t.Context(), &ecr.DescribeImageScanFindingsInput{RepositoryName: sdk.String("app"), ImageId: &types.ImageIdentifier{ImageTag: sdk.String("v1")}})
	w.must(err)
	first := out.ImageScanFindings.EnhancedFindings[0]
	if p := first.PackageVulnerabilityDetails.VulnerablePackages[1]; first.Score != 9.8 || *p.FixedInVersion != "NotAvailable" || !first.UpdatedAt.Equal(now.Add(2*time.Hour)) || *first.Resources[0].Details.AwsEcrContainerImage.Platform != "DEBIAN_12" {
		t.Errorf("%+v", first)
	}
}

// TestPages: a token goes on in the list that it was made for, and in no other.
func TestPages(t *testing.T) {
	w := newWorld(t)
	var all []finding.Basic
	for i := range 250 {
		all = append(all, finding.Basic{Name: fmt.Sprintf("CVE-2024-%03d", i), Severity: finding.Low})
	}
	d := w.put("one", "v1", complete(all...))
	other := w.put("two", "v2", complete(all...))
	id := &types.ImageIdentifier{ImageTag: sdk.String("v1")}
	for _, size := range []int32{0, 1000, 249, 250, 99, 7} {
		in := &ecr.DescribeImageScanFindingsInput{RepositoryName: sdk.String("app"), ImageId: id}
		most := 100
		if size > 0 {
			in.MaxResults, most = &size, int(size)
		}
		n := 0
		for pages := ecr.NewDescribeImageScanFindingsPaginator(w.sdk(), in); pages.HasMorePages(); {
			page, err := pages.NextPage(t.Context())
			w.must(err)
			if len(page.ImageScanFindings.Findings) > most || page.ImageScanFindings.FindingSeverityCounts["LOW"] != 250 {
				t.Errorf("a page of %d, asked for %d: %v", len(page.ImageScanFindings.Findings), size, page.ImageScanFindings.FindingSeverityCounts)
			}
			for _, f := range page.ImageScanFindings.Findings {
				if *f.Name != all[n].Name {
					t.Fatalf("pages of %d: %s in place of %s", size, *f.Name, all[n].Name)
				}
				n++
			}
		}
		if n != 250 {
			t.Errorf("pages of %d have %d findings", size, n)
		}
	}

	token := func() string {
		t.Helper()
		_, body := w.call(describe, `{"repositoryName":"app","imageId":{"imageTag":"v1"},"maxResults":10}`)
		var out struct{ NextToken string }
		w.must(json.Unmarshal(body, &out))
		return out.NextToken
	}
	next := func(id, token string) string {
		return `{"repositoryName":"app","imageId":{` + id + `},"nextToken":"` + token + `"}`
	}
	const v1 = `"imageTag":"v1"`
	const foreign = "Invalid pagination token provided"
	const changed = "The findings of the image have changed since the token was made. Ask again without it"
	first := token()
	for _, c := range []struct{ what, id, token, want string }{
		{"another image", `"imageDigest":"` + string(other) + `"`, first, foreign},
		{"another tag", `"imageTag":"v2"`, first, foreign},
		{"the same image otherwise", `"imageDigest":"` + string(d) + `"`, first, foreign},
		{"nobody's", v1, "bm90aGluZw", foreign},
	} {
		w.refuses(describe, next(c.id, c.token), "InvalidParameterException", parameter("nextToken", c.want))
	}
	if status, body := w.call(describe, next(v1, first)); status != 200 {
		t.Errorf("the right one: %d %s", status, body)
	}
	w.tags["v1"] = other
	w.refuses(describe, next(v1, first), "InvalidParameterException", parameter("nextToken", changed))
	w.tags["v1"] = d
	w.pages[d].CompletedAt = now.Add(time.Second)
	w.refuses(describe, next(v1, first), "InvalidParameterException", parameter("nextToken", changed))
	second := token()
	w.pages[d].Type, w.pages[d].Enhanced = rules.Enhanced, make([]finding.Enhanced, 30)
	w.refuses(describe, next(v1, second), "InvalidParameterException", parameter("nextToken", changed))
}

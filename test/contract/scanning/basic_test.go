package scanning

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// thirteen are the vulnerabilities of the real image.
var thirteen = []string{
	"CVE-2025-15649", "CVE-2026-12087", "CVE-2026-13221", "CVE-2026-19487", "CVE-2026-42496", "CVE-2026-42497", "CVE-2026-48959",
	"CVE-2026-48962", "CVE-2026-57432", "CVE-2026-57433", "CVE-2026-7010", "CVE-2026-7017", "CVE-2026-8376",
}

// perlLines are they as complete returns them.
func perlLines() []string {
	var all []string
	for _, id := range thirteen {
		all = append(all, id+" UNDEFINED perl-base 5.36.0-7+deb12u3")
	}
	return all
}

const (
	completed   = "The scan was completed successfully."
	unsupported = "UnsupportedImageError: The operating system and/or package manager are not supported."
)

// scanned is what the AWS CLI prints of a scan.
type scanned struct {
	RegistryID     string `json:"registryId"`
	RepositoryName string
	ImageID        struct{ ImageDigest, ImageTag string } `json:"imageId"`
	ImageStatus    status                                 `json:"imageScanStatus"`
	Findings       struct {
		ImageScanCompletedAt         time.Time
		VulnerabilitySourceUpdatedAt time.Time
		FindingSeverityCounts        map[string]int32
		Findings                     []basic
		EnhancedFindings             []enhanced
	} `json:"imageScanFindings"`
	NextToken string
}

type status struct{ Status, Description string }

type basic struct {
	Name, Description, URI, Severity string
	Attributes                       []struct{ Key, Value string }
}

// TestDebian: the Debian fixture gives exactly its 13 findings through the AWS CLI and
// the SDK, in pages and in the summary of describe-images.
func TestDebian(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	printed := w.take(t, database(t, 1, perl(t)...))
	if !strings.Contains(printed, "made 2026-01-01 01:00, is in use.\n") {
		t.Errorf("berth vulndb import printed %q", printed)
	}
	b := harness.NewBox(t, "bash", "aws", "skopeo")
	env := environment(b, w.Server)
	cli := func(script string) string { t.Helper(); return b.Script(env + script) }
	layout := b.Path("layout")
	if err := os.CopyFS(layout, must(matchtest.PerlImage())(t)); err != nil {
		t.Fatal(err)
	}
	b.Script(env + `aws ecr create-repository --repository-name web --image-scanning-configuration scanOnPush=true >/dev/null
		aws ecr get-login-password | skopeo login --tls-verify=false --username AWS --password-stdin ` + w.Host + `
		skopeo copy --dest-tls-verify=false oci:layout docker://` + w.Host + `/web:v1`)

	same(t, "the SDK's waiter", w.complete(t, "web", "v1"), perlLines())
	cli(`aws ecr wait image-scan-complete --repository-name web --image-id imageTag=v1`)
	digest := cli(`aws ecr describe-images --repository-name web --query 'imageDetails[0].imageDigest' --output text`)

	all := decode[scanned](t, cli(`aws ecr describe-image-scan-findings --repository-name web --image-id imageTag=v1 --output json`))
	if all.RegistryID != w.Account || all.RepositoryName != "web" || all.ImageID.ImageDigest != digest || all.ImageID.ImageTag != "v1" ||
		all.ImageStatus != (status{"COMPLETE", completed}) || all.NextToken != "" || len(all.Findings.EnhancedFindings) != 0 {
		t.Errorf("the scan is %+v", all)
	}
	if age := time.Since(all.Findings.ImageScanCompletedAt); !all.Findings.VulnerabilitySourceUpdatedAt.Equal(made(1)) || age < 0 || age > 2*limit {
		t.Errorf("completed at %s with a database of %s", all.Findings.ImageScanCompletedAt, all.Findings.VulnerabilitySourceUpdatedAt)
	}
	counts(t, "the scan", all.Findings.FindingSeverityCounts, map[string]int32{"UNDEFINED": 13})
	var names []string
	for _, f := range all.Findings.Findings {
		names = append(names, f.Name)
		if f.Severity != "UNDEFINED" || f.URI != "https://security-tracker.debian.org/tracker/"+f.Name || f.Description == "" || fmt.Sprint(f.Attributes) != "[{package_version 5.36.0-7+deb12u3} {package_name perl-base}]" {
			t.Errorf("the finding %+v", f)
		}
	}
	same(t, "describe-image-scan-findings", names, thirteen)

	t.Log("in pages")
	var paged []string
	var sizes []int
	for page := (scanned{}); len(sizes) == 0 || page.NextToken != ""; {
		command := `aws ecr describe-image-scan-findings --repository-name web --image-id imageTag=v1 --output json --max-results 5`
		if page.NextToken != "" {
			command += ` --next-token ` + page.NextToken
		}
		page = decode[scanned](t, cli(command))
		sizes = append(sizes, len(page.Findings.Findings))
		counts(t, "a page", page.Findings.FindingSeverityCounts, map[string]int32{"UNDEFINED": 13})
		for _, f := range page.Findings.Findings {
			paged = append(paged, f.Name)
		}
	}
	if !slices.Equal(sizes, []int{5, 5, 3}) {
		t.Errorf("pages of %v", sizes)
	}
	same(t, "the pages", paged, thirteen)
	same(t, "the CLI's pages", strings.Fields(cli(`aws ecr describe-image-scan-findings --repository-name web --image-id imageTag=v1 --page-size 4 --query 'imageScanFindings.findings[].name' --output text`)), thirteen)
	paged = nil
	for p := ecr.NewDescribeImageScanFindingsPaginator(w.ECR(), &ecr.DescribeImageScanFindingsInput{RepositoryName: aws.String("web"), ImageId: ref("v1"), MaxResults: aws.Int32(5)}); p.HasMorePages(); {
		for _, f := range must(p.NextPage(t.Context()))(t).ImageScanFindings.Findings {
			paged = append(paged, aws.ToString(f.Name))
		}
	}
	same(t, "the SDK's pages", paged, thirteen)

	t.Log("the summary")
	details := decode[struct {
		ImageDetails []struct {
			ImageScanStatus          status
			ImageScanFindingsSummary struct {
				ImageScanCompletedAt, VulnerabilitySourceUpdatedAt time.Time
				FindingSeverityCounts                              map[string]int32
			}
		}
	}](t, cli(`aws ecr describe-images --repository-name web --output json`)).ImageDetails
	if len(details) != 1 || details[0].ImageScanStatus != (status{"COMPLETE", completed}) || !details[0].ImageScanFindingsSummary.VulnerabilitySourceUpdatedAt.Equal(made(1)) ||
		!details[0].ImageScanFindingsSummary.ImageScanCompletedAt.Equal(all.Findings.ImageScanCompletedAt) {
		t.Errorf("describe-images shows %+v", details)
	} else {
		counts(t, "describe-images", details[0].ImageScanFindingsSummary.FindingSeverityCounts, map[string]int32{"UNDEFINED": 13})
	}
	text := w.berth(t, "scan", "status", "web:v1")
	if !strings.Contains(text, digest) || !strings.Contains(text, "COMPLETE") || !strings.Contains(text, "13 UNDEFINED") {
		t.Errorf("berth scan status printed %s", text)
	}

	t.Log("scans by hand")
	again := func(repo string) error {
		_, err := w.ECR().StartImageScan(t.Context(), &ecr.StartImageScanInput{RepositoryName: &repo, ImageId: ref("v1")})
		return err
	}
	fails(t, "a second scan", again("web"), "LimitExceededException", "The scan quota per image has been exceeded. Wait and try again.")
	w.CreateRepository(t, "byhand")
	w.push(t, "byhand", "v1", linux, perlLayer(t))
	_, err := w.describe(t, "byhand", "v1")
	fails(t, "an image that was not scanned", err, "ScanNotFoundException", "Image scan does not exist for the image with '{imageDigest:'null', imageTag:'v1'}' in the repository with name 'byhand' in the registry with id '"+w.Account+"'")
	begun := decode[scanned](t, cli(`aws ecr start-image-scan --repository-name byhand --image-id imageTag=v1 --output json`))
	if begun.ImageStatus.Status != "IN_PROGRESS" || begun.ImageID.ImageTag != "v1" || begun.RegistryID != w.Account {
		t.Errorf("start-image-scan printed %+v", begun)
	}
	fails(t, "a second scan by hand", again("byhand"), "LimitExceededException", "")
	same(t, "the scan by hand", w.complete(t, "byhand", "v1"), perlLines())
	fails(t, "no such repository", again("none"), "RepositoryNotFoundException", "")

	t.Log("the registry's rules")
	out := cli(`aws ecr put-registry-scanning-configuration --scan-type BASIC --rules '[{"scanFrequency":"SCAN_ON_PUSH","repositoryFilters":[{"filter":"prod","filterType":"WILDCARD"}]}]' --query 'registryScanningConfiguration.scanType' --output text
		aws ecr batch-get-repository-scanning-configuration --repository-names byhand web --query 'scanningConfigurations[].[repositoryName,scanFrequency]' --output text`)
	same(t, "the configuration", strings.Split(out, "\n"), []string{"BASIC", "byhand\tMANUAL", "web\tSCAN_ON_PUSH"})
	w.CreateRepository(t, "my-prod/app")
	w.push(t, "my-prod/app", "v1", linux, perlLayer(t))
	same(t, "the rule's repository", w.complete(t, "my-prod/app", "v1"), perlLines())
	w.MustFsck(t)
}

// TestNoDatabase: without a database scans fail and say so, and are made up for as soon
// as there is one.
func TestNoDatabase(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	w.onPush(t, "app")
	if text := w.berth(t, "vulndb", "status"); !strings.Contains(text, "none") || !strings.Contains(text, "berth vulndb import FILE") {
		t.Errorf("berth vulndb status printed %s", text)
	}
	w.push(t, "app", "v1", linux, perlLayer(t))
	out := w.becomes(t, "app", "v1", types.ScanStatusFailed)
	if got := aws.ToString(out.ImageScanStatus.Description); !strings.HasPrefix(got, "VulnerabilityDatabaseError: There is no vulnerability database yet.") ||
		len(out.ImageScanFindings.Findings) != 0 || out.ImageScanFindings.ImageScanCompletedAt != nil {
		t.Errorf("%s, with %+v", got, out.ImageScanFindings)
	}
	if err := w.waiter().Wait(t.Context(), &ecr.DescribeImageScanFindingsInput{RepositoryName: aws.String("app"), ImageId: ref("v1")}, limit); err == nil {
		t.Error("the SDK's waiter takes a failed scan for a completed one")
	}
	w.take(t, database(t, 1, perl(t)...))
	w.becomes(t, "app", "v1", types.ScanStatusComplete)
	same(t, "the scan", w.complete(t, "app", "v1"), perlLines())
}

// TestKinds: what is no Linux image of a known distribution, and what is no image at all.
func TestKinds(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	w.take(t, database(t, 1, advisories(
		matchtest.Advisory{Pkg: "openssl", ID: "CVE-2026-0001", Fixed: "3.0.2-1", Severity: "HIGH"}, matchtest.Advisory{Pkg: "zlib", ID: "CVE-2026-0002", Severity: "LOW"},
	)))
	w.onPush(t, "kinds", "many")
	start := func(repo, image string) error {
		_, err := w.ECR().StartImageScan(t.Context(), &ecr.StartImageScanInput{RepositoryName: &repo, ImageId: ref(image)})
		return err
	}

	t.Log("scratch, Windows, an unknown distribution")
	unknown := map[string]harness.Descriptor{
		"scratch": w.push(t, "kinds", "scratch", linux, plain(t, "app", "a program")),
		"windows": w.push(t, "kinds", "windows", platform{"windows", "amd64"}, debian(t, "openssl 3.0.1-1")),
		"plan9":   w.push(t, "kinds", "plan9", linux, plain(t, "etc/os-release", "ID=plan9\nVERSION_ID=4\n")),
	}
	for tag := range unknown {
		out := w.becomes(t, "kinds", tag, types.ScanStatusFailed)
		if got := aws.ToString(out.ImageScanStatus.Description); got != unsupported {
			t.Errorf("%s: %s", tag, got)
		}
		fails(t, tag+" again", start("kinds", tag), "LimitExceededException", "")
	}

	t.Log("an artifact, an index")
	w.chart(t, "kinds", "chart")
	one := w.push(t, "many", "", linux, debian(t, "openssl 3.0.1-1"))
	two := w.push(t, "many", "", platform{"linux", "arm64"}, debian(t, "openssl 3.0.2-1", "zlib 1.3-1"))
	three := w.push(t, "many", "", platform{"windows", "amd64"}, plain(t, "Files/one", "1"))
	w.index(t, "many", "v1", one, two, three)
	for repo, tag := range map[string]string{"kinds": "chart", "many": "v1"} {
		_, err := w.describe(t, repo, tag)
		fails(t, "findings of the "+tag, err, "ScanNotFoundException", "imageTag:'"+tag+"'")
		fails(t, "a scan of the "+tag, start(repo, tag), "UnsupportedImageTypeException", "")
	}
	same(t, "amd64", w.complete(t, "many", one.Digest), []string{"CVE-2026-0001 HIGH openssl 3.0.1-1"})
	same(t, "arm64", w.complete(t, "many", two.Digest), []string{"CVE-2026-0002 LOW zlib 1.3-1"})
	w.becomes(t, "many", three.Digest, types.ScanStatusFailed)

	t.Log("an archived image")
	move := func(to types.TargetStorageClass) {
		t.Helper()
		must(w.ECR().UpdateImageStorageClass(t.Context(), &ecr.UpdateImageStorageClassInput{RepositoryName: aws.String("kinds"), ImageId: ref("old"), TargetStorageClass: to}))(t)
	}
	w.push(t, "kinds", "old", linux, debian(t, "openssl 3.0.1-1"))
	w.complete(t, "kinds", "old")
	move(types.TargetStorageClassArchive)
	w.becomes(t, "kinds", "old", types.ScanStatusImageArchived)
	fails(t, "a scan of an archived image", start("kinds", "old"), "ImageArchivedException", "")
	move(types.TargetStorageClassStandard)
	same(t, "restored", w.complete(t, "kinds", "old"), []string{"CVE-2026-0001 HIGH openssl 3.0.1-1"})

	t.Log("under enhanced scanning")
	w.configure(t, types.ScanTypeEnhanced, "SCAN_ON_PUSH *")
	for tag := range unknown {
		out := w.becomes(t, "kinds", tag, types.ScanStatusUnsupportedImage)
		if len(out.ImageScanFindings.EnhancedFindings) != 0 {
			t.Errorf("%s: %+v", tag, out.ImageScanFindings)
		}
	}
	for repo, tag := range map[string]string{"kinds": "chart", "many": "v1"} {
		_, err := w.describe(t, repo, tag)
		fails(t, "findings of the "+tag, err, "ScanNotFoundException", "")
	}
	same(t, "amd64", ids(w.becomes(t, "many", one.Digest, types.ScanStatusComplete)), []string{"CVE-2026-0001 HIGH"})
	same(t, "arm64", ids(w.becomes(t, "many", two.Digest, types.ScanStatusComplete)), []string{"CVE-2026-0002 LOW"})
	w.MustFsck(t)
}

// TestLayers: gzip, zstd and plain layers give the same findings, and what an upper
// layer changes or removes counts.
func TestLayers(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	w.take(t, database(t, 1, append(perl(t), advisories(matchtest.Advisory{Pkg: "openssl", ID: "CVE-2026-0001", Severity: "HIGH"}))...))
	w.onPush(t, "layers")
	base := perlLayer(t).unpacked(t)
	for tag, l := range map[string]layer{"plain": base, "gzip": base.gzip(t), "zstd": base.zstd(t), "published": perlLayer(t)} {
		w.push(t, "layers", tag, linux, l)
		same(t, tag, w.complete(t, "layers", tag), perlLines())
	}
	w.push(t, "layers", "mended", linux, base, plain(t, "var/lib/dpkg/status", "Package: perl-base\nSource: perl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.36.0-7+deb12u4\n\n").zstd(t))
	same(t, "an upper layer mends it", w.complete(t, "layers", "mended"), nil)
	w.push(t, "layers", "swapped", linux, base.gzip(t), plain(t, "var/lib/dpkg/.wh.status", "", "var/lib/dpkg/status.d/openssl", "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.1-1\n\n"))
	same(t, "an upper layer removes the list", w.complete(t, "layers", "swapped"), []string{"CVE-2026-0001 HIGH openssl 3.0.1-1"})
	w.MustFsck(t)
}

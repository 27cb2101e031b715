package scanning

import (
	"debug/buildinfo"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/test/contract/harness"
)

// enhanced is a finding as the AWS CLI prints it.
type enhanced struct {
	AwsAccountID, FindingArn, Title, Severity, Status, Type string
	FirstObservedAt, LastObservedAt, UpdatedAt              time.Time
	Remediation                                             struct{ Recommendation struct{ Text string } }
	PackageVulnerabilityDetails                             struct {
		VulnerabilityID, Source, SourceURL string
		VulnerablePackages                 []struct{ Name, Version, PackageManager, FilePath, SourceLayerHash string }
	}
	Resources []struct {
		ID, Type string
		Details  struct {
			AwsEcrContainerImage struct {
				Architecture, Author, ImageHash, Platform, Registry, RepositoryName string
				ImageTags                                                           []string
			}
		}
	}
}

// ids are enhanced findings as lines "id severity", in their order.
func ids(out *ecr.DescribeImageScanFindingsOutput) []string {
	var all []string
	for _, f := range out.ImageScanFindings.EnhancedFindings {
		all = append(all, aws.ToString(f.PackageVulnerabilityDetails.VulnerabilityId)+" "+aws.ToString(f.Severity))
	}
	return all
}

// of finds the finding of a vulnerability.
func of(t *testing.T, out *ecr.DescribeImageScanFindingsOutput, id string) types.EnhancedImageScanFinding {
	t.Helper()
	for _, f := range out.ImageScanFindings.EnhancedFindings {
		if aws.ToString(f.PackageVulnerabilityDetails.VulnerabilityId) == id {
			return f
		}
	}
	t.Fatalf("there is no finding of %s among %q", id, ids(out))
	return types.EnhancedImageScanFinding{}
}

// advisories are of Debian 12, each with a vulnerability that is described.
func advisories(all ...matchtest.Advisory) matchtest.Bucket {
	b := matchtest.Bucket{Bucket: "debian 12", Source: matchtest.Source{ID: "debian", Name: "Debian Security Tracker"}, Advs: all, Vulns: map[string]matchtest.Vulnerability{}}
	for _, a := range all {
		b.Vulns[a.ID] = matchtest.Vulnerability{Title: "a flaw in " + a.Pkg, Description: "It was found that " + a.Pkg + " does what nobody wants."}
	}
	return b
}

// TestEnhanced: findings in Inspector's shape, that follow the database where the
// repository is scanned continuously.
func TestEnhanced(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	w.take(t, database(t, 1, advisories(
		matchtest.Advisory{Pkg: "openssl", ID: "CVE-2026-0001", Fixed: "3.0.2-1", Severity: "HIGH"},
		matchtest.Advisory{Pkg: "openssl", ID: "CVE-2026-0002", Severity: "LOW"},
		matchtest.Advisory{Pkg: "zlib", ID: "CVE-2026-0003", Fixed: "1.3-2", Severity: "MEDIUM"},
	)))
	w.CreateRepository(t, "always/app", "onpush/app", "other")
	base := debian(t, "openssl 3.0.1-1", "zlib 1.3-1", "bash 5.2-1")
	before := w.push(t, "always/app", "before", linux, base)
	cli := w.cli(t)
	out := cli(`aws ecr put-registry-scanning-configuration --scan-type ENHANCED --rules '[
			{"scanFrequency":"CONTINUOUS_SCAN","repositoryFilters":[{"filter":"always/*","filterType":"WILDCARD"}]},
			{"scanFrequency":"SCAN_ON_PUSH","repositoryFilters":[{"filter":"*/app","filterType":"WILDCARD"}]}]' >/dev/null
		aws ecr get-registry-scanning-configuration --query 'scanningConfiguration.scanType' --output text
		aws ecr batch-get-repository-scanning-configuration --repository-names always/app onpush/app other --query 'scanningConfigurations[].[repositoryName,scanFrequency]' --output text`)
	same(t, "the configuration", strings.Split(out, "\n"), []string{"ENHANCED", "always/app\tCONTINUOUS_SCAN", "onpush/app\tSCAN_ON_PUSH", "other\tMANUAL"})
	w.push(t, "always/app", "v1", linux, base, plain(t, "app", "v1"))
	w.push(t, "onpush/app", "v1", linux, base)
	w.push(t, "other", "v1", linux, base)

	first := []string{"CVE-2026-0001 HIGH", "CVE-2026-0003 MEDIUM", "CVE-2026-0002 LOW"}
	for image, want := range map[[2]string]types.ScanStatus{
		{"always/app", "before"}: types.ScanStatusActive, {"always/app", "v1"}: types.ScanStatusActive, {"onpush/app", "v1"}: types.ScanStatusComplete,
	} {
		found := w.becomes(t, image[0], image[1], want)
		same(t, strings.Join(image[:], ":"), ids(found), first)
		counts(t, strings.Join(image[:], ":"), found.ImageScanFindings.FindingSeverityCounts, map[string]int32{"HIGH": 1, "MEDIUM": 1, "LOW": 1})
		if text := aws.ToString(found.ImageScanStatus.Description); want == types.ScanStatusActive && text != "Continuous scan is selected for image." {
			t.Errorf("an image that is scanned continuously is described as %q", text)
		}
	}
	_, err := w.describe(t, "other", "v1")
	fails(t, "a repository without a rule", err, "ScanNotFoundException", "")
	_, err = w.ECR().StartImageScan(t.Context(), &ecr.StartImageScanInput{RepositoryName: aws.String("onpush/app"), ImageId: ref("v1")})
	fails(t, "a scan by hand", err, "ValidationException", "This feature is disabled")

	t.Log("through the AWS CLI")
	printed := decode[scanned](t, cli(`aws ecr describe-image-scan-findings --repository-name always/app --image-id imageTag=before --output json`))
	if printed.ImageStatus.Status != "ACTIVE" || len(printed.Findings.Findings) != 0 || len(printed.Findings.EnhancedFindings) != 3 {
		t.Fatalf("the CLI printed %+v", printed)
	}
	f := printed.Findings.EnhancedFindings[0]
	d, r := f.PackageVulnerabilityDetails, f.Resources[0]
	image := r.Details.AwsEcrContainerImage
	if f.AwsAccountID != w.Account || !strings.HasPrefix(f.FindingArn, "arn:aws:inspector2:us-east-1:"+w.Account+":finding/") || f.Title != "CVE-2026-0001 - openssl" ||
		f.Status != "ACTIVE" || f.Type != "PACKAGE_VULNERABILITY" || f.Remediation.Recommendation.Text == "" || f.FirstObservedAt.IsZero() || f.FirstObservedAt.After(f.LastObservedAt) {
		t.Errorf("the finding %+v", f)
	}
	if len(d.VulnerablePackages) != 1 || d.VulnerabilityID != "CVE-2026-0001" || d.Source != "DEBIAN_CVE" || d.SourceURL != "https://security-tracker.debian.org/tracker/CVE-2026-0001" ||
		d.VulnerablePackages[0].Name != "openssl" || d.VulnerablePackages[0].PackageManager != "OS" ||
		d.VulnerablePackages[0].SourceLayerHash != harness.Digest(base.content) {
		t.Errorf("the vulnerability %+v", d)
	}
	if r.Type != "AWS_ECR_CONTAINER_IMAGE" || r.ID != "arn:aws:ecr:us-east-1:"+w.Account+":repository/always/app/"+before.Digest || image.ImageHash != before.Digest ||
		image.Platform != "DEBIAN_12" || image.Architecture != "amd64" || image.Author != "somebody" || image.Registry != w.Account || image.RepositoryName != "always/app" || !slices.Equal(image.ImageTags, []string{"before"}) {
		t.Errorf("the resource %+v", r)
	}

	t.Log("a new database raises, changes and closes findings")
	old := w.becomes(t, "always/app", "before", types.ScanStatusActive)
	w.take(t, database(t, 2, advisories(
		matchtest.Advisory{Pkg: "openssl", ID: "CVE-2026-0001", Fixed: "3.0.2-1", Severity: "HIGH"},
		matchtest.Advisory{Pkg: "openssl", ID: "CVE-2026-0002", Fixed: "3.0.3-1", Severity: "CRITICAL"},
		matchtest.Advisory{Pkg: "zlib", ID: "CVE-2026-0003", Fixed: "1.3-1", Severity: "MEDIUM"},
		matchtest.Advisory{Pkg: "bash", ID: "CVE-2026-0004", Severity: "MEDIUM"},
	)))
	second := []string{"CVE-2026-0002 CRITICAL", "CVE-2026-0001 HIGH", "CVE-2026-0004 MEDIUM"}
	for _, tag := range []string{"before", "v1"} {
		wait(t, "the new database's findings of "+tag, func() bool {
			return aws.ToTime(must(w.describe(t, "always/app", tag))(t).ImageScanFindings.VulnerabilitySourceUpdatedAt).Equal(made(2))
		})
		found := w.becomes(t, "always/app", tag, types.ScanStatusActive)
		same(t, tag+" after a new database", ids(found), second)
		counts(t, tag, found.ImageScanFindings.FindingSeverityCounts, map[string]int32{"CRITICAL": 1, "HIGH": 1, "MEDIUM": 1})
	}
	now := w.becomes(t, "always/app", "before", types.ScanStatusActive)
	was, is := of(t, old, "CVE-2026-0001"), of(t, now, "CVE-2026-0001")
	if *was.FindingArn != *is.FindingArn || !was.FirstObservedAt.Equal(*is.FirstObservedAt) || !was.UpdatedAt.Equal(*is.UpdatedAt) || !was.LastObservedAt.Before(*is.LastObservedAt) {
		t.Errorf("the finding that stayed was %+v, is %+v", was, is)
	}
	was, is = of(t, old, "CVE-2026-0002"), of(t, now, "CVE-2026-0002")
	if *was.FindingArn != *is.FindingArn || !was.FirstObservedAt.Equal(*is.FirstObservedAt) || !was.UpdatedAt.Before(*is.UpdatedAt) || aws.ToString(was.FixAvailable) != "NO" || aws.ToString(is.FixAvailable) != "YES" {
		t.Errorf("the finding that changed was %+v, is %+v", was, is)
	}
	same(t, "an image that is scanned on push keeps its findings", ids(w.becomes(t, "onpush/app", "v1", types.ScanStatusComplete)), first)

	t.Log("the other type hides them")
	w.configure(t, types.ScanTypeBasic)
	_, err = w.describe(t, "always/app", "before")
	fails(t, "under basic scanning", err, "ScanNotFoundException", "")
	must(w.ECR().StartImageScan(t.Context(), &ecr.StartImageScanInput{RepositoryName: aws.String("always/app"), ImageId: ref("before")}))(t)
	if got := w.complete(t, "always/app", "before"); len(got) != 3 {
		t.Errorf("a basic scan of it found %q", got)
	}
	w.configure(t, types.ScanTypeEnhanced, "CONTINUOUS_SCAN always/*", "SCAN_ON_PUSH */app")
	back := w.becomes(t, "always/app", "before", types.ScanStatusActive)
	same(t, "enhanced again", ids(back), second)
	if len(back.ImageScanFindings.Findings) != 0 {
		t.Errorf("basic findings under enhanced scanning: %+v", back.ImageScanFindings.Findings)
	}
	details := must(w.ECR().DescribeImages(t.Context(), &ecr.DescribeImagesInput{RepositoryName: aws.String("always/app")}))(t).ImageDetails
	for _, d := range details {
		if d.ImageScanStatus != nil || d.ImageScanFindingsSummary != nil {
			t.Errorf("describe-images shows %+v under enhanced scanning", d)
		}
	}

	t.Log("what was recorded")
	w.MustFsck(t)
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	db := w.database(t)
	var changes []string
	for _, text := range recorded(t, db, "FindingChanged", before.Digest) {
		f := decode[struct{ ID, Severity, Status string }](t, text)
		changes = append(changes, f.ID+" "+f.Severity+" "+f.Status)
	}
	slices.Sort(changes)
	same(t, "the events of findings", changes, []string{
		"CVE-2026-0001 HIGH ACTIVE", "CVE-2026-0002 CRITICAL ACTIVE", "CVE-2026-0002 LOW ACTIVE", "CVE-2026-0003 MEDIUM ACTIVE", "CVE-2026-0003 MEDIUM CLOSED", "CVE-2026-0004 MEDIUM ACTIVE",
	})
	for kind, want := range map[string]int{"ImageScanInitial": 1, "ImageScanned": 1} {
		if n := len(recorded(t, db, kind, before.Digest)); n != want {
			t.Errorf("%d events %s, want %d", n, kind, want)
		}
	}
	if n := len(recorded(t, db, "ScanFrequencyChanged", "always/app")); n != 2 {
		t.Errorf("%d events of changed frequencies, want one for each change to enhanced scanning", n)
	}
}

// recorded are the details of the events of a kind that hold a text, in their order.
func recorded(t *testing.T, db *sqldb.DB, kind, text string) (all []string) {
	t.Helper()
	err := db.View(t.Context(), func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(t.Context(), tx, sqldb.One[string], `SELECT detail FROM event WHERE kind = $1 ORDER BY id`, kind)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(detail string) bool { return !strings.Contains(detail, text) })
}

// database opens the database of a stopped server.
func (w *world) database(t *testing.T) *sqldb.DB {
	t.Helper()
	var db *sqldb.DB
	var err error
	if w.Backing.DatabaseURL != "" {
		db, err = sqldb.OpenPostgres(t.Context(), sqldb.PostgresOptions{URL: w.Backing.DatabaseURL, MaxConns: 1})
	} else {
		db, err = sqldb.OpenSQLite(t.Context(), sqldb.SQLiteOptions{Path: filepath.Join(w.Data, "berth.db"), Durable: true, Exclusive: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // it was only read
	return db
}

// TestLanguages: the packages of programming languages, which basic scanning does not
// look for.
func TestLanguages(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	program := filepath.Join(harness.Root(t), ".tools", "bin", "crane")
	modules := must(buildinfo.ReadFile(program))(t).Deps
	at := slices.IndexFunc(modules, func(m *debug.Module) bool { return m.Path == "github.com/spf13/cobra" })
	if at < 0 {
		t.Fatal("crane is built without cobra; choose another module of it")
	}
	var buckets []matchtest.Bucket
	for ecosystem, a := range map[string]matchtest.Advisory{
		"go":    {Pkg: "github.com/spf13/cobra", ID: "CVE-2026-0011", Patched: []string{"99.0.0"}, Vulnerable: []string{"<99.0.0"}},
		"npm":   {Pkg: "left", ID: "CVE-2026-0012", Patched: []string{"1.5.0"}, Vulnerable: []string{"<1.5.0"}},
		"pip":   {Pkg: "cheese", ID: "CVE-2026-0013", Vulnerable: []string{">=1.0.0"}},
		"maven": {Pkg: "org.example:log", ID: "CVE-2026-0014", Patched: []string{"2.17.1"}, Vulnerable: []string{"<2.17.1"}},
	} {
		buckets = append(buckets, matchtest.Bucket{
			Bucket: ecosystem + "::GitHub Security Advisory " + ecosystem, Source: matchtest.Source{ID: "ghsa", Name: "GitHub Security Advisory"},
			Advs:  []matchtest.Advisory{a},
			Vulns: map[string]matchtest.Vulnerability{a.ID: {VendorSeverity: map[string]string{"ghsa": "HIGH"}}},
		})
	}
	w.take(t, database(t, 1, append(buckets, advisories(matchtest.Advisory{Pkg: "openssl", ID: "CVE-2026-0001", Severity: "LOW"}))...))
	w.onPush(t, "app")
	software := plain(t,
		"usr/local/bin/crane", string(must(os.ReadFile(program))(t)),
		"app/node_modules/left/package.json", `{"name":"left","version":"1.4.9"}`,
		"usr/lib/python3/dist-packages/cheese-1.0.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: cheese\nVersion: 1.0.2\n",
		"app/log.jar", jar(t, "org.example", "log", "2.14.0"),
	)
	w.push(t, "app", "debian", linux, debian(t, "openssl 3.0.1-1"), software)
	w.push(t, "app", "scratch", linux, software)
	same(t, "basic", w.complete(t, "app", "debian"), []string{"CVE-2026-0001 LOW openssl 3.0.1-1"})
	w.becomes(t, "app", "scratch", types.ScanStatusFailed)

	w.configure(t, types.ScanTypeEnhanced, "CONTINUOUS_SCAN *")
	languages := []string{"CVE-2026-0011 HIGH", "CVE-2026-0012 HIGH", "CVE-2026-0013 HIGH", "CVE-2026-0014 HIGH"}
	out := w.becomes(t, "app", "debian", types.ScanStatusActive)
	same(t, "enhanced", ids(out), append(slices.Clone(languages), "CVE-2026-0001 LOW"))
	same(t, "without a distribution", ids(w.becomes(t, "app", "scratch", types.ScanStatusActive)), languages)
	var packages []string
	for _, f := range out.ImageScanFindings.EnhancedFindings {
		for _, p := range f.PackageVulnerabilityDetails.VulnerablePackages {
			packages = append(packages, strings.Join([]string{aws.ToString(p.PackageManager), aws.ToString(p.Name), aws.ToString(p.Version), aws.ToString(p.Release), aws.ToString(p.FilePath), aws.ToString(p.FixedInVersion)}, "|"))
		}
	}
	same(t, "the packages", packages, []string{
		"GOBINARY|github.com/spf13/cobra|" + modules[at].Version + "||usr/local/bin/crane|99.0.0",
		"NODEPKG|left|1.4.9||app/node_modules/left/package.json|1.5.0",
		"PYTHONPKG|cheese|1.0.2||usr/lib/python3/dist-packages/cheese-1.0.2.dist-info/METADATA|NotAvailable",
		"JAR|org.example:log|2.14.0||app/log.jar|2.17.1",
		"OS|openssl|3.0.1|1||NotAvailable",
	})
}

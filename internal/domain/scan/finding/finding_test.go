package finding_test

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

var (
	then = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	now  = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
)

func rpm(pkg string) inventory.Package {
	return inventory.Package{Type: inventory.RPM, Name: pkg, Version: "1.1.1", Release: "2.el9", Epoch: 1, Arch: "x86_64", Layer: "sha256:aa"}
}

// report has: CVE-1 in two packages, one of them mended; CVE-2 that nobody rated; GHSA-3 in a
// jar; and an informational CVE-4.
func report() finding.Report {
	return finding.Report{
		Supported: true, OS: inventory.OS{Family: "redhat", Name: "9.4"}, Architecture: "amd64",
		Vulnerabilities: []finding.Vulnerability{
			{ID: "CVE-1", Title: "one", Description: "The first.", Published: then, Modified: then, References: []string{"https://example.org/1"}, CVSS: []finding.CVSS{
				{Source: "GITHUB", Version: "3.1", Vector: "CVSS:3.1/G", Score: 1},
				{Source: "NVD", Version: "2.0", Vector: "AV:N", Score: 5},
				{Source: "NVD", Version: "3.1", Vector: "CVSS:3.1/N", Score: 9.8},
				{Source: "REDHAT_CVE", Version: "3.0", Vector: "CVSS:3.0/R", Score: 7.4},
			}},
			{ID: "CVE-2", Title: "two"},
			{ID: "GHSA-3", CVSS: []finding.CVSS{{Source: "NVD", Version: "4.0", Vector: "CVSS:4.0/N", Score: 8.7}}},
			{ID: "CVE-4", CVSS: []finding.CVSS{{Source: "REDHAT_CVE", Version: "3.1", Vector: "CVSS:3.1/R", Score: 0}}},
		},
		Matches: []finding.Match{
			{Vulnerability: 0, Package: rpm("openssl"), Severity: finding.High, VendorSeverity: "Important", FixedVersion: "1:1.1.1-3.el9", Status: "fixed", Source: "REDHAT_CVE", URI: "https://access.redhat.com/security/cve/CVE-1", VendorIDs: []string{"RHSA-2", "RHSA-1"}},
			{Vulnerability: 2, Package: inventory.Package{Type: inventory.Jar, Name: "org.example:it", Version: "1.0", Path: "app.jar/lib/it.jar"}, Severity: finding.High, FixedVersion: "1.1", Source: "GITHUB"},
			{Vulnerability: 0, Package: rpm("openssl-libs"), Severity: finding.Medium, Source: "REDHAT_CVE", VendorIDs: []string{"RHSA-1"}},
			{Vulnerability: 3, Package: rpm("zlib"), Severity: finding.Informational, Source: "REDHAT_CVE"},
			{Vulnerability: 1, Package: rpm(strings.Repeat("ä", 300)), Severity: finding.Undefined, Source: "REDHAT_CVE", URI: "https://nvd.nist.gov/vuln/detail/CVE-2"},
		},
	}
}

func TestBasic(t *testing.T) {
	got := report().Basic()
	attributes := func(pkg string, more ...finding.Attribute) []finding.Attribute {
		return append([]finding.Attribute{{Key: "package_version", Value: "1:1.1.1-2.el9"}, {Key: "package_name", Value: pkg}}, more...)
	}
	one := []finding.Attribute{
		{Key: "CVSS2_VECTOR", Value: "AV:N"}, {Key: "CVSS2_SCORE", Value: "5"},
		{Key: "CVSS3_VECTOR", Value: "CVSS:3.0/R"}, {Key: "CVSS3_SCORE", Value: "7.4"},
	}
	want := []finding.Basic{
		{Name: "CVE-1", Description: "The first.", URI: "https://access.redhat.com/security/cve/CVE-1", Severity: finding.High, Attributes: attributes("openssl", one...)},
		{Name: "CVE-1", Description: "The first.", Severity: finding.Medium, Attributes: attributes("openssl-libs", one...)},
		{Name: "CVE-4", Severity: finding.Informational, Attributes: attributes("zlib", finding.Attribute{Key: "CVSS3_VECTOR", Value: "CVSS:3.1/R"}, finding.Attribute{Key: "CVSS3_SCORE", Value: "0"})},
		{Name: "CVE-2", Description: "two", URI: "https://nvd.nist.gov/vuln/detail/CVE-2", Severity: finding.Undefined, Attributes: attributes(strings.Repeat("ä", 256))},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if counts := report().Counts(); !reflect.DeepEqual(counts, map[finding.Severity]int64{finding.High: 1, finding.Medium: 1, finding.Informational: 1, finding.Undefined: 1}) {
		t.Errorf("counts %v", counts)
	}
}

func TestAReportSurvivesJSON(t *testing.T) {
	b, err := json.Marshal(report())
	if err != nil {
		t.Fatal(err)
	}
	var again finding.Report
	if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(again, report()) {
		t.Errorf("%v: %+v", err, again)
	}
}

func options() finding.EnhancedOptions {
	return finding.EnhancedOptions{Now: now, Image: finding.ImageDetails{
		Registry: name.Registry{Account: "123456789012", Region: "eu-west-1"}, Repository: "team/app", Digest: "sha256:00", Tags: []name.Tag{"latest"},
	}}
}

func TestEnhanced(t *testing.T) {
	o := options()
	got := report().Enhanced(o)
	var titles []string
	for _, e := range got {
		titles = append(titles, strings.Join([]string{string(e.Severity), e.FixAvailable, e.Title}, " "))
	}
	want := []string{
		"HIGH PARTIAL CVE-1 - openssl, openssl-libs", "HIGH YES GHSA-3 - org.example:it", "INFORMATIONAL NO CVE-4 - zlib",
		"UNTRIAGED NO CVE-2 - " + strings.Repeat("ä", 300),
	}
	if !reflect.DeepEqual(titles, want) {
		t.Fatalf("got  %q\nwant %q", titles, want)
	}
	image := o.Image
	image.Platform, image.Architecture = "REDHAT_9", "amd64"
	first := finding.Enhanced{
		ARN: got[0].ARN, Account: "123456789012", Title: "CVE-1 - openssl, openssl-libs", Description: "The first.",
		FirstObserved: now, LastObserved: now, Update: now, Severity: finding.High, Status: "ACTIVE",
		Score: 7.4, ScoreOf: report().Vulnerabilities[0].CVSS[3],
		Remediation:  "Update all packages in the vulnerable packages section to their latest versions.",
		FixAvailable: "PARTIAL", ID: "CVE-1", Source: "REDHAT_CVE", SourceURL: "https://access.redhat.com/security/cve/CVE-1", VendorSeverity: "Important",
		VendorCreated: then, VendorUpdated: then, References: []string{"https://example.org/1"}, Related: []string{"RHSA-1", "RHSA-2"},
		CVSS: report().Vulnerabilities[0].CVSS,
		Packages: []finding.VulnerablePackage{
			{Name: "openssl", Version: "1.1.1", Release: "2.el9", Epoch: 1, Arch: "X86_64", Manager: "OS", FixedInVersion: "1:1.1.1-3.el9", SourceLayerHash: "sha256:aa", Remediation: "yum update openssl"},
			{Name: "openssl-libs", Version: "1.1.1", Release: "2.el9", Epoch: 1, Arch: "X86_64", Manager: "OS", SourceLayerHash: "sha256:aa"},
		},
		Image: image,
	}
	if !reflect.DeepEqual(got[0], first) {
		t.Errorf("got  %+v\nwant %+v", got[0], first)
	}
	jar := got[1].Packages[0]
	if jar.Manager != "JAR" || jar.FilePath != "app.jar/lib/it.jar" || jar.Remediation != "" || got[1].Score != 8.7 || got[1].ScoreOf.Source != "NVD" || got[1].Description != "None Provided" {
		t.Errorf("%+v", got[1])
	}
	if got[2].Score != 0 || got[2].ScoreOf.Source != "REDHAT_CVE" || got[3].ScoreOf.Source != "" || got[3].Remediation != "None Provided" {
		t.Errorf("%+v\n%+v", got[2], got[3])
	}
	counts := finding.EnhancedCounts(got)
	if !reflect.DeepEqual(counts, map[finding.Severity]int64{finding.High: 2, finding.Informational: 1, finding.Untriaged: 1}) {
		t.Errorf("counts %v", counts)
	}
}

func TestTitlesOfManyPackages(t *testing.T) {
	r := report()
	for _, n := range []string{"c", "a", "c", "b"} {
		r.Matches = append(r.Matches, finding.Match{Vulnerability: 1, Package: rpm(n), Severity: finding.Undefined})
	}
	r.Matches = r.Matches[5:]
	if got := r.Enhanced(options())[0].Title; got != "CVE-2 - c, a and 1 more" {
		t.Error(got)
	}
}

// TestObservations: what is remembered is shown, and a finding that changed was updated now.
func TestObservations(t *testing.T) {
	o := options()
	fresh := report().Enhanced(o)[0]
	later := then.Add(time.Hour)
	for what, c := range map[string]struct {
		seen    finding.Observation
		updated time.Time
	}{
		"unchanged":        {finding.Observation{First: then, Last: later, Updated: then, Hash: fresh.Hash()}, then},
		"changed":          {finding.Observation{First: then, Last: later, Updated: then, Hash: "another"}, now},
		"nothing to go by": {finding.Observation{First: then, Last: later, Updated: then}, then},
	} {
		o.Observed = map[string]finding.Observation{"CVE-1": c.seen}
		e := report().Enhanced(o)[0]
		if !e.FirstObserved.Equal(then) || !e.LastObserved.Equal(later) || !e.Update.Equal(c.updated) {
			t.Errorf("%s: %v, %v, %v", what, e.FirstObserved, e.LastObserved, e.Update)
		}
	}
}

// TestHash: it changes with what the finding says, and with nothing else.
func TestHash(t *testing.T) {
	fresh := report().Enhanced(options())[0]
	if h := fresh.Hash(); len(h) != 32 {
		t.Fatal(h)
	}
	for what, change := range map[string]func(*finding.Enhanced){
		"first seen": func(e *finding.Enhanced) { e.FirstObserved = then }, "last seen": func(e *finding.Enhanced) { e.LastObserved = then },
		"updated": func(e *finding.Enhanced) { e.Update = then }, "tags": func(e *finding.Enhanced) { e.Image.Tags = nil },
		"vendor": func(e *finding.Enhanced) { e.VendorUpdated = now },
	} {
		e := fresh
		if change(&e); e.Hash() != fresh.Hash() {
			t.Errorf("%s changes it", what)
		}
	}
	for what, change := range map[string]func(*finding.Enhanced){
		"severity": func(e *finding.Enhanced) { e.Severity = finding.Low }, "status": func(e *finding.Enhanced) { e.Status = finding.StatusClosed },
		"packages": func(e *finding.Enhanced) { e.Packages = e.Packages[:1] }, "score": func(e *finding.Enhanced) { e.Score = 1 },
		"text": func(e *finding.Enhanced) { e.Description = "x" },
	} {
		e := fresh
		if change(&e); e.Hash() == fresh.Hash() {
			t.Errorf("%s does not change it", what)
		}
	}
}

func TestFindingARN(t *testing.T) {
	reg := name.Registry{Account: "123456789012", Region: "eu-west-1"}
	arn := finding.FindingARN(reg, "a", "sha256:00", "CVE-1")
	if !regexp.MustCompile(`^arn:aws:inspector2:eu-west-1:123456789012:finding/[0-9a-f]{32}$`).MatchString(arn) {
		t.Error(arn)
	}
	seen := map[string]bool{}
	for _, other := range []string{
		arn, finding.FindingARN(reg, "b", "sha256:00", "CVE-1"), finding.FindingARN(reg, "a", "sha256:01", "CVE-1"), finding.FindingARN(reg, "a", "sha256:00", "CVE-2"),
		finding.FindingARN(name.Registry{Account: "123456789013", Region: "eu-west-1"}, "a", "sha256:00", "CVE-1"),
	} {
		if seen[other] {
			t.Errorf("%s twice", other)
		}
		seen[other] = true
	}
	if finding.FindingARN(reg, "a", "sha256:00", "CVE-1") != arn {
		t.Error("another one for the same finding")
	}
	if cn := finding.FindingARN(name.Registry{Account: "123456789012", Region: "cn-north-1"}, "a", "b", "c"); !strings.HasPrefix(cn, "arn:aws-cn:") {
		t.Error(cn)
	}
}

func TestPlatform(t *testing.T) {
	for _, c := range [][3]string{
		{"debian", "12.15", "DEBIAN_12"}, {"debian", "trixie/sid", "DEBIAN_TRIXIE_SID"}, {"ubuntu", "22.04", "UBUNTU_22_04"}, {"ubuntu", "20.04-ESM", "UBUNTU_20_04"},
		{"alpine", "3.20.3", "ALPINE_LINUX_3_20"}, {"alpine", "edge", "ALPINE_LINUX_EDGE"}, {"amazon", "2 (Karoo)", "AMAZON_LINUX_2"},
		{"amazon", "2023.5.20240708 (Amazon Linux)", "AMAZON_LINUX_2023"}, {"amazon", "2018.03", "AMAZON_LINUX"}, {"amazon", "", "AMAZON_LINUX"},
		{"redhat", "9.4", "REDHAT_9"}, {"centos", "7.9.2009", "CENTOS_7"}, {"rocky", "9.3", "ROCKY_LINUX_9"}, {"alma", "8.10", "ALMALINUX_8"}, {"oracle", "8.9", "ORACLE_LINUX_8"},
		{"suse linux enterprise server", "15.5", "SUSE_SERVER_15_5"}, {"opensuse-leap", "15.6", "OPENSUSE_LEAP_15_6"}, {"opensuse-tumbleweed", "20240101", "OPENSUSE_TUMBLEWEED"},
		{"photon", "5.0", "PHOTON_5_0"}, {"wolfi", "20230201", "WOLFI"}, {"chainguard", "20230214", "CHAINGUARD"}, {"fedora", "40", "FEDORA_40"},
		{"azurelinux", "3.0", "AZURELINUX_3_0"}, {"", "", ""}, {"strange-one", "", "STRANGE_ONE"},
	} {
		if got := finding.Platform(inventory.OS{Family: c[0], Name: c[1]}); got != c[2] {
			t.Errorf("%s %s is %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func TestManagersAndRemedies(t *testing.T) {
	for of, want := range map[inventory.Type][2]string{
		inventory.Dpkg: {"OS", "apt-get update && apt-get upgrade"}, inventory.Apk: {"OS", "apk update && apk upgrade it"}, inventory.RPM: {"OS", "yum update it"},
		inventory.GoBinary: {"GOBINARY"}, inventory.Jar: {"JAR"}, inventory.NodePkg: {"NODEPKG"}, inventory.Npm: {"NPM"}, inventory.Pnpm: {"NPM"}, inventory.Yarn: {"YARN"},
		inventory.PythonPkg: {"PYTHONPKG"}, inventory.Pip: {"PIP"}, inventory.Poetry: {"POETRY"}, inventory.Pipenv: {"PIPENV"}, inventory.GemSpec: {"GEMSPEC"},
		inventory.Bundler: {"BUNDLER"}, inventory.RustBinary: {"CARGO"}, inventory.Cargo: {"CARGO"}, inventory.Composer: {"COMPOSER"}, inventory.ComposerV: {"COMPOSER"},
		inventory.DotNetCore: {"DOTNET_CORE"}, inventory.NuGet: {"NUGET"}, "some-thing": {"SOME_THING"},
	} {
		r := finding.Report{Vulnerabilities: []finding.Vulnerability{{ID: "CVE-1"}}, Matches: []finding.Match{{FixedVersion: "2", Package: inventory.Package{Type: of, Name: "it", Version: "1"}}}}
		p := r.Enhanced(options())[0].Packages[0]
		if p.Manager != want[0] || p.Remediation != want[1] {
			t.Errorf("%s: %q, %q", of, p.Manager, p.Remediation)
		}
	}
	for family, want := range map[string]string{"suse linux enterprise server": "zypper update it", "opensuse-leap": "zypper update it", "photon": "tdnf update it", "amazon": "yum update it"} {
		r := finding.Report{OS: inventory.OS{Family: family}, Vulnerabilities: []finding.Vulnerability{{ID: "CVE-1"}}, Matches: []finding.Match{{FixedVersion: "2", Package: inventory.Package{Type: inventory.RPM, Name: "it"}}}}
		if got := r.Enhanced(options())[0].Packages[0].Remediation; got != want {
			t.Errorf("%s: %q", family, got)
		}
	}
}

func TestCompareSeverity(t *testing.T) {
	order := []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low, finding.Informational, finding.Undefined, "NONE"}
	for i := range order {
		for j := range order {
			if got := finding.CompareSeverity(order[i], order[j]); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s and %s: %d", order[i], order[j], got)
			}
		}
	}
	if finding.CompareSeverity(finding.Undefined, finding.Untriaged) != 0 {
		t.Error("UNTRIAGED is not UNDEFINED")
	}
}

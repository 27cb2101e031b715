package finding

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// The words that Inspector uses in findings.
const (
	StatusActive = "ACTIVE"
	StatusClosed = "CLOSED"

	FixYes     = "YES"
	FixNo      = "NO"
	FixPartial = "PARTIAL"

	// NotAvailable stands where a package has no fixed version.
	NotAvailable = "NotAvailable"

	noneProvided = "None Provided"
	updateAll    = "Update all packages in the vulnerable packages section to their latest versions."
)

// titled is how many packages a title names.
const titled = 2

// EnhancedOptions are what a finding says beyond the report.
type EnhancedOptions struct {
	Image ImageDetails
	// Observed is what is remembered of findings, by id of the vulnerability.
	Observed map[string]Observation
	// Now is when a finding that is not in Observed was seen first.
	Now time.Time
}

// Observation is what is remembered of a finding.
type Observation struct {
	// First and Last are when the finding was seen first and last, Updated when it last
	// changed. A zero one counts as now.
	First, Last, Updated time.Time
	// Hash is that of the finding when it was last seen, "" where it is not known.
	Hash string
}

// Enhanced is the report as enhanced scanning shows it: one finding for each vulnerability,
// with all packages that have it; the worst first, then by id. All are ACTIVE. A finding whose hash is
// not that which was observed was updated now.
func (r Report) Enhanced(o EnhancedOptions) []Enhanced {
	o.Image.Platform = firstOf(o.Image.Platform, Platform(r.OS))
	o.Image.Architecture = firstOf(o.Image.Architecture, r.Architecture)
	by := map[int][]Match{}
	for _, m := range r.Matches { // the worst first
		by[m.Vulnerability] = append(by[m.Vulnerability], m)
	}
	out := make([]Enhanced, 0, len(by))
	for _, matches := range by {
		e := r.enhanced(matches, o)
		seen := o.Observed[e.ID]
		e.FirstObserved, e.LastObserved, e.Update = orNow(seen.First, o.Now), orNow(seen.Last, o.Now), orNow(seen.Updated, o.Now)
		if seen.Hash != "" && seen.Hash != e.Hash() {
			e.Update = o.Now
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Enhanced) int {
		if c := CompareSeverity(a.Severity, b.Severity); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

func (r Report) enhanced(matches []Match, o EnhancedOptions) Enhanced {
	worst := matches[0]
	v := r.vulnerability(worst)
	e := Enhanced{
		ARN:            FindingARN(o.Image.Registry, o.Image.Repository, o.Image.Digest, v.ID),
		Account:        o.Image.Registry.Account,
		Description:    firstOf(description(v), noneProvided),
		Severity:       worst.Severity,
		Status:         StatusActive,
		ID:             v.ID,
		Source:         worst.Source,
		SourceURL:      worst.URI,
		VendorSeverity: worst.VendorSeverity,
		VendorCreated:  v.Published,
		VendorUpdated:  v.Modified,
		References:     v.References,
		CVSS:           v.CVSS,
		Image:          o.Image,
	}
	if e.Severity == Undefined {
		e.Severity = Untriaged
	}
	for _, version := range []string{"3", "4", "2"} {
		if c, ok := score(v.CVSS, worst.Source, version); ok {
			e.Score, e.ScoreOf = c.Score, c
			break
		}
	}
	fixed := 0
	for _, m := range matches {
		p := vulnerable(m, r.OS)
		if p.FixedInVersion != "" {
			fixed++
		}
		e.Packages = append(e.Packages, p)
		e.Related = append(e.Related, m.VendorIDs...)
	}
	slices.Sort(e.Related)
	e.Related = slices.Compact(e.Related)
	e.Title = title(v.ID, e.Packages)
	switch fixed {
	case 0:
		e.FixAvailable, e.Remediation = FixNo, noneProvided
	case len(matches):
		e.FixAvailable, e.Remediation = FixYes, updateAll
	default:
		e.FixAvailable, e.Remediation = FixPartial, updateAll
	}
	return e
}

// title is "CVE-2019-17498 - libssh2", with up to two packages and how many there are more.
func title(id string, packages []VulnerablePackage) string {
	var names []string
	for _, p := range packages {
		if !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	more := ""
	if n := len(names) - titled; n > 0 {
		names, more = names[:titled], fmt.Sprintf(" and %d more", n)
	}
	return id + " - " + strings.Join(names, ", ") + more
}

func vulnerable(m Match, os inventory.OS) VulnerablePackage {
	p := m.Package
	return VulnerablePackage{
		Name: p.Name, Version: p.Version, Release: p.Release, Epoch: p.Epoch,
		Arch:            strings.ToUpper(p.Arch),
		Manager:         Manager(p.Type),
		FilePath:        p.Path,
		FixedInVersion:  m.FixedVersion,
		SourceLayerHash: p.Layer,
		Remediation:     remedy(m, os),
	}
}

// remedy is the command that brings the fixed version, "" where there is none, or none that
// is sure to do so.
func remedy(m Match, os inventory.OS) string {
	if m.FixedVersion == "" {
		return ""
	}
	family := os.Family
	switch t := m.Package.Type; {
	case t == inventory.Dpkg:
		return "apt-get update && apt-get upgrade"
	case t == inventory.Apk:
		return "apk update && apk upgrade " + m.Package.Name
	case t != inventory.RPM:
		return ""
	case strings.Contains(family, "suse"), family == "sles", family == "slem":
		return "zypper update " + m.Package.Name
	case family == "photon", family == "azurelinux", family == "cbl-mariner":
		return "tdnf update " + m.Package.Name
	}
	return "yum update " + m.Package.Name
}

// Manager is Inspector's word for a package manager (Inspector API reference,
// VulnerablePackage). It has none for Rust binaries and pnpm, whose packages are Cargo's and npm's.
func Manager(t inventory.Type) string {
	switch t {
	case inventory.Dpkg, inventory.Apk, inventory.RPM:
		return "OS"
	case inventory.GoBinary:
		return "GOBINARY"
	case inventory.Jar:
		return "JAR"
	case inventory.NodePkg:
		return "NODEPKG"
	case inventory.Npm, inventory.Pnpm:
		return "NPM"
	case inventory.Yarn:
		return "YARN"
	case inventory.PythonPkg:
		return "PYTHONPKG"
	case inventory.Pip:
		return "PIP"
	case inventory.Poetry:
		return "POETRY"
	case inventory.Pipenv:
		return "PIPENV"
	case inventory.GemSpec:
		return "GEMSPEC"
	case inventory.Bundler:
		return "BUNDLER"
	case inventory.RustBinary, inventory.Cargo:
		return "CARGO"
	case inventory.Composer, inventory.ComposerV:
		return "COMPOSER"
	case inventory.DotNetCore:
		return "DOTNET_CORE"
	case inventory.NuGet:
		return "NUGET"
	}
	return strings.ToUpper(strings.ReplaceAll(string(t), "-", "_"))
}

// EnhancedCounts says how many findings have which severity; those that none has are left
// out.
func EnhancedCounts(all []Enhanced) map[Severity]int64 {
	counts := map[Severity]int64{}
	for _, e := range all {
		counts[e.Severity]++
	}
	return counts
}

// Hash tells findings of the same vulnerability apart: it changes with what the finding says
// of the vulnerability and of the packages, not with times, nor with what it says of the image.
func (e Enhanced) Hash() string {
	var none time.Time
	e.FirstObserved, e.LastObserved, e.Update, e.VendorCreated, e.VendorUpdated = none, none, none, none, none
	e.Image = ImageDetails{}
	b, err := json.Marshal(e)
	if err != nil {
		return "" // cannot be but for a score that is no number; "" means unknown
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

// FindingARN names the finding of a vulnerability of an image, always the same.
func FindingARN(reg name.Registry, repo name.Repository, digest name.Digest, vulnerability string) string {
	h := sha256.Sum256([]byte(strings.Join([]string{
		string(reg.Account), string(reg.Region), string(repo), string(digest), vulnerability,
	}, "\x00")))
	return fmt.Sprintf("arn:%s:inspector2:%s:%s:finding/%s", reg.Region.Partition(), reg.Region, reg.Account, hex.EncodeToString(h[:16]))
}

func orNow(t, now time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return t
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

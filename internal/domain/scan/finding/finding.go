// Package finding is what a scan says: which vulnerabilities which packages of an
// image have, and the two forms in which ECR shows that, those of basic and of
// enhanced scanning.
//
// It is pure. It does not find anything (scan/match does) and keeps nothing (scan does).
package finding

import (
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// Severity is ECR's word for how bad a vulnerability is.
type Severity string

// The severities of basic scanning, the worst first; Untriaged is Inspector's word for Undefined.
const (
	Critical      Severity = "CRITICAL"
	High          Severity = "HIGH"
	Medium        Severity = "MEDIUM"
	Low           Severity = "LOW"
	Informational Severity = "INFORMATIONAL"
	Undefined     Severity = "UNDEFINED"
	Untriaged     Severity = "UNTRIAGED"
)

// Report is what matching an inventory yields.
type Report struct {
	// Supported says that the distribution is one whose vulnerabilities are known, or
	// that languages' packages were found.
	Supported bool `json:"supported"`
	// EndOfLife says that the distribution's vendor does not support this version any more.
	EndOfLife bool `json:"endOfLife,omitempty"`
	// SourceUpdatedAt is when the database was made.
	SourceUpdatedAt time.Time `json:"sourceUpdatedAt"`
	// Vulnerabilities are in the order of their ids, each once.
	Vulnerabilities []Vulnerability `json:"vulnerabilities,omitempty"`
	// Matches are ordered by severity, the worst first, then by id, package and version.
	Matches []Match `json:"matches,omitempty"`
	// OS, Architecture are those of the image.
	OS           inventory.OS `json:"os"`
	Architecture string       `json:"architecture,omitempty"`
}

// Match is one vulnerability of one package.
type Match struct {
	// Vulnerability is an index into Report.Vulnerabilities.
	Vulnerability int               `json:"vulnerability"`
	Package       inventory.Package `json:"package"`
	// Severity is that which holds for this package, by ECR's rule.
	Severity Severity `json:"severity"`
	// VendorSeverity is the distribution's own word or Trivy's word for it, "" where there is none.
	VendorSeverity string `json:"vendorSeverity,omitempty"`
	// FixedVersion is the version that mends it, "" where there is none yet.
	FixedVersion string `json:"fixedVersion,omitempty"`
	// Status is the vendor's: affected, fixed, will_not_fix, fix_deferred, end_of_life, under_investigation.
	Status string `json:"status,omitempty"`
	// Source names who says so, in Inspector's form ("DEBIAN_CVE", "UBUNTU_CVE", "REDHAT_CVE",
	// "AMAZON_CVE", "ALPINE_CVE", "GITHUB", "NVD", ...), URI the page about it.
	Source string `json:"source,omitempty"`
	URI    string `json:"uri,omitempty"`
	// VendorIDs are the vendor's advisories, "RHSA-2023:1234", "DSA-5678-1".
	VendorIDs []string `json:"vendorIds,omitempty"`
}

// Vulnerability is what is known of one vulnerability.
type Vulnerability struct {
	ID          string    `json:"id"`
	Title       string    `json:"title,omitempty"`
	Description string    `json:"description,omitempty"`
	CVSS        []CVSS    `json:"cvss,omitempty"`
	References  []string  `json:"references,omitempty"`
	CWEs        []string  `json:"cwes,omitempty"`
	Published   time.Time `json:"published,omitzero"`
	Modified    time.Time `json:"modified,omitzero"`
}

// CVSS is one score. Source is who gave it, in Inspector's form ("NVD", "REDHAT_CVE", "GITHUB").
type CVSS struct {
	Source  string  `json:"source"`
	Version string  `json:"version"` // "2.0", "3.1", "4.0", as the vector says
	Vector  string  `json:"vector"`
	Score   float64 `json:"score"`
}

// Basic is a finding of basic scanning: one vulnerability of one package.
type Basic struct {
	Name        string
	Description string
	URI         string
	Severity    Severity
	// Attributes are package_name, package_version, CVSS2_SCORE, CVSS2_VECTOR, CVSS3_SCORE,
	// CVSS3_VECTOR, as far as they are known; at most 50, keys up to 128 characters and values up to 256.
	Attributes []Attribute
}

// Attribute is a named value of a finding.
type Attribute struct{ Key, Value string }

// Enhanced is a finding of enhanced scanning, in Inspector's terms: one vulnerability
// with all packages of the image that have it.
type Enhanced struct {
	ARN                                 string
	Account                             name.AccountID
	Title, Description                  string
	FirstObserved, LastObserved, Update time.Time
	Severity                            Severity
	Status                              string // ACTIVE or CLOSED
	Score                               float64
	// ScoreOf is the CVSS score that Score was taken from; its Source is "" where there is none.
	ScoreOf        CVSS
	Remediation    string
	FixAvailable   string // YES, NO or PARTIAL
	ID             string // of the vulnerability
	Source         string
	SourceURL      string
	VendorSeverity string
	VendorCreated  time.Time // zero where unknown
	VendorUpdated  time.Time
	References     []string
	Related        []string // other ids of it
	CVSS           []CVSS
	Packages       []VulnerablePackage
	Image          ImageDetails
}

// VulnerablePackage is a package of an enhanced finding.
type VulnerablePackage struct {
	Name, Version, Release, Arch string
	Epoch                        int
	// Manager is Inspector's package manager: OS, GOBINARY, JAR, NODEPKG, PYTHONPKG, ...
	Manager         string
	FilePath        string
	FixedInVersion  string // "" where there is none; Inspector writes NotAvailable
	SourceLayerHash name.Digest
	Remediation     string // the command that updates it, "" where none is known
}

// ImageDetails are what an enhanced finding says of its image.
type ImageDetails struct {
	Registry     name.Registry
	Repository   name.Repository
	Digest       name.Digest
	Tags         []name.Tag
	PushedAt     time.Time
	Author       string
	Architecture string
	// Platform is Inspector's word for the distribution: DEBIAN_12, AMAZON_LINUX_2, ALPINE_LINUX_3_20.
	Platform string
	// LastInUseAt and InUseCount tell of running containers, which Berth does not know: zero.
	LastInUseAt time.Time
	InUseCount  int64
}

package match

import (
	"cmp"
	"strings"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	vs "github.com/aquasecurity/trivy-db/pkg/vulnsrc/vulnerability"
	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
)

// severity is ECR's rule: what the distribution says of this package, else what it says of
// the vulnerability, else NVD's CVSS score, else UNDEFINED. Trivy would go on to other vendors.
// The second result is the vendor's own word, "" where it said nothing.
//
// Debian's "unimportant" and Ubuntu's "negligible" come as LOW: Trivy's database has no
// word below that, so they cannot be told from "low".
func severity(v types.DetectedVulnerability, src dbtypes.SourceID, d dbtypes.Vulnerability, status string) (finding.Severity, string) {
	if v.SeveritySource != "" {
		//lint:ignore SA1019 the detectors put the package's own severity nowhere else
		if s, err := dbtypes.NewSeverity(v.Severity); err == nil && s != dbtypes.SeverityUnknown {
			return rated(s), vendorWord(src, s)
		}
	}
	ask := []dbtypes.SourceID{src}
	if strings.HasPrefix(v.VulnerabilityID, "GHSA-") {
		ask = append(ask, vs.GHSA) // GitHub is the vendor of its own advisories
	}
	for _, id := range ask {
		if s, ok := d.VendorSeverity[id]; ok && known(s) && id != vs.NVD {
			return rated(s), vendorWord(id, s)
		}
	}
	word := ""
	if src == vs.Debian { // the tracker's words for urgencies that say nothing
		if word = "not yet assigned"; status == dbtypes.Statuses[dbtypes.StatusEndOfLife] {
			word = "end-of-life"
		}
	}
	return nvd(d), word
}

func known(s dbtypes.Severity) bool {
	return s > dbtypes.SeverityUnknown && s <= dbtypes.SeverityCritical
}

// rated is ECR's word for one of Trivy's.
func rated(s dbtypes.Severity) finding.Severity {
	switch s {
	case dbtypes.SeverityCritical:
		return finding.Critical
	case dbtypes.SeverityHigh:
		return finding.High
	case dbtypes.SeverityMedium:
		return finding.Medium
	case dbtypes.SeverityLow:
		return finding.Low
	case dbtypes.SeverityUnknown:
	}
	return finding.Undefined
}

// nvd is the severity that follows from NVD's scores: version 3 first, which ECR goes by, then 4 and 2.
func nvd(d dbtypes.Vulnerability) finding.Severity {
	c := d.CVSS[vs.NVD]
	switch {
	case c.V3Vector != "" || c.V3Score > 0:
		return scored(c.V3Score)
	case c.V40Vector != "" || c.V40Score > 0:
		return scored(c.V40Score)
	case c.V2Vector != "" || c.V2Score > 0:
		return scored2(c.V2Score)
	case known(d.VendorSeverity[vs.NVD]):
		return rated(d.VendorSeverity[vs.NVD])
	}
	return finding.Undefined
}

// scored has the bounds of CVSS 3 and 4 (specification, Qualitative Severity Rating Scale).
func scored(score float64) finding.Severity {
	switch {
	case score >= 9:
		return finding.Critical
	case score >= 7:
		return finding.High
	case score >= 4:
		return finding.Medium
	case score > 0:
		return finding.Low
	}
	return finding.Informational
}

// scored2 has those of CVSS 2, as NVD rates it: nothing is critical.
func scored2(score float64) finding.Severity {
	switch {
	case score >= 7:
		return finding.High
	case score >= 4:
		return finding.Medium
	case score > 0:
		return finding.Low
	}
	return finding.Informational
}

// vendorWord is how a vendor itself calls what Trivy calls LOW, MEDIUM, HIGH or CRITICAL.
func vendorWord(src dbtypes.SourceID, s dbtypes.Severity) string {
	low, medium, high, critical := "LOW", "MEDIUM", "HIGH", "CRITICAL"
	switch src {
	case vs.RedHat, vs.RedHatOVAL, vs.RedHatCSAFVEX, vs.CentOS, vs.Alma, vs.Rocky:
		low, medium, high, critical = "Low", "Moderate", "Important", "Critical"
	case vs.OracleOVAL:
		low, medium, high, critical = "LOW", "MODERATE", "IMPORTANT", "CRITICAL"
	case vs.SuseCVRF:
		low, medium, high, critical = "low", "moderate", "important", "critical"
	case vs.Amazon:
		low, medium, high, critical = "Low", "Medium", "Important", "Critical"
	case vs.Debian, vs.Ubuntu:
		low, medium, high, critical = "low", "medium", "high", "critical"
	}
	switch s {
	case dbtypes.SeverityLow:
		return low
	case dbtypes.SeverityMedium:
		return medium
	case dbtypes.SeverityHigh:
		return high
	case dbtypes.SeverityCritical:
		return critical
	case dbtypes.SeverityUnknown:
	}
	return ""
}

// dataSource is where an advisory comes from, "" where the database does not say so.
func dataSource(v types.DetectedVulnerability) dbtypes.SourceID {
	if v.DataSource == nil {
		return ""
	}
	return cmp.Or(v.DataSource.BaseID, v.DataSource.ID)
}

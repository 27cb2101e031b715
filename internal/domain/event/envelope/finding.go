package envelope

import (
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
)

// found is a finding as domain/scan records it: its type Enhanced, whose members have no
// names of their own in JSON. A test writes one and reads it here.
type found struct {
	ARN            string
	Account        name.AccountID
	Title          string
	Description    string
	FirstObserved  time.Time
	LastObserved   time.Time
	Update         time.Time
	Severity       string
	Status         string
	Score          float64
	ScoreOf        foundScore
	Remediation    string
	FixAvailable   string
	ID             string
	Source         string
	SourceURL      string
	VendorSeverity string
	VendorCreated  time.Time
	VendorUpdated  time.Time
	References     []string
	Related        []string
	CVSS           []foundScore
	Packages       []foundPackage
	Image          foundImage
}

type foundScore struct {
	Source  string  `json:"source"`
	Version string  `json:"version"`
	Vector  string  `json:"vector"`
	Score   float64 `json:"score"`
}

type foundPackage struct {
	Name, Version, Release, Arch string
	Epoch                        int
	Manager                      string
	FilePath                     string
	FixedInVersion               string
	SourceLayerHash              name.Digest
	Remediation                  string
}

type foundImage struct {
	Registry     name.Registry
	Repository   name.Repository
	Digest       name.Digest
	Tags         []name.Tag
	PushedAt     time.Time
	Author       string
	Architecture string
	Platform     string
	LastInUseAt  time.Time
	InUseCount   int64
}

// The finding as Inspector writes it ("Amazon EventBridge event schema for Amazon Inspector
// events"). The published sample is shortened; members that it does not have stand where
// the order of letters, which it keeps, has them.
type findingDetail struct {
	Account       name.AccountID       `json:"awsAccountId"`
	Description   string               `json:"description"`
	ARN           string               `json:"findingArn"`
	FirstObserved string               `json:"firstObservedAt"`
	FixAvailable  string               `json:"fixAvailable,omitempty"`
	Score         *float64             `json:"inspectorScore,omitempty"`
	ScoreDetails  *scoreDetails        `json:"inspectorScoreDetails,omitempty"`
	LastObserved  string               `json:"lastObservedAt"`
	Vulnerability vulnerabilityDetails `json:"packageVulnerabilityDetails"`
	Remediation   remediation          `json:"remediation"`
	Resources     []findingResource    `json:"resources"`
	Severity      string               `json:"severity"`
	Status        string               `json:"status"`
	Title         string               `json:"title"`
	Type          string               `json:"type"`
	Updated       string               `json:"updatedAt"`
}

type scoreDetails struct {
	Adjusted adjustedScore `json:"adjustedCvss"`
}

type adjustedScore struct {
	Adjustments []string `json:"adjustments"` // none: the score is the source's
	CVSSSource  string   `json:"cvssSource"`
	Score       float64  `json:"score"`
	ScoreSource string   `json:"scoreSource"`
	Vector      string   `json:"scoringVector"`
	Version     string   `json:"version"`
}

type vulnerabilityDetails struct {
	CVSS           []cvssScore         `json:"cvss"`
	References     []string            `json:"referenceUrls"`
	Related        []string            `json:"relatedVulnerabilities,omitempty"`
	Source         string              `json:"source"`
	SourceURL      string              `json:"sourceUrl,omitempty"`
	VendorCreated  string              `json:"vendorCreatedAt,omitempty"`
	VendorSeverity string              `json:"vendorSeverity,omitempty"`
	VendorUpdated  string              `json:"vendorUpdatedAt,omitempty"`
	ID             string              `json:"vulnerabilityId"`
	Packages       []vulnerablePackage `json:"vulnerablePackages"`
}

type cvssScore struct {
	Score   float64 `json:"baseScore"`
	Vector  string  `json:"scoringVector"`
	Source  string  `json:"source"`
	Version string  `json:"version"`
}

type vulnerablePackage struct {
	Arch           string      `json:"arch,omitempty"`
	Epoch          int         `json:"epoch"`
	FilePath       string      `json:"filePath,omitempty"`
	FixedInVersion string      `json:"fixedInVersion,omitempty"`
	Name           string      `json:"name"`
	Manager        string      `json:"packageManager"`
	Release        string      `json:"release,omitempty"`
	Remediation    string      `json:"remediation,omitempty"`
	Layer          name.Digest `json:"sourceLayerHash,omitempty"`
	Version        string      `json:"version"`
}

type remediation struct {
	Recommendation recommendation `json:"recommendation"`
}

type recommendation struct {
	Text string `json:"text"`
}

type findingResource struct {
	Details   resourceDetails `json:"details"`
	ID        string          `json:"id"`
	Partition string          `json:"partition"`
	Region    string          `json:"region"`
	Type      string          `json:"type"`
}

type resourceDetails struct {
	Image containerImage `json:"awsEcrContainerImage"`
}

type containerImage struct {
	Architecture string          `json:"architecture,omitempty"`
	Author       string          `json:"author,omitempty"`
	Digest       name.Digest     `json:"imageHash"`
	Tags         []name.Tag      `json:"imageTags"`
	Platform     string          `json:"platform,omitempty"`
	PushedAt     string          `json:"pushedAt,omitempty"`
	LastInUseAt  string          `json:"lastInUseAt,omitempty"`
	InUseCount   int64           `json:"inUseCount,omitempty"` // 0: unknown
	Registry     name.AccountID  `json:"registry"`
	Repository   name.Repository `json:"repositoryName"`
}

// inspectorTime is how Inspector writes times in findings.
const inspectorTime = "Jan 2, 2006, 3:04:05 PM"

// notAvailable is Inspector's word for what a finding of an image does not say.
const notAvailable = "N/A"

func finding(s Stored) (content, error) {
	f, err := read[found](s)
	if err == nil && (f.Image.Repository == "" || f.ID == "") {
		err = errors.New("it is no finding")
	}
	if err != nil {
		return content{}, err
	}
	image := s.arn(f.Image.Repository) + "/" + string(f.Image.Digest)
	out := findingDetail{
		Account: f.Account, Description: f.Description, ARN: f.ARN, FirstObserved: timeText(f.FirstObserved, inspectorTime), FixAvailable: f.FixAvailable,
		LastObserved: timeText(f.LastObserved, inspectorTime), Vulnerability: vulnerability(f), Remediation: remediation{recommendation{f.Remediation}},
		Resources: []findingResource{{
			Details: resourceDetails{containerImage{
				Architecture: f.Image.Architecture, Author: f.Image.Author, Digest: f.Image.Digest, Tags: append([]name.Tag{}, f.Image.Tags...), Platform: f.Image.Platform,
				PushedAt: timeText(f.Image.PushedAt, inspectorTime), LastInUseAt: timeText(f.Image.LastInUseAt, inspectorTime), InUseCount: f.Image.InUseCount,
				Registry: f.Image.Registry.Account, Repository: f.Image.Repository,
			}},
			ID: image, Partition: notAvailable, Region: notAvailable, Type: "AWS_ECR_CONTAINER_IMAGE",
		}},
		Severity: f.Severity, Status: f.Status, Title: f.Title, Type: "PACKAGE_VULNERABILITY", Updated: timeText(f.Update, inspectorTime),
	}
	if f.ScoreOf.Source != "" {
		out.Score = &f.Score
		out.ScoreDetails = &scoreDetails{adjustedScore{
			Adjustments: []string{}, CVSSSource: f.ScoreOf.Source, Score: f.Score, ScoreSource: f.ScoreOf.Source, Vector: f.ScoreOf.Vector, Version: f.ScoreOf.Version,
		}}
	}
	return content{source: sourceInspector, detailType: inspectorFinding, repository: f.Image.Repository, resources: []string{image}, detail: out}, nil
}

func vulnerability(f found) vulnerabilityDetails {
	out := vulnerabilityDetails{
		CVSS: []cvssScore{}, References: append([]string{}, f.References...), Related: f.Related, Source: f.Source, SourceURL: f.SourceURL,
		VendorCreated: timeText(f.VendorCreated, inspectorTime), VendorSeverity: f.VendorSeverity, VendorUpdated: timeText(f.VendorUpdated, inspectorTime),
		ID: f.ID, Packages: []vulnerablePackage{},
	}
	for _, c := range f.CVSS {
		out.CVSS = append(out.CVSS, cvssScore{c.Score, c.Vector, c.Source, c.Version})
	}
	for _, p := range f.Packages {
		out.Packages = append(out.Packages, vulnerablePackage{
			Arch: p.Arch, Epoch: p.Epoch, FilePath: p.FilePath, FixedInVersion: p.FixedInVersion, Name: p.Name, Manager: p.Manager,
			Release: p.Release, Remediation: p.Remediation, Layer: p.SourceLayerHash, Version: p.Version,
		})
	}
	return out
}

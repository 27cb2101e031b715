package scanning

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/scan"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
)

func (a *api) findings(ctx context.Context, c *aws.Call, in *DescribeImageScanFindingsInput) (*DescribeImageScanFindingsOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	r, err := a.Repositories.Get(ctx, reg, repo)
	if err != nil {
		return nil, err
	}
	ref := refOf(in.ImageId)
	scope := fmt.Sprintf("scan findings/%d/%q/%q", r.ID, ref.Digest, ref.Tag)
	cursor, err := a.Tokens.Cursor(scope, in.NextToken)
	if err != nil {
		return nil, err
	}
	after, of, err := readCursor(cursor)
	if err != nil {
		return nil, err
	}
	page, err := a.Scans.Findings(ctx, r, ref, after, paging.LimitOf(in.MaxResults, paging.Size))
	if err != nil {
		return nil, err
	}
	// A page counts from the beginning of one list; after another scan, or of
	// another image under the tag, it would go on in the wrong place.
	if cursor != "" && of != listOf(page) {
		return nil, errs.Parameter("nextToken", "The findings of the image have changed since the token was made. Ask again without it")
	}
	out := &DescribeImageScanFindingsOutput{
		RegistryId: new(string(reg.Account)), RepositoryName: new(string(repo)), ImageId: imageShape(page.State, in.ImageId),
		ImageScanStatus: statusShape(page.State), ImageScanFindings: findingsShape(page),
	}
	if page.Next > 0 {
		out.NextToken = a.Tokens.Token(scope, strconv.Itoa(page.Next)+" "+listOf(page))
	}
	return out, nil
}

// listOf names the list that a page is of.
func listOf(p scan.Page) string {
	return fmt.Sprintf("%s %s %d", p.Type, p.Digest, p.CompletedAt.UnixMicro())
}

// readCursor reads where a page begins and which list it is of; "" is the beginning of any.
func readCursor(text string) (after int, of string, err error) {
	if text == "" {
		return 0, "", nil
	}
	number, of, _ := strings.Cut(text, " ")
	after, err = strconv.Atoi(number)
	return after, of, err
}

// findingsShape has the list that the scan type fills. Under enhanced scanning the
// other one is there, empty, until something was found, as ECR has it.
func findingsShape(p scan.Page) *ImageScanFindings {
	out := &ImageScanFindings{
		ImageScanCompletedAt: shape.AtNonZero(p.CompletedAt), VulnerabilitySourceUpdatedAt: shape.AtNonZero(p.SourceUpdatedAt),
		FindingSeverityCounts: Counts[FindingSeverity](p.Summary),
	}
	if p.Type == rules.Enhanced {
		out.EnhancedFindings = []EnhancedImageScanFinding{}
		for _, f := range p.Enhanced {
			out.EnhancedFindings = append(out.EnhancedFindings, enhancedShape(f))
		}
		if len(out.FindingSeverityCounts)+len(p.Enhanced) > 0 {
			return out
		}
	}
	out.Findings = []ImageScanFinding{}
	for _, f := range p.Basic {
		out.Findings = append(out.Findings, basicShape(f))
	}
	return out
}

// Counts are those of the severities that occur, for a shape with the severity type S.
func Counts[S ~string](s scan.Summary) map[S]int64 {
	out := map[S]int64{}
	for severity, n := range s.Counts {
		if n > 0 {
			out[S(severity)] = n
		}
	}
	return out
}

func basicShape(f finding.Basic) ImageScanFinding {
	out := ImageScanFinding{
		Name: new(f.Name), Description: optional(f.Description), Uri: optional(f.URI), Severity: new(FindingSeverity(f.Severity)), Attributes: []Attribute{},
	}
	for _, a := range f.Attributes {
		out.Attributes = append(out.Attributes, Attribute{Key: new(a.Key), Value: new(a.Value)})
	}
	return out
}

// Inspector's words (Amazon Inspector API reference, Finding, Resource,
// VulnerablePackage and Recommendation).
const (
	typeVulnerability = "PACKAGE_VULNERABILITY"
	typeImage         = "AWS_ECR_CONTAINER_IMAGE"
	noFix             = "NotAvailable"
	noAdvice          = "None Provided"
)

func enhancedShape(f finding.Enhanced) EnhancedImageScanFinding {
	advice := f.Remediation
	if advice == "" {
		advice = noAdvice
	}
	out := EnhancedImageScanFinding{
		AwsAccountId: new(string(f.Account)), FindingArn: new(f.ARN), Type: new(typeVulnerability),
		Title: optional(f.Title), Description: optional(f.Description), Severity: new(string(f.Severity)), Status: optional(f.Status),
		FirstObservedAt: shape.AtNonZero(f.FirstObserved), LastObservedAt: shape.AtNonZero(f.LastObserved), UpdatedAt: shape.AtNonZero(f.Update),
		FixAvailable: optional(f.FixAvailable), Remediation: &Remediation{Recommendation: &Recommendation{Text: new(advice)}},
		PackageVulnerabilityDetails: vulnerabilityShape(f), Resources: []Resource{resourceShape(f.Image)},
	}
	if f.ScoreOf.Source != "" {
		out.Score = new(f.Score)
		out.ScoreDetails = &ScoreDetails{Cvss: &CvssScoreDetails{
			Adjustments: []CvssScoreAdjustment{}, Score: new(f.Score), ScoreSource: new(f.ScoreOf.Source),
			ScoringVector: optional(f.ScoreOf.Vector), Version: optional(f.ScoreOf.Version),
		}}
	}
	return out
}

func vulnerabilityShape(f finding.Enhanced) *PackageVulnerabilityDetails {
	out := &PackageVulnerabilityDetails{
		VulnerabilityId: new(f.ID), Source: optional(f.Source), SourceUrl: optional(f.SourceURL), VendorSeverity: optional(f.VendorSeverity),
		VendorCreatedAt: shape.AtNonZero(f.VendorCreated), VendorUpdatedAt: shape.AtNonZero(f.VendorUpdated),
		Cvss: []CvssScore{}, ReferenceUrls: append([]string{}, f.References...), RelatedVulnerabilities: append([]string{}, f.Related...),
		VulnerablePackages: []VulnerablePackage{},
	}
	for _, s := range f.CVSS {
		out.Cvss = append(out.Cvss, CvssScore{BaseScore: new(s.Score), ScoringVector: optional(s.Vector), Source: optional(s.Source), Version: optional(s.Version)})
	}
	for _, p := range f.Packages {
		fixed := p.FixedInVersion
		if fixed == "" {
			fixed = noFix
		}
		out.VulnerablePackages = append(out.VulnerablePackages, VulnerablePackage{
			Name: new(p.Name), Version: new(p.Version), Release: optional(p.Release), Epoch: new(int64(p.Epoch)), Arch: optional(p.Arch),
			PackageManager: optional(p.Manager), FilePath: optional(p.FilePath), SourceLayerHash: optional(p.SourceLayerHash), FixedInVersion: new(fixed),
		})
	}
	return out
}

func resourceShape(i finding.ImageDetails) Resource {
	details := &AwsEcrContainerImageDetails{
		Architecture: optional(i.Architecture), Author: optional(i.Author), Platform: optional(i.Platform), ImageHash: new(string(i.Digest)),
		ImageTags: []string{}, PushedAt: shape.AtNonZero(i.PushedAt), LastInUseAt: shape.AtNonZero(i.LastInUseAt),
		Registry: new(string(i.Registry.Account)), RepositoryName: new(string(i.Repository)),
	}
	for _, t := range i.Tags {
		details.ImageTags = append(details.ImageTags, string(t))
	}
	if used(i) {
		details.InUseCount = new(i.InUseCount)
	}
	return Resource{
		Type: new(typeImage), Id: new(i.Registry.RepositoryARN(i.Repository).String() + "/" + string(i.Digest)),
		Tags: map[string]string{}, Details: &ResourceDetails{AwsEcrContainerImage: details},
	}
}

// used says whether anything is known of containers that run the image: a count of
// zero would say that there are none.
func used(i finding.ImageDetails) bool { return i.InUseCount > 0 || i.LastInUseAt != (time.Time{}) }

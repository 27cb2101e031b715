// Package scanning is the part of the ECR API that is about image scanning: the
// scanning configuration of a registry and of repositories, scans that are started
// by hand, and findings; its rows, with the permissions that each needs, and the
// translation between the service's shapes and the domain.
//
// It does not own the rules of a configuration (domain/scan/rules) nor the scanning
// (domain/scan), nor the service and its table of errors (api/ecr).
package scanning

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/api/ecr/linkedrole"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
)

// Scans is what scans, as far as the API calls it.
type Scans interface {
	// Start starts a basic scan. errs.LimitExceeded for an image that was scanned
	// within a day, errs.Validation under enhanced scanning, errs.ImageTypeUnsupported,
	// errs.ImageArchived and errs.ImageNotFound for what cannot be scanned.
	Start(ctx context.Context, r repository.Repository, ref image.Ref) (scan.State, error)
	// Findings reads at most limit findings of an image, from the one at after in
	// their order, which stays as it is until the next scan of the image completes;
	// none behind the last one. errs.ScanNotFound for an image that was not scanned.
	Findings(ctx context.Context, r repository.Repository, ref image.Ref, after, limit int) (scan.Page, error)
	// Summaries reads the basic scans of images that have one; there are none under
	// enhanced scanning.
	Summaries(ctx context.Context, r repository.Repository, images []image.Detail) (map[name.Digest]scan.Summary, error)
	// Configuration reads the configuration of a registry, the default one if there is none.
	Configuration(ctx context.Context, reg name.Registry) (rules.Configuration, error)
	// PutConfiguration replaces it; errs.InvalidParameter for one that is not valid.
	PutConfiguration(ctx context.Context, reg name.Registry, c rules.Configuration) (rules.Configuration, error)
	// RepositoryConfigurations says how repositories are scanned, in the given order,
	// also of what is missing.
	RepositoryConfigurations(ctx context.Context, reg name.Registry, repos []name.Repository) ([]scan.RepositoryConfiguration, error)
	// SetScanOnPush sets the flag of a repository; errs.Validation under enhanced scanning.
	SetScanOnPush(ctx context.Context, reg name.Registry, repo name.Repository, on bool) (repository.Repository, error)
}

// Config is what the rows stand on.
type Config struct {
	Scans        Scans
	Repositories *repository.Service
	Entities     *entity.Service
	Tokens       paging.Tokens
}

type api struct{ Config }

// Operations are the rows.
func Operations(c Config) []aws.Operation {
	a := &api{c}
	return []aws.Operation{
		aws.Op("BatchGetRepositoryScanningConfiguration", false, batchGetNeeds, a.batchGet),
		aws.Op("GetRegistryScanningConfiguration", false, addressing.OnRegistry[GetRegistryScanningConfigurationInput]("ecr:GetRegistryScanningConfiguration"), a.get),
		aws.Op("PutRegistryScanningConfiguration", true, a.putNeeds, a.put),
		aws.Op("PutImageScanningConfiguration", true, addressing.OnRepository("ecr:PutImageScanningConfiguration",
			func(in *PutImageScanningConfigurationInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.putRepository),
		aws.Op("StartImageScan", true, addressing.OnRepository("ecr:StartImageScan",
			func(in *StartImageScanInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.start),

		// findings.go
		aws.Op("DescribeImageScanFindings", false, addressing.OnRepository("ecr:DescribeImageScanFindings",
			func(in *DescribeImageScanFindingsInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.findings),
	}
}

// inspector is the service that scans where scanning is enhanced (ECR user guide,
// "Required IAM permissions for enhanced scanning").
const inspector = "inspector2.amazonaws.com"

// putNeeds: who turns enhanced scanning on turns Inspector on, and has its
// service-linked role made.
func (a *api) putNeeds(c *aws.Call, in *PutRegistryScanningConfigurationInput) ([]authz.Need, error) {
	needs := []authz.Need{{Action: "ecr:PutRegistryScanningConfiguration"}}
	if in.ScanType == nil || *in.ScanType != ScanTypeEnhanced {
		return needs, nil
	}
	more, err := linkedrole.Needs(a.Entities, c.Principal.Account, inspector)
	return append(append(needs, authz.Need{Action: "inspector2:Enable"}), more...), err
}

func (a *api) get(ctx context.Context, c *aws.Call, _ *GetRegistryScanningConfigurationInput) (*GetRegistryScanningConfigurationOutput, error) {
	configuration, err := a.Scans.Configuration(ctx, c.Registry)
	if err != nil {
		return nil, err
	}
	return &GetRegistryScanningConfigurationOutput{RegistryId: new(string(c.Registry.Account)), ScanningConfiguration: configurationShape(configuration)}, nil
}

func (a *api) put(ctx context.Context, c *aws.Call, in *PutRegistryScanningConfigurationInput) (*PutRegistryScanningConfigurationOutput, error) {
	configuration := rules.Default()
	if in.ScanType != nil {
		configuration.Type = rules.ScanType(*in.ScanType)
	}
	for _, r := range in.Rules {
		rule := rules.Rule{Frequency: rules.Frequency(*r.ScanFrequency), Filters: []rules.Filter{}}
		for _, f := range r.RepositoryFilters {
			rule.Filters = append(rule.Filters, rules.Filter{Value: *f.Filter, Type: string(*f.FilterType)})
		}
		configuration.Rules = append(configuration.Rules, rule)
	}
	configuration, err := a.Scans.PutConfiguration(ctx, c.Registry, configuration)
	if err != nil {
		return nil, err
	}
	return &PutRegistryScanningConfigurationOutput{RegistryScanningConfiguration: configurationShape(configuration)}, nil
}

func configurationShape(c rules.Configuration) *RegistryScanningConfiguration {
	out := &RegistryScanningConfiguration{ScanType: new(ScanType(c.Type)), Rules: []RegistryScanningRule{}}
	for _, r := range c.Rules {
		out.Rules = append(out.Rules, RegistryScanningRule{ScanFrequency: new(ScanFrequency(r.Frequency)), RepositoryFilters: filtersShape(r.Filters)})
	}
	return out
}

func filtersShape(filters []rules.Filter) []ScanningRepositoryFilter {
	out := []ScanningRepositoryFilter{}
	for _, f := range filters {
		out = append(out, ScanningRepositoryFilter{Filter: new(f.Value), FilterType: new(ScanningRepositoryFilterType(f.Type))})
	}
	return out
}

func batchGetNeeds(c *aws.Call, in *BatchGetRepositoryScanningConfigurationInput) ([]authz.Need, error) {
	var needs []authz.Need
	for _, n := range in.RepositoryNames {
		needs = append(needs, authz.Need{Action: "ecr:BatchGetRepositoryScanningConfiguration", Resource: c.Registry.RepositoryARN(name.Repository(n))})
	}
	return needs, nil
}

func (a *api) batchGet(ctx context.Context, c *aws.Call, in *BatchGetRepositoryScanningConfigurationInput) (*BatchGetRepositoryScanningConfigurationOutput, error) {
	names := make([]name.Repository, len(in.RepositoryNames))
	for i, n := range in.RepositoryNames {
		names[i] = name.Repository(n)
	}
	found, err := a.Scans.RepositoryConfigurations(ctx, c.Registry, names)
	if err != nil {
		return nil, err
	}
	out := &BatchGetRepositoryScanningConfigurationOutput{ScanningConfigurations: []RepositoryScanningConfiguration{}, Failures: []RepositoryScanningConfigurationFailure{}}
	for _, f := range found {
		if f.Missing {
			const code = ScanningConfigurationFailureCodeRepositoryNotFound
			out.Failures = append(out.Failures, RepositoryScanningConfigurationFailure{RepositoryName: new(string(f.Repository)), FailureCode: new(code), FailureReason: new(string(code))})
			continue
		}
		out.ScanningConfigurations = append(out.ScanningConfigurations, RepositoryScanningConfiguration{
			RepositoryArn: new(f.ARN.String()), RepositoryName: new(string(f.Repository)),
			ScanOnPush: new(f.Applied.Frequency == rules.OnPush), ScanFrequency: new(ScanFrequency(f.Applied.Frequency)),
			AppliedScanFilters: filtersShape(f.Applied.Filters),
		})
	}
	return out, nil
}

func (a *api) putRepository(ctx context.Context, c *aws.Call, in *PutImageScanningConfigurationInput) (*PutImageScanningConfigurationOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	on := in.ImageScanningConfiguration.ScanOnPush != nil && *in.ImageScanningConfiguration.ScanOnPush
	r, err := a.Scans.SetScanOnPush(ctx, reg, repo, on)
	if err != nil {
		return nil, err
	}
	return &PutImageScanningConfigurationOutput{
		RegistryId: new(string(reg.Account)), RepositoryName: new(string(repo)),
		ImageScanningConfiguration: &ImageScanningConfiguration{ScanOnPush: new(r.ScanOnPush)},
	}, nil
}

func (a *api) start(ctx context.Context, c *aws.Call, in *StartImageScanInput) (*StartImageScanOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	r, err := a.Repositories.Get(ctx, reg, repo)
	if err != nil {
		return nil, err
	}
	state, err := a.Scans.Start(ctx, r, refOf(in.ImageId))
	if err != nil {
		return nil, err
	}
	return &StartImageScanOutput{
		RegistryId: new(string(reg.Account)), RepositoryName: new(string(repo)), ImageId: imageShape(state, in.ImageId), ImageScanStatus: statusShape(state),
	}, nil
}

func refOf(id *ImageIdentifier) image.Ref {
	var ref image.Ref
	if id.ImageDigest != nil {
		ref.Digest = name.Digest(*id.ImageDigest)
	}
	if id.ImageTag != nil {
		ref.Tag = name.Tag(*id.ImageTag)
	}
	return ref
}

// imageShape is the image that was asked for: its digest, and the tag if one was given.
func imageShape(s scan.State, asked *ImageIdentifier) *ImageIdentifier {
	return &ImageIdentifier{ImageDigest: new(string(s.Digest)), ImageTag: asked.ImageTag}
}

func statusShape(s scan.State) *ImageScanStatus {
	return &ImageScanStatus{Status: new(ScanStatus(s.Status)), Description: Description(s)}
}

// Description is the description of a scan's status, absent where there is none.
func Description(s scan.State) *string { return optional(s.Description) }

// optional is a member that is absent where there is nothing to say.
func optional[T ~string](s T) *string {
	if s == "" {
		return nil
	}
	return new(string(s))
}

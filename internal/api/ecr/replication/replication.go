// Package replication is the part of the ECR API that is about replication: the
// configuration of a registry, the status of an image, and backfills; its rows, with
// the permissions that each needs, and the translation between the service's shapes
// and the domain.
//
// It does not own the rules of a configuration nor the copying (domain/replication),
// nor the service and its table of errors (api/ecr).
package replication

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
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/replication/backfill"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Config is what the rows stand on.
type Config struct {
	Entities     *entity.Service
	Repositories *repository.Service
	Replication  *replication.Service
	Backfills    *backfill.Service
	Tokens       paging.Tokens
}

type api struct{ Config }

// Operations are the rows.
func Operations(c Config) []aws.Operation {
	a := &api{c}
	return []aws.Operation{
		aws.Op("PutReplicationConfiguration", true, a.putNeeds, a.put),
		aws.Op("DescribeRegistry", false, addressing.OnRegistry[DescribeRegistryInput]("ecr:DescribeRegistry"), a.describe),
		aws.Op("DescribeImageReplicationStatus", false, addressing.OnRepository("ecr:DescribeImageReplicationStatus",
			func(in *DescribeImageReplicationStatusInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.status),

		// backfill.go
		aws.Op("StartReplicationBackfill", true, onOwn("ecr:StartReplicationBackfill", func(in *StartReplicationBackfillInput) *string { return in.RegistryId }), a.start),
		aws.Op("StopReplicationBackfill", true, onOwn("ecr:StopReplicationBackfill", func(in *StopReplicationBackfillInput) *string { return in.RegistryId }), a.stop),
		aws.Op("ListReplicationBackfills", false, onOwn("ecr:ListReplicationBackfills", func(in *ListReplicationBackfillsInput) *string { return in.RegistryId }), a.list),
		aws.Op("DescribeReplicationBackfillResults", false, onOwn("ecr:DescribeReplicationBackfillResults", func(in *DescribeReplicationBackfillResultsInput) *string { return in.RegistryId }), a.results),
	}
}

// roleService is the service whose role replicates (ECR user guide, "Using
// service-linked roles").
const roleService = "replication.ecr.amazonaws.com"

// putNeeds: who configures replication first has the service-linked role made.
func (a *api) putNeeds(c *aws.Call, _ *PutReplicationConfigurationInput) ([]authz.Need, error) {
	more, err := linkedrole.Needs(a.Entities, c.Principal.Account, roleService)
	return append([]authz.Need{{Action: "ecr:PutReplicationConfiguration"}}, more...), err
}

func (a *api) put(ctx context.Context, c *aws.Call, in *PutReplicationConfigurationInput) (*PutReplicationConfigurationOutput, error) {
	var configuration replication.Configuration
	for _, r := range in.ReplicationConfiguration.Rules {
		var rule replication.Rule
		for _, d := range r.Destinations {
			rule.Destinations = append(rule.Destinations, registryOf(d))
		}
		for _, f := range r.RepositoryFilters {
			rule.Filters = append(rule.Filters, *f.Filter)
		}
		configuration.Rules = append(configuration.Rules, rule)
	}
	if err := a.Replication.Put(ctx, c.Registry, configuration); err != nil {
		return nil, err
	}
	return &PutReplicationConfigurationOutput{ReplicationConfiguration: configurationOf(configuration)}, nil
}

func (a *api) describe(ctx context.Context, c *aws.Call, _ *DescribeRegistryInput) (*DescribeRegistryOutput, error) {
	configuration, err := a.Replication.Get(ctx, c.Registry)
	if err != nil {
		return nil, err
	}
	return &DescribeRegistryOutput{RegistryId: new(string(c.Registry.Account)), ReplicationConfiguration: configurationOf(configuration)}, nil
}

func (a *api) status(ctx context.Context, c *aws.Call, in *DescribeImageReplicationStatusInput) (*DescribeImageReplicationStatusOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	r, err := a.Repositories.Get(ctx, reg, repo)
	if err != nil {
		return nil, err
	}
	var ref image.Ref
	if in.ImageId.ImageDigest != nil {
		ref.Digest = name.Digest(*in.ImageId.ImageDigest)
	}
	if in.ImageId.ImageTag != nil {
		ref.Tag = name.Tag(*in.ImageId.ImageTag)
	}
	d, found, err := a.Replication.Statuses(ctx, r, ref)
	if err != nil {
		return nil, err
	}
	id := &ImageIdentifier{ImageDigest: new(string(d.Digest)), ImageTag: in.ImageId.ImageTag}
	out := &DescribeImageReplicationStatusOutput{RepositoryName: in.RepositoryName, ImageId: id, ReplicationStatuses: []ImageReplicationStatus{}}
	for _, s := range found {
		one := ImageReplicationStatus{
			Region: new(string(s.Destination.Region)), RegistryId: new(string(s.Destination.Account)), Status: new(ReplicationStatus(s.Status)),
		}
		if s.FailureCode != "" {
			one.FailureCode = new(s.FailureCode)
		}
		out.ReplicationStatuses = append(out.ReplicationStatuses, one)
	}
	return out, nil
}

func registryOf(d ReplicationDestination) name.Registry {
	return name.Registry{Account: name.AccountID(*d.RegistryId), Region: name.Region(*d.Region)}
}

func destinationOf(r name.Registry) ReplicationDestination {
	return ReplicationDestination{Region: new(string(r.Region)), RegistryId: new(string(r.Account))}
}

func configurationOf(c replication.Configuration) *ReplicationConfiguration {
	out := &ReplicationConfiguration{Rules: []ReplicationRule{}}
	for _, r := range c.Rules {
		rule := ReplicationRule{Destinations: []ReplicationDestination{}}
		for _, d := range r.Destinations {
			rule.Destinations = append(rule.Destinations, destinationOf(d))
		}
		for _, f := range r.Filters {
			rule.RepositoryFilters = append(rule.RepositoryFilters, RepositoryFilter{Filter: new(f), FilterType: new(RepositoryFilterTypePrefixMatch)})
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

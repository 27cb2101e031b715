package replication

import (
	"context"
	"strconv"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication/backfill"
)

// Page sizes where nothing is said (API reference, ListReplicationBackfills and
// DescribeReplicationBackfillResults).
const (
	listSize    = 25
	resultsSize = 100
)

// onOwn makes the Needs of an operation on backfills. The published list of IAM
// actions (service authorization reference) does not have the four operations yet;
// each needs an action of its own name, without a resource type as those of the
// other settings of a registry. Another account's registry is refused as its
// repositories are: nothing allows it.
func onOwn[I any](action string, of func(*I) *string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		reg, _ := addressing.Target(c, of(in), nil)
		if reg.Account == c.Principal.Account {
			return []authz.Need{{Action: action}}, nil
		}
		return []authz.Need{{Action: action, Resource: reg.RepositoryARN("*")}}, nil
	}
}

// own is the registry that the request names, which has to be the caller's: what a
// registry sends away is not for its policy to hand out.
func own(c *aws.Call, registryID *string) (name.Registry, error) {
	reg, _ := addressing.Target(c, registryID, nil)
	if reg.Account != c.Principal.Account {
		return name.Registry{}, errs.New(errs.AccessDenied, "Replication backfills of the registry with id '%s' can be managed by callers of that account only", reg.Account)
	}
	return reg, nil
}

func (a *api) start(ctx context.Context, c *aws.Call, in *StartReplicationBackfillInput) (*StartReplicationBackfillOutput, error) {
	reg, err := own(c, in.RegistryId)
	if err != nil {
		return nil, err
	}
	b, err := a.Backfills.Start(ctx, reg, registryOf(*in.Destination))
	if err != nil {
		return nil, err
	}
	return &StartReplicationBackfillOutput{
		RegistryId: new(string(reg.Account)), ReplicationBackfillId: &b.ID, Destination: new(destinationOf(b.Destination)),
		Status: new(ReplicationBackfillStatus(b.Status)), StartedAt: shape.At(b.StartedAt),
	}, nil
}

func (a *api) stop(ctx context.Context, c *aws.Call, in *StopReplicationBackfillInput) (*StopReplicationBackfillOutput, error) {
	reg, err := own(c, in.RegistryId)
	if err != nil {
		return nil, err
	}
	b, err := a.Backfills.Stop(ctx, reg, *in.ReplicationBackfillId)
	if err != nil {
		return nil, err
	}
	return &StopReplicationBackfillOutput{
		RegistryId: new(string(reg.Account)), ReplicationBackfillId: &b.ID, Destination: new(destinationOf(b.Destination)),
		Status: new(ReplicationBackfillStatus(b.Status)), StartedAt: shape.At(b.StartedAt),
	}, nil
}

func (a *api) list(ctx context.Context, c *aws.Call, in *ListReplicationBackfillsInput) (*ListReplicationBackfillsOutput, error) {
	reg, err := own(c, in.RegistryId)
	if err != nil {
		return nil, err
	}
	scope := "backfills/" + reg.String()
	after, err := a.position(scope, in.NextToken)
	if err != nil {
		return nil, err
	}
	found, next, err := a.Backfills.List(ctx, reg, after, paging.LimitOf(in.MaxResults, listSize))
	if err != nil {
		return nil, err
	}
	out := &ListReplicationBackfillsOutput{RegistryId: new(string(reg.Account)), Backfills: []ReplicationBackfillSummary{}, NextToken: a.token(scope, next)}
	for _, b := range found {
		s := ReplicationBackfillSummary{
			ReplicationBackfillId: new(b.ID), Destination: new(destinationOf(b.Destination)), Status: new(ReplicationBackfillStatus(b.Status)),
			FailureCode: failureCode(b), Progress: progressOf(b.Progress), StartedAt: shape.At(b.StartedAt),
		}
		if !b.EndedAt.IsZero() {
			s.EndedAt = shape.At(b.EndedAt)
		}
		out.Backfills = append(out.Backfills, s)
	}
	return out, nil
}

func (a *api) results(ctx context.Context, c *aws.Call, in *DescribeReplicationBackfillResultsInput) (*DescribeReplicationBackfillResultsOutput, error) {
	reg, err := own(c, in.RegistryId)
	if err != nil {
		return nil, err
	}
	q := backfill.ResultQuery{Limit: paging.LimitOf(in.MaxResults, resultsSize)}
	if in.ResultStatusFilter != nil {
		q.Outcome = backfill.Outcome(*in.ResultStatusFilter)
	}
	// A token opens for the same backfill and filter only.
	scope := "backfill/" + reg.String() + "/" + *in.ReplicationBackfillId + "/" + string(q.Outcome)
	if q.After, err = a.position(scope, in.NextToken); err != nil {
		return nil, err
	}
	b, found, next, err := a.Backfills.Describe(ctx, reg, *in.ReplicationBackfillId, q)
	if err != nil {
		return nil, err
	}
	out := &DescribeReplicationBackfillResultsOutput{
		RegistryId: new(string(reg.Account)), ReplicationBackfillId: &b.ID, Destination: new(destinationOf(b.Destination)), Status: new(ReplicationBackfillStatus(b.Status)),
		StartedAt: shape.At(b.StartedAt), FailureCode: failureCode(b), Progress: progressOf(b.Progress), Results: []ReplicationBackfillResult{}, NextToken: a.token(scope, next),
	}
	if !b.EndedAt.IsZero() {
		out.EndedAt = shape.At(b.EndedAt)
	}
	for _, r := range found {
		one := ReplicationBackfillResult{
			RepositoryName: new(string(r.Repository)), ImageId: &ImageIdentifier{ImageDigest: new(string(r.Digest))},
			Status: new(ReplicationBackfillResultStatusComplete), SubImageFailureCodes: r.Sub,
		}
		if r.Tag != "" {
			one.ImageId.ImageTag = new(string(r.Tag))
		}
		if r.Code != "" {
			one.Status, one.FailureCode = new(ReplicationBackfillResultStatusFailed), new(r.Code)
		}
		out.Results = append(out.Results, one)
	}
	return out, nil
}

// position is what a page token says, 0 at the beginning.
func (a *api) position(scope string, token *string) (int64, error) {
	cursor, err := a.Tokens.Cursor(scope, token)
	if err != nil || cursor == "" {
		return 0, err
	}
	return strconv.ParseInt(cursor, 10, 64)
}

func (a *api) token(scope string, next int64) *string {
	if next == 0 {
		return nil
	}
	return a.Tokens.Token(scope, strconv.FormatInt(next, 10))
}

// failureCode is why a backfill has failed; not while what is under way goes on.
func failureCode(b backfill.Backfill) *string {
	if b.Status != backfill.Failed {
		return nil
	}
	return &b.FailureCode
}

func progressOf(p *backfill.Progress) *ReplicationBackfillProgress {
	if p == nil {
		return nil
	}
	return &ReplicationBackfillProgress{
		TotalReplicationCount: &p.Total, CompletedReplicationCount: &p.Completed, FailedReplicationCount: &p.Failed, FailureCodes: p.FailureCodes,
	}
}

// Package lifecycle is the part of the ECR API that is about lifecycle policies and
// their previews.
//
// It owns the translation between the service's shapes and domain/lifecycle, where
// the rules are.
package lifecycle

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
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/lifecycle"
	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Config is what the operations stand on.
type Config struct {
	Repositories *repository.Service
	Policies     *lifecycle.Service
	Tokens       paging.Tokens
}

type api struct{ Config }

// Operations are the rows of the table.
func Operations(c Config) []aws.Operation {
	a := api{c}
	return []aws.Operation{
		aws.Op("PutLifecyclePolicy", true, addressing.OnRepository("ecr:PutLifecyclePolicy", func(in *PutLifecyclePolicyInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.put),
		aws.Op("GetLifecyclePolicy", false, addressing.OnRepository("ecr:GetLifecyclePolicy", func(in *GetLifecyclePolicyInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.get),
		aws.Op("DeleteLifecyclePolicy", true, addressing.OnRepository("ecr:DeleteLifecyclePolicy", func(in *DeleteLifecyclePolicyInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.delete),
		aws.Op("StartLifecyclePolicyPreview", true, addressing.OnRepository("ecr:StartLifecyclePolicyPreview", func(in *StartLifecyclePolicyPreviewInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.startPreview),
		aws.Op("GetLifecyclePolicyPreview", false, addressing.OnRepository("ecr:GetLifecyclePolicyPreview", func(in *GetLifecyclePolicyPreviewInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.getPreview),
	}
}

func (a api) repository(ctx context.Context, c *aws.Call, registryID, repositoryName *string) (repository.Repository, error) {
	reg, repo := addressing.Target(c, registryID, repositoryName)
	return a.Repositories.Get(ctx, reg, repo)
}

func (a api) put(ctx context.Context, c *aws.Call, in *PutLifecyclePolicyInput) (*PutLifecyclePolicyOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	p, err := a.Policies.Put(ctx, r, *in.LifecyclePolicyText)
	if err != nil {
		return nil, err
	}
	return &PutLifecyclePolicyOutput{RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)), LifecyclePolicyText: new(p.Text)}, nil
}

func (a api) get(ctx context.Context, c *aws.Call, in *GetLifecyclePolicyInput) (*GetLifecyclePolicyOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	p, err := a.Policies.Get(ctx, r)
	if err != nil {
		return nil, err
	}
	return &GetLifecyclePolicyOutput{
		RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)), LifecyclePolicyText: new(p.Text), LastEvaluatedAt: evaluatedAt(p),
	}, nil
}

func (a api) delete(ctx context.Context, c *aws.Call, in *DeleteLifecyclePolicyInput) (*DeleteLifecyclePolicyOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	p, err := a.Policies.Delete(ctx, r)
	if err != nil {
		return nil, err
	}
	return &DeleteLifecyclePolicyOutput{
		RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)), LifecyclePolicyText: new(p.Text), LastEvaluatedAt: evaluatedAt(p),
	}, nil
}

// evaluatedAt is the time of the last run; the beginning of 1970 stands for none.
func evaluatedAt(p lifecycle.Policy) *shape.Timestamp {
	if p.EvaluatedAt.IsZero() {
		return shape.At(time.Unix(0, 0))
	}
	return shape.At(p.EvaluatedAt)
}

func (a api) startPreview(ctx context.Context, c *aws.Call, in *StartLifecyclePolicyPreviewInput) (*StartLifecyclePolicyPreviewOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	p, err := a.Policies.StartPreview(ctx, r, in.LifecyclePolicyText)
	if err != nil {
		return nil, err
	}
	return &StartLifecyclePolicyPreviewOutput{
		RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)),
		LifecyclePolicyText: new(p.Text), Status: new(LifecyclePolicyPreviewStatus(p.Status)),
	}, nil
}

func (a api) getPreview(ctx context.Context, c *aws.Call, in *GetLifecyclePolicyPreviewInput) (*GetLifecyclePolicyPreviewOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	if in.ImageIds != nil && (in.NextToken != nil || in.MaxResults != nil) {
		return nil, errs.Parameter("imageIds", "nextToken and maxResults cannot be used together with imageIds")
	}
	q := lifecycle.PreviewQuery{Limit: paging.LimitOf(in.MaxResults, paging.PreviewSize)}
	for _, id := range in.ImageIds {
		var ref image.Ref
		if id.ImageDigest != nil {
			ref.Digest = name.Digest(*id.ImageDigest)
		}
		if id.ImageTag != nil {
			ref.Tag = name.Tag(*id.ImageTag)
		}
		q.Refs = append(q.Refs, ref)
	}
	if f := in.Filter; f != nil && f.TagStatus != nil {
		switch *f.TagStatus {
		case TagStatusTagged:
			q.TagStatus = image.Tagged
		case TagStatusUntagged:
			q.TagStatus = image.Untagged
		case TagStatusAny:
		}
	}
	scope := fmt.Sprintf("preview/%d/%d", r.ID, q.TagStatus)
	cursor, err := a.Tokens.Cursor(scope, in.NextToken)
	if err != nil {
		return nil, err
	}
	if cursor != "" {
		if q.After, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return nil, errs.Parameter("nextToken", "Invalid pagination token provided")
		}
	}
	p, results, next, err := a.Policies.Preview(ctx, r, q)
	if err != nil {
		return nil, err
	}
	out := &GetLifecyclePolicyPreviewOutput{
		RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)), LifecyclePolicyText: new(p.Text),
		Status: new(LifecyclePolicyPreviewStatus(p.Status)), PreviewResults: []LifecyclePolicyPreviewResult{},
		Summary: &LifecyclePolicyPreviewSummary{ExpiringImageTotalCount: new(p.Expiring)},
	}
	if p.Transitioning > 0 {
		out.Summary.TransitioningImageTotalCounts = []TransitioningImageTotalCount{{
			TargetStorageClass: new(LifecyclePolicyTargetStorageClassArchive), ImageTotalCount: new(p.Transitioning),
		}}
	}
	for _, one := range results {
		out.PreviewResults = append(out.PreviewResults, resultShape(one))
	}
	if next > 0 {
		out.NextToken = a.Tokens.Token(scope, strconv.FormatInt(next, 10))
	}
	return out, nil
}

// resultShape is one result. An action that is Berth's own has its own word.
func resultShape(p lifecycle.Previewed) LifecyclePolicyPreviewResult {
	out := LifecyclePolicyPreviewResult{
		ImageDigest: new(string(p.Digest)), ImageTags: p.Tags, ImagePushedAt: shape.At(p.PushedAt), AppliedRulePriority: new(p.Rule),
		Action:       &LifecyclePolicyRuleAction{Type: new(ImageActionType(strings.ToUpper(string(p.Action))))},
		StorageClass: new(LifecyclePolicyStorageClassStandard),
	}
	if p.Archived {
		out.StorageClass = new(LifecyclePolicyStorageClassArchive)
	}
	if p.Action == rules.Transition {
		out.Action.TargetStorageClass = new(LifecyclePolicyTargetStorageClassArchive)
	}
	return out
}

// Package templates is the part of the ECR API that is about repository creation
// templates: its rows, with the permissions that each needs, and the translation
// between the service's shapes and the domain.
//
// It does not own the rules, nor the making of repositories (domain/template),
// nor the service and its table of errors (api/ecr).
package templates

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/policytext"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/template"
)

// Config is what the rows stand on.
type Config struct {
	Templates *template.Service
	Tokens    paging.Tokens
}

type api struct{ Config }

// Operations are the rows.
func Operations(c Config) []aws.Operation {
	a := &api{c}
	return []aws.Operation{
		aws.Op("CreateRepositoryCreationTemplate", true, createNeeds, a.create),
		aws.Op("DescribeRepositoryCreationTemplates", false, addressing.OnRegistry[DescribeRepositoryCreationTemplatesInput]("ecr:DescribeRepositoryCreationTemplates"), a.describe),
		aws.Op("UpdateRepositoryCreationTemplate", true, updateNeeds, a.update),
		aws.Op("DeleteRepositoryCreationTemplate", true, addressing.OnRegistry[DeleteRepositoryCreationTemplateInput]("ecr:DeleteRepositoryCreationTemplate"), a.delete),
	}
}

func createNeeds(c *aws.Call, in *CreateRepositoryCreationTemplateInput) ([]authz.Need, error) {
	return needs(c, "ecr:CreateRepositoryCreationTemplate", in.Prefix, in.RepositoryPolicy, in.LifecyclePolicy, in.CustomRoleArn)
}

func updateNeeds(c *aws.Call, in *UpdateRepositoryCreationTemplateInput) ([]authz.Need, error) {
	return needs(c, "ecr:UpdateRepositoryCreationTemplate", in.Prefix, in.RepositoryPolicy, in.LifecyclePolicy, in.CustomRoleArn)
}

// needs are the permissions to set up a template. Beside the operation's own these
// are the ones to set the policies that it gives to repositories, and to hand its
// role to ECR (ECR user guide, "Creating a repository creation template"), so that
// nobody gives away by a template what they could not give by hand.
func needs(c *aws.Call, action string, prefix, repositoryPolicy, lifecyclePolicy, role *string) ([]authz.Need, error) {
	all := []authz.Need{{Action: action}}
	under := name.Repository("*")
	if *prefix != template.Root {
		under = name.Repository(strings.TrimSuffix(*prefix, "/") + "/*")
	}
	if value(repositoryPolicy) != "" {
		all = append(all, authz.Need{Action: "ecr:SetRepositoryPolicy", Resource: c.Registry.RepositoryARN(under)})
	}
	if value(lifecyclePolicy) != "" {
		all = append(all, authz.Need{Action: "ecr:PutLifecyclePolicy", Resource: c.Registry.RepositoryARN(under)})
	}
	if value(role) != "" {
		arn, err := name.ParseARN(*role)
		if err != nil {
			return nil, errs.Parameter("customRoleArn", "Invalid ARN")
		}
		all = append(all, authz.Need{Action: "iam:PassRole", Resource: arn, Context: map[string][]string{"iam:passedtoservice": {"ecr.amazonaws.com"}}})
	}
	return all, nil
}

func (a *api) create(ctx context.Context, c *aws.Call, in *CreateRepositoryCreationTemplateInput) (*CreateRepositoryCreationTemplateOutput, error) {
	t := template.Template{
		Registry: c.Registry, Prefix: *in.Prefix, AppliedFor: triggersOf(in.AppliedFor),
		Mutability: repository.Mutability{Setting: repository.Mutable, Filters: filtersOf(in.ImageTagMutabilityExclusionFilters)},
		Lifecycle:  value(in.LifecyclePolicy), Description: value(in.Description), CustomRole: value(in.CustomRoleArn),
	}
	if in.ImageTagMutability != nil {
		t.Mutability.Setting = repository.TagMutability(*in.ImageTagMutability)
	}
	if in.EncryptionConfiguration != nil {
		t.Encryption = encryptionOf(in.EncryptionConfiguration)
	}
	var err error
	if t.Tags, err = tagsOf(in.ResourceTags); err != nil {
		return nil, err
	}
	if t.Policy, err = policyOf(in.RepositoryPolicy); err != nil {
		return nil, err
	}
	made, err := a.Templates.Create(ctx, t)
	if err != nil {
		return nil, policytext.Failure(err, "repository")
	}
	return &CreateRepositoryCreationTemplateOutput{RegistryId: registryID(c), RepositoryCreationTemplate: new(shapeOf(made))}, nil
}

func (a *api) update(ctx context.Context, c *aws.Call, in *UpdateRepositoryCreationTemplateInput) (*UpdateRepositoryCreationTemplateOutput, error) {
	change := template.Change{Description: in.Description, Lifecycle: in.LifecyclePolicy, CustomRole: in.CustomRoleArn}
	if in.ImageTagMutability != nil {
		change.Setting = new(repository.TagMutability(*in.ImageTagMutability))
	}
	if in.ImageTagMutabilityExclusionFilters != nil {
		change.Filters = new(filtersOf(in.ImageTagMutabilityExclusionFilters))
	}
	if in.EncryptionConfiguration != nil {
		change.Encryption = new(encryptionOf(in.EncryptionConfiguration))
	}
	if in.AppliedFor != nil {
		change.AppliedFor = new(triggersOf(in.AppliedFor))
	}
	if in.ResourceTags != nil {
		tags, err := tagsOf(in.ResourceTags)
		if err != nil {
			return nil, err
		}
		change.Tags = &tags
	}
	if in.RepositoryPolicy != nil {
		d, err := policyOf(in.RepositoryPolicy)
		if err != nil {
			return nil, err
		}
		change.Policy = &d
	}
	changed, err := a.Templates.Update(ctx, c.Registry, *in.Prefix, change)
	if err != nil {
		return nil, policytext.Failure(err, "repository")
	}
	return &UpdateRepositoryCreationTemplateOutput{RegistryId: registryID(c), RepositoryCreationTemplate: new(shapeOf(changed))}, nil
}

func (a *api) delete(ctx context.Context, c *aws.Call, in *DeleteRepositoryCreationTemplateInput) (*DeleteRepositoryCreationTemplateOutput, error) {
	gone, err := a.Templates.Delete(ctx, c.Registry, *in.Prefix)
	if err != nil {
		return nil, err
	}
	return &DeleteRepositoryCreationTemplateOutput{RegistryId: registryID(c), RepositoryCreationTemplate: new(shapeOf(gone))}, nil
}

// describe lists templates by their prefixes. A prefix that has none is left out:
// the operation has no error for it.
func (a *api) describe(ctx context.Context, c *aws.Call, in *DescribeRepositoryCreationTemplatesInput) (*DescribeRepositoryCreationTemplatesOutput, error) {
	// A token opens for the same prefixes only.
	sum := sha256.Sum256([]byte(strings.Join(in.Prefixes, "\n")))
	scope := "templates/" + c.Registry.String() + "/" + hex.EncodeToString(sum[:])
	after, err := a.Tokens.Cursor(scope, in.NextToken)
	if err != nil {
		return nil, err
	}
	limit := paging.LimitOf(in.MaxResults, paging.Size)
	found, err := a.Templates.List(ctx, c.Registry, in.Prefixes, after, limit+1)
	if err != nil {
		return nil, err
	}
	out := &DescribeRepositoryCreationTemplatesOutput{RegistryId: registryID(c), RepositoryCreationTemplates: []RepositoryCreationTemplate{}}
	if len(found) > limit {
		found = found[:limit]
		out.NextToken = a.Tokens.Token(scope, found[limit-1].Prefix)
	}
	for _, t := range found {
		out.RepositoryCreationTemplates = append(out.RepositoryCreationTemplates, shapeOf(t))
	}
	return out, nil
}

func registryID(c *aws.Call) *string { return new(string(c.Registry.Account)) }

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func policyOf(text *string) (*policy.Document, error) {
	if value(text) == "" {
		return nil, nil
	}
	return policytext.Parse("ecr", *text, policy.Repository, "repository")
}

func encryptionOf(in *EncryptionConfigurationForRepositoryCreationTemplate) repository.Encryption {
	return repository.Encryption{Type: repository.EncryptionType(*in.EncryptionType), KMSKey: value(in.KmsKey)}
}

func filtersOf(in []ImageTagMutabilityExclusionFilter) []string {
	var filters []string
	for _, f := range in {
		filters = append(filters, *f.Filter)
	}
	return filters
}

func triggersOf(in []RCTAppliedFor) []template.Trigger {
	triggers := make([]template.Trigger, len(in))
	for i, t := range in {
		triggers[i] = template.Trigger(t)
	}
	return triggers
}

// tagsOf reads resource tags; a key that stands twice is refused.
func tagsOf(in []Tag) (map[string]string, error) {
	tags := map[string]string{}
	for _, t := range in {
		if _, twice := tags[*t.Key]; twice {
			return nil, errs.New(errs.InvalidResourceTag, "Invalid tags: the tag key '%s' is given more than once", *t.Key)
		}
		tags[*t.Key] = *t.Value
	}
	return tags, nil
}

func shapeOf(t template.Template) RepositoryCreationTemplate {
	out := RepositoryCreationTemplate{
		Prefix: new(t.Prefix), Description: optional(t.Description),
		EncryptionConfiguration: &EncryptionConfigurationForRepositoryCreationTemplate{EncryptionType: new(EncryptionType(t.Encryption.Type)), KmsKey: optional(t.Encryption.KMSKey)},
		ImageTagMutability:      new(ImageTagMutability(t.Mutability.Setting)),
		LifecyclePolicy:         optional(t.Lifecycle), CustomRoleArn: optional(t.CustomRole),
		CreatedAt: shape.At(t.CreatedAt), UpdatedAt: shape.At(t.UpdatedAt),
	}
	for _, k := range slices.Sorted(maps.Keys(t.Tags)) {
		out.ResourceTags = append(out.ResourceTags, Tag{Key: new(k), Value: new(t.Tags[k])})
	}
	for _, f := range t.Mutability.Filters {
		out.ImageTagMutabilityExclusionFilters = append(out.ImageTagMutabilityExclusionFilters, ImageTagMutabilityExclusionFilter{
			FilterType: new(ImageTagMutabilityExclusionFilterTypeWildcard), Filter: new(f),
		})
	}
	for _, trigger := range t.AppliedFor {
		out.AppliedFor = append(out.AppliedFor, RCTAppliedFor(trigger))
	}
	if t.Policy != nil {
		out.RepositoryPolicy = new(t.Policy.Pretty())
	}
	return out
}

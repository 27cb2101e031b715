// Package settings is the part of the ECR API that is about what is set for a
// registry as a whole: account settings, and the principals whose pulls are not
// recorded; its rows, with the permissions that each needs, and the translation
// between the service's shapes and the domain.
//
// It does not own where settings are kept (domain/registry) nor what they bring
// about, nor the service and its table of errors (api/ecr).
package settings

import (
	"context"
	"slices"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
)

// Config is what the rows stand on.
type Config struct {
	Registries *registry.Service
	Tokens     paging.Tokens
	Quotas     quota.Source
	// Mounting is what BLOB_MOUNTING is while nobody has set it.
	Mounting bool
}

type api struct{ Config }

// Operations are the rows.
func Operations(c Config) []aws.Operation {
	a := &api{c}
	return []aws.Operation{
		aws.Op("PutAccountSetting", true, onSetting("ecr:PutAccountSetting", func(in *PutAccountSettingInput) *string { return in.Name }), a.put),
		aws.Op("GetAccountSetting", false, onSetting("ecr:GetAccountSetting", func(in *GetAccountSettingInput) *string { return in.Name }), a.get),
		aws.Op("RegisterPullTimeUpdateExclusion", true, addressing.OnRegistry[RegisterPullTimeUpdateExclusionInput]("ecr:RegisterPullTimeUpdateExclusion"), a.register),
		aws.Op("DeregisterPullTimeUpdateExclusion", true, addressing.OnRegistry[DeregisterPullTimeUpdateExclusionInput]("ecr:DeregisterPullTimeUpdateExclusion"), a.deregister),
		aws.Op("ListPullTimeUpdateExclusions", false, addressing.OnRegistry[ListPullTimeUpdateExclusionsInput]("ecr:ListPullTimeUpdateExclusions"), a.list),
	}
}

// values are those of a setting, the one first that holds while nothing is set
// (ECR API reference, PutAccountSetting); none for a name that is no setting.
func (a *api) values(setting string) []string {
	switch setting {
	case registry.SettingPolicyScope:
		return []string{registry.ScopeV2, registry.ScopeV1}
	case registry.SettingBlobMounting:
		if a.Mounting {
			return []string{registry.Enabled, registry.Disabled}
		}
		return []string{registry.Disabled, registry.Enabled}
	case registry.SettingBasicScan:
		return []string{registry.ScanNative}
	}
	return nil
}

// withdrawn is the engine of basic scanning that AWS has given up.
const withdrawn = "CLAIR"

// onSetting makes the Needs of an operation on one setting.
func onSetting[I any](action string, of func(*I) *string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(_ *aws.Call, in *I) ([]authz.Need, error) {
		return []authz.Need{{Action: action, Context: map[string][]string{"ecr:accountsetting": {*of(in)}}}}, nil
	}
}

func (a *api) get(ctx context.Context, c *aws.Call, in *GetAccountSettingInput) (*GetAccountSettingOutput, error) {
	values := a.values(*in.Name)
	if values == nil {
		return nil, unknown(*in.Name)
	}
	value, err := a.Registries.Setting(ctx, c.Registry, *in.Name, values[0])
	if err != nil {
		return nil, err
	}
	return &GetAccountSettingOutput{Name: in.Name, Value: &value}, nil
}

func (a *api) put(ctx context.Context, c *aws.Call, in *PutAccountSettingInput) (*PutAccountSettingOutput, error) {
	values := a.values(*in.Name)
	switch {
	case values == nil:
		return nil, unknown(*in.Name)
	case *in.Name == registry.SettingBasicScan && *in.Value == withdrawn:
		return nil, errs.New(errs.Validation, "The value '%s' of the account setting '%s' has been withdrawn. Use '%s'", withdrawn, *in.Name, registry.ScanNative)
	case !slices.Contains(values, *in.Value):
		return nil, errs.New(errs.Validation, "The value '%s' is not valid for the account setting '%s'", *in.Value, *in.Name)
	}
	if err := a.Registries.PutSetting(ctx, c.Registry, *in.Name, *in.Value); err != nil {
		return nil, err
	}
	return &PutAccountSettingOutput{Name: in.Name, Value: in.Value}, nil
}

func unknown(setting string) error {
	return errs.New(errs.Validation, "The account setting '%s' is not supported", setting)
}

func (a *api) register(ctx context.Context, c *aws.Call, in *RegisterPullTimeUpdateExclusionInput) (*RegisterPullTimeUpdateExclusionOutput, error) {
	limits, err := a.Quotas.Limits(ctx, c.Registry.Account)
	if err != nil {
		return nil, err
	}
	at, err := a.Registries.ExcludePulls(ctx, c.Registry, *in.PrincipalArn, limits.PullTimeExclusions)
	if err != nil {
		return nil, err
	}
	return &RegisterPullTimeUpdateExclusionOutput{PrincipalArn: in.PrincipalArn, CreatedAt: shape.At(at)}, nil
}

func (a *api) deregister(ctx context.Context, c *aws.Call, in *DeregisterPullTimeUpdateExclusionInput) (*DeregisterPullTimeUpdateExclusionOutput, error) {
	if err := a.Registries.IncludePulls(ctx, c.Registry, *in.PrincipalArn); err != nil {
		return nil, err
	}
	return &DeregisterPullTimeUpdateExclusionOutput{PrincipalArn: in.PrincipalArn}, nil
}

func (a *api) list(ctx context.Context, c *aws.Call, in *ListPullTimeUpdateExclusionsInput) (*ListPullTimeUpdateExclusionsOutput, error) {
	scope := "exclusions/" + c.Registry.String()
	after, err := a.Tokens.Cursor(scope, in.NextToken)
	if err != nil {
		return nil, err
	}
	limit := paging.LimitOf(in.MaxResults, paging.Size)
	found, err := a.Registries.PullExclusions(ctx, c.Registry, after, limit+1)
	if err != nil {
		return nil, err
	}
	out := &ListPullTimeUpdateExclusionsOutput{PullTimeUpdateExclusions: []string{}}
	if len(found) > limit {
		found = found[:limit]
		out.NextToken = a.Tokens.Token(scope, found[limit-1])
	}
	out.PullTimeUpdateExclusions = append(out.PullTimeUpdateExclusions, found...)
	return out, nil
}

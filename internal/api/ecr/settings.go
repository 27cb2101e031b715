package ecr

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/registry"
)

// accountSettings are the settings that are built, with their values, the
// default first (ECR API reference, PutAccountSetting).
var accountSettings = map[string][]string{
	registry.SettingPolicyScope: {registry.ScopeV2, registry.ScopeV1},
}

// onSetting makes the Needs of an operation on one setting.
func onSetting[I any](action string, of func(*I) *string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(_ *aws.Call, in *I) ([]authz.Need, error) {
		return []authz.Need{{Action: action, Context: map[string][]string{"ecr:accountsetting": {*of(in)}}}}, nil
	}
}

func (a *API) getAccountSetting(ctx context.Context, c *aws.Call, in *GetAccountSettingInput) (*GetAccountSettingOutput, error) {
	values, known := accountSettings[*in.Name]
	if !known {
		return nil, unknownSetting(*in.Name)
	}
	value, err := a.Registries.Setting(ctx, c.Registry, *in.Name, values[0])
	if err != nil {
		return nil, err
	}
	return &GetAccountSettingOutput{Name: in.Name, Value: &value}, nil
}

func (a *API) putAccountSetting(ctx context.Context, c *aws.Call, in *PutAccountSettingInput) (*PutAccountSettingOutput, error) {
	values, known := accountSettings[*in.Name]
	if !known {
		return nil, unknownSetting(*in.Name)
	}
	for _, v := range values {
		if v == *in.Value {
			if err := a.Registries.PutSetting(ctx, c.Registry, *in.Name, v); err != nil {
				return nil, err
			}
			return &PutAccountSettingOutput{Name: in.Name, Value: in.Value}, nil
		}
	}
	return nil, errs.New(errs.Validation, "The value '%s' is not valid for the account setting '%s'", *in.Value, *in.Name)
}

func unknownSetting(setting string) error {
	return errs.New(errs.Validation, "The account setting '%s' is not supported", setting)
}

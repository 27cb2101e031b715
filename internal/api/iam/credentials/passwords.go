package credentials

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
	"github.com/berth-registry/berth/internal/domain/principal/credential/password"
)

func loginProfileShape(p credential.LoginProfile) *shapes.LoginProfile {
	return &shapes.LoginProfile{UserName: new(p.UserName), CreateDate: shape.At(p.CreatedAt), PasswordResetRequired: new(p.ResetRequired)}
}

func (a *api) createLoginProfile(ctx context.Context, c *aws.Call, in *shapes.CreateLoginProfileInput) (*shapes.CreateLoginProfileOutput, error) {
	owner, err := ownerOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	// The model does not require it: it is left out when an organization's
	// management account restores a member's root user, which is not built.
	if in.Password == nil {
		var check shape.Check
		check.Missing("password")
		return nil, check.Query()
	}
	p, err := a.Credentials.CreateLoginProfile(ctx, c.Principal.Account, owner, *in.Password, in.PasswordResetRequired != nil && *in.PasswordResetRequired)
	if err != nil {
		return nil, err
	}
	return &shapes.CreateLoginProfileOutput{LoginProfile: loginProfileShape(p)}, nil
}

func (a *api) getLoginProfile(ctx context.Context, c *aws.Call, in *shapes.GetLoginProfileInput) (*shapes.GetLoginProfileOutput, error) {
	owner, err := ownerOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	p, err := a.Credentials.LoginProfile(ctx, c.Principal.Account, owner)
	if err != nil {
		return nil, err
	}
	return &shapes.GetLoginProfileOutput{LoginProfile: loginProfileShape(p)}, nil
}

func (a *api) updateLoginProfile(ctx context.Context, c *aws.Call, in *shapes.UpdateLoginProfileInput) (*shapes.UpdateLoginProfileOutput, error) {
	owner, err := ownerOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &shapes.UpdateLoginProfileOutput{}, a.Credentials.UpdateLoginProfile(ctx, c.Principal.Account, owner, in.Password, in.PasswordResetRequired)
}

func (a *api) deleteLoginProfile(ctx context.Context, c *aws.Call, in *shapes.DeleteLoginProfileInput) (*shapes.DeleteLoginProfileOutput, error) {
	owner, err := ownerOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &shapes.DeleteLoginProfileOutput{}, a.Credentials.DeleteLoginProfile(ctx, c.Principal.Account, owner)
}

func (a *api) changePassword(ctx context.Context, c *aws.Call, in *shapes.ChangePasswordInput) (*shapes.ChangePasswordOutput, error) {
	owner, err := ownerOf(c, nil)
	if err != nil {
		return nil, err
	}
	return &shapes.ChangePasswordOutput{}, a.Credentials.ChangePassword(ctx, c.Principal.Account, owner, *in.OldPassword, *in.NewPassword)
}

func (a *api) getAccountPasswordPolicy(ctx context.Context, c *aws.Call, _ *shapes.GetAccountPasswordPolicyInput) (*shapes.GetAccountPasswordPolicyOutput, error) {
	p, err := a.Credentials.PasswordPolicy(ctx, c.Principal.Account)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, credential.NoPasswordPolicy(c.Principal.Account)
	}
	out := &shapes.PasswordPolicy{
		MinimumPasswordLength: new(p.Length), RequireSymbols: new(p.Symbols), RequireNumbers: new(p.Numbers),
		RequireUppercaseCharacters: new(p.Uppercase), RequireLowercaseCharacters: new(p.Lowercase),
		AllowUsersToChangePassword: new(p.UsersMayChange), ExpirePasswords: new(p.MaxAge > 0), HardExpiry: new(p.HardExpiry),
	}
	if p.MaxAge > 0 {
		out.MaxPasswordAge = new(p.MaxAge)
	}
	if p.Remembered > 0 {
		out.PasswordReusePrevention = new(p.Remembered)
	}
	return &shapes.GetAccountPasswordPolicyOutput{PasswordPolicy: out}, nil
}

// updateAccountPasswordPolicy sets all of the policy: what is left out goes back
// to its default (IAM API reference).
func (a *api) updateAccountPasswordPolicy(ctx context.Context, c *aws.Call, in *shapes.UpdateAccountPasswordPolicyInput) (*shapes.UpdateAccountPasswordPolicyOutput, error) {
	p := password.Policy{
		Length:  or(in.MinimumPasswordLength, password.DefaultLength),
		Symbols: or(in.RequireSymbols, false), Numbers: or(in.RequireNumbers, false),
		Uppercase: or(in.RequireUppercaseCharacters, false), Lowercase: or(in.RequireLowercaseCharacters, false),
		UsersMayChange: or(in.AllowUsersToChangePassword, false), MaxAge: or(in.MaxPasswordAge, 0),
		Remembered: or(in.PasswordReusePrevention, 0), HardExpiry: or(in.HardExpiry, false),
	}
	return &shapes.UpdateAccountPasswordPolicyOutput{}, a.Credentials.SetPasswordPolicy(ctx, c.Principal.Account, p)
}

func or[T any](given *T, otherwise T) T {
	if given == nil {
		return otherwise
	}
	return *given
}

func (a *api) deleteAccountPasswordPolicy(ctx context.Context, c *aws.Call, _ *shapes.DeleteAccountPasswordPolicyInput) (*shapes.DeleteAccountPasswordPolicyOutput, error) {
	return &shapes.DeleteAccountPasswordPolicyOutput{}, a.Credentials.DeletePasswordPolicy(ctx, c.Principal.Account)
}

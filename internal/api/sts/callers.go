package sts

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

func (a *API) getCallerIdentity(_ context.Context, c *aws.Call, _ *GetCallerIdentityInput) (*GetCallerIdentityOutput, error) {
	return &GetCallerIdentityOutput{
		UserId: new(c.Principal.ID), Account: new(string(c.Principal.Account)), Arn: new(c.Principal.ARN),
	}, nil
}

func (a *API) getAccessKeyInfo(ctx context.Context, _ *aws.Call, in *GetAccessKeyInfoInput) (*GetAccessKeyInfoOutput, error) {
	account, err := a.accountOfKey(ctx, *in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	return &GetAccessKeyInfoOutput{Account: new(string(account))}, nil
}

// accountOfKey finds the account of a key. One that an operator chose says
// nothing by itself and has to be there; one that was made here, temporary or
// deleted meanwhile, names its account.
func (a *API) accountOfKey(ctx context.Context, id string) (name.AccountID, error) {
	key, found, err := a.Principals.AccessKey(ctx, id)
	if err != nil {
		return "", err
	}
	if found {
		return key.Principal.Account, nil
	}
	unknown := errs.New(errs.Validation, "The access key id %s is not one of this deployment's.", id)
	account, ok := principal.AccountOfKey(id)
	if !ok {
		return "", unknown
	}
	if _, err = a.Principals.Account(ctx, account); errs.Is(err, errs.EntityNotFound) {
		return "", unknown
	}
	return account, err
}

func (a *API) decodeAuthorizationMessage(_ context.Context, c *aws.Call, in *DecodeAuthorizationMessageInput) (*DecodeAuthorizationMessageOutput, error) {
	message, err := a.Messages.DecodeMessage(c.Principal.Account, *in.EncodedMessage)
	if err != nil {
		return nil, err
	}
	return &DecodeAuthorizationMessageOutput{DecodedMessage: &message}, nil
}

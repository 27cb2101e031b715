// Package credentials is the part of the IAM API (2010-05-08, Query) that is
// about what callers prove themselves with: access keys, login profiles and the
// password policy, MFA devices, OIDC providers, and the account's alias.
//
// It holds the operations' rows, each with the permissions it needs, and the
// translation between the API's shapes and the domain. Users, groups, roles and
// policies have packages of their own beside it; the service they make up
// together, and its table of errors, are in internal/api/iam. GetMFADevice is
// left out: it is about FIDO keys, which Berth does not have.
package credentials

import (
	"context"
	"encoding/base64"
	"maps"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
)

// Config is what the operations work on.
type Config struct {
	Credentials *credential.Service
	Providers   *provider.Service
}

type api struct{ Config }

// Operations are the rows of this part of the service.
func Operations(c Config) []aws.Operation {
	a := &api{c}
	return []aws.Operation{
		// accesskeys.go
		aws.Op("CreateAccessKey", true, onUser(a, "iam:CreateAccessKey", func(in *shapes.CreateAccessKeyInput) *string { return in.UserName }), a.createAccessKey),
		aws.Op("UpdateAccessKey", true, onUser(a, "iam:UpdateAccessKey", func(in *shapes.UpdateAccessKeyInput) *string { return in.UserName }), a.updateAccessKey),
		aws.Op("DeleteAccessKey", true, onUser(a, "iam:DeleteAccessKey", func(in *shapes.DeleteAccessKeyInput) *string { return in.UserName }), a.deleteAccessKey),
		aws.Op("ListAccessKeys", false, onUser(a, "iam:ListAccessKeys", func(in *shapes.ListAccessKeysInput) *string { return in.UserName }), a.listAccessKeys),
		aws.Op("GetAccessKeyLastUsed", false, a.getAccessKeyLastUsedNeeds, a.getAccessKeyLastUsed),

		// passwords.go
		aws.Op("CreateLoginProfile", true, onUser(a, "iam:CreateLoginProfile", func(in *shapes.CreateLoginProfileInput) *string { return in.UserName }), a.createLoginProfile),
		aws.Op("GetLoginProfile", false, onUser(a, "iam:GetLoginProfile", func(in *shapes.GetLoginProfileInput) *string { return in.UserName }), a.getLoginProfile),
		aws.Op("UpdateLoginProfile", true, onUser(a, "iam:UpdateLoginProfile", func(in *shapes.UpdateLoginProfileInput) *string { return in.UserName }), a.updateLoginProfile),
		aws.Op("DeleteLoginProfile", true, onUser(a, "iam:DeleteLoginProfile", func(in *shapes.DeleteLoginProfileInput) *string { return in.UserName }), a.deleteLoginProfile),
		aws.Op("ChangePassword", true, onUser(a, "iam:ChangePassword", func(*shapes.ChangePasswordInput) *string { return nil }), a.changePassword),
		aws.Op("GetAccountPasswordPolicy", false, onAccount[shapes.GetAccountPasswordPolicyInput]("iam:GetAccountPasswordPolicy"), a.getAccountPasswordPolicy),
		aws.Op("UpdateAccountPasswordPolicy", true, onAccount[shapes.UpdateAccountPasswordPolicyInput]("iam:UpdateAccountPasswordPolicy"), a.updateAccountPasswordPolicy),
		aws.Op("DeleteAccountPasswordPolicy", true, onAccount[shapes.DeleteAccountPasswordPolicyInput]("iam:DeleteAccountPasswordPolicy"), a.deleteAccountPasswordPolicy),

		// aliases.go
		aws.Op("CreateAccountAlias", true, onAccount[shapes.CreateAccountAliasInput]("iam:CreateAccountAlias"), a.createAccountAlias),
		aws.Op("DeleteAccountAlias", true, onAccount[shapes.DeleteAccountAliasInput]("iam:DeleteAccountAlias"), a.deleteAccountAlias),
		aws.Op("ListAccountAliases", false, onAccount[shapes.ListAccountAliasesInput]("iam:ListAccountAliases"), a.listAccountAliases),

		// devices.go
		aws.Op("CreateVirtualMFADevice", true, a.createVirtualMFADeviceNeeds, a.createVirtualMFADevice),
		aws.Op("EnableMFADevice", true, onDeviceUser(a, "iam:EnableMFADevice", func(in *shapes.EnableMFADeviceInput) (u, s *string) { return in.UserName, in.SerialNumber }), a.enableMFADevice),
		aws.Op("DeactivateMFADevice", true, onDeviceUser(a, "iam:DeactivateMFADevice", func(in *shapes.DeactivateMFADeviceInput) (u, s *string) { return in.UserName, in.SerialNumber }), a.deactivateMFADevice),
		aws.Op("ResyncMFADevice", true, onDeviceUser(a, "iam:ResyncMFADevice", func(in *shapes.ResyncMFADeviceInput) (u, s *string) { return in.UserName, in.SerialNumber }), a.resyncMFADevice),
		aws.Op("DeleteVirtualMFADevice", true, onDevice(a, "iam:DeleteVirtualMFADevice", func(in *shapes.DeleteVirtualMFADeviceInput) (*string, map[string][]string) {
			return in.SerialNumber, nil
		}), a.deleteVirtualMFADevice),
		aws.Op("ListMFADevices", false, onUser(a, "iam:ListMFADevices", func(in *shapes.ListMFADevicesInput) *string { return in.UserName }), a.listMFADevices),
		aws.Op("ListVirtualMFADevices", false, onAccount[shapes.ListVirtualMFADevicesInput]("iam:ListVirtualMFADevices"), a.listVirtualMFADevices),
		aws.Op("TagMFADevice", true, onDevice(a, "iam:TagMFADevice", func(in *shapes.TagMFADeviceInput) (*string, map[string][]string) {
			return in.SerialNumber, requested(in.Tags)
		}), a.tagMFADevice),
		aws.Op("UntagMFADevice", true, onDevice(a, "iam:UntagMFADevice", func(in *shapes.UntagMFADeviceInput) (*string, map[string][]string) {
			return in.SerialNumber, requestedKeys(in.TagKeys)
		}), a.untagMFADevice),
		aws.Op("ListMFADeviceTags", false, onDevice(a, "iam:ListMFADeviceTags", func(in *shapes.ListMFADeviceTagsInput) (*string, map[string][]string) { return in.SerialNumber, nil }), a.listMFADeviceTags),

		// providers.go
		aws.Op("CreateOpenIDConnectProvider", true, a.createOpenIDConnectProviderNeeds, a.createOpenIDConnectProvider),
		aws.Op("GetOpenIDConnectProvider", false, onProvider(a, "iam:GetOpenIDConnectProvider", func(in *shapes.GetOpenIDConnectProviderInput) (*string, map[string][]string) {
			return in.OpenIDConnectProviderArn, nil
		}), a.getOpenIDConnectProvider),
		aws.Op("DeleteOpenIDConnectProvider", true, onProvider(a, "iam:DeleteOpenIDConnectProvider", func(in *shapes.DeleteOpenIDConnectProviderInput) (*string, map[string][]string) {
			return in.OpenIDConnectProviderArn, nil
		}), a.deleteOpenIDConnectProvider),
		aws.Op("ListOpenIDConnectProviders", false, onAccount[shapes.ListOpenIDConnectProvidersInput]("iam:ListOpenIDConnectProviders"), a.listOpenIDConnectProviders),
		aws.Op("AddClientIDToOpenIDConnectProvider", true, onProvider(a, "iam:AddClientIDToOpenIDConnectProvider", func(in *shapes.AddClientIDToOpenIDConnectProviderInput) (*string, map[string][]string) {
			return in.OpenIDConnectProviderArn, nil
		}), a.addClientID),
		aws.Op("RemoveClientIDFromOpenIDConnectProvider", true, onProvider(a, "iam:RemoveClientIDFromOpenIDConnectProvider", func(in *shapes.RemoveClientIDFromOpenIDConnectProviderInput) (*string, map[string][]string) {
			return in.OpenIDConnectProviderArn, nil
		}), a.removeClientID),
		aws.Op("UpdateOpenIDConnectProviderThumbprint", true, onProvider(a, "iam:UpdateOpenIDConnectProviderThumbprint", func(in *shapes.UpdateOpenIDConnectProviderThumbprintInput) (*string, map[string][]string) {
			return in.OpenIDConnectProviderArn, nil
		}), a.updateThumbprint),
		aws.Op("TagOpenIDConnectProvider", true, onProvider(a, "iam:TagOpenIDConnectProvider", func(in *shapes.TagOpenIDConnectProviderInput) (*string, map[string][]string) {
			return in.OpenIDConnectProviderArn, requested(in.Tags)
		}), a.tagOpenIDConnectProvider),
		aws.Op("UntagOpenIDConnectProvider", true, onProvider(a, "iam:UntagOpenIDConnectProvider", func(in *shapes.UntagOpenIDConnectProviderInput) (*string, map[string][]string) {
			return in.OpenIDConnectProviderArn, requestedKeys(in.TagKeys)
		}), a.untagOpenIDConnectProvider),
		aws.Op("ListOpenIDConnectProviderTags", false, onProvider(a, "iam:ListOpenIDConnectProviderTags", func(in *shapes.ListOpenIDConnectProviderTagsInput) (*string, map[string][]string) {
			return in.OpenIDConnectProviderArn, nil
		}), a.listOpenIDConnectProviderTags),
	}
}

// onAccount is for operations whose action has no resource type.
func onAccount[I any](action string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(*aws.Call, *I) ([]authz.Need, error) { return []authz.Need{{Action: action}}, nil }
}

// onUser is for operations on a user, or on the caller where none is named.
func onUser[I any](a *api, action string, user func(*I) *string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		owner, err := ownerOf(c, user(in))
		if err != nil {
			return nil, err
		}
		return a.userNeed(c, action, owner)
	}
}

// ownerOf is the user of the name, or the caller itself where none is given.
// The root user has no name; it calls itself by the account's number, as answers
// do.
func ownerOf(c *aws.Call, userName *string) (credential.Owner, error) {
	p := c.Principal
	switch {
	case p.IsRoot() && (userName == nil || *userName == string(p.Account)):
		return credential.Owner{}, nil
	case userName != nil:
		return credential.Owner{Name: *userName}, nil
	case p.Entity != "" && strings.HasPrefix(p.ARN, iamARN(c, "user/").String()):
		return credential.Owner{ID: p.Entity}, nil
	}
	return credential.Owner{}, errs.New(errs.Validation, "Must specify userName when calling with non-User credentials")
}

// shownName is a user's name in answers; see ownerOf.
func shownName(c *aws.Call, userName string) *string {
	if userName == "" {
		return new(string(c.Principal.Account))
	}
	return &userName
}

// userNeed asks for an action on a user. A name that nobody has is asked for as
// well, with the path /, so that strangers do not learn who there is.
func (a *api) userNeed(c *aws.Call, action string, owner credential.Owner) ([]authz.Need, error) {
	u, err := a.Credentials.User(context.Background(), c.Principal.Account, owner)
	if errs.Is(err, errs.EntityNotFound) {
		return []authz.Need{{Action: action, Resource: iamARN(c, "user/"+owner.Name)}}, nil
	}
	if err != nil {
		return nil, err
	}
	keys := map[string][]string{}
	for _, t := range u.Tags {
		fold := strings.ToLower(t.Key)
		keys["aws:resourcetag/"+fold] = []string{t.Value}
		keys["iam:resourcetag/"+fold] = []string{t.Value}
	}
	arn, err := name.ParseARN(u.ARN(c.Principal.Account))
	return []authz.Need{{Action: action, Resource: arn, Context: keys}}, err
}

// iamARN is the ARN of a resource of the caller's account.
func iamARN(c *aws.Call, resource string) name.ARN {
	return name.ARN{Partition: "aws", Service: "iam", Account: c.Principal.Account, Resource: resource}
}

// requested gives the condition keys about tags that a request sets.
func requested(tags []shapes.Tag) map[string][]string {
	keys := map[string][]string{}
	for _, t := range tags {
		keys["aws:requesttag/"+strings.ToLower(*t.Key)] = []string{*t.Value}
		keys["aws:tagkeys"] = append(keys["aws:tagkeys"], *t.Key)
	}
	return keys
}

// requestedKeys is requested for tags that a request takes away.
func requestedKeys(tagKeys []string) map[string][]string {
	if len(tagKeys) == 0 {
		return nil
	}
	return map[string][]string{"aws:tagkeys": tagKeys}
}

// tagged adds the condition keys about the tags that a resource has.
func tagged(keys map[string][]string, tags []tag.Tag) map[string][]string {
	out := map[string][]string{}
	maps.Copy(out, keys)
	for _, t := range tags {
		out["aws:resourcetag/"+strings.ToLower(t.Key)] = []string{t.Value}
	}
	return out
}

func tagsOf(in []shapes.Tag) []tag.Tag {
	tags := make([]tag.Tag, len(in))
	for i, t := range in {
		tags[i] = tag.Tag{Key: *t.Key, Value: *t.Value}
	}
	return tags
}

func tagShapes(tags []tag.Tag) []shapes.Tag {
	out := make([]shapes.Tag, len(tags))
	for i, t := range tags {
		out[i] = shapes.Tag{Key: new(t.Key), Value: new(t.Value)}
	}
	return out
}

// pageSize is how many entries a page has where the request does not say.
const pageSize = 100

// page reads where a page begins and how long it is.
func page(marker *string, maxItems *int64) (after string, limit int, err error) {
	limit = pageSize
	if maxItems != nil {
		limit = int(*maxItems)
	}
	if marker == nil {
		return "", limit, nil
	}
	key, err := base64.RawURLEncoding.DecodeString(*marker)
	if err != nil || len(key) == 0 || strings.ToValidUTF8(string(key), "") != string(key) || strings.Contains(string(key), "\x00") {
		return "", 0, errs.New(errs.Validation, "Invalid Marker.")
	}
	return string(key), limit, nil
}

// cut ends a page at its limit and says how to go on. The list has one entry
// more than the page where there are more.
func cut[T any](list []T, limit int, key func(T) string) (kept []T, truncated *bool, marker *string) {
	if len(list) <= limit {
		return list, new(false), nil
	}
	return list[:limit], new(true), new(base64.RawURLEncoding.EncodeToString([]byte(key(list[limit-1]))))
}

// tagPage is a page of a resource's tags, which are few and come at once.
func tagPage(tags []tag.Tag, marker *string, maxItems *int64) (out []shapes.Tag, truncated *bool, next *string, err error) {
	after, limit, err := page(marker, maxItems)
	if err != nil {
		return nil, nil, nil, err
	}
	fold := func(t tag.Tag) string { return strings.ToLower(t.Key) }
	for len(tags) > 0 && after != "" && fold(tags[0]) <= after {
		tags = tags[1:]
	}
	tags, truncated, next = cut(tags, limit, fold)
	return tagShapes(tags), truncated, next, nil
}

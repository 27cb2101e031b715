package credentials_test

import (
	"context"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/berth-registry/berth/internal/api/iam/credentials"
)

// Every row asks for its action on the resource, with the condition keys about
// tags, that the service authorization reference gives.
func TestNeeds(t *testing.T) {
	s, ctx := start(t), t.Context()
	root, bay := s.as("root"), s.as("bay")
	device := ok(root.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: str("d"), Tags: []types.Tag{{Key: str("Env"), Value: str("prod")}}}))(t).VirtualMFADevice.SerialNumber
	arn := ok(root.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: str("https://idp.example.com"), Tags: []types.Tag{{Key: str("Env"), Value: str("test")}}}))(t).OpenIDConnectProviderArn
	key := ok(root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: str("Bay")}))(t).AccessKey.AccessKeyId
	unknown := str("AKIAUNKNOWNUNKNOWN00")
	tags := []types.Tag{{Key: str("Team"), Value: str("blue")}, {Key: str("x"), Value: str("")}}

	const (
		ofBay    = "user/dev/Bay aws:resourcetag/team=red iam:resourcetag/team=red"
		given    = " aws:requesttag/team=blue aws:requesttag/x= aws:tagkeys=Team,x"
		ofDevice = "mfa/d aws:resourcetag/env=prod"
		ofIdP    = "oidc-provider/idp.example.com aws:resourcetag/env=test"
	)
	seen := map[string]bool{}
	for _, c := range []struct {
		op   string
		call func(context.Context) error
		want []string
	}{
		{"CreateAccessKey", call(bay.CreateAccessKey, &iam.CreateAccessKeyInput{}), []string{"iam:CreateAccessKey " + ofBay}},
		{"CreateAccessKey", call(root.CreateAccessKey, &iam.CreateAccessKeyInput{}), []string{"iam:CreateAccessKey root"}},
		{"CreateAccessKey", call(root.CreateAccessKey, &iam.CreateAccessKeyInput{UserName: str("BAY")}), []string{"iam:CreateAccessKey " + ofBay}},
		{"CreateAccessKey", call(root.CreateAccessKey, &iam.CreateAccessKeyInput{UserName: str("mallows")}), []string{"iam:CreateAccessKey user/mallows"}},
		{"UpdateAccessKey", call(bay.UpdateAccessKey, &iam.UpdateAccessKeyInput{AccessKeyId: unknown, Status: "Active"}), []string{"iam:UpdateAccessKey " + ofBay}},
		{"DeleteAccessKey", call(bay.DeleteAccessKey, &iam.DeleteAccessKeyInput{AccessKeyId: unknown, UserName: str("elm")}), []string{"iam:DeleteAccessKey user/elm"}},
		{"ListAccessKeys", call(bay.ListAccessKeys, &iam.ListAccessKeysInput{}), []string{"iam:ListAccessKeys " + ofBay}},
		{"GetAccessKeyLastUsed", call(root.GetAccessKeyLastUsed, &iam.GetAccessKeyLastUsedInput{AccessKeyId: key}), []string{"iam:GetAccessKeyLastUsed " + ofBay}},
		{"GetAccessKeyLastUsed", call(root.GetAccessKeyLastUsed, &iam.GetAccessKeyLastUsedInput{AccessKeyId: unknown}), []string{"iam:GetAccessKeyLastUsed user/*"}},
		{"CreateLoginProfile", call(root.CreateLoginProfile, &iam.CreateLoginProfileInput{UserName: str("bay"), Password: str("x")}), []string{"iam:CreateLoginProfile " + ofBay}},
		{"GetLoginProfile", call(bay.GetLoginProfile, &iam.GetLoginProfileInput{}), []string{"iam:GetLoginProfile " + ofBay}},
		{"UpdateLoginProfile", call(root.UpdateLoginProfile, &iam.UpdateLoginProfileInput{UserName: str("elm")}), []string{"iam:UpdateLoginProfile user/elm"}},
		{"DeleteLoginProfile", call(root.DeleteLoginProfile, &iam.DeleteLoginProfileInput{UserName: str("elm")}), []string{"iam:DeleteLoginProfile user/elm"}},
		{"ChangePassword", call(bay.ChangePassword, &iam.ChangePasswordInput{OldPassword: str("a"), NewPassword: str("b")}), []string{"iam:ChangePassword " + ofBay}},
		{"GetAccountPasswordPolicy", call(bay.GetAccountPasswordPolicy, &iam.GetAccountPasswordPolicyInput{}), []string{"iam:GetAccountPasswordPolicy *"}},
		{"UpdateAccountPasswordPolicy", call(bay.UpdateAccountPasswordPolicy, &iam.UpdateAccountPasswordPolicyInput{}), []string{"iam:UpdateAccountPasswordPolicy *"}},
		{"DeleteAccountPasswordPolicy", call(bay.DeleteAccountPasswordPolicy, &iam.DeleteAccountPasswordPolicyInput{}), []string{"iam:DeleteAccountPasswordPolicy *"}},
		{"CreateAccountAlias", call(bay.CreateAccountAlias, &iam.CreateAccountAliasInput{AccountAlias: str("acme")}), []string{"iam:CreateAccountAlias *"}},
		{"DeleteAccountAlias", call(bay.DeleteAccountAlias, &iam.DeleteAccountAliasInput{AccountAlias: str("acme")}), []string{"iam:DeleteAccountAlias *"}},
		{"ListAccountAliases", call(bay.ListAccountAliases, &iam.ListAccountAliasesInput{}), []string{"iam:ListAccountAliases *"}},
		{"CreateVirtualMFADevice", call(bay.CreateVirtualMFADevice, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: str("e")}), []string{"iam:CreateVirtualMFADevice mfa/e"}},
		{"CreateVirtualMFADevice", call(bay.CreateVirtualMFADevice, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: str("f"), Path: str("/p/"), Tags: tags}),
			[]string{"iam:CreateVirtualMFADevice mfa/p/f" + given, "iam:TagMFADevice mfa/p/f" + given}},
		{"EnableMFADevice", call(bay.EnableMFADevice, &iam.EnableMFADeviceInput{UserName: str("Bay"), SerialNumber: device, AuthenticationCode1: str("000000"), AuthenticationCode2: str("000000")}),
			[]string{"iam:EnableMFADevice " + ofBay}},
		{"EnableMFADevice", call(root.EnableMFADevice, &iam.EnableMFADeviceInput{UserName: str(string(account)), SerialNumber: device, AuthenticationCode1: str("000000"), AuthenticationCode2: str("000000")}),
			[]string{"iam:EnableMFADevice root"}},
		{"DeactivateMFADevice", call(bay.DeactivateMFADevice, &iam.DeactivateMFADeviceInput{SerialNumber: device}), []string{"iam:DeactivateMFADevice " + ofBay}},
		{"DeactivateMFADevice", call(root.DeactivateMFADevice, &iam.DeactivateMFADeviceInput{UserName: str("x"), SerialNumber: str(arns + "mfa/root-account-mfa-device")}), []string{"iam:DeactivateMFADevice root"}},
		{"DeactivateMFADevice", call(bay.DeactivateMFADevice, &iam.DeactivateMFADeviceInput{UserName: str("x"), SerialNumber: str(arns + "mfa/root-account-mfa-device")}), []string{"iam:DeactivateMFADevice user/x"}},
		{"ResyncMFADevice", call(bay.ResyncMFADevice, &iam.ResyncMFADeviceInput{UserName: str("Bay"), SerialNumber: device, AuthenticationCode1: str("000000"), AuthenticationCode2: str("000000")}),
			[]string{"iam:ResyncMFADevice " + ofBay}},
		{"ListMFADevices", call(bay.ListMFADevices, &iam.ListMFADevicesInput{}), []string{"iam:ListMFADevices " + ofBay}},
		{"ListVirtualMFADevices", call(bay.ListVirtualMFADevices, &iam.ListVirtualMFADevicesInput{}), []string{"iam:ListVirtualMFADevices *"}},
		{"ListMFADeviceTags", call(bay.ListMFADeviceTags, &iam.ListMFADeviceTagsInput{SerialNumber: device}), []string{"iam:ListMFADeviceTags " + ofDevice}},
		{"TagMFADevice", call(bay.TagMFADevice, &iam.TagMFADeviceInput{SerialNumber: device, Tags: tags}),
			[]string{"iam:TagMFADevice mfa/d aws:requesttag/team=blue aws:requesttag/x= aws:resourcetag/env=prod aws:tagkeys=Team,x"}},
		{"UntagMFADevice", call(bay.UntagMFADevice, &iam.UntagMFADeviceInput{SerialNumber: device, TagKeys: []string{"Team", "X"}}),
			[]string{"iam:UntagMFADevice mfa/d aws:resourcetag/env=prod aws:resourcetag/team=blue aws:resourcetag/x= aws:tagkeys=Team,X"}},
		{"DeleteVirtualMFADevice", call(bay.DeleteVirtualMFADevice, &iam.DeleteVirtualMFADeviceInput{SerialNumber: device}), []string{"iam:DeleteVirtualMFADevice " + ofDevice}},
		{"DeleteVirtualMFADevice", call(bay.DeleteVirtualMFADevice, &iam.DeleteVirtualMFADeviceInput{SerialNumber: str("GAHT12345678")}), []string{"iam:DeleteVirtualMFADevice mfa/GAHT12345678"}},
		{"DeleteVirtualMFADevice", call(bay.DeleteVirtualMFADevice, &iam.DeleteVirtualMFADeviceInput{SerialNumber: str("arn:aws:iam::222222222222:mfa/d")}),
			[]string{"iam:DeleteVirtualMFADevice arn:aws:iam::222222222222:mfa/d"}},
		{"CreateOpenIDConnectProvider", call(bay.CreateOpenIDConnectProvider, &iam.CreateOpenIDConnectProviderInput{Url: str("https://a.example.com/x/")}), []string{"iam:CreateOpenIDConnectProvider oidc-provider/a.example.com/x"}},
		{"CreateOpenIDConnectProvider", call(bay.CreateOpenIDConnectProvider, &iam.CreateOpenIDConnectProviderInput{Url: str("https://b.example.com"), Tags: tags}),
			[]string{"iam:CreateOpenIDConnectProvider oidc-provider/b.example.com" + given, "iam:TagOpenIDConnectProvider oidc-provider/b.example.com" + given}},
		{"GetOpenIDConnectProvider", call(bay.GetOpenIDConnectProvider, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}), []string{"iam:GetOpenIDConnectProvider " + ofIdP}},
		{"GetOpenIDConnectProvider", call(bay.GetOpenIDConnectProvider, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: str("arn:aws:iam::222222222222:oidc-provider/x")}),
			[]string{"iam:GetOpenIDConnectProvider arn:aws:iam::222222222222:oidc-provider/x"}},
		{"ListOpenIDConnectProviders", call(bay.ListOpenIDConnectProviders, &iam.ListOpenIDConnectProvidersInput{}), []string{"iam:ListOpenIDConnectProviders *"}},
		{"AddClientIDToOpenIDConnectProvider", call(bay.AddClientIDToOpenIDConnectProvider, &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: str("c")}),
			[]string{"iam:AddClientIDToOpenIDConnectProvider " + ofIdP}},
		{"RemoveClientIDFromOpenIDConnectProvider", call(bay.RemoveClientIDFromOpenIDConnectProvider, &iam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: str("c")}),
			[]string{"iam:RemoveClientIDFromOpenIDConnectProvider " + ofIdP}},
		{"UpdateOpenIDConnectProviderThumbprint", call(bay.UpdateOpenIDConnectProviderThumbprint, &iam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{}}),
			[]string{"iam:UpdateOpenIDConnectProviderThumbprint " + ofIdP}},
		{"ListOpenIDConnectProviderTags", call(bay.ListOpenIDConnectProviderTags, &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn}), []string{"iam:ListOpenIDConnectProviderTags " + ofIdP}},
		{"TagOpenIDConnectProvider", call(bay.TagOpenIDConnectProvider, &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: tags}),
			[]string{"iam:TagOpenIDConnectProvider oidc-provider/idp.example.com aws:requesttag/team=blue aws:requesttag/x= aws:resourcetag/env=test aws:tagkeys=Team,x"}},
		{"UntagOpenIDConnectProvider", call(bay.UntagOpenIDConnectProvider, &iam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"x"}}),
			[]string{"iam:UntagOpenIDConnectProvider oidc-provider/idp.example.com aws:resourcetag/env=test aws:resourcetag/team=blue aws:resourcetag/x= aws:tagkeys=x"}},
		{"DeleteOpenIDConnectProvider", call(bay.DeleteOpenIDConnectProvider, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}),
			[]string{"iam:DeleteOpenIDConnectProvider oidc-provider/idp.example.com aws:resourcetag/env=test aws:resourcetag/team=blue"}},
	} {
		seen[c.op] = true
		s.mu.Lock()
		s.asked = nil
		s.deny = ""
		s.mu.Unlock()
		_ = c.call(ctx) // some are refused after they were allowed
		if got := s.needs(); !slices.Equal(got, c.want) {
			t.Errorf("%s asks for\n     %q\nwant %q", c.op, got, c.want)
		}
		// And without the permission nothing happens.
		s.mu.Lock()
		s.deny = "iam:" + c.op
		s.mu.Unlock()
		err := c.call(ctx)
		s.mu.Lock()
		who := s.entries[len(s.entries)-1].Principal.ARN
		s.mu.Unlock()
		wants(t, err, "AccessDenied", "User: "+who+" is not authorized to perform: iam:"+c.op)
	}
	for _, op := range credentials.Operations(credentials.Config{}) {
		if !seen[op.Name] {
			t.Errorf("%s is not looked at here", op.Name)
		}
	}
}

// call binds an operation of a client to its input.
func call[I, O any](op func(context.Context, *I, ...func(*iam.Options)) (*O, error), in *I) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := op(ctx, in)
		return err
	}
}

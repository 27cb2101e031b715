package credentials_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"image/png"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/berth-registry/berth/internal/domain/principal/credential/totp"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

func str(s string) *string { return &s }

func TestAccessKeys(t *testing.T) {
	s, ctx := start(t), t.Context()
	for who, c := range map[string]struct {
		client *iam.Client
		named  *string
		shown  string
	}{
		"a user's own":               {s.as("bay"), nil, "Bay"},
		"another's":                  {s.as("root"), str("ELM"), "elm"},
		"the root user's own":        {s.as("root"), nil, string(account)},
		"a user's, with the session": {s.as("token"), nil, "Bay"},
	} {
		t.Run(who, func(t *testing.T) {
			made := ok(c.client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: c.named}))(t).AccessKey
			if *made.UserName != c.shown || made.Status != types.StatusTypeActive || len(*made.SecretAccessKey) != 40 || !made.CreateDate.Equal(s.clk.Now()) {
				t.Errorf("%+v", made)
			}
			if strings.Contains(s.trail(), *made.SecretAccessKey) || !strings.Contains(s.trail(), `"secretAccessKey":"HIDDEN_DUE_TO_SECURITY_REASONS"`) &&
				!strings.Contains(s.trail(), `"SecretAccessKey":"HIDDEN_DUE_TO_SECURITY_REASONS"`) {
				t.Errorf("the trail has the secret: %s", s.trail())
			}
			second := ok(c.client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: c.named}))(t).AccessKey
			_, err := c.client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: c.named})
			wants(t, err, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")

			ok(c.client.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: c.named, AccessKeyId: made.AccessKeyId, Status: types.StatusTypeInactive}))(t)
			_, err = c.client.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: c.named, AccessKeyId: made.AccessKeyId, Status: "Expired"})
			wants(t, err, "InvalidInput", "The status of an access key can be set to Active or Inactive only.")
			var listed []string
			pages := iam.NewListAccessKeysPaginator(c.client, &iam.ListAccessKeysInput{UserName: c.named, MaxItems: sdk.Int32(1)})
			for pages.HasMorePages() {
				for _, k := range ok(pages.NextPage(ctx))(t).AccessKeyMetadata {
					listed = append(listed, fmt.Sprintf("%s %s %s", *k.UserName, *k.AccessKeyId, k.Status))
				}
			}
			want := []string{c.shown + " " + *made.AccessKeyId + " Inactive", c.shown + " " + *second.AccessKeyId + " Active"}
			slices.Sort(want)
			if !slices.Equal(listed, want) {
				t.Errorf("listed %q, want %q", listed, want)
			}

			used := ok(c.client.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: made.AccessKeyId}))(t)
			if *used.UserName != c.shown || *used.AccessKeyLastUsed.Region != "N/A" || *used.AccessKeyLastUsed.ServiceName != "N/A" || used.AccessKeyLastUsed.LastUsedDate != nil {
				t.Errorf("%+v", used)
			}
			s.principals.Used(*made.AccessKeyId, "eu-west-1", "ecr")
			if err := s.principals.FlushUsage(ctx); err != nil {
				t.Fatal(err)
			}
			used = ok(c.client.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: made.AccessKeyId}))(t)
			if *used.AccessKeyLastUsed.Region != "eu-west-1" || *used.AccessKeyLastUsed.ServiceName != "ecr" || !used.AccessKeyLastUsed.LastUsedDate.Equal(s.clk.Now()) {
				t.Errorf("%+v", used.AccessKeyLastUsed)
			}
			for _, k := range []*string{made.AccessKeyId, second.AccessKeyId} {
				ok(c.client.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: c.named, AccessKeyId: k}))(t)
			}
			_, err = c.client.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: c.named, AccessKeyId: made.AccessKeyId})
			wants(t, err, "NoSuchEntity", "The Access Key with id "+*made.AccessKeyId+" cannot be found.")
			if none := ok(c.client.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: c.named}))(t); none.AccessKeyMetadata == nil || none.IsTruncated {
				t.Errorf("%+v", none)
			}
		})
	}
	_, err := s.as("root").CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: str("mallows")})
	wants(t, err, "NoSuchEntity", "The user with name mallows cannot be found.")
	_, err = s.as("bay").ListAccessKeys(ctx, &iam.ListAccessKeysInput{Marker: str("***")})
	wants(t, err, "ValidationError", "Invalid Marker.")
	_, err = s.as("bay").GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: str("AKIAUNKNOWNUNKNOWN00")})
	wants(t, err, "NoSuchEntity", "The Access Key with id AKIAUNKNOWNUNKNOWN00 cannot be found.")
}

// Sessions of roles and of federated users are no users.
func TestCallersWithoutAUser(t *testing.T) {
	s, ctx := start(t), t.Context()
	const text = "Must specify userName when calling with non-User credentials"
	for _, who := range []string{"role", "federated"} {
		c := s.as(who)
		_, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{})
		wants(t, err, "ValidationError", text)
		_, err = c.ListMFADevices(ctx, &iam.ListMFADevicesInput{})
		wants(t, err, "ValidationError", text)
		_, err = c.ChangePassword(ctx, &iam.ChangePasswordInput{OldPassword: str("a"), NewPassword: str("b")})
		wants(t, err, "ValidationError", text)
		ok(c.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: str("Bay")}))(t)
	}
	// Only the root user calls itself by the account's number.
	_, err := s.as("bay").ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: str(string(account))})
	wants(t, err, "NoSuchEntity", "The user with name 111111111111 cannot be found.")
	ok(s.as("root").ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: str(string(account))}))(t)
}

func TestPasswords(t *testing.T) {
	s, ctx := start(t), t.Context()
	root, bay := s.as("root"), s.as("bay")
	_, err := root.GetAccountPasswordPolicy(ctx, &iam.GetAccountPasswordPolicyInput{})
	wants(t, err, "NoSuchEntity", "The Password Policy with domain name 111111111111 cannot be found.")
	_, err = root.DeleteAccountPasswordPolicy(ctx, &iam.DeleteAccountPasswordPolicyInput{})
	wants(t, err, "NoSuchEntity", "The Password Policy with domain name 111111111111 cannot be found.")

	_, err = root.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: str("bay"), Password: str("weak")})
	wants(t, err, "PasswordPolicyViolation", "Password should have a minimum length of 8, Password should meet 2 more of the following requirements: "+
		"Password should have at least one uppercase letter, Password should have at least one number, Password should have at least one symbol")
	_, err = root.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: str("bay")})
	wants(t, err, "ValidationError", "1 validation error detected: Value null at 'password' failed to satisfy constraint: Member must not be null")
	_, err = root.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{Password: str("Secret-11")})
	wants(t, err, "InvalidUserType", "Only IAM users have a login profile. Specify the name of one.")
	made := ok(root.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: str("bay"), Password: str("Secret-11"), PasswordResetRequired: true}))(t).LoginProfile
	if *made.UserName != "Bay" || !made.PasswordResetRequired || !made.CreateDate.Equal(s.clk.Now()) {
		t.Errorf("%+v", made)
	}
	_, err = root.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: str("bay"), Password: str("Secret-11")})
	wants(t, err, "EntityAlreadyExists", "Login Profile for user Bay already exists.")
	ok(root.UpdateLoginProfile(ctx, &iam.UpdateLoginProfileInput{UserName: str("bay"), Password: str("Secret-22"), PasswordResetRequired: sdk.Bool(false)}))(t)
	if got := ok(bay.GetLoginProfile(ctx, &iam.GetLoginProfileInput{}))(t).LoginProfile; *got.UserName != "Bay" || got.PasswordResetRequired {
		t.Errorf("%+v", got)
	}
	_, err = bay.ChangePassword(ctx, &iam.ChangePasswordInput{OldPassword: str("Secret-11"), NewPassword: str("Secret-33")})
	wants(t, err, "AccessDenied", "The old password was incorrect.")
	ok(bay.ChangePassword(ctx, &iam.ChangePasswordInput{OldPassword: str("Secret-22"), NewPassword: str("Secret-33")}))(t)
	_, err = root.ChangePassword(ctx, &iam.ChangePasswordInput{OldPassword: str("Secret-22"), NewPassword: str("Secret-33")})
	wants(t, err, "InvalidUserType", "Only IAM Users can change their own password.")

	ok(root.UpdateAccountPasswordPolicy(ctx, &iam.UpdateAccountPasswordPolicyInput{}))(t)
	p := ok(root.GetAccountPasswordPolicy(ctx, &iam.GetAccountPasswordPolicyInput{}))(t).PasswordPolicy
	if *p.MinimumPasswordLength != 6 || p.RequireSymbols || p.ExpirePasswords || p.MaxPasswordAge != nil || p.PasswordReusePrevention != nil || *p.HardExpiry || p.AllowUsersToChangePassword {
		t.Errorf("%+v", p)
	}
	ok(root.UpdateAccountPasswordPolicy(ctx, &iam.UpdateAccountPasswordPolicyInput{
		MinimumPasswordLength: sdk.Int32(12), RequireSymbols: true, RequireNumbers: true, RequireUppercaseCharacters: true, RequireLowercaseCharacters: true,
		AllowUsersToChangePassword: true, MaxPasswordAge: sdk.Int32(90), PasswordReusePrevention: sdk.Int32(5), HardExpiry: sdk.Bool(true),
	}))(t)
	p = ok(root.GetAccountPasswordPolicy(ctx, &iam.GetAccountPasswordPolicyInput{}))(t).PasswordPolicy
	if *p.MinimumPasswordLength != 12 || !p.RequireSymbols || !p.RequireNumbers || !p.RequireUppercaseCharacters || !p.RequireLowercaseCharacters ||
		!p.AllowUsersToChangePassword || !p.ExpirePasswords || *p.MaxPasswordAge != 90 || *p.PasswordReusePrevention != 5 || !*p.HardExpiry {
		t.Errorf("%+v", p)
	}
	_, err = bay.ChangePassword(ctx, &iam.ChangePasswordInput{OldPassword: str("Secret-33"), NewPassword: str("short")})
	wants(t, err, "PasswordPolicyViolation", "Password should have a minimum length of 12, Password should have at least one uppercase letter, "+
		"Password should have at least one number, Password should have at least one symbol")
	ok(root.DeleteAccountPasswordPolicy(ctx, &iam.DeleteAccountPasswordPolicyInput{}))(t)
	ok(root.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: str("bay")}))(t)
	_, err = root.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: str("bay")})
	wants(t, err, "NoSuchEntity", "Login Profile for User Bay cannot be found.")

	// Nothing of all that stands in the trail, nor what the model refused.
	_, err = root.UpdateLoginProfile(ctx, &iam.UpdateLoginProfileInput{UserName: str("bay"), Password: str("Secret-\u0107")})
	if err == nil || strings.Contains(err.Error(), "Secret") {
		t.Errorf("got %v", err)
	}
	if trail := s.trail(); strings.Contains(trail, "Secret-") || strings.Contains(trail, `"weak"`) || strings.Contains(trail, `"short"`) || !strings.Contains(trail, "HIDDEN_DUE_TO_SECURITY_REASONS") {
		t.Errorf("the trail has a password: %s", trail)
	}
}

func TestAliases(t *testing.T) {
	s, ctx := start(t), t.Context()
	c := s.as("root")
	if got := ok(c.ListAccountAliases(ctx, &iam.ListAccountAliasesInput{}))(t); got.AccountAliases == nil || len(got.AccountAliases) != 0 {
		t.Errorf("%+v", got)
	}
	ok(c.CreateAccountAlias(ctx, &iam.CreateAccountAliasInput{AccountAlias: str("acme")}))(t)
	if got := ok(c.ListAccountAliases(ctx, &iam.ListAccountAliasesInput{}))(t); !slices.Equal(got.AccountAliases, []string{"acme"}) || got.IsTruncated {
		t.Errorf("%+v", got)
	}
	_, err := c.CreateAccountAlias(ctx, &iam.CreateAccountAliasInput{AccountAlias: str("acme")})
	wants(t, err, "EntityAlreadyExists", "The account alias acme already exists.")
	for _, bad := range []string{"ab", "-abc", "abc-", "a--b", "Abc", strings.Repeat("a", 64)} {
		if _, err = c.CreateAccountAlias(ctx, &iam.CreateAccountAliasInput{AccountAlias: &bad}); err == nil || !strings.Contains(err.Error(), "ValidationError") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	_, err = c.DeleteAccountAlias(ctx, &iam.DeleteAccountAliasInput{AccountAlias: str("other")})
	wants(t, err, "NoSuchEntity", "The account alias other cannot be found.")
	ok(c.DeleteAccountAlias(ctx, &iam.DeleteAccountAliasInput{AccountAlias: str("acme")}))(t)
	_, err = c.ListAccountAliases(ctx, &iam.ListAccountAliasesInput{Marker: str("=")})
	wants(t, err, "ValidationError", "Invalid Marker.")
}

// newDevice makes a device and returns its serial number and how to get codes.
func (s *server) newDevice(t *testing.T, c *iam.Client, deviceName string) (serial *string, code func(steps int64) *string) {
	t.Helper()
	d := ok(c.CreateVirtualMFADevice(t.Context(), &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: &deviceName}))(t).VirtualMFADevice
	seed, err := base32.StdEncoding.DecodeString(string(d.Base32StringSeed))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(d.QRCodePNG)); err != nil {
		t.Fatal(err)
	}
	trail := s.trail()
	for _, secret := range []string{string(d.Base32StringSeed), base64.StdEncoding.EncodeToString(d.Base32StringSeed), base64.StdEncoding.EncodeToString(d.QRCodePNG)} {
		if strings.Contains(trail, secret) {
			t.Error("the trail has the seed")
		}
	}
	if strings.Contains(strings.ToLower(trail), "seed") || strings.Contains(strings.ToLower(trail), "qrcode") {
		t.Errorf("the trail has something of the seed: %s", trail)
	}
	return d.SerialNumber, func(steps int64) *string { return str(totp.Code(seed, totp.Step(s.clk.Now())+steps)) }
}

func TestDevices(t *testing.T) {
	s, ctx := start(t), t.Context()
	root, bay := s.as("root"), s.as("bay")
	serial, code := s.newDevice(t, bay, "Bay")
	if *serial != arns+"mfa/Bay" {
		t.Errorf("%s", *serial)
	}
	_, err := bay.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: str("Bay")})
	wants(t, err, "EntityAlreadyExists", "MFADevice entity at the same path and name already exists.")
	enable := &iam.EnableMFADeviceInput{UserName: str("Bay"), SerialNumber: serial, AuthenticationCode1: code(0), AuthenticationCode2: code(0)}
	_, err = bay.EnableMFADevice(ctx, enable)
	wants(t, err, "InvalidAuthenticationCode", "Authentication code for device is not valid.")
	enable.AuthenticationCode1 = code(-1)
	ok(bay.EnableMFADevice(ctx, enable))(t)
	if trail := s.trail(); strings.Contains(trail, *enable.AuthenticationCode1) || strings.Contains(trail, *enable.AuthenticationCode2) {
		t.Error("the audit trail holds one-time codes")
	}
	_, err = bay.EnableMFADevice(ctx, enable)
	wants(t, err, "EntityAlreadyExists", "MFA Device is already in use.")
	enabled := s.clk.Now()
	listed := ok(bay.ListMFADevices(ctx, &iam.ListMFADevicesInput{}))(t).MFADevices
	if len(listed) != 1 || *listed[0].UserName != "Bay" || *listed[0].SerialNumber != *serial || !listed[0].EnableDate.Equal(enabled) {
		t.Errorf("%+v", listed)
	}
	_, err = bay.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: serial})
	wants(t, err, "DeleteConflict", "VirtualMFADevice with serial number "+*serial+" is enabled. Deactivate it first.")
	s.clk.Advance(10 * totp.Period)
	ok(bay.ResyncMFADevice(ctx, &iam.ResyncMFADeviceInput{UserName: str("Bay"), SerialNumber: serial, AuthenticationCode1: code(3), AuthenticationCode2: code(4)}))(t)
	_, err = bay.ResyncMFADevice(ctx, &iam.ResyncMFADeviceInput{UserName: str("Bay"), SerialNumber: serial, AuthenticationCode1: code(3), AuthenticationCode2: code(4)})
	wants(t, err, "InvalidAuthenticationCode", "Authentication code for device is not valid.")

	// The root user's, by the name of AWS's console and by another one.
	rootSerial, rootCode := s.newDevice(t, root, "root-account-mfa-device")
	ok(root.EnableMFADevice(ctx, &iam.EnableMFADeviceInput{UserName: str("anything"), SerialNumber: rootSerial, AuthenticationCode1: rootCode(-1), AuthenticationCode2: rootCode(0)}))(t)
	otherSerial, otherCode := s.newDevice(t, root, "safe")
	ok(root.EnableMFADevice(ctx, &iam.EnableMFADeviceInput{UserName: str(string(account)), SerialNumber: otherSerial, AuthenticationCode1: otherCode(-1), AuthenticationCode2: otherCode(0)}))(t)
	_, err = bay.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: str("Bay"), SerialNumber: rootSerial})
	wants(t, err, "NoSuchEntity", "MFA Device invalid for user.")
	listed = ok(root.ListMFADevices(ctx, &iam.ListMFADevicesInput{}))(t).MFADevices
	if len(listed) != 2 || *listed[0].SerialNumber != *rootSerial || *listed[1].SerialNumber != *otherSerial || *listed[0].UserName != string(account) {
		t.Errorf("%+v", listed)
	}
	unused, _ := s.newDevice(t, root, "unused")

	list := func(status types.AssignmentStatusType) (all []types.VirtualMFADevice) {
		pages := iam.NewListVirtualMFADevicesPaginator(root, &iam.ListVirtualMFADevicesInput{AssignmentStatus: status, MaxItems: sdk.Int32(1)})
		for pages.HasMorePages() {
			all = append(all, ok(pages.NextPage(ctx))(t).VirtualMFADevices...)
		}
		return all
	}
	serials := func(all []types.VirtualMFADevice) (out []string) {
		for _, d := range all {
			out = append(out, *d.SerialNumber)
		}
		return out
	}
	all := list("")
	if !slices.Equal(serials(all), []string{*serial, *rootSerial, *otherSerial, *unused}) || !slices.Equal(serials(list(types.AssignmentStatusTypeAny)), serials(all)) {
		t.Errorf("any: %v", serials(all))
	}
	if got := serials(list(types.AssignmentStatusTypeAssigned)); !slices.Equal(got, []string{*serial, *rootSerial, *otherSerial}) {
		t.Errorf("assigned: %v", got)
	}
	if got := serials(list(types.AssignmentStatusTypeUnassigned)); !slices.Equal(got, []string{*unused}) {
		t.Errorf("unassigned: %v", got)
	}
	if u := all[0].User; *u.Arn != arns+"user/dev/Bay" || *u.UserId != bayID || *u.UserName != "Bay" || *u.Path != "/dev/" || !all[0].EnableDate.Equal(enabled) ||
		all[0].Base32StringSeed != nil || all[0].QRCodePNG != nil {
		t.Errorf("%+v", all[0])
	}
	if u := all[1].User; *u.Arn != arns+"root" || *u.UserId != string(account) || u.UserName != nil {
		t.Errorf("%+v", all[1].User)
	}
	if all[3].User != nil || all[3].EnableDate != nil {
		t.Errorf("%+v", all[3])
	}

	ok(bay.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{SerialNumber: serial}))(t)
	ok(bay.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: serial}))(t)
	_, err = bay.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: serial})
	wants(t, err, "NoSuchEntity", "VirtualMFADevice with serial number "+*serial+" doesn't exist.")
	ok(root.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{SerialNumber: otherSerial}))(t)
	ok(root.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: str("anything"), SerialNumber: rootSerial}))(t)
	_, err = root.ListVirtualMFADevices(ctx, &iam.ListVirtualMFADevicesInput{Marker: str("Zg=")})
	wants(t, err, "ValidationError", "Invalid Marker.")
}

func TestDeviceTags(t *testing.T) {
	s, ctx := start(t), t.Context()
	c := s.as("root")
	made := ok(c.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: str("d"), Path: str("/x/"), Tags: []types.Tag{{Key: str("Team"), Value: str("red")}}}))(t).VirtualMFADevice
	if *made.SerialNumber != arns+"mfa/x/d" || len(made.Tags) != 1 {
		t.Errorf("%+v", made)
	}
	ok(c.TagMFADevice(ctx, &iam.TagMFADeviceInput{SerialNumber: made.SerialNumber, Tags: []types.Tag{{Key: str("a"), Value: str("1")}, {Key: str("B"), Value: str("2")}}}))(t)
	ok(c.UntagMFADevice(ctx, &iam.UntagMFADeviceInput{SerialNumber: made.SerialNumber, TagKeys: []string{"A"}}))(t)
	var got []string
	pages := iam.NewListMFADeviceTagsPaginator(c, &iam.ListMFADeviceTagsInput{SerialNumber: made.SerialNumber, MaxItems: sdk.Int32(1)})
	for pages.HasMorePages() {
		for _, tag := range ok(pages.NextPage(ctx))(t).Tags {
			got = append(got, *tag.Key+"="+*tag.Value)
		}
	}
	if !slices.Equal(got, []string{"B=2", "Team=red"}) {
		t.Errorf("%v", got)
	}
	_, err := c.ListMFADeviceTags(ctx, &iam.ListMFADeviceTagsInput{SerialNumber: str("GAHT12345678")})
	wants(t, err, "NoSuchEntity", "VirtualMFADevice with serial number GAHT12345678 doesn't exist.")
	_, err = c.ListMFADeviceTags(ctx, &iam.ListMFADeviceTagsInput{SerialNumber: made.SerialNumber, Marker: str("!")})
	wants(t, err, "ValidationError", "Invalid Marker.")
	_, err = c.TagMFADevice(ctx, &iam.TagMFADeviceInput{SerialNumber: made.SerialNumber, Tags: []types.Tag{{Key: str("a"), Value: str("")}, {Key: str("A"), Value: str("")}}})
	wants(t, err, "InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
}

func TestProviders(t *testing.T) {
	s, ctx := start(t), t.Context()
	c := s.as("root")
	if none := ok(c.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{}))(t); none.OpenIDConnectProviderList == nil || len(none.OpenIDConnectProviderList) != 0 {
		t.Errorf("%+v", none)
	}
	thumbprint := strings.Repeat("0a", 20)
	made := ok(c.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: str("https://token.actions.githubusercontent.com"), ClientIDList: []string{"sts.amazonaws.com"}, ThumbprintList: []string{thumbprint},
		Tags: []types.Tag{{Key: str("Team"), Value: str("red")}},
	}))(t)
	arn := made.OpenIDConnectProviderArn
	if *arn != arns+"oidc-provider/token.actions.githubusercontent.com" || len(made.Tags) != 1 {
		t.Errorf("%+v", made)
	}
	_, err := c.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: str("https://token.actions.githubusercontent.com/")})
	wants(t, err, "EntityAlreadyExists", "Provider with url https://token.actions.githubusercontent.com/ already exists.")
	_, err = c.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: str("http://example.com")})
	wants(t, err, "InvalidInput", "Invalid Open ID Connect Provider URL. The URL must begin with https://.")
	_, err = c.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: str("example.com")})
	wants(t, err, "ValidationError", "Invalid Open ID Connect Provider URL")
	ok(c.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: str("ci")}))(t)
	ok(c.RemoveClientIDFromOpenIDConnectProvider(ctx, &iam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: str("sts.amazonaws.com")}))(t)
	ok(c.TagOpenIDConnectProvider(ctx, &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: []types.Tag{{Key: str("a"), Value: str("1")}}}))(t)
	got := ok(c.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}))(t)
	if *got.Url != "token.actions.githubusercontent.com" || !slices.Equal(got.ClientIDList, []string{"ci"}) || !slices.Equal(got.ThumbprintList, []string{thumbprint}) ||
		!got.CreateDate.Equal(s.clk.Now()) || len(got.Tags) != 2 || *got.Tags[0].Key != "a" {
		t.Errorf("%+v", got)
	}
	ok(c.UpdateOpenIDConnectProviderThumbprint(ctx, &iam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{strings.Repeat("1b", 20)}}))(t)
	ok(c.UntagOpenIDConnectProvider(ctx, &iam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"TEAM"}}))(t)
	if tags := ok(c.ListOpenIDConnectProviderTags(ctx, &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn}))(t); len(tags.Tags) != 1 || *tags.Tags[0].Key != "a" || tags.IsTruncated {
		t.Errorf("%+v", tags)
	}
	if list := ok(c.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{}))(t).OpenIDConnectProviderList; len(list) != 1 || *list[0].Arn != *arn {
		t.Errorf("%+v", list)
	}
	for range 2 {
		ok(c.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}))(t)
	}
	_, err = c.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	wants(t, err, "NoSuchEntity", "OpenIDConnect Provider not found for arn "+*arn)
	_, err = c.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: str(arns + "user/some-user")})
	wants(t, err, "InvalidInput", "Invalid ARN: "+arns+"user/some-user is not that of an OpenID Connect provider.")
}

package identity

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

const administrator = "arn:aws:iam::aws:policy/AdministratorAccess"

// lacking is the refusal of who has no policy for it.
func lacking(code, action string) string {
	return code + ", because no identity-based policy allows the " + action + " action"
}

func userARN(name string) string { return "arn:aws:iam::" + accountA + ":user/" + name }

func escalationAttempts() group {
	const denied = "AccessDenied"
	everything := aws.String(document(allow("*", "*")))
	return group{"More permissions by way of IAM", []attempt{
		{"a user who may put policies on the users under /team/, on itself", lacking(denied, "iam:PutUserPolicy"), func(t *testing.T, w *world) error {
			member := w.a.userIn(t, &iam.CreateUserInput{UserName: aws.String(unique("user")), Path: aws.String("/team/")})
			u := w.a.user(t, allow("iam:PutUserPolicy", userARN("team/*")))
			put := func(user string) error {
				_, err := u.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("more"), PolicyDocument: everything})
				return err
			}
			rightful(t, "on a member", put(member.name))
			return put(u.name)
		}},
		{"a name in other capitals, past a deny on user/boss", "AccessDenied, with an explicit deny in an identity-based policy", func(t *testing.T, w *world) error {
			boss := w.a.user(t)
			u := w.a.user(t, allow("iam:CreateAccessKey", "*"), deny("iam:*", userARN(boss.name)))
			_, err := u.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String(strings.ToUpper(boss.name))})
			return err
		}},
		{"a user who may make access keys for `${aws:username}`, for another", lacking(denied, "iam:CreateAccessKey"), func(t *testing.T, w *world) error {
			boss := w.a.user(t)
			u := w.a.user(t, allow("iam:CreateAccessKey", userARN("${aws:username}")))
			create := func(user *string) error {
				_, err := u.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: user})
				return err
			}
			rightful(t, "for itself", create(nil))
			return each(create(&boss.name), create(aws.String(unique("user"))), create(aws.String(accountA)))
		}},
		{"a user with the name `*`, which `${aws:username}` would stand for", "ValidationError", func(t *testing.T, w *world) error {
			_, err := w.a.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("*")})
			return codeOf(err)
		}},
		{"switching off, or deleting, another's access key under one's own name", "NoSuchEntity", func(t *testing.T, w *world) error {
			victim := w.a.user(t, allow("ecr:DescribeRegistry", "*"))
			key := &victim.credentials.AccessKeyID
			u := w.a.user(t, allow("iam:UpdateAccessKey iam:DeleteAccessKey", userARN("${aws:username}")))
			_, off := u.iam.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: &u.name, AccessKeyId: key, Status: iamtypes.StatusTypeInactive})
			_, offSelf := u.iam.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{AccessKeyId: key, Status: iamtypes.StatusTypeInactive})
			_, gone := u.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: &u.name, AccessKeyId: key})
			_, err := victim.ecr.DescribeRegistry(t.Context(), nil)
			rightful(t, "the victim", err)
			return each(codeOf(off), codeOf(offSelf), codeOf(gone))
		}},
		{"a password for another user: CreateLoginProfile, UpdateLoginProfile", denied, func(t *testing.T, w *world) error {
			boss := w.a.user(t)
			u := w.a.user(t, allow("iam:CreateLoginProfile iam:UpdateLoginProfile", userARN("${aws:username}")))
			_, create := u.iam.CreateLoginProfile(t.Context(), &iam.CreateLoginProfileInput{UserName: &boss.name, Password: aws.String("Correct-Horse-7")})
			_, update := u.iam.UpdateLoginProfile(t.Context(), &iam.UpdateLoginProfileInput{UserName: &boss.name, Password: aws.String("Correct-Horse-7")})
			return each(denialOf(create), denialOf(update))
		}},
		{"taking away another's MFA device, under one's own name and under the other's", "NoSuchEntity, AccessDenied", func(t *testing.T, w *world) error {
			boss := w.a.user(t)
			device := w.a.device(t, boss.name)
			u := w.a.user(t, allow("iam:DeactivateMFADevice iam:EnableMFADevice", userARN("${aws:username}")))
			_, own := u.iam.DeactivateMFADevice(t.Context(), &iam.DeactivateMFADeviceInput{UserName: &u.name, SerialNumber: &device.serial})
			_, other := u.iam.DeactivateMFADevice(t.Context(), &iam.DeactivateMFADeviceInput{UserName: &boss.name, SerialNumber: &device.serial})
			if left := must(w.a.iam.ListMFADevices(t.Context(), &iam.ListMFADevicesInput{UserName: &boss.name}))(t).MFADevices; len(left) != 1 {
				t.Errorf("the other has %d devices", len(left))
			}
			return outcome(answerOf(codeOf(own)) + ", " + answerOf(denialOf(other)))
		}},
		{"attaching AdministratorAccess, where iam:PolicyARN admits one policy", lacking(denied, "iam:AttachUserPolicy"), func(t *testing.T, w *world) error {
			const readOnly = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"
			u := w.a.user(t, allow("iam:AttachUserPolicy", "*").when("ArnEquals", "iam:PolicyARN", readOnly))
			attach := func(arn string) error {
				_, err := u.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &u.name, PolicyArn: &arn})
				return err
			}
			rightful(t, "the one", attach(readOnly))
			return attach(administrator)
		}},
		{"attaching it to one's own group or to a role of one's own instead", denied, func(t *testing.T, w *world) error {
			group := unique("group")
			must(w.a.iam.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: &group}))(t)
			u := w.a.user(t, allow("iam:AttachUserPolicy iam:PutUserPolicy", "*"))
			must(w.a.iam.AddUserToGroup(t.Context(), &iam.AddUserToGroupInput{GroupName: &group, UserName: &u.name}))(t)
			role := lastOf(w.a.role(t, trust(u.arn)))
			_, toGroup := u.iam.AttachGroupPolicy(t.Context(), &iam.AttachGroupPolicyInput{GroupName: &group, PolicyArn: aws.String(administrator)})
			_, inGroup := u.iam.PutGroupPolicy(t.Context(), &iam.PutGroupPolicyInput{GroupName: &group, PolicyName: aws.String("more"), PolicyDocument: everything})
			_, toRole := u.iam.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: &role, PolicyArn: aws.String(administrator)})
			_, inRole := u.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("more"), PolicyDocument: everything})
			return each(denialOf(toGroup), denialOf(inGroup), denialOf(toRole), denialOf(inRole))
		}},
		{"joining another group than the one that is allowed", lacking(denied, "iam:AddUserToGroup"), func(t *testing.T, w *world) error {
			readers, admins := unique("group"), unique("group")
			for _, g := range []string{readers, admins} {
				must(w.a.iam.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: &g}))(t)
			}
			u := w.a.user(t, allow("iam:AddUserToGroup", "arn:aws:iam::"+accountA+":group/"+readers), allow("iam:*", userARN("*")))
			join := func(group string) error {
				_, err := u.iam.AddUserToGroup(t.Context(), &iam.AddUserToGroupInput{GroupName: &group, UserName: &u.name})
				return err
			}
			rightful(t, "the readers", join(readers))
			return join(admins)
		}},
		{"going back to an older, wider version: SetDefaultPolicyVersion with iam:CreatePolicyVersion alone", lacking(denied, "iam:SetDefaultPolicyVersion"), func(t *testing.T, w *world) error {
			arn := w.a.policy(t, allow("*", "*"))
			must(w.a.iam.CreatePolicyVersion(t.Context(), &iam.CreatePolicyVersionInput{PolicyArn: &arn, SetAsDefault: true, PolicyDocument: aws.String(document(allow("ecr:Describe*", "*")))}))(t)
			u := w.a.user(t, allow("iam:CreatePolicyVersion iam:GetPolicy", "*"))
			_, err := u.iam.SetDefaultPolicyVersion(t.Context(), &iam.SetDefaultPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v1")})
			return err
		}},
		{"moving a user into a path with more rights: UpdateUser, allowed under the old path only", lacking(denied, "iam:UpdateUser"), func(t *testing.T, w *world) error {
			u := w.a.userIn(t, &iam.CreateUserInput{UserName: aws.String(unique("user")), Path: aws.String("/dev/")}, allow("iam:UpdateUser", userARN("dev/*")))
			_, err := u.iam.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: &u.name, NewPath: aws.String("/admin/")})
			return err
		}},
		{"taking the name of somebody whom a policy names: UpdateUser, allowed for oneself only", lacking(denied, "iam:UpdateUser"), func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("iam:UpdateUser", userARN("${aws:username}")))
			_, err := u.iam.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: &u.name, NewUserName: aws.String(unique("user"))})
			return err
		}},
		{"a role of one's own without iam:CreateRole", lacking(denied, "iam:CreateRole"), func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("sts:AssumeRole iam:AttachRolePolicy iam:PutRolePolicy", "*"))
			_, err := u.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String(unique("role")), AssumeRolePolicyDocument: aws.String(document(trust(u.arn)))})
			return err
		}},
		{"trusting oneself: UpdateAssumeRolePolicy without permission", lacking(denied, "iam:UpdateAssumeRolePolicy"), func(t *testing.T, w *world) error {
			role := lastOf(w.a.role(t, trust(w.a.user(t).arn), allow("*", "*")))
			u := w.a.user(t, allow("sts:AssumeRole iam:UpdateRole iam:TagRole", "*"))
			_, err := u.iam.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: &role, PolicyDocument: aws.String(document(trust(u.arn)))})
			return err
		}},
		{"a role for a service that acts for the account: CreateServiceLinkedRole with iam:PassRole and iam:CreateRole alone", lacking(denied, "iam:CreateServiceLinkedRole"), func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("iam:PassRole iam:CreateRole", "*"))
			_, err := u.iam.CreateServiceLinkedRole(t.Context(), &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("pullthroughcache.ecr.amazonaws.com")})
			return err
		}},
		{"an identity provider of one's own: CreateOpenIDConnectProvider", lacking(denied, "iam:CreateOpenIDConnectProvider"), func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("iam:*Role* sts:*", "*"))
			_, err := u.iam.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://evil.example"), ClientIDList: []string{"sts.amazonaws.com"}})
			return err
		}},
		{"learning who there is: GetUser of a user that exists, and of one that does not", lacking(denied, "iam:GetUser"), func(t *testing.T, w *world) error {
			boss, u := w.a.user(t), w.a.user(t)
			_, there := u.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: &boss.name})
			_, nowhere := u.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String(unique("user"))})
			return each(there, nowhere)
		}},
	}}
}

func boundaryAttempts() group {
	const denied = "AccessDenied"
	return group{"Permissions boundaries", []attempt{
		{"a bounded user that gives itself AdministratorAccess", "AccessDenied, because no permissions boundary allows the iam:ListUsers action", func(t *testing.T, w *world) error {
			boundary := w.a.policy(t, allow("ecr:* iam:AttachUserPolicy", "*"))
			u := w.a.userIn(t, &iam.CreateUserInput{UserName: aws.String(unique("user")), PermissionsBoundary: &boundary}, allow("iam:AttachUserPolicy", "*"))
			must(u.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &u.name, PolicyArn: aws.String(administrator)}))(t)
			_, err := u.iam.ListUsers(t.Context(), nil)
			return err
		}},
		{"a bounded administrator that deletes its own boundary", "AccessDenied, with an explicit deny in a permissions boundary", func(t *testing.T, w *world) error {
			boundary := w.a.policy(t, allow("*", "*"), deny("iam:DeleteUserPermissionsBoundary iam:PutUserPermissionsBoundary", "*"))
			u := w.a.userIn(t, &iam.CreateUserInput{UserName: aws.String(unique("user")), PermissionsBoundary: &boundary}, allow("*", "*"))
			_, remove := u.iam.DeleteUserPermissionsBoundary(t.Context(), &iam.DeleteUserPermissionsBoundaryInput{UserName: &u.name})
			_, replace := u.iam.PutUserPermissionsBoundary(t.Context(), &iam.PutUserPermissionsBoundaryInput{UserName: &u.name, PermissionsBoundary: aws.String(administrator)})
			return each(remove, replace)
		}},
		{"a bounded administrator that makes an unbounded user, or one with another boundary, where iam:PermissionsBoundary demands its own", lacking(denied, "iam:CreateUser"), func(t *testing.T, w *world) error {
			boundary := w.a.policy(t, allow("ecr:* iam:*", "*"))
			u := w.a.userIn(t, &iam.CreateUserInput{UserName: aws.String(unique("user")), PermissionsBoundary: &boundary},
				allow("iam:CreateUser", "*").when("StringEquals", "iam:PermissionsBoundary", boundary))
			create := func(bound *string) error {
				_, err := u.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String(unique("user")), PermissionsBoundary: bound})
				return err
			}
			rightful(t, "with the boundary", create(&boundary))
			return each(create(nil), create(aws.String(administrator)))
		}},
		{"giving more to a user who has no boundary, where iam:PermissionsBoundary demands one", denied, func(t *testing.T, w *world) error {
			boundary := w.a.policy(t, allow("ecr:*", "*"))
			bounded := w.a.userIn(t, &iam.CreateUserInput{UserName: aws.String(unique("user")), PermissionsBoundary: &boundary})
			free := w.a.user(t)
			u := w.a.user(t, allow("iam:AttachUserPolicy iam:PutUserPolicy", "*").when("StringEquals", "iam:PermissionsBoundary", boundary))
			attach := func(user string) error {
				_, err := u.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &user, PolicyArn: aws.String(administrator)})
				return err
			}
			rightful(t, "to the bounded one", attach(bounded.name))
			_, put := u.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &free.name, PolicyName: aws.String("more"), PolicyDocument: aws.String(document(allow("*", "*")))})
			return each(denialOf(attach(free.name)), denialOf(put))
		}},
		{"a wider version of the policy that is one's own boundary", "AccessDenied, because no permissions boundary allows the iam:CreatePolicyVersion action", func(t *testing.T, w *world) error {
			boundary := w.a.policy(t, allow("ecr:* iam:CreateUser", "*"))
			u := w.a.userIn(t, &iam.CreateUserInput{UserName: aws.String(unique("user")), PermissionsBoundary: &boundary}, allow("*", "*"))
			_, err := u.iam.CreatePolicyVersion(t.Context(), &iam.CreatePolicyVersionInput{PolicyArn: &boundary, SetAsDefault: true, PolicyDocument: aws.String(document(allow("*", "*")))})
			return err
		}},
	}}
}

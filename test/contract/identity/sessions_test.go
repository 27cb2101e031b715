package identity

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
)

// refusal makes a refused call and returns its encoded message.
func (c *caller) refusal(t *testing.T) string {
	t.Helper()
	a := c.send(t, request{target: "DescribeRegistry"})
	message := a.Header.Get("X-Berth-Authorization-Message")
	if message == "" {
		t.Fatalf("status %d, and no encoded message: %s", a.Status, a.Body)
	}
	return message
}

func (c *caller) decode(t *testing.T, message string) error {
	t.Helper()
	_, err := c.sts.DecodeAuthorizationMessage(t.Context(), &sts.DecodeAuthorizationMessageInput{EncodedMessage: &message})
	return err
}

func (c *caller) federate(t *testing.T, policies ...statement) (*caller, error) {
	t.Helper()
	in := &sts.GetFederationTokenInput{Name: aws.String("guest")}
	if len(policies) > 0 {
		in.Policy = aws.String(document(policies...))
	}
	out, err := c.sts.GetFederationToken(t.Context(), in)
	if err != nil {
		return nil, err
	}
	return c.w.session(c.account, *out.FederatedUser.Arn, out.Credentials), nil
}

func sessionAttempts() group {
	const denied, deniedECR = "AccessDenied", "AccessDeniedException"
	const invalid = "UnrecognizedClientException: The security token included in the request is invalid."
	return group{"Sessions", []attempt{
		{"a session policy wider than the role", lacking(deniedECR, "ecr:CreateRepository"), func(t *testing.T, w *world) error {
			u := w.a.user(t)
			role := w.a.role(t, trust(u.arn), allow("ecr:Describe*", "*"))
			var results []error
			for _, widen := range []func(*sts.AssumeRoleInput){
				func(in *sts.AssumeRoleInput) { in.Policy = aws.String(document(allow("*", "*"))) },
				func(in *sts.AssumeRoleInput) {
					in.PolicyArns = []ststypes.PolicyDescriptorType{{Arn: aws.String(administrator)}}
				},
			} {
				session := must(u.assume(t.Context(), role, widen))(t)
				_, err := session.ecr.DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{})
				rightful(t, "what the role may", err)
				_, err = session.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String(unique("repo"))})
				results = append(results, err)
			}
			return each(results...)
		}},
		{"a session beyond its session policy", "AccessDeniedException, because no session policy allows the ecr:CreateRepository action", func(t *testing.T, w *world) error {
			u := w.a.user(t)
			session := must(u.assume(t.Context(), w.a.role(t, trust(u.arn), allow("*", "*")), func(in *sts.AssumeRoleInput) { in.Policy = aws.String(document(allow("ecr:Describe*", "*"))) }))(t)
			_, err := session.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String(unique("repo"))})
			return err
		}},
		{"the same by way of a registry token of that session", "403 DENIED, because no session policy allows the ecr:InitiateLayerUpload action", func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			u := w.a.user(t)
			session := must(u.assume(t.Context(), w.a.role(t, trust(u.arn), allow("*", "*")), func(in *sts.AssumeRoleInput) {
				in.Policy = aws.String(document(allow(signIn+" "+pulling, "*")))
			}))(t)
			return push(t.Context(), session.registry(t), repo, newImage(t))
		}},
		{"IAM with a GetSessionToken session of an administrator that was begun without MFA", "AccessDenied: Cannot call ListUsers with session credentials that were obtained without multi-factor authentication", func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("*", "*"))
			session := w.session(accountA, u.arn, must(u.sts.GetSessionToken(t.Context(), nil))(t).Credentials)
			_, err := session.ecr.DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{})
			rightful(t, "ECR", err)
			_, err = session.iam.ListUsers(t.Context(), nil)
			return err
		}},
		{"a code of an MFA device for the second time, a made up one, and another user's device", "AccessDenied", func(t *testing.T, w *world) error {
			boss, u := w.a.user(t), w.a.user(t)
			mine, others := w.a.device(t, u.name), w.a.device(t, boss.name)
			session := func(d device, code string) error {
				_, err := u.sts.GetSessionToken(t.Context(), &sts.GetSessionTokenInput{SerialNumber: &d.serial, TokenCode: &code})
				return err
			}
			next := mine.code(t, 1)
			rightful(t, "the next code", session(mine, next))
			return each(denialOf(session(mine, next)), denialOf(session(mine, mine.code(t, 40))), denialOf(session(others, others.code(t, 1))))
		}},
		{"a session out of a session, to go on for ever", "AccessDenied: Cannot call GetSessionToken with session credentials", func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("*", "*"))
			token := w.session(accountA, u.arn, must(u.sts.GetSessionToken(t.Context(), nil))(t).Credentials)
			role := must(u.assume(t.Context(), w.a.role(t, trust(u.arn), allow("*", "*")), nil))(t)
			guest := must(u.federate(t, allow("*", "*")))(t)
			var results []error
			for _, c := range []*caller{token, role, guest} {
				_, err := c.sts.GetSessionToken(t.Context(), nil)
				results = append(results, err)
			}
			return each(results...)
		}},
		{"a federated user with a policy wider than the user behind it", lacking(deniedECR, "ecr:CreateRepository"), func(t *testing.T, w *world) error {
			guest := must(w.a.user(t, allow("ecr:Describe* sts:GetFederationToken", "*")).federate(t, allow("*", "*")))(t)
			_, err := guest.ecr.DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{})
			rightful(t, "what the user may", err)
			_, err = guest.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String(unique("repo"))})
			return err
		}},
		{"a federated user without a policy", "AccessDeniedException, because no session policy allows the ecr:DescribeRegistry action", func(t *testing.T, w *world) error {
			guest := must(w.a.user(t, allow("*", "*")).federate(t))(t)
			_, err := guest.ecr.DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{})
			return err
		}},
		{"IAM, and a role, for a federated user of an administrator", "AccessDenied: Cannot call CreateUser with session credentials, AccessDenied: Cannot call AssumeRole with session credentials", func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("*", "*"))
			guest := must(u.federate(t, allow("*", "*")))(t)
			create := guest.call(t, request{form: form(iamVersion, "CreateUser", "UserName", unique("user"))})
			_, assume := guest.assume(t.Context(), w.a.role(t, trust(rootARN(accountA))), nil)
			return outcome(answerOf(create) + ", " + answerOf(assume))
		}},
		{"a session token with a character changed, of another session, or left out; a user's key with a session token", invalid, func(t *testing.T, w *world) error {
			u := w.a.user(t, allow("*", "*"))
			role := w.a.role(t, trust(u.arn), allow("*", "*"))
			one, two := must(u.assume(t.Context(), role, nil))(t).credentials, must(u.assume(t.Context(), role, nil))(t).credentials
			changed, other, without, key := one, one, one, u.credentials
			middle := len(one.SessionToken) / 2
			with := "A"
			if one.SessionToken[middle] == 'A' {
				with = "B"
			}
			changed.SessionToken = one.SessionToken[:middle] + with + one.SessionToken[middle+1:]
			other.SessionToken = two.SessionToken
			without.SessionToken = ""
			key.SessionToken = one.SessionToken
			var results []error
			for _, c := range []aws.Credentials{changed, other, without, key} {
				results = append(results, u.call(t, request{target: "DescribeRegistry", as: &c}))
			}
			return each(results...)
		}},
		{"a session token exchanged after the request was signed, or one that was not signed", "refused", func(t *testing.T, w *world) error {
			u := w.a.user(t)
			weak := must(u.assume(t.Context(), w.a.role(t, trust(u.arn)), nil))(t)
			strong := must(u.assume(t.Context(), w.a.role(t, trust(u.arn), allow("*", "*")), nil))(t)
			unsigned := weak.credentials
			unsigned.SessionToken = ""
			late := map[string]string{"X-Amz-Security-Token": strong.credentials.SessionToken}
			for what, err := range map[string]error{
				"exchanged": weak.call(t, request{target: "DescribeRegistry", late: late}),
				"unsigned":  weak.call(t, request{target: "DescribeRegistry", as: &unsigned, late: late}),
			} {
				if got := answerOf(err); got != invalid {
					return outcome(what + ": " + got)
				}
			}
			return outcome("refused")
		}},
		{"the encoded message of one's own refusal without sts:DecodeAuthorizationMessage", lacking(denied, "sts:DecodeAuthorizationMessage"), func(t *testing.T, w *world) error {
			u := w.a.user(t)
			message := u.refusal(t)
			rightful(t, "by root", w.a.decode(t, message))
			return u.decode(t, message)
		}},
		{"the same decoded with a key of another account, or changed", "InvalidAuthorizationMessageException", func(t *testing.T, w *world) error {
			message := w.a.user(t).refusal(t)
			changed := strings.Map(func(r rune) rune {
				if r == 'A' {
					return 'B'
				}
				return r
			}, message)
			return each(codeOf(w.b.decode(t, message)), codeOf(w.a.decode(t, changed)), codeOf(w.a.decode(t, "made up")))
		}},
	}}
}

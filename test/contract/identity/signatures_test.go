package identity

import (
	"testing"
	"time"
)

func signatureAttempts() group {
	const mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	const scope = "Credential should be scoped to correct service"
	return group{"Signatures", []attempt{
		{"a request signed for ECR and sent to IAM, or to STS", "SignatureDoesNotMatch: " + scope + ": 'iam'. , SignatureDoesNotMatch: " + scope + ": 'sts'. ", func(t *testing.T, w *world) error {
			return outcome(answerOf(w.a.call(t, request{service: "ecr", form: form(iamVersion, "ListUsers")})) + ", " +
				answerOf(w.a.call(t, request{service: "ecr", form: form(stsVersion, "GetCallerIdentity")})))
		}},
		{"a request signed for IAM or STS and sent to ECR", "InvalidSignatureException: " + scope + ": 'ecr'. ", func(t *testing.T, w *world) error {
			return each(w.a.call(t, request{target: "DescribeRegistry", service: "iam"}), w.a.call(t, request{target: "DescribeRegistry", service: "sts"}))
		}},
		{"an IAM action in a request signed for STS", "InvalidAction", func(t *testing.T, w *world) error {
			return codeOf(w.a.call(t, request{service: "sts", form: form(iamVersion, "ListUsers")}))
		}},
		{"ECR's target beside the form of an IAM action", "404: <UnknownOperationException/>", func(t *testing.T, w *world) error {
			return w.a.call(t, request{form: form(iamVersion, "ListUsers"), header: map[string]string{"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.DescribeRegistry"}})
		}},
		{"a request signed for one region, sent to the host of another", "InvalidSignatureException: Credential should be scoped to a valid region, not '" + home + "'. ", func(t *testing.T, w *world) error {
			rightful(t, "in its region", w.a.call(t, request{target: "DescribeRegistry", host: "ecr." + home + ".localhost"}))
			return w.a.call(t, request{target: "DescribeRegistry", host: "ecr." + abroad + ".localhost"})
		}},
		{"a request that is replayed with another operation, body, or host", "InvalidSignatureException: " + mismatch, func(t *testing.T, w *world) error {
			return each(
				w.a.call(t, request{target: "DescribeRegistry", late: map[string]string{"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories"}}),
				w.a.call(t, request{target: "DescribeRepositories", lateBody: `{"registryId":"` + accountB + `"}`}),
				w.a.call(t, request{target: "DescribeRegistry", lateHost: "ecr." + home + ".localhost"}))
		}},
		{"an operation named in a header that is not signed", "InvalidSignatureException: 'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.", func(t *testing.T, w *world) error {
			return w.a.call(t, request{target: "DescribeRegistry", header: map[string]string{"X-Amz-Target": ""},
				late: map[string]string{"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories"}})
		}},
		{"an IAM action replayed with another user's name", "SignatureDoesNotMatch: " + mismatch, func(t *testing.T, w *world) error {
			u := w.a.user(t)
			return w.a.call(t, request{form: form(iamVersion, "GetUser"), lateBody: form(iamVersion, "DeleteUser", "UserName", u.name).Encode()})
		}},
		{"a request recorded twenty minutes ago", "InvalidSignatureException", func(t *testing.T, w *world) error {
			return codeOf(w.a.call(t, request{target: "DescribeRegistry", at: time.Now().Add(-20 * time.Minute)}))
		}},
		{"a user's key with the secret of another", "InvalidSignatureException: " + mismatch, func(t *testing.T, w *world) error {
			key := w.a.user(t, allow("*", "*")).credentials
			key.SecretAccessKey = w.b.credentials.SecretAccessKey
			return w.a.call(t, request{target: "DescribeRegistry", as: &key})
		}},
		{"IAM, STS and ECR without a signature", "MissingAuthenticationToken", func(t *testing.T, w *world) error {
			ecrAnswer := codeOf(w.a.call(t, request{target: "DescribeRegistry", unsigned: true}))
			if answerOf(ecrAnswer) != "MissingAuthenticationTokenException" { // ECR's name for it
				return ecrAnswer
			}
			return each(codeOf(w.a.call(t, request{unsigned: true, form: form(iamVersion, "ListUsers")})),
				codeOf(w.a.call(t, request{unsigned: true, form: form(stsVersion, "GetSessionToken")})))
		}},
	}}
}

package app_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/audit/lookup"
)

// records are all records of the default account's trail.
func records(t *testing.T, s *apptest.Server) []audit.Stored {
	t.Helper()
	if err := s.App.Trail().Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := s.App.Trail().After(t.Context(), config.Default().Account, "", 0, 100_000, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// signedCall calls an operation of a JSON service, as the root user.
func signedCall(t *testing.T, s *apptest.Server, service, target, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", target)
	sum := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: apptest.AccessKeyID, SecretAccessKey: apptest.SecretAccessKey}, r, hex.EncodeToString(sum[:]), service, "us-east-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s", target, answer.Status, text.String())
	}
	return text.String()
}

// TestTrailHoldsNoSecrets: whatever a busy run has used to open something, or has stored as
// a layer or as a secret, is in no record.
func TestTrailHoldsNoSecrets(t *testing.T) {
	s := apptest.Start(t, apptest.Options{})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	secrets := map[string]string{"the root user's key": apptest.SecretAccessKey}
	keep := func(what, text string) {
		t.Helper()
		if len(text) < 8 {
			t.Fatalf("%s is %q", what, text)
		}
		secrets[what], secrets[what+" in base64"] = text, base64.StdEncoding.EncodeToString([]byte(text))
	}
	token := func(what string, c *ecr.Client) string {
		t.Helper()
		authorization := apptest.Authorization(t, c)
		encoded := strings.TrimPrefix(authorization, "Basic ")
		plain, err := base64.StdEncoding.DecodeString(encoded)
		must(err)
		secrets[what] = encoded
		keep(what+"'s password", strings.TrimPrefix(string(plain), "AWS:"))
		return authorization
	}

	// Callers of all kinds.
	o := s.ECR.Options()
	identities := iam.New(iam.Options{BaseEndpoint: &s.URL, Region: "us-east-1", RetryMaxAttempts: 1, Credentials: o.Credentials, HTTPClient: o.HTTPClient})
	user, password := "mary", "a Password of mary 1!"
	_, err := identities.CreateUser(ctx, &iam.CreateUserInput{UserName: &user})
	must(err)
	keep("a login password", password)
	_, err = identities.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: &user, Password: &password})
	must(err)
	key, err := identities.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &user})
	must(err)
	keep("a user's key", *key.AccessKey.SecretAccessKey)
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}]}`
	role, err := identities.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("ci"), AssumeRolePolicyDocument: &trust})
	must(err)
	sessions := func(id, secret string) *sts.Client {
		return sts.New(sts.Options{BaseEndpoint: &s.URL, Region: "us-east-1", RetryMaxAttempts: 1, HTTPClient: o.HTTPClient,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
			})})
	}
	session, err := sessions(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey).GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	must(err)
	keep("a session's key", *session.Credentials.SecretAccessKey)
	keep("a session's token", *session.Credentials.SessionToken)
	_, err = sessions(*key.AccessKey.AccessKeyId, "not the key at all").GetCallerIdentity(ctx, nil)
	if err == nil {
		t.Error("a wrong key is let in")
	}
	_, err = sessions(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("build")})
	if err == nil {
		t.Error("mary may assume a role without a policy that says so")
	}

	// A push and a pull, by both APIs, allowed and not.
	s.CreateRepository(t, "ab")
	authorization := token("the root user's token", s.ECR)
	layer := "the content of a layer, which is nobody else's business"
	keep("a layer", layer)
	image := apptest.PushImage(t, s.URL, authorization, "ab", "v1", nil, []byte(layer))
	for _, path := range []string{"/manifests/v1", "/blobs/" + digestOf([]byte(layer)), "/tags/list", "/referrers/" + image.String()} {
		for _, as := range []string{authorization, token("another token", apptest.ClientOf(s.URL, "us-east-1", apptest.AccessKeyID, apptest.SecretAccessKey))} {
			if answer, body := apptest.Do(t, http.MethodGet, s.URL+"/v2/ab"+path, as, nil, nil); answer.StatusCode != http.StatusOK {
				t.Errorf("%s: %s %s", path, answer.Status, body)
			}
		}
	}
	part := []byte("another layer, which comes in a part through the API")
	keep("a part", string(part))
	repo := aws.String("ab")
	upload, err := s.ECR.InitiateLayerUpload(ctx, &ecr.InitiateLayerUploadInput{RepositoryName: repo})
	must(err)
	_, err = s.ECR.UploadLayerPart(ctx, &ecr.UploadLayerPartInput{RepositoryName: repo, UploadId: upload.UploadId, PartFirstByte: aws.Int64(0), PartLastByte: aws.Int64(int64(len(part) - 1)), LayerPartBlob: part})
	must(err)

	// Credentials of an upstream registry.
	keep("an upstream's password", "the password of an upstream")
	kept, err := json.Marshal(map[string]string{"Name": "ecr-pullthroughcache/hub", "SecretString": `{"username":"u","accessToken":"` + secrets["an upstream's password"] + `"}`, "ClientRequestToken": "11111111-1111-1111-1111-111111111111"})
	must(err)
	made := signedCall(t, s, "secretsmanager", "secretsmanager.CreateSecret", string(kept))
	var secret struct{ ARN string }
	must(json.Unmarshal([]byte(made), &secret))
	if got := signedCall(t, s, "secretsmanager", "secretsmanager.GetSecretValue", `{"SecretId":"`+secret.ARN+`"}`); !strings.Contains(got, secrets["an upstream's password"]) {
		t.Errorf("the secret is %s", got)
	}

	seen := map[string]string{}
	for _, r := range records(t, s) {
		seen[r.Name] = string(r.Record)
		for what, secret := range secrets {
			if strings.Contains(string(r.Record), secret) {
				t.Errorf("%s stands in %s", what, r.Record)
			}
		}
		if !json.Valid(r.Record) || !strings.Contains(string(r.Record), `"eventID":"`+lookup.IDOf(r.ID)+`"`) {
			t.Errorf("not a record: %s", r.Record)
		}
	}
	for _, event := range []string{
		"CreateUser", "CreateLoginProfile", "CreateAccessKey", "CreateRole", "GetSessionToken", "AssumeRole", "CreateRepository", "GetAuthorizationToken",
		"BatchGetImage", "GetDownloadUrlForLayer", "ListImages", "ListImageReferrers", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage", "CreateSecret", "GetSecretValue",
	} {
		if seen[event] == "" {
			t.Errorf("the trail has no %s", event)
		}
	}

	// A client that speaks the registry's protocol is recorded as CloudTrail does, and is known all the same.
	for _, want := range []string{`"sourceIPAddress":"ecr.amazonaws.com","userAgent":"ecr.amazonaws.com"`, `"invokedBy":"ecr.amazonaws.com"`, `"additionalEventData":{"clientSourceIPAddress":"127.0.0.1"`} {
		if !strings.Contains(seen["PutImage"], want) {
			t.Errorf("%s has not %s", seen["PutImage"], want)
		}
	}
	if !strings.Contains(seen["CreateUser"], `"sourceIPAddress":"127.0.0.1"`) {
		t.Errorf("an API call is recorded as %s", seen["CreateUser"])
	}
}

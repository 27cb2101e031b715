package aws

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/berth-registry/berth/test/contract/harness"
)

func provider(id, secret, session string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: session}, nil
	})
}

// signatures are wrong in each part.
func signatures(t *testing.T, w *world) {
	describe := func(id, secret, session, region string) error {
		config := w.Config()
		config.Credentials, config.Region = provider(id, secret, session), region
		_, err := ecr.NewFromConfig(config).DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{})
		return err
	}
	if err := describe(w.AccessKeyID, w.SecretAccessKey, "", w.Region); err != nil {
		t.Fatal(err)
	}
	code(t, describe(w.AccessKeyID, "wrong", "", w.Region), "InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")
	code(t, describe("AKIANOBODYNOBODYNOB0", w.SecretAccessKey, "", w.Region), "UnrecognizedClientException", "The security token included in the request is invalid.")
	code(t, describe(w.AccessKeyID, w.SecretAccessKey, "made-up-session", w.Region), "UnrecognizedClientException", "The security token included in the request is invalid.")

	t.Log("plain requests")
	body := []byte("{}")
	header := map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.DescribeRegistry"}
	answer := w.post(t, header, body, "MissingAuthenticationTokenException")
	if answer.Header.Get("x-amzn-RequestId") == "" || answer.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		t.Errorf("the error's headers are %v", answer.Header)
	}
	header["Authorization"] = "AWS4-HMAC-SHA256 Credential=nothing"
	w.post(t, header, body, "IncompleteSignatureException")
	delete(header, "Authorization")

	w.post(t, w.sign(t, header, body, time.Now().Add(-16*time.Minute), "ecr"), body, "InvalidSignatureException")
	w.post(t, w.sign(t, header, body, time.Now().Add(16*time.Minute), "ecr"), body, "InvalidSignatureException")
	w.post(t, w.sign(t, header, body, time.Now().Add(-14*time.Minute), "ecr"), body, "")
	w.post(t, w.sign(t, header, body, time.Now(), "s3"), body, "InvalidSignatureException")
	w.post(t, w.sign(t, header, []byte("{ }"), time.Now(), "ecr"), body, "InvalidSignatureException") // another body
	signed := w.sign(t, header, body, time.Now(), "ecr")
	signed["X-Amz-Target"] = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories"
	w.post(t, signed, body, "InvalidSignatureException") // another operation
}

// sign gives the headers of a signed POST.
func (w *world) sign(t *testing.T, header map[string]string, body []byte, at time.Time, service string) map[string]string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.Endpoint+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = int64(len(body))
	out := map[string]string{}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	hash := strings.TrimPrefix(harness.Digest(body), "sha256:")
	key := aws.Credentials{AccessKeyID: w.AccessKeyID, SecretAccessKey: w.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hash, service, w.Region, at); err != nil {
		t.Fatal(err)
	}
	for k := range r.Header {
		out[k] = r.Header.Get(k)
	}
	return out
}

// post sends a request to the API and fails unless the answer is the error of
// the name, or a success for "".
func (w *world) post(t *testing.T, header map[string]string, body []byte, want string) *http.Response {
	t.Helper()
	answer, text := w.send(t.Context(), t, http.MethodPost, w.Endpoint+"/", header, body)
	var e struct {
		Type string `json:"__type"`
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatalf("the answer %d is no JSON: %s", answer.StatusCode, text)
	}
	status := http.StatusBadRequest
	if want == "" {
		status = http.StatusOK
	}
	if e.Type != want || answer.StatusCode != status {
		t.Errorf("the answer is %d %s, want %d %s", answer.StatusCode, text, status, want)
	}
	return answer
}

// protocol is what JSON 1.1 requests may look like.
func protocol(t *testing.T, w *world) {
	header := func(operation string) map[string]string {
		return map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921." + operation}
	}
	call := func(operation, body, want string) *http.Response {
		t.Helper()
		return w.post(t, w.sign(t, header(operation), []byte(body), time.Now(), "ecr"), []byte(body), want)
	}
	ok := call("DescribeRegistry", `{}`, "")
	if ok.Header.Get("x-amzn-RequestId") == "" || ok.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		t.Errorf("the answer's headers are %v", ok.Header)
	}
	call("DescribeRegistry", `{"unknownMember": {"is": ["ignored"]}}`, "")
	call("DescribeRepositories", `{"maxResults": "five"}`, "SerializationException")
	call("DescribeRepositories", `{"repositoryNames": "one"}`, "SerializationException")
	call("DescribeRepositories", `{"maxResults": 5`, "SerializationException")
	call("CreateRepository", `{}`, "InvalidParameterException")
	call("CreateRepository", `{"repositoryName": null}`, "InvalidParameterException")
	call("NoSuchOperation", `{}`, "UnknownOperationException")
	other := header("DescribeRegistry")
	other["X-Amz-Target"] = "AmazonS3.ListBuckets"
	w.post(t, w.sign(t, other, []byte("{}"), time.Now(), "ecr"), []byte("{}"), "UnknownOperationException")

	t.Log("an operation that is not built is refused as one that does not exist")
	_, err := w.StartImageScan(t.Context(), &ecr.StartImageScanInput{RepositoryName: aws.String("protocol/app"), ImageId: new(tagID("v1"))})
	if err != nil {
		code(t, err, "UnknownOperationException", "")
	} else {
		t.Error("StartImageScan is built; choose another operation for this check, until none is left")
	}

	t.Log("times are numbers, and answers have no nulls")
	create := []byte(`{"repositoryName":"protocol/app"}`)
	_, text := w.send(t.Context(), t, http.MethodPost, w.Endpoint+"/", w.sign(t, header("CreateRepository"), create, time.Now(), "ecr"), create)
	var answer struct {
		Repository map[string]any
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	if _, number := answer.Repository["createdAt"].(float64); !number || strings.Contains(text, "null") {
		t.Errorf("the answer is %s", text)
	}
}

func authorizationTokens(t *testing.T, w *world) {
	ctx := t.Context()
	w.CreateRepository(t, "token/app")
	out := must(w.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{}))(t).AuthorizationData
	if len(out) != 1 {
		t.Fatalf("%d tokens, want 1", len(out))
	}
	if *out[0].ProxyEndpoint != w.Endpoint {
		t.Errorf("proxyEndpoint is %s, want %s", *out[0].ProxyEndpoint, w.Endpoint)
	}
	if life := time.Until(*out[0].ExpiresAt); life < 12*time.Hour-time.Minute || life > 12*time.Hour {
		t.Errorf("the token lives for %s, want 12 h", life)
	}
	plain, err := base64.StdEncoding.DecodeString(*out[0].AuthorizationToken)
	if err != nil || !strings.HasPrefix(string(plain), "AWS:") {
		t.Fatalf("the token decodes to %.20q: %v", plain, err)
	}
	_, port, _ := strings.Cut(w.Host, ":")
	//lint:ignore SA1019 AWS deprecates registryIds and still answers it, and so does Berth.
	two := must(w.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{RegistryIds: []string{w.Account, "111122223333"}}))(t).AuthorizationData
	if len(two) != 2 || *two[0].ProxyEndpoint != w.Endpoint || *two[1].ProxyEndpoint != "http://111122223333.dkr.ecr.us-east-1.localhost:"+port {
		t.Errorf("for two registries: %+v", two)
	}
	for _, password := range []string{"", "nonsense", string(plain[4:]) + "x", strings.ToLower(string(plain[4:])), w.SecretAccessKey} {
		answer, _ := w.send(ctx, t, http.MethodGet, w.Endpoint+"/v2/", basic("AWS", password), nil)
		if answer.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(answer.Header.Get("Www-Authenticate"), "Basic realm=") {
			t.Errorf("a wrong password answers %d, %v", answer.StatusCode, answer.Header)
		}
	}
	if answer, _ := w.send(ctx, t, http.MethodGet, w.Endpoint+"/v2/", basic("root", string(plain[4:])), nil); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("another user's name answers %d", answer.StatusCode)
	}
	if answer, _ := w.send(ctx, t, http.MethodGet, w.Endpoint+"/v2/", basic("AWS", string(plain[4:])), nil); answer.StatusCode != http.StatusOK {
		t.Errorf("the password answers %d", answer.StatusCode)
	}
}

func basic(user, password string) map[string]string {
	return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}
}

func callerIdentity(t *testing.T, w *world) {
	out := must(w.STS().GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}))(t)
	if *out.Account != w.Account || *out.UserId != w.Account || *out.Arn != "arn:aws:iam::"+w.Account+":root" {
		t.Errorf("GetCallerIdentity answers %s, %s, %s", *out.Account, *out.UserId, *out.Arn)
	}
	config := w.Config()
	config.Credentials = provider(w.AccessKeyID, "wrong", "")
	_, err := sts.NewFromConfig(config).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	code(t, err, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
}

// regions are registries of their own.
func regions(t *testing.T, w *world) {
	ctx := t.Context()
	w.CreateRepository(t, "regions/app")
	w.registry.PushImage(t, "regions/app", "v1", 1, 100)
	config := w.Config()
	config.Region = "eu-central-1"
	elsewhere := ecr.NewFromConfig(config)
	_, err := elsewhere.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: aws.String("regions/app")})
	code(t, err, "RepositoryNotFoundException", w.repositoryMissing("regions/app"))
	r := must(elsewhere.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("regions/app")}))(t).Repository
	_, port, _ := strings.Cut(w.Host, ":")
	host := w.Account + ".dkr.ecr.eu-central-1.localhost:" + port
	if *r.RepositoryArn != "arn:aws:ecr:eu-central-1:"+w.Account+":repository/regions/app" || *r.RepositoryUri != host+"/regions/app" {
		t.Errorf("the repository is %s, %s", *r.RepositoryArn, *r.RepositoryUri)
	}
	token := *must(elsewhere.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{}))(t).AuthorizationData[0].AuthorizationToken
	open := func(host, token string) int {
		t.Helper()
		answer, _ := w.send(ctx, t, http.MethodGet, w.Endpoint+"/v2/regions/app/manifests/v1", map[string]string{"Host": host, "Authorization": "Basic " + token}, nil)
		return answer.StatusCode
	}
	if got := open(w.Host, token); got != http.StatusUnauthorized && got != http.StatusForbidden {
		t.Errorf("a token of eu-central-1 in us-east-1 answers %d", got)
	}
	if got := open(host, token); got != http.StatusNotFound {
		t.Errorf("the image of us-east-1 asked for in eu-central-1 answers %d", got)
	}
	if got := open(w.Host, w.Token(t)); got != http.StatusOK {
		t.Errorf("the image in its own region answers %d", got)
	}
	config.Region = "ap-south-1" // is not served
	_, err = ecr.NewFromConfig(config).CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("regions/none")})
	if err == nil {
		t.Error("a repository was created in a region that is not served")
	}
}

// hosts choose what answers.
func hosts(t *testing.T, w *world) {
	ctx := t.Context()
	w.CreateRepository(t, "hosts/app")
	w.registry.PushImage(t, "hosts/app", "v1", 1, 100)
	_, port, _ := strings.Cut(w.Host, ":")
	token := "Basic " + w.Token(t)
	for host, want := range map[string]int{
		w.Host:      http.StatusOK,
		"127.0.0.1": http.StatusOK,
		w.Account + ".dkr.ecr.us-east-1.localhost:" + port:      http.StatusOK,
		w.Account + ".dkr.ecr-fips.us-east-1.localhost:" + port: http.StatusOK,
		"111122223333.dkr.ecr.us-east-1.localhost:" + port:      http.StatusForbidden,
		"api.ecr.us-east-1.localhost:" + port:                   http.StatusNotFound,
	} {
		answer, text := w.send(ctx, t, http.MethodGet, w.Endpoint+"/v2/hosts/app/manifests/v1", map[string]string{"Host": host, "Authorization": token}, nil)
		if answer.StatusCode != want {
			t.Errorf("the registry as %s answers %d %s, want %d", host, answer.StatusCode, text, want)
		}
	}
	canonical := fmt.Sprintf("%s.dkr.ecr.us-east-1.localhost:%s", w.Account, port)
	answer, _ := w.send(ctx, t, http.MethodGet, w.Endpoint+"/v2/", map[string]string{"Host": canonical}, nil)
	if got, want := answer.Header.Get("Www-Authenticate"), `Basic realm="http://`+canonical+`/",service="ecr.amazonaws.com"`; got != want {
		t.Errorf("the challenge is %s, want %s", got, want)
	}
}

package aws

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/berth-registry/berth/internal/api/aws/awstest"
)

const (
	targetPrefix       = "AmazonEC2ContainerRegistry_V20150921."
	publicTargetPrefix = "SpencerFrontendService."
	contentJSON        = "application/x-amz-json-1.1"
	contentForm        = "application/x-www-form-urlencoded; charset=utf-8"
)

// The pattern of repository names, as ECR's messages show it.
const namePattern = `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`

// The pattern of digests.
const digestPattern = `[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+`

// uuidPattern is the form of request and upload ids.
var uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

type suite struct {
	Target
	http *http.Client
	// ecr and sts are the SDK's clients as the target's caller. They repeat
	// nothing: a check wants to see every answer.
	ecr *ecr.Client
	sts *sts.Client
	// me is the caller's ARN.
	me string
	// public is for the suite of ECR Public, whose calls have another target and
	// whose repositories have other ARNs.
	public bool
}

func newSuite(t *testing.T, target Target) *suite {
	t.Helper()
	s := &suite{Target: target, http: target.Client}
	if s.http == nil {
		s.http = &http.Client{}
	}
	if s.http.CheckRedirect == nil {
		own := *s.http
		own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		s.http = &own
	}
	s.ecr = ecr.NewFromConfig(s.config(s.caller(), s.Region))
	s.sts = sts.NewFromConfig(s.config(s.caller(), s.Region))
	out, err := s.sts.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatalf("the target does not answer GetCallerIdentity: %v", err)
	}
	s.me = aws.ToString(out.Arn)
	return s
}

// Caller is an access key.
type Caller struct{ AccessKeyID, SecretAccessKey string }

func (s *suite) caller() Caller { return Caller{s.AccessKeyID, s.SecretAccessKey} }

func (c Caller) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey}
}

func (s *suite) config(c Caller, region string) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: &s.URL, HTTPClient: awstest.Client{Client: s.http},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c.credentials(), nil }),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// object and array are JSON as it is written into checks.
type object = map[string]any
type array = []any

// json reads the answer's body, which has to be one JSON object.
func (a answer) json(t *testing.T) object {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	var v object
	if err := d.Decode(&v); err != nil || d.More() {
		t.Fatalf("the answer is no JSON object: %.500s", a.body)
	}
	return v
}

// call is one signed request. The zero values stand for what a client that
// does everything right would send.
type call struct {
	op string
	// in is the input: text is sent as it is, everything else as JSON.
	in      any
	as      Caller
	region  string
	service string
	at      time.Time
	method  string
	query   string
	host    string
	// header replaces what is sent, before it is signed; "" removes.
	header map[string]string
	// late replaces headers after the signature was made.
	late map[string]string
	// lateBody replaces the body after the signature was made.
	lateBody string
	// unsigned leaves the signature out.
	unsigned bool
	// presigned signs in the query.
	presigned bool
}

// do sends the call and reads the whole answer.
func (s *suite) do(t *testing.T, c call) answer {
	t.Helper()
	return s.send(t, s.request(t, c))
}

func (s *suite) send(t *testing.T, r *http.Request) answer {
	t.Helper()
	a, err := s.try(r)
	if err != nil {
		t.Fatalf("%s %s %s: %v", r.Method, r.URL, r.Header.Get("X-Amz-Target"), err)
	}
	return a
}

// try is send for other goroutines than the test's own.
func (s *suite) try(r *http.Request) (answer, error) {
	resp, err := s.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	return answer{resp.StatusCode, resp.Header, body}, err
}

func (s *suite) request(t *testing.T, c call) *http.Request {
	t.Helper()
	c = s.filled(c)
	body := inputText(t, c.in)
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	at.Path, at.RawQuery = "/", c.query
	r := s.plain(t, c.method, at.String(), body)
	if c.host != "" {
		r.Host = c.host
	}
	if c.op != "" {
		r.Header.Set("Content-Type", contentJSON)
		r.Header.Set("X-Amz-Target", s.target()+c.op)
	}
	replace(r, c.header)
	s.sign(t, r, c, body)
	replace(r, c.late)
	if c.lateBody != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(c.lateBody)), int64(len(c.lateBody))
	}
	return r
}

func (s *suite) filled(c call) call {
	if c.as == (Caller{}) {
		c.as = s.caller()
	}
	if c.region == "" {
		c.region = s.Region
	}
	if c.service == "" {
		c.service = s.service()
	}
	if c.method == "" {
		c.method = http.MethodPost
	}
	if c.at.IsZero() {
		c.at = time.Now()
	}
	return c
}

// service is the API that calls without one of their own are for, target what stands
// before their operations.
func (s *suite) service() string {
	if s.public {
		return "ecr-public"
	}
	return "ecr"
}

func (s *suite) target() string {
	if s.public {
		return publicTargetPrefix
	}
	return targetPrefix
}

// sign puts the signature of the call into the request, or its query.
func (s *suite) sign(t *testing.T, r *http.Request, c call, body []byte) {
	t.Helper()
	if c.unsigned {
		return
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if !c.presigned {
		if err := v4.NewSigner().SignHTTP(t.Context(), c.as.credentials(), r, hash, c.service, c.region, c.at); err != nil {
			t.Fatal(err)
		}
		return
	}
	// The target is a header for the API also where the rest is in the query.
	signed, header, err := v4.NewSigner().PresignHTTP(t.Context(), c.as.credentials(), r, hash, c.service, c.region, c.at,
		func(o *v4.SignerOptions) { o.DisableHeaderHoisting = true })
	if err != nil {
		t.Fatal(err)
	}
	if r.URL, err = url.Parse(signed); err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		if k != "Host" && k != "Content-Length" {
			r.Header[k] = v
		}
	}
}

// plain makes an unsigned request to a whole URL.
func (s *suite) plain(t *testing.T, method, at string, body []byte) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, at, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func replace(r *http.Request, header map[string]string) {
	for k, v := range header {
		r.Header.Del(k)
		if v != "" {
			r.Header.Set(k, v)
		}
	}
}

func inputText(t *testing.T, in any) []byte {
	t.Helper()
	switch in := in.(type) {
	case nil:
		return []byte("{}")
	case string:
		return []byte(in)
	}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// succeed makes a call that has to work, and returns its output.
func (s *suite) succeed(t *testing.T, op string, in any) object {
	t.Helper()
	return s.succeeded(t, op, s.do(t, call{op: op, in: in}))
}

func (s *suite) succeeded(t *testing.T, op string, a answer) object {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("%s: status %d: %.1000s", op, a.status, a.body)
	}
	s.envelope(t, op, a)
	return a.json(t)
}

// envelope checks what every answer of the API has around its body.
func (s *suite) envelope(t *testing.T, op string, a answer) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != contentJSON {
		t.Errorf("%s: Content-Type is %q, want %q", op, got, contentJSON)
	}
	if got := a.header.Get("X-Amzn-Requestid"); !uuidPattern.MatchString(got) {
		t.Errorf("%s: x-amzn-RequestId is %q, want a UUID", op, got)
	}
}

// want makes a call whose output has to be exactly this: no member more, none
// less. See differences for what may stand in it.
func (s *suite) want(t *testing.T, op string, in any, out object) object {
	t.Helper()
	got := s.succeed(t, op, in)
	same(t, op, out, got)
	return got
}

// refused makes a call that has to fail with exactly this exception; members
// are those besides its type and message.
func (s *suite) refused(t *testing.T, op string, in any, exception, message string, members ...object) {
	t.Helper()
	s.refusal(t, op, s.do(t, call{op: op, in: in}), exception, message, members...)
}

// refusal checks an answer as refused does. Every exception of the service
// model except ServerException has the status 400; a message "" is none.
func (s *suite) refusal(t *testing.T, what string, a answer, exception, message string, members ...object) {
	t.Helper()
	want := object{"__type": exception}
	if message != "" {
		want["message"] = message
	}
	for _, more := range members {
		for k, v := range more {
			want[k] = v
		}
	}
	if a.status != http.StatusBadRequest {
		t.Fatalf("%s: status %d, want 400 with %s: %.1000s", what, a.status, exception, a.body)
	}
	s.envelope(t, what, a)
	same(t, what, want, a.json(t))
}

// invalid is refused with the message of a parameter that breaks a constraint.
func (s *suite) invalid(t *testing.T, op string, in any, parameter, constraint string) {
	t.Helper()
	s.refused(t, op, in, "InvalidParameterException", parameterText(parameter, constraint))
}

func parameterText(parameter, constraint string) string {
	return "Invalid parameter at '" + parameter + "' failed to satisfy constraint: '" + constraint + "'"
}

// noRepository is the message for a repository that is not there.
func (s *suite) noRepository(repo string) string {
	return "The repository with name '" + repo + "' does not exist in the registry with id '" + s.Account + "'"
}

// denied is the message for what no policy of another account allows.
func (s *suite) denied(who, action, resource string) string {
	return "User: " + who + " is not authorized to perform: " + action + " on resource: " + resource +
		" because no resource-based policy allows the " + action + " action"
}

func (s *suite) arn(account, repo string) string {
	if s.public {
		return "arn:aws:ecr-public::" + account + ":repository/" + repo
	}
	return "arn:aws:ecr:" + s.Region + ":" + account + ":repository/" + repo
}

// host is the host and port of the target.
func (s *suite) host() string {
	_, host, _ := strings.Cut(s.URL, "://")
	return host
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return b
}

// unique makes a name that no earlier run has used.
func unique(prefix string) string { return prefix + "-" + hex.EncodeToString(randomBytes(6)) }

func sha256Digest[T string | []byte](b T) string {
	sum := sha256.Sum256([]byte(b))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func sha512Digest[T string | []byte](b T) string {
	sum := sha512.Sum512([]byte(b))
	return "sha512:" + hex.EncodeToString(sum[:])
}

// someDigest is the digest of nothing that anybody has pushed.
func someDigest() string { return sha256Digest(randomBytes(32)) }

package sigv4_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
)

const mismatchText = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."

// signed returns a request as the SDK signs it, at suiteTime and for ECR.
func signed(t testing.TB, token string, change func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://api.ecr.eu-west-1.example.com/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories")
	if change != nil {
		change(r)
	}
	err = signer.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: suiteKeyID, SecretAccessKey: suiteSecret, SessionToken: token},
		r, hashOf("{}"), "ecr", "eu-west-1", suiteTime)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// presigned returns the request that somebody makes with a URL presigned by the
// SDK, at suiteTime.
func presigned(t testing.TB, expires string) *http.Request {
	t.Helper()
	target := "http://sts.example.com/?Action=GetCallerIdentity&Version=2011-06-15"
	if expires != "" {
		target += "&X-Amz-Expires=" + expires
	}
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	uri, headers, err := signer.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: suiteKeyID, SecretAccessKey: suiteSecret},
		r, hashOf(""), "sts", "us-east-1", suiteTime)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = http.NewRequest(http.MethodGet, uri, nil); err != nil {
		t.Fatal(err)
	}
	for k, v := range headers {
		r.Header[k] = v
	}
	return r
}

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

func edit(r *http.Request, old, new string) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
}

func editQuery(r *http.Request, change func(url.Values)) {
	q := r.URL.Query()
	change(q)
	r.URL.RawQuery = q.Encode()
}

func TestRefusals(t *testing.T) {
	const token = "the-session-token"
	cases := map[string]struct {
		request *http.Request
		key     func(*heldKey)
		later   time.Duration // the server's clock after the signing
		body    string
		kind    sigv4.Kind
		message string
	}{
		"nothing": {
			request: func() *http.Request { r := signed(t, "", nil); r.Header.Del("Authorization"); return r }(),
			kind:    sigv4.MissingAuthenticationToken, message: "Missing Authentication Token",
		},
		"basic credentials": {
			request: func() *http.Request {
				r := signed(t, "", nil)
				r.Header.Set("Authorization", "Basic c2VjcmV0OnBhc3N3b3Jk")
				return r
			}(),
			kind:    sigv4.IncompleteSignature,
			message: "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '{hash}'.",
		},
		"only the algorithm, and no date": {
			request: func() *http.Request {
				r := signed(t, "", nil)
				r.Header.Set("Authorization", "AWS4-HMAC-SHA256")
				r.Header.Del("X-Amz-Date")
				return r
			}(),
			kind: sigv4.IncompleteSignature,
			message: "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. " +
				"Authorization header requires 'SignedHeaders' parameter. " +
				"Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. " +
				"(Hashed with SHA-256 and encoded with Base64) Authorization={hash}",
		},
		"no signature": {
			request: func() *http.Request { r := signed(t, "", nil); edit(r, "Signature=", "Other="); return r }(),
			kind:    sigv4.IncompleteSignature,
			message: "Authorization header requires 'Signature' parameter. (Hashed with SHA-256 and encoded with Base64) Authorization={hash}",
		},
		"another algorithm": {
			request: func() *http.Request {
				r := signed(t, "", nil)
				edit(r, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512")
				return r
			}(),
			kind: sigv4.IncompleteSignature, message: "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512'.",
		},
		"two authorizations": {
			request: func() *http.Request {
				r := signed(t, "", nil)
				r.Header.Add("Authorization", r.Header.Get("Authorization"))
				return r
			}(),
			kind: sigv4.InvalidSignature, message: mismatchText,
		},
		"two dates": {
			request: func() *http.Request {
				r := signed(t, "", nil)
				r.Header.Add("X-Amz-Date", r.Header.Get("X-Amz-Date"))
				return r
			}(),
			kind: sigv4.InvalidSignature, message: mismatchText,
		},
		"secret and id exchanged": {
			request: func() *http.Request {
				r := signed(t, "", nil)
				edit(r, "Credential="+suiteKeyID, "Credential=a/b")
				return r
			}(),
			kind:    sigv4.IncompleteSignature,
			message: "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b/20150830/eu-west-1/ecr/aws4_request'",
		},
		"another terminator": {
			request: func() *http.Request { r := signed(t, "", nil); edit(r, "aws4_request", "aws5_request"); return r }(),
			kind:    sigv4.InvalidSignature, message: "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. ",
		},
		"day of the scope": {
			request: func() *http.Request { r := signed(t, "", nil); edit(r, "/20150830/", "/20150829/"); return r }(),
			kind:    sigv4.InvalidSignature,
			message: "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150829' != '20150830', from '20150830T123600Z'.",
		},
		"a date in another form": {
			request: func() *http.Request {
				r := signed(t, "", nil)
				r.Header.Set("X-Amz-Date", "2015-08-30 12:36")
				return r
			}(),
			kind:    sigv4.IncompleteSignature,
			message: "Date must be in ISO-8601 'basic format'. Got '2015-08-30 12:36'. See http://en.wikipedia.org/wiki/ISO_8601",
		},
		"too old": {
			request: signed(t, "", nil), later: 15*time.Minute + time.Second,
			kind: sigv4.InvalidSignature, message: "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)",
		},
		"from the future": {
			request: signed(t, "", nil), later: -15*time.Minute - time.Second,
			kind: sigv4.InvalidSignature, message: "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 min.)",
		},
		"presigned, over": {
			request: presigned(t, "60"), later: time.Minute + time.Second,
			kind: sigv4.InvalidSignature, message: "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T123701Z - 1 min.)",
		},
		"presigned, over, without a length": {
			request: presigned(t, ""), later: 16 * time.Minute,
			kind: sigv4.InvalidSignature, message: "Signature expired: 20150830T123600Z is now earlier than 20150830T123700Z (20150830T125200Z - 15 min.)",
		},
		"presigned, odd length": {
			request: presigned(t, "90"), later: 2 * time.Minute,
			kind: sigv4.InvalidSignature, message: "Signature expired: 20150830T123600Z is now earlier than 20150830T123630Z (20150830T123800Z - 90 sec.)",
		},
		"presigned, not begun": {
			request: presigned(t, "3600"), later: -5*time.Minute - time.Second,
			kind: sigv4.InvalidSignature, message: "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)",
		},
		"presigned, no number": {
			request: presigned(t, "1h"),
			kind:    sigv4.IncompleteSignature, message: "X-Amz-Expires should be a number",
		},
		"presigned, no time": {
			request: presigned(t, "0"),
			kind:    sigv4.IncompleteSignature, message: "X-Amz-Expires must be non-negative",
		},
		"presigned, too long": {
			request: presigned(t, "604801"),
			kind:    sigv4.IncompleteSignature,
			message: "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
		},
		"presigned, parts missing": {
			request: func() *http.Request {
				r := presigned(t, "60")
				editQuery(r, func(q url.Values) { q.Del("X-Amz-Signature"); q.Del("X-Amz-Date") })
				return r
			}(),
			kind: sigv4.IncompleteSignature,
			message: "AWS query-string parameters must include 'X-Amz-Signature'. AWS query-string parameters must include 'X-Amz-Date'. " +
				"Re-examine the query-string parameters.",
		},
		"presigned, another algorithm": {
			request: func() *http.Request {
				r := presigned(t, "60")
				editQuery(r, func(q url.Values) { q.Set("X-Amz-Algorithm", "AWS4-ECDSA-P256-SHA256") })
				return r
			}(),
			kind: sigv4.IncompleteSignature, message: "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'.",
		},
		"presigned, a part twice": {
			request: func() *http.Request {
				r := presigned(t, "60")
				editQuery(r, func(q url.Values) { q.Add("X-Amz-Credential", q.Get("X-Amz-Credential")) })
				return r
			}(),
			kind: sigv4.InvalidSignature, message: mismatchText,
		},
		"presigned, lengthened": {
			request: func() *http.Request {
				r := presigned(t, "60")
				editQuery(r, func(q url.Values) { q.Set("X-Amz-Expires", "61") })
				return r
			}(),
			kind: sigv4.InvalidSignature, message: mismatchText,
		},
		"presigned, with a body": {
			request: presigned(t, "60"), body: "Action=CreateUser",
			kind: sigv4.InvalidSignature, message: mismatchText,
		},
		"a query that cannot be read": {
			request: func() *http.Request { r := signed(t, "", nil); r.URL.RawQuery = "a=%zz"; return r }(),
			kind:    sigv4.InvalidSignature, message: mismatchText,
		},
		"presigned, two tokens": {
			request: func() *http.Request {
				r := presigned(t, "60")
				editQuery(r, func(q url.Values) { q["X-Amz-Security-Token"] = []string{"a", "b"} })
				return r
			}(),
			kind: sigv4.InvalidSignature, message: mismatchText,
		},
		"presigned, two announced bodies": {
			request: func() *http.Request {
				r := presigned(t, "60")
				editQuery(r, func(q url.Values) { q["X-Amz-Content-Sha256"] = []string{hashOf(""), hashOf("")} })
				return r
			}(),
			kind: sigv4.InvalidSignature, message: mismatchText,
		},
		"a query that cannot be read, and no signature": {
			request: func() *http.Request {
				r := signed(t, "", nil)
				r.Header.Del("Authorization")
				r.URL.RawQuery = "%zz=a"
				return r
			}(),
			kind: sigv4.MissingAuthenticationToken, message: "Missing Authentication Token",
		},
		"a header signed twice": {
			request: func() *http.Request { r := signed(t, "", nil); edit(r, ";host", ";host;host"); return r }(),
			kind:    sigv4.InvalidSignature, message: mismatchText,
		},
		"host not signed": {
			request: func() *http.Request { r := signed(t, "", nil); edit(r, "host;", ""); return r }(),
			kind:    sigv4.InvalidSignature, message: "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
		},
		"target not signed": {
			request: func() *http.Request { r := signed(t, "", nil); edit(r, ";x-amz-target", ""); return r }(),
			kind:    sigv4.InvalidSignature, message: "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.",
		},
		"another body": {
			request: signed(t, "", nil), body: "[]",
			kind: sigv4.InvalidSignature, message: mismatchText,
		},
		"another announced body": {
			request: signed(t, "", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", hashOf("{}")) }), body: "[]",
			kind: sigv4.InvalidSignature, message: mismatchText,
		},
		"wrong announced body": {
			request: signed(t, "", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", hashOf("[]")) }),
			kind:    sigv4.InvalidSignature, message: mismatchText,
		},
		"unsigned body": {
			request: signUnsigned(t),
			kind:    sigv4.InvalidSignature, message: mismatchText,
		},
		"unknown key": {
			request: func() *http.Request { r := signed(t, "", nil); edit(r, suiteKeyID, "AKIDOTHER"); return r }(),
			kind:    sigv4.UnrecognizedClient, message: "The security token included in the request is invalid.",
		},
		"endless key id": {
			request: func() *http.Request {
				r := signed(t, "", nil)
				edit(r, suiteKeyID, strings.Repeat("A", 129))
				return r
			}(),
			kind: sigv4.UnrecognizedClient, message: "The security token included in the request is invalid.",
		},
		"disabled key": {
			request: signed(t, "", nil), key: func(k *heldKey) { k.Enabled = false },
			kind: sigv4.UnrecognizedClient, message: "The security token included in the request is invalid.",
		},
		"another secret": {
			request: signed(t, "", nil), key: func(k *heldKey) { k.Secret = "another" },
			kind: sigv4.InvalidSignature, message: mismatchText,
		},
		"token missing": {
			request: signed(t, "", nil), key: func(k *heldKey) { k.SessionToken = token },
			kind: sigv4.UnrecognizedClient, message: "The security token included in the request is invalid.",
		},
		"token too much": {
			request: signed(t, token, nil),
			kind:    sigv4.UnrecognizedClient, message: "The security token included in the request is invalid.",
		},
		"another token": {
			request: signed(t, token, nil), key: func(k *heldKey) { k.SessionToken = token + "x" },
			kind: sigv4.UnrecognizedClient, message: "The security token included in the request is invalid.",
		},
		"session over": {
			request: signed(t, token, nil), key: func(k *heldKey) { k.SessionToken = token; k.Expires = suiteTime },
			kind: sigv4.ExpiredToken, message: "The security token included in the request is expired",
		},
	}
	for title, c := range cases {
		t.Run(title, func(t *testing.T) {
			key := suiteKey()
			if c.key != nil {
				c.key(&key)
			}
			body := c.body
			if body == "" && c.request.Method == http.MethodPost {
				body = "{}"
			}
			_, err := newVerifier(key, suiteTime.Add(c.later)).Authenticate(t.Context(), c.request, []byte(body))
			var refusal *sigv4.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("error = %v, want a refusal", err)
			}
			sum := sha256.Sum256([]byte(c.request.Header.Get("Authorization")))
			message := strings.Replace(c.message, "{hash}", base64.StdEncoding.EncodeToString(sum[:]), 1)
			if refusal.Kind != c.kind || refusal.Message != message {
				t.Errorf("refusal = %d %q, want %d %q", refusal.Kind, refusal.Message, c.kind, message)
			}
		})
	}
}

func TestWhatIsAccepted(t *testing.T) {
	const token = "the-session-token"
	cases := map[string]struct {
		request *http.Request
		config  func(*sigv4.Config)
		key     func(*heldKey)
		later   time.Duration
	}{
		"at the limit of age":           {request: signed(t, "", nil), later: 15 * time.Minute},
		"at the limit of age and a bit": {request: signed(t, "", nil), later: 15*time.Minute + 900*time.Millisecond},
		"at the limit of the future":    {request: signed(t, "", nil), later: -15 * time.Minute},
		"another skew":                  {request: signed(t, "", nil), later: time.Hour, config: func(c *sigv4.Config) { c.MaxSkew = time.Hour }},
		"presigned":                     {request: presigned(t, "3600"), later: time.Hour},
		"presigned without a length":    {request: presigned(t, ""), later: 15 * time.Minute},
		"presigned a little ahead":      {request: presigned(t, "60"), later: -5 * time.Minute},
		"session":                       {request: signed(t, token, nil), key: func(k *heldKey) { k.SessionToken = token; k.Expires = suiteTime.Add(time.Second) }},
		"announced body":                {request: signed(t, "", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", hashOf("{}")) })},
		"unsigned body where it may be": {request: signUnsigned(t), config: func(c *sigv4.Config) { c.AllowUnsignedPayload = true }},
		"signed body where it need not": {request: signed(t, "", nil), config: func(c *sigv4.Config) { c.AllowUnsignedPayload = true }},
		"no blank after the commas": {request: func() *http.Request {
			r := signed(t, "", nil)
			edit(r, ", SignedHeaders", ",SignedHeaders")
			edit(r, ", Signature", ",Signature")
			return r
		}()},
		"signed headers in another form": {request: func() *http.Request {
			r := signed(t, "", nil)
			edit(r, "content-length;content-type", "Content-Type;Content-Length")
			return r
		}()},
	}
	for title, c := range cases {
		t.Run(title, func(t *testing.T) {
			key := suiteKey()
			if c.key != nil {
				c.key(&key)
			}
			config := sigv4.Config{Keys: keySource{suiteKeyID: key}, Clock: clock.NewFake(suiteTime.Add(c.later))}
			if c.config != nil {
				c.config(&config)
			}
			body := ""
			if c.request.Method == http.MethodPost {
				body = "{}"
			}
			if _, err := sigv4.New(config).Authenticate(t.Context(), c.request, []byte(body)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOneReading changes a signed query into another one that could be taken for
// the same when it is made canonical, but that the handler would read
// differently.
func TestOneReading(t *testing.T) {
	for sent, other := range map[string]string{
		"a=1%3B2": "a=1;2",
		"a=%252":  "a=%2",
		"a=1&b":   "a=1;b",
	} {
		r := signed(t, "", func(r *http.Request) { r.URL.RawQuery = sent })
		v := newVerifier(suiteKey(), suiteTime)
		r.URL.RawQuery = sent
		if _, err := v.Authenticate(t.Context(), r, []byte("{}")); err != nil {
			t.Fatalf("%s: %v", sent, err)
		}
		r.URL.RawQuery = other
		if _, err := v.Authenticate(t.Context(), r, []byte("{}")); err == nil {
			t.Errorf("%s was signed, %s accepted", sent, other)
		}
	}
}

// TestDateHeader covers a client that has no X-Amz-Date.
func TestDateHeader(t *testing.T) {
	for _, form := range []string{http.TimeFormat, "20060102T150405Z"} {
		r, err := http.NewRequest(http.MethodGet, "http://example.amazonaws.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Date", suiteTime.Format(form))
		canonical := "GET\n/\n\ndate:" + r.Header.Get("Date") + "\nhost:example.amazonaws.com\n\ndate;host\n" + hashOf("")
		signature := sign("20150830T123600Z\n" + suiteScope + "\n" + hashOf(canonical))
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+suiteKeyID+"/"+suiteScope+", SignedHeaders=date;host, Signature="+signature)
		if _, err := newVerifier(suiteKey(), suiteTime).Authenticate(t.Context(), r, nil); err != nil {
			t.Errorf("%s: %v", r.Header.Get("Date"), err)
		}
	}
}

// sign signs as section 3 of AWS's description of the signing process says, for
// suiteScope.
func sign(rest string) string {
	key := []byte("AWS4" + suiteSecret)
	for _, part := range []string{"20150830", "us-east-1", "service", "aws4_request", "AWS4-HMAC-SHA256\n" + rest} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func signUnsigned(t testing.TB) *http.Request {
	t.Helper()
	r := signed(t, "", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") })
	err := signer.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: suiteKeyID, SecretAccessKey: suiteSecret},
		r, "UNSIGNED-PAYLOAD", "ecr", "eu-west-1", suiteTime)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCheckScope(t *testing.T) {
	got, err := newVerifier(suiteKey(), suiteTime).Authenticate(t.Context(), signed(t, "", nil), []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		region  name.Region
		service string
		want    string
	}{
		{"eu-west-1", "ecr", ""},
		{"", "", ""},
		{"us-east-1", "ecr", "Credential should be scoped to a valid region, not 'eu-west-1'. "},
		{"eu-west-1", "sts", "Credential should be scoped to correct service: 'sts'. "},
		{"us-east-1", "sts", "Credential should be scoped to a valid region, not 'eu-west-1'. Credential should be scoped to correct service: 'sts'. "},
	}
	for _, c := range cases {
		err := got.CheckScope(c.region, c.service)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s %s: %v", c.region, c.service, err)
			}
			continue
		}
		var refusal *sigv4.Error
		if !errors.As(err, &refusal) || refusal.Kind != sigv4.InvalidSignature || refusal.Message != c.want {
			t.Errorf("%s %s: %v", c.region, c.service, err)
		}
	}
}

// TestNewSecret makes sure that the cache of derived keys does not outlive a
// secret.
func TestNewSecret(t *testing.T) {
	keys := keySource{suiteKeyID: suiteKey()}
	v := sigv4.New(sigv4.Config{Keys: keys, Clock: clock.NewFake(suiteTime)})
	for range 2 {
		if _, err := v.Authenticate(t.Context(), signed(t, "", nil), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	key := suiteKey()
	key.Secret = "another"
	keys[suiteKeyID] = key
	if _, err := v.Authenticate(t.Context(), signed(t, "", nil), []byte("{}")); err == nil {
		t.Error("a signature with the old secret was accepted")
	}
}

type brokenSource struct{}

var errBroken = errors.New("no database")

func (brokenSource) AccessKey(context.Context, string, string) (sigv4.Key, bool, error) {
	return sigv4.Key{}, false, errBroken
}

// TestBrokenSource makes sure that our own fault is not told as the client's.
func TestBrokenSource(t *testing.T) {
	v := sigv4.New(sigv4.Config{Keys: brokenSource{}, Clock: clock.NewFake(suiteTime)})
	_, err := v.Authenticate(t.Context(), signed(t, "", nil), []byte("{}"))
	var refusal *sigv4.Error
	if !errors.Is(err, errBroken) || errors.As(err, &refusal) {
		t.Errorf("error = %v", err)
	}
}

// TestNothingLeaks looks for secrets in what is answered and logged about a
// wrong signature.
func TestNothingLeaks(t *testing.T) {
	const token = "session/token+with==signs"
	right := signed(t, token, nil)
	_, want, _ := strings.Cut(right.Header.Get("Authorization"), "Signature=")
	wrong := signed(t, token, nil)
	edit(wrong, "Signature="+want, "Signature="+strings.Repeat("0", 64))

	key := suiteKey()
	key.SessionToken = token
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		var log bytes.Buffer
		v := sigv4.New(sigv4.Config{Keys: keySource{suiteKeyID: key}, Clock: clock.NewFake(suiteTime),
			Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level}))})
		if _, err := v.Authenticate(t.Context(), right, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		_, err := v.Authenticate(t.Context(), wrong, []byte("{}"))
		if err == nil {
			t.Fatal("accepted")
		}
		said := err.Error() + log.String()
		for _, secret := range []string{want, suiteSecret, token} {
			if strings.Contains(said, secret) {
				t.Errorf("at level %v: %q says %q", level, said, secret)
			}
		}
		if logged := strings.Contains(log.String(), "x-amz-target:AmazonEC2ContainerRegistry"); logged != (level == slog.LevelDebug) {
			t.Errorf("at level %v the log is %q", level, log.String())
		}
	}
}

func TestNames(t *testing.T) {
	cases := []struct {
		kind       sigv4.Kind
		json       string
		query      string
		queryState int
	}{
		{sigv4.MissingAuthenticationToken, "MissingAuthenticationTokenException", "MissingAuthenticationToken", 403},
		{sigv4.IncompleteSignature, "IncompleteSignatureException", "IncompleteSignature", 400},
		{sigv4.InvalidSignature, "InvalidSignatureException", "SignatureDoesNotMatch", 403},
		{sigv4.UnrecognizedClient, "UnrecognizedClientException", "InvalidClientTokenId", 403},
		{sigv4.ExpiredToken, "ExpiredTokenException", "ExpiredToken", 403},
		{0, "InternalFailure", "InternalFailure", 500},
	}
	for _, c := range cases {
		if got, status := c.kind.JSON(); got != c.json || (c.kind != 0 && status != 400) {
			t.Errorf("JSON name of %d = %s, %d", c.kind, got, status)
		}
		if got, status := c.kind.Query(); got != c.query || status != c.queryState {
			t.Errorf("Query name of %d = %s, %d", c.kind, got, status)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	r := signed(b, "", nil)
	v := newVerifier(suiteKey(), suiteTime)
	body := []byte("{}")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Authenticate(b.Context(), r, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyPresigned(b *testing.B) {
	r := presigned(b, "3600")
	v := newVerifier(suiteKey(), suiteTime)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Authenticate(b.Context(), r, nil); err != nil {
			b.Fatal(err)
		}
	}
}

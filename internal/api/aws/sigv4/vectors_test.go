package sigv4_test

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// The credentials and the time of AWS's published test suite for Signature
// Version 4.
const (
	suiteKeyID  = "AKIDEXAMPLE"
	suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	suiteScope  = "20150830/us-east-1/service/aws4_request"
	suiteToken  = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
	shortToken  = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"

	emptySignature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
	postSignature  = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
)

var suiteTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)

// heldKey is a key with the session token that has to come along with it.
type heldKey struct {
	sigv4.Key
	SessionToken string
}

// keySource is a fixed set of keys.
type keySource map[string]heldKey

func (s keySource) AccessKey(_ context.Context, id, token string) (sigv4.Key, bool, error) {
	k, ok := s[id]
	return k.Key, ok && k.SessionToken == token, nil
}

func suiteKey() heldKey {
	return heldKey{Key: sigv4.Key{
		Secret:    suiteSecret,
		Principal: principal.Principal{Account: "111122223333", ARN: principal.RootARN("111122223333"), AccessKeyID: suiteKeyID},
		Enabled:   true,
	}}
}

func newVerifier(key heldKey, now time.Time) *sigv4.Verifier {
	return sigv4.New(sigv4.Config{Keys: keySource{suiteKeyID: key}, Clock: clock.NewFake(now)})
}

// vector is one case of the suite: what goes on the wire and what AWS says the
// signature of it is.
type vector struct {
	name      string
	method    string
	target    string
	headers   []string // besides Host and X-Amz-Date
	body      string
	signed    string // SignedHeaders
	token     string
	signature string
}

var headerVectors = []vector{
	{name: "get-header-key-duplicate", headers: []string{"My-Header1:value2", "My-Header1:value2", "My-Header1:value1"}, signed: "host;my-header1;x-amz-date",
		signature: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
	// The suite folds one header over three lines. HTTP has given that up and
	// net/http joins the lines with blanks; sent as three headers it is the same
	// canonical request.
	{name: "get-header-value-multiline", headers: []string{"My-Header1:value1", "My-Header1:  value2", "My-Header1:     value3"}, signed: "host;my-header1;x-amz-date",
		signature: "ba17b383a53190154eb5fa66a1b836cc297cc0a3d70a5d00705980573d8ff790"},
	{name: "get-header-value-order", headers: []string{"My-Header1:value4", "My-Header1:value1", "My-Header1:value3", "My-Header1:value2"}, signed: "host;my-header1;x-amz-date",
		signature: "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
	{name: "get-header-value-trim", headers: []string{"My-Header1: value1", `My-Header2: "a   b   c"`}, signed: "host;my-header1;my-header2;x-amz-date",
		signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
	{name: "get-unreserved", target: "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
		signature: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
	{name: "get-utf8", target: "/ሴ",
		signature: "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
	{name: "get-vanilla", signature: emptySignature},
	{name: "get-vanilla-empty-query-key", target: "/?Param1=value1",
		signature: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
	{name: "get-vanilla-query", signature: emptySignature},
	{name: "get-vanilla-query-order-key", target: "/?Param1=value2&Param1=Value1",
		signature: "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1"},
	{name: "get-vanilla-query-order-key-case", target: "/?Param2=value2&Param1=value1",
		signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	{name: "get-vanilla-query-order-value", target: "/?Param1=value2&Param1=value1",
		signature: "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"},
	{name: "get-vanilla-query-order-encoded", target: "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
		signature: "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
	{name: "get-vanilla-query-unreserved", target: "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
		signature: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
	{name: "get-vanilla-utf8-query", target: "/?ሴ=bar",
		signature: "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
	{name: "get-vanilla-with-session-token", headers: []string{"X-Amz-Security-Token:" + shortToken}, token: shortToken,
		signed:    "host;x-amz-date;x-amz-security-token",
		signature: "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"},

	{name: "normalize-path/get-relative", target: "/example/..", signature: emptySignature},
	{name: "normalize-path/get-relative-relative", target: "/example1/example2/../..", signature: emptySignature},
	{name: "normalize-path/get-slash", target: "//", signature: emptySignature},
	{name: "normalize-path/get-slash-dot-slash", target: "/./", signature: emptySignature},
	{name: "normalize-path/get-slash-pointless-dot", target: "/./example",
		signature: "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
	{name: "normalize-path/get-slashes", target: "//example//",
		signature: "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
	{name: "normalize-path/get-space", target: "/example space/",
		signature: "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},

	{name: "post-header-key-case", method: "POST", signature: postSignature},
	{name: "post-header-key-sort", method: "POST", headers: []string{"My-Header1:value1"}, signed: "host;my-header1;x-amz-date",
		signature: "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
	{name: "post-header-value-case", method: "POST", headers: []string{"My-Header1:VALUE1"}, signed: "host;my-header1;x-amz-date",
		signature: "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
	{name: "post-sts-token/post-sts-header-after", method: "POST", headers: []string{"X-Amz-Security-Token:" + suiteToken}, token: suiteToken,
		signature: postSignature},
	{name: "post-sts-token/post-sts-header-before", method: "POST", headers: []string{"X-Amz-Security-Token:" + suiteToken}, token: suiteToken,
		signed:    "host;x-amz-date;x-amz-security-token",
		signature: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
	{name: "post-vanilla", method: "POST", signature: postSignature},
	{name: "post-vanilla-empty-query-value", method: "POST", target: "/?Param1=value1",
		signature: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
	{name: "post-vanilla-query", method: "POST", target: "/?Param1=value1",
		signature: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
	{name: "post-x-www-form-urlencoded", method: "POST", headers: []string{"Content-Type:application/x-www-form-urlencoded"}, body: "Param1=value1",
		signed:    "content-type;host;x-amz-date",
		signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	{name: "post-x-www-form-urlencoded-parameters", method: "POST", headers: []string{"Content-Type:application/x-www-form-urlencoded; charset=utf8"}, body: "Param1=value1",
		signed:    "content-type;host;x-amz-date",
		signature: "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"},
}

// queryVectors are presigned: the signature is part of the target.
var queryVectors = []vector{
	{name: "get-utf8", target: "/ሴ?",
		signature: "10eae3f14a260bd3911cc6d008d3c576d143b05b62f09782a7a4b37f52178e44"},
	{name: "get-vanilla-query-order-key-case", target: "/?Param2=value2&Param1=value1&",
		signature: "86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5"},
	{name: "get-vanilla-query-order-encoded", target: "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1&",
		signature: "c5f1848ceec943ac2ca68ee720460c23aaae30a2300586597ada94c4a65e4787"},
	{name: "get-vanilla-with-session-token", target: "/?X-Amz-Security-Token=" + shortToken + "&", token: shortToken,
		signature: "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c"},
}

// request reads the vector as the server would.
func (v vector) request(t testing.TB, presigned bool) *http.Request {
	t.Helper()
	method, target, signed := v.method, v.target, v.signed
	if method == "" {
		method = "GET"
	}
	if target == "" {
		target = "/"
	}
	if signed == "" {
		signed = "host;x-amz-date"
	}
	lines := []string{"Host:example.amazonaws.com", "X-Amz-Date:20150830T123600Z"}
	lines = append(lines, v.headers...)
	if presigned {
		target += "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request" +
			"&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600&X-Amz-Signature=" + v.signature
	} else {
		lines = append(lines, "Authorization: AWS4-HMAC-SHA256 Credential="+suiteKeyID+"/"+suiteScope+
			", SignedHeaders="+signed+", Signature="+v.signature)
	}
	if v.body != "" {
		lines = append(lines, "Content-Length:13")
	}
	// A blank in the target cannot be sent; the suite has one all the same.
	sent := strings.ReplaceAll(target, " ", "%20")
	raw := method + " " + sent + " HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n" + v.body
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	r.RequestURI = target
	return r
}

func TestPublishedVectors(t *testing.T) {
	check := func(v vector, presigned bool) func(*testing.T) {
		return func(t *testing.T) {
			key := suiteKey()
			key.SessionToken = v.token
			verifier := newVerifier(key, suiteTime)
			got, err := verifier.Authenticate(t.Context(), v.request(t, presigned), []byte(v.body))
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if got.Region != "us-east-1" || got.Service != "service" || got.AccessKeyID != suiteKeyID || !got.Date.Equal(suiteTime) ||
				got.Presigned != presigned || got.Principal != key.Principal {
				t.Errorf("result = %+v", got)
			}

			// A signature that is off by one digit is not the published one.
			broken := v
			last := broken.signature[63]
			broken.signature = broken.signature[:63] + string('0'+(last-'0'+1)%10)
			if _, err := verifier.Authenticate(t.Context(), broken.request(t, presigned), []byte(v.body)); err == nil {
				t.Error("a signature with another last digit was accepted")
			}
		}
	}
	for _, v := range headerVectors {
		t.Run("header/"+v.name, check(v, false))
	}
	for _, v := range queryVectors {
		t.Run("query/"+v.name, check(v, true))
	}
}

// TestAbsoluteTarget covers a request line that names the whole URL, as a client
// of a proxy sends it.
func TestAbsoluteTarget(t *testing.T) {
	r := vector{signature: emptySignature}.request(t, false)
	r.RequestURI = "http://example.amazonaws.com/"
	r.URL = &url.URL{Scheme: "http", Host: "example.amazonaws.com", Path: ""}
	if _, err := newVerifier(suiteKey(), suiteTime).Authenticate(t.Context(), r, nil); err != nil {
		t.Error(err)
	}
}

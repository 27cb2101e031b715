package sigv4_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// These tests hold the verifier against the signer of AWS's SDK for Go: what the
// one signs the other accepts, whatever the request looks like, and nothing else.
//
// The SDK sorts parameters before it escapes them and does not tidy the path,
// where the specification says otherwise. Neither matters for what AWS's APIs are
// sent; the generators keep away from it, and the published vectors cover it.

// sdkCase is a random request and the credentials that signed it.
type sdkCase struct {
	method, host, path string
	query              url.Values
	headers            http.Header
	body               string
	creds              aws.Credentials
	region, service    string
	at                 time.Time
	presigned          bool
}

func (c sdkCase) Generate(t *rapid.T) sdkCase {
	word := rapid.StringMatching(`[A-Za-z0-9._~-]{1,12}`)
	text := rapid.StringOfN(rapid.RuneFrom([]rune(` !"#$%&'()*+,-./09:;<=>?@AZ[\]^_az{|}~é世`)), 0, 24, -1)
	c = sdkCase{
		method:    rapid.SampledFrom([]string{"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"}).Draw(t, "method"),
		host:      rapid.StringMatching(`[a-z]{1,8}\.example\.com(:[1-9][0-9]{2,3})?`).Draw(t, "host"),
		path:      "/",
		query:     url.Values{},
		headers:   http.Header{},
		region:    rapid.SampledFrom([]string{"us-east-1", "eu-central-1", "moon-1"}).Draw(t, "region"),
		service:   rapid.SampledFrom([]string{"ecr", "ecr-public", "sts", "iam"}).Draw(t, "service"),
		at:        time.Unix(rapid.Int64Range(1_000_000_000, 4_000_000_000).Draw(t, "at"), 0).UTC(),
		presigned: rapid.Bool().Draw(t, "presigned"),
		creds: aws.Credentials{
			AccessKeyID:     rapid.StringMatching(`AKIA[A-Z2-7]{16}`).Draw(t, "key"),
			SecretAccessKey: rapid.StringMatching(`[A-Za-z0-9/+]{40}`).Draw(t, "secret"),
			SessionToken:    rapid.StringMatching(`([A-Za-z0-9/+]{20,60}={0,2})?`).Draw(t, "token"),
		},
	}
	for _, segment := range rapid.SliceOfN(text, 0, 4).Draw(t, "path") {
		// The first character keeps the segment from being empty or dots.
		c.path += "s" + strings.ReplaceAll(segment, "/", "") + "/"
	}
	for range rapid.IntRange(0, 5).Draw(t, "params") {
		c.query.Add(word.Draw(t, "param"), word.Draw(t, "value"))
	}
	for range rapid.IntRange(0, 2).Draw(t, "odd params") {
		c.query.Set(word.Draw(t, "param"), text.Draw(t, "value"))
	}
	value := rapid.StringMatching(`[ -~]{0,20}`)
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		c.headers.Add("X-"+rapid.StringMatching(`[a-z]{1,6}`).Draw(t, "header"), value.Draw(t, "value"))
	}
	if rapid.Bool().Draw(t, "target") {
		c.headers.Set("X-Amz-Target", "Service."+word.Draw(t, "operation"))
	}
	if c.method != "GET" && c.method != "HEAD" {
		c.body = text.Draw(t, "body")
	}
	if rapid.Bool().Draw(t, "announce the body") {
		c.headers.Set("X-Amz-Content-Sha256", hashOf(c.body))
	}
	return c
}

// sign signs the request with the SDK and returns it as the server reads it from
// the connection.
func (c sdkCase) sign(t *rapid.T) *http.Request {
	u := &url.URL{Scheme: "http", Host: c.host, Path: c.path, RawQuery: c.query.Encode()}
	r, err := http.NewRequestWithContext(context.Background(), c.method, u.String(), strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = c.headers.Clone()
	s := signer.NewSigner()
	if c.presigned {
		r.URL.RawQuery += "&X-Amz-Expires=" + strconv.Itoa(900)
		uri, headers, err := s.PresignHTTP(context.Background(), c.creds, r, hashOf(c.body), c.service, c.region, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if r, err = http.NewRequestWithContext(context.Background(), c.method, uri, strings.NewReader(c.body)); err != nil {
			t.Fatal(err)
		}
		headers.Del("Host")
		headers.Del("Content-Length")
		r.Header = headers
	} else if err := s.SignHTTP(context.Background(), c.creds, r, hashOf(c.body), c.service, c.region, c.at); err != nil {
		t.Fatal(err)
	}
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	received, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(received.Body)
	if err != nil || string(body) != c.body {
		t.Fatalf("body = %q, %v", body, err)
	}
	return received
}

func (c sdkCase) verifier(later time.Duration) *sigv4.Verifier {
	key := heldKey{Key: sigv4.Key{Secret: c.creds.SecretAccessKey, Enabled: true}, SessionToken: c.creds.SessionToken}
	return sigv4.New(sigv4.Config{Keys: keySource{c.creds.AccessKeyID: key}, Clock: clock.NewFake(c.at.Add(later))})
}

func TestSDKSignatures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := sdkCase{}.Generate(t)
		later := time.Duration(rapid.Int64Range(-300, 900).Draw(t, "later")) * time.Second
		v := c.verifier(later)
		for range 2 { // the second time with the cached key
			got, err := v.Authenticate(context.Background(), c.sign(t), []byte(c.body))
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if got.Region != c.region || got.Service != c.service || got.AccessKeyID != c.creds.AccessKeyID ||
				!got.Date.Equal(c.at) || got.Presigned != c.presigned {
				t.Fatalf("result = %+v", got)
			}
		}
	})
}

// mutations change one thing in a request that was signed; they say false where
// there is nothing to change.
var mutations = map[string]func(t *rapid.T, r *http.Request, body *string) bool{
	"method": func(t *rapid.T, r *http.Request, _ *string) bool { r.Method += "X"; return true },
	"host":   func(t *rapid.T, r *http.Request, _ *string) bool { r.Host = "x" + r.Host; return true },
	"path": func(t *rapid.T, r *http.Request, _ *string) bool {
		return retarget(r, r.URL.EscapedPath()+"x", r.URL.RawQuery)
	},
	"path case": func(t *rapid.T, r *http.Request, _ *string) bool {
		return retarget(r, strings.Replace(r.URL.EscapedPath(), "/s", "/S", 1), r.URL.RawQuery)
	},
	"more query": func(t *rapid.T, r *http.Request, _ *string) bool {
		return retarget(r, r.URL.EscapedPath(), r.URL.RawQuery+"&more")
	},
	"less query": func(t *rapid.T, r *http.Request, _ *string) bool {
		parts := strings.Split(r.URL.RawQuery, "&")
		if len(parts) == 1 && parts[0] == "" {
			return false
		}
		i := rapid.IntRange(0, len(parts)-1).Draw(t, "part")
		return retarget(r, r.URL.EscapedPath(), strings.Join(append(parts[:i:i], parts[i+1:]...), "&"))
	},
	"query value": func(t *rapid.T, r *http.Request, _ *string) bool {
		if r.URL.RawQuery == "" {
			return false
		}
		return retarget(r, r.URL.EscapedPath(), r.URL.RawQuery+"0")
	},
	"broken query": func(t *rapid.T, r *http.Request, _ *string) bool {
		return retarget(r, r.URL.EscapedPath(), r.URL.RawQuery+"&a=%2")
	},
	"semicolon": func(t *rapid.T, r *http.Request, _ *string) bool {
		return retarget(r, r.URL.EscapedPath(), r.URL.RawQuery+"&a;b")
	},
	"body":      func(t *rapid.T, r *http.Request, body *string) bool { *body += "x"; return true },
	"signature": func(t *rapid.T, r *http.Request, _ *string) bool { return flip(t, r, "Signature=") },
	"scope":     func(t *rapid.T, r *http.Request, _ *string) bool { return flip(t, r, "Credential=") },
	"signed headers": func(t *rapid.T, r *http.Request, _ *string) bool {
		return flip(t, r, "SignedHeaders=")
	},
	"signed header": func(t *rapid.T, r *http.Request, _ *string) bool {
		list := signedHeaders(r)
		name := rapid.SampledFrom(list).Draw(t, "header")
		if name == "host" || name == "content-length" {
			return false
		}
		r.Header.Add(name, "more")
		return true
	},
	"date": func(t *rapid.T, r *http.Request, _ *string) bool {
		if r.Header.Get("Authorization") == "" {
			return false // in the query, which other mutations change
		}
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Date", at.Add(time.Second).Format("20060102T150405Z"))
		return true
	},
	"token": func(t *rapid.T, r *http.Request, _ *string) bool {
		if r.URL.Query().Get("X-Amz-Security-Token") != "" {
			return false
		}
		r.Header.Set("X-Amz-Security-Token", r.Header.Get("X-Amz-Security-Token")+"x")
		return true
	},
	"target": func(t *rapid.T, r *http.Request, _ *string) bool {
		r.Header.Set("X-Amz-Target", r.Header.Get("X-Amz-Target")+"x")
		return true
	},
	"announced body": func(t *rapid.T, r *http.Request, _ *string) bool {
		if r.URL.Query().Has("X-Amz-Content-Sha256") {
			return false
		}
		r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		return true
	},
}

func retarget(r *http.Request, path, query string) bool {
	target := path
	if query != "" {
		target += "?" + query
	}
	if target == r.RequestURI {
		return false
	}
	r.RequestURI = target
	return true
}

// flip changes one character of a part of the authorization.
func flip(t *rapid.T, r *http.Request, part string) bool {
	change := func(value string) string {
		i := rapid.IntRange(0, len(value)-1).Draw(t, "position")
		c := byte('a')
		if value[i] == 'a' || value[i] == 'A' { // names of headers are no worse in capitals
			c = 'b'
		}
		return value[:i] + string(c) + value[i+1:]
	}
	if header := r.Header.Get("Authorization"); header != "" {
		before, after, _ := strings.Cut(header, part)
		value, rest, _ := strings.Cut(after, ",")
		r.Header.Set("Authorization", before+part+change(value)+","+rest)
		return true
	}
	before, after, _ := strings.Cut(r.URL.RawQuery, "X-Amz-"+part)
	value, rest, _ := strings.Cut(after, "&")
	return retarget(r, r.URL.EscapedPath(), before+"X-Amz-"+part+change(value)+"&"+rest)
}

func signedHeaders(r *http.Request) []string {
	list := r.URL.Query().Get("X-Amz-SignedHeaders")
	if header := r.Header.Get("Authorization"); header != "" {
		_, after, _ := strings.Cut(header, "SignedHeaders=")
		list, _, _ = strings.Cut(after, ",")
	}
	return strings.Split(list, ";")
}

func TestMutatedRequestsAreRefused(t *testing.T) {
	for name, mutate := range mutations {
		t.Run(strings.ReplaceAll(name, " ", "-"), rapid.MakeCheck(func(t *rapid.T) {
			c := sdkCase{}.Generate(t)
			r := c.sign(t)
			body := c.body
			if !mutate(t, r, &body) {
				t.Skip("nothing to change")
			}
			if _, err := c.verifier(0).Authenticate(context.Background(), r, []byte(body)); err == nil {
				t.Fatalf("accepted: %s %s %v %q", r.Method, r.RequestURI, r.Header, body)
			}
		}))
	}
}

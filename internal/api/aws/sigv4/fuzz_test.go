package sigv4

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
)

// anyKey knows every access key, with a secret that nobody does.
type anyKey struct{ secret string }

func (k anyKey) AccessKey(context.Context, string, string) (Key, bool, error) {
	return Key{Secret: k.secret, Enabled: true}, true, nil
}

// FuzzAuthenticate sends whatever can be read as a request. Nobody knows the
// secret, so every answer has to be a refusal.
func FuzzAuthenticate(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: a\r\nX-Amz-Date: 20150830T123600Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/ecr/aws4_request, SignedHeaders=host, Signature=00\r\n\r\n")
	f.Add("GET //a/./../b?x=1&x=%20;&%zz HTTP/1.1\r\nHost: a\r\nDate: Sun, 30 Aug 2015 12:36:00 GMT\r\nAuthorization: AWS4-HMAC-SHA256 Credential=A/20150830///aws4_request,SignedHeaders=host;date;;,Signature==\r\n\r\n")
	f.Add("GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20150830%2Fr%2Fs%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature=0 HTTP/1.1\r\nHost: a\r\n\r\n")
	f.Add("POST /%E1%88%B4 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nAuthorization: Basic QTpC\r\n\r\n")
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	v := New(Config{Keys: anyKey{rand.Text()}, Clock: clock.NewFake(at)})
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			t.Skip()
		}
		_, err = v.Authenticate(context.Background(), r, nil)
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Message == "" {
			t.Errorf("answer = %v", err)
		}
	})
}

// FuzzCanonicalQuery holds that the canonical query is a fixed point: reading
// and writing it again changes nothing.
func FuzzCanonicalQuery(f *testing.F) {
	f.Add("b=2&a=1&a=0&&=&c")
	f.Add("a+b=%2b%C3%A9&%E1%88%B4=x")
	f.Fuzz(func(t *testing.T, raw string) {
		query, ok := parseQuery(raw)
		if !ok {
			t.Skip()
		}
		once := string(appendQuery(nil, query))
		again, ok := parseQuery(once)
		if !ok {
			t.Fatalf("%q became %q, which cannot be read", raw, once)
		}
		if twice := string(appendQuery(nil, again)); twice != once {
			t.Errorf("%q became %q and then %q", raw, once, twice)
		}
	})
}

// FuzzCanonicalPath holds that the canonical path has nothing left to tidy.
func FuzzCanonicalPath(f *testing.F) {
	f.Add("/a/./b/../../..//c/")
	f.Add("")
	f.Add("/%2e%2e/..a")
	f.Fuzz(func(t *testing.T, path string) {
		got := string(appendPath(nil, path))
		if !strings.HasPrefix(got, "/") {
			t.Errorf("%q became %q", path, got)
		}
		for i, part := range strings.Split(got[1:], "/") {
			last := i == strings.Count(got[1:], "/")
			if part == "." || part == ".." || (part == "" && !last) {
				t.Errorf("%q became %q", path, got)
			}
		}
	})
}

func TestKeyCacheIsBounded(t *testing.T) {
	var c keyCache
	for i := range 5 * cacheSize {
		s := scope{keyID: string(rune(i)), day: rand.Text()}
		c.put(s, "secret", []byte{1})
		if _, cached := c.get(s, "secret"); !cached {
			t.Fatal("a key was forgotten at once")
		}
	}
	if n := len(c.young) + len(c.old); n > 2*cacheSize {
		t.Errorf("%d keys are kept", n)
	}
}

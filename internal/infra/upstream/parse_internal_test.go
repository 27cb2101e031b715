package upstream

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestParseChallenges(t *testing.T) {
	for _, c := range []struct {
		header string
		want   string // scheme name=value ...; ...
	}{
		{`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull"`,
			"bearer realm=https://auth.docker.io/token scope=repository:library/nginx:pull service=registry.docker.io"},
		{`bearer  realm = "https://a/" , service=plain`, "bearer realm=https://a/ service=plain"},
		{`Basic realm="a, b"`, "basic realm=a, b"},
		{`Basic realm="x", Bearer realm="https://a/t"`, "basic realm=x; bearer realm=https://a/t"},
		{`Bearer realm="a\"b\\c"`, `bearer realm=a"b\c`},
		{`Negotiate, Basic realm=x`, "negotiate; basic realm=x"},
		{`Bearer realm="open`, "bearer"},
		{`Bearer realm="a",realm="b"`, "bearer realm=a"},
		{`,,, `, ""},
		{``, ""},
		{`"quoted"`, ""},
	} {
		var got []string
		for _, ch := range parseChallenges([]string{c.header}) {
			one := ch.scheme
			for _, k := range []string{"abc", "realm", "scope", "service"} {
				if v, ok := ch.params[k]; ok {
					one += " " + k + "=" + v
				}
			}
			got = append(got, one)
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: %q, want %q", c.header, s, c.want)
		}
	}
	// Of whatever stands around it, the challenge that can be answered is found.
	if ch, ok := choose(parseChallenges([]string{`Negotiate abc==, Basic realm=x`, `Bearer realm="https://a/t"`})); !ok || ch.scheme != "bearer" || ch.params["realm"] != "https://a/t" {
		t.Errorf("chosen: %v", ch)
	}
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull"`)
	f.Add(`Negotiate abc==, Basic realm=x`)
	f.Add(`Bearer realm="a\"b\\c", =, "`)
	f.Fuzz(func(t *testing.T, header string) {
		for _, ch := range parseChallenges([]string{header}) {
			if ch.scheme == "" || ch.scheme != strings.ToLower(ch.scheme) {
				t.Errorf("scheme %q", ch.scheme)
			}
			// What was read, written plainly, is read as the same.
			text := ch.scheme
			for k, v := range ch.params {
				text += fmt.Sprintf(" %s=\"%s\",", k, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v))
			}
			again := parseChallenges([]string{text})
			if len(again) != 1 || again[0].scheme != ch.scheme || !maps.Equal(again[0].params, ch.params) {
				t.Errorf("%q became %q and then %v, not %v", header, text, again, ch)
			}
		}
	})
}

func TestParseContentRange(t *testing.T) {
	for _, c := range []struct {
		value string
		want  contentRange
		ok    bool
	}{
		{"bytes 0-0/1", contentRange{0, 0, 1}, true},
		{"bytes 5-9/10", contentRange{5, 9, 10}, true},
		{"BYTES 5-9/*", contentRange{5, 9, -1}, true},
		{"bytes */10", contentRange{-1, -1, 10}, true},
		{"bytes 5-10/10", contentRange{}, false},
		{"bytes 9-5/10", contentRange{}, false},
		{"bytes */*", contentRange{}, false},
		{"bytes -5-9/10", contentRange{}, false},
		{"bytes +5-9/10", contentRange{}, false},
		{"bytes 5-9", contentRange{}, false},
		{"bytes=5-9/10", contentRange{}, false},
		{"chars 5-9/10", contentRange{}, false},
		{"bytes 5-99999999999999999999/*", contentRange{}, false},
		{"", contentRange{}, false},
	} {
		got, ok := parseContentRange(c.value)
		if ok != c.ok || (ok && got != c.want) {
			t.Errorf("%q: %v, %t", c.value, got, ok)
		}
	}
}

func FuzzParseContentRange(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("bytes */10")
	f.Add("bytes 0-0/*")
	f.Fuzz(func(t *testing.T, value string) {
		r, ok := parseContentRange(value)
		if !ok {
			return
		}
		if r.first > r.last || (r.size >= 0 && r.last >= r.size) || (r.first < 0) != (r.last < 0) || (r.first < 0 && r.size < 0) {
			t.Errorf("%q: %v", value, r)
		}
	})
}

// TestLoginsAreBounded makes sure that nobody who may pull any name fills the memory.
func TestLoginsAreBounded(t *testing.T) {
	now := time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)
	l := newLogins(func() time.Time { return now })
	fetch := func(life time.Duration) func(context.Context) (string, time.Time, error) {
		return func(context.Context) (string, time.Time, error) { return "t", now.Add(life), nil }
	}
	get := func(key string, life time.Duration) {
		if _, err := l.token(t.Context(), key, "", fetch(life)); err != nil {
			t.Fatal(err)
		}
		l.remember(key, challenge{})
	}
	for n := range 3 * maxRemembered {
		get(fmt.Sprint(n), time.Hour)
		if len(l.tokens) > maxRemembered || len(l.challenges) > maxRemembered {
			t.Fatalf("%d tokens, %d challenges", len(l.tokens), len(l.challenges))
		}
	}
	// What has run out goes first.
	clear(l.tokens)
	get("long", 2*time.Hour)
	for n := range maxRemembered - 1 {
		get(fmt.Sprint(n), time.Minute)
	}
	now = now.Add(time.Hour)
	get("new", time.Hour)
	if len(l.tokens) != 2 || l.tokens["long"].token == "" {
		t.Errorf("%d tokens are left", len(l.tokens))
	}
	if len(l.flights) != 0 {
		t.Errorf("%d fetches are left", len(l.flights))
	}
}

func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for k := NotFound; k <= Invalid; k++ {
		seen[k.String()] = true
	}
	if len(seen) != 6 || !seen["too-many-requests"] || Kind(9).String() != "kind-9" || KindOf(nil) != 0 {
		t.Errorf("%v", seen)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-7": 0, "x": 0, "1000000": maxRetryAfter, "99999999999999999999": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second, now.Add(-time.Hour).Format(http.TimeFormat): 0,
		now.Add(1000 * time.Hour).Format(http.TimeFormat): maxRetryAfter,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// TestSites holds what a registry may send us to.
func TestSites(t *testing.T) {
	c := New(Config{Hosts: map[string]Host{
		"registry.example": {Also: []string{"auth.registry.example:8443", "*.CDN.example", "[2001:db8::1]:5000"}},
		"plain.example":    {PlainHTTP: true, Also: []string{"blobs.example"}},
		"docker.example":   {Endpoint: "https://mirror.example:5000"},
	}})
	defer c.Close()
	for _, x := range []struct {
		host, to       string
		redirect, auth bool
	}{
		{"registry.example", "https://registry.example/x", true, true},
		{"registry.example", "https://REGISTRY.example:443/x", true, true},
		{"registry.example", "http://registry.example/x", false, false},
		{"registry.example", "https://registry.example:444/x", false, false},
		{"registry.example", "https://auth.registry.example:8443/t", true, true},
		{"registry.example", "https://auth.registry.example/t", false, false},
		{"registry.example", "https://a.b.cdn.example/t", true, true},
		{"registry.example", "http://a.cdn.example/t", false, false},
		{"registry.example", "https://[2001:db8::1]:5000/t", true, true},
		{"registry.example", "https://u:p@registry.example/x", false, false},
		{"registry.example", "https://evil.example/x", false, false},
		{"registry.example", "ftp://registry.example/x", false, false},
		{"registry.example", "file:///etc/passwd", false, false},
		{"registry.example", "https://2130706433/", false, false},
		{"plain.example", "http://plain.example/x", true, true},
		{"plain.example", "http://blobs.example/x", true, true},
		{"plain.example", "https://blobs.example/x", true, true},
		{"plain.example", "http://evil.example/x", false, false},
		{"docker.example", "https://mirror.example:5000/x", true, true},
		{"docker.example", "https://docker.example/x", false, false},
		{"registry-1.docker.io", "https://auth.docker.io/token", false, true},
		{"registry-1.docker.io", "https://production.cloudflare.docker.com/x", true, false},
		{"registry-1.docker.io", "http://production.cloudflare.docker.com/x", false, false},
		{"registry-1.docker.io", "https://production.cloudflare.docker.com:8443/x", false, false},
		{"registry-1.docker.io:444", "https://auth.docker.io/token", false, false},
	} {
		s, err := c.siteOf(Endpoint{Host: x.host})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(x.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.mayRedirect(u); (got == "") != x.redirect {
			t.Errorf("%s redirects to %s: %q", x.host, x.to, got)
		}
		if got := s.mayFetchToken(u); (got == "") != x.auth {
			t.Errorf("%s has tokens at %s: %q", x.host, x.to, got)
		}
	}
	for _, host := range []string{
		"", "a/b", "a?b", "a#b", "u@a", "a b", "a:", "a:0", "a:65536", "a:x", "2130706433", "0x7f000001", "0177.1", "127.1", "127.0.0.0x1", "[fe80::1%25lo]",
		"[::1", "a\nb", "é.example", "https://a", strings.Repeat("a", 300),
	} {
		if _, err := c.siteOf(Endpoint{Host: host}); KindOf(err) != Refused {
			t.Errorf("host %q: %v", host, err)
		}
	}
}

package oci

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

func versionCheck(t *testing.T, s *suite) {
	for _, r := range []request{get("/v2/"), get("/v2"), head("/v2/")} {
		s.want(t, http.StatusOK, r)
	}
	a := s.refused(t, http.StatusMethodNotAllowed, "UNSUPPORTED", post("/v2/", nil))
	if a.header.Get("Allow") == "" {
		t.Error("a 405 without Allow")
	}
}

// isChallenge checks a 401 word for word: docker looks at all of it.
func (s *suite) isChallenge(t *testing.T, a answer) {
	t.Helper()
	if s.Alias != "" {
		s.isBearerChallenge(t, a)
		return
	}
	if got, want := a.header.Get("Www-Authenticate"), `Basic realm="`+s.BaseURL+`/",service="ecr.amazonaws.com"`; got != want {
		t.Errorf("Www-Authenticate is %q, want %q", got, want)
	}
	if got := string(a.body); got != "Not Authorized\n" {
		t.Errorf("the body is %q", got)
	}
	if got := a.header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("Content-Type is %q", got)
	}
	if got := a.header.Get("Content-Length"); got != "15" {
		t.Errorf("Content-Length is %q", got)
	}
}

// everyRoute is a request for each route, none of which does anything when it
// is refused.
func (s *suite) everyRoute() []request {
	d := sha(random(4))
	base := "/v2/" + s.Repo1
	id := "/blobs/uploads/11111111-2222-4333-8444-555555555555"
	routes := []request{
		get(s.tagsPath(s.Repo1)), get(s.referrersPath(d)),
		get(s.manifestPath(s.Repo1, "x")), head(s.manifestPath(s.Repo1, "x")), put(s.manifestPath(s.Repo1, "x"), []byte("{}")), remove(s.manifestPath(s.Repo1, "x")),
		get(s.blobPath(s.Repo1, d)), head(s.blobPath(s.Repo1, d)), remove(s.blobPath(s.Repo1, d)),
		post(base+"/blobs/uploads/", nil), post(base+"/blobs/uploads/?digest="+d, []byte("x")), post(base+"/blobs/uploads/?mount="+d+"&from="+s.Repo2, nil),
		get(base + id), patch(base+id, []byte("x")), put(base+id+"?digest="+d, []byte("x")), remove(base + id),
	}
	if s.Alias == "" {
		routes = append(routes, get("/v2/_catalog"))
	}
	return routes
}

func challenge(t *testing.T, s *suite) {
	password, _ := s.password(t)
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for what, authorization := range map[string]string{
		"none":               "",
		"not base64":         "Basic !!!",
		"no colon":           "Basic " + base64.StdEncoding.EncodeToString([]byte("AWS")),
		"no password":        basic("AWS", ""),
		"another user":       basic("aws", password),
		"no user":            basic("", password),
		"a made-up password": basic("AWS", "eyJwYXlsb2FkIjoiIn0="),
		"another scheme":     "Digest " + password,
	} {
		t.Run(what, func(t *testing.T) {
			a := s.want(t, http.StatusUnauthorized, get("/v2/").with("Authorization", authorization))
			s.isChallenge(t, a)
		})
	}
	for _, r := range append(s.everyRoute(), get("/v2/nothing/of/this/api"), request{method: http.MethodOptions, path: "/v2/"}) {
		a := s.want(t, http.StatusUnauthorized, r.with("Authorization", ""))
		if r.method != http.MethodHead {
			s.isChallenge(t, a)
		}
	}
}

// password takes the token out of the suite's own header.
func (s *suite) password(t *testing.T) (password, prefix string) {
	t.Helper()
	_, encoded, _ := strings.Cut(s.Authorization, " ")
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatalf("the target's Authorization: %v", err)
	}
	user, password, ok := strings.Cut(string(text), ":")
	if !ok || user != "AWS" {
		t.Fatalf("the target's Authorization is not for the user AWS")
	}
	return password, user
}

// alteredTokens: a token with one character changed, anywhere, is none.
func alteredTokens(t *testing.T, s *suite) {
	password, user := s.password(t)
	text, err := base64.StdEncoding.DecodeString(password)
	if err != nil {
		text = []byte(password) // another registry's token; the outer form will do
	}
	again := func(b []byte) string {
		if err == nil {
			b = []byte(base64.StdEncoding.EncodeToString(b))
		}
		return s.scheme() + base64.StdEncoding.EncodeToString([]byte(user+":"+string(b)))
	}
	s.want(t, http.StatusOK, get("/v2/").with("Authorization", again(text)))
	accepted := 0
	for i := 0; i < len(text); i += 1 + len(text)/40 {
		changed := []byte(string(text))
		if changed[i] == 'A' {
			changed[i] = 'B'
		} else {
			changed[i] = 'A'
		}
		if s.do(t, get("/v2/").with("Authorization", again(changed))).status != s.unauthorized() {
			accepted++
			t.Logf("the token is accepted with its character %d changed from %q to %q", i, text[i], changed[i])
		}
	}
	if accepted > 0 {
		t.Errorf("%d altered tokens are accepted", accepted)
	}
	for _, n := range []int{1, len(text) / 2, len(text) - 1} {
		s.want(t, s.unauthorized(), get("/v2/").with("Authorization", again(text[:n])))
	}
}

func commonHeaders(t *testing.T, s *suite) {
	for _, r := range append(s.everyRoute(), get("/v2/"), get("/v2/nothing")) {
		for _, authorization := range []string{s.Authorization, ""} {
			a := s.do(t, r.with("Authorization", authorization))
			if got := a.header.Get("Docker-Distribution-Api-Version"); got != "registry/2.0" {
				t.Errorf("%s %s: Docker-Distribution-Api-Version is %q", r.method, r.path, got)
			}
			if got := a.header.Get("X-Content-Type-Options"); got != "nosniff" {
				t.Errorf("%s %s: X-Content-Type-Options is %q", r.method, r.path, got)
			}
		}
	}
}

func refusedTokens(t *testing.T, s *suite) {
	for _, authorization := range s.Refused {
		for _, r := range append(s.everyRoute(), get("/v2/")) {
			s.want(t, s.unauthorized(), r.with("Authorization", authorization))
		}
	}
}

// expiredToken: no challenge, so that a client does not ask the user for the
// same password again.
func expiredToken(t *testing.T, s *suite) {
	for _, r := range append(s.everyRoute(), get("/v2/")) {
		status := http.StatusForbidden
		if s.Alias != "" {
			status = http.StatusBadRequest
		}
		a := s.refused(t, status, "DENIED", r.with("Authorization", s.Expired))
		if a.header.Get("Www-Authenticate") != "" {
			t.Errorf("%s %s: an expired token is challenged", r.method, r.path)
		}
		if r.method != http.MethodHead && !strings.Contains(string(a.body), "Your authorization token has expired. Reauthenticate and try again.") {
			t.Errorf("%s %s: %s", r.method, r.path, a.body)
		}
	}
}

// otherAccount: a token of another account is good, and allows nothing here,
// whether what it asks for is there or not.
func otherAccount(t *testing.T, s *suite) {
	s.want(t, http.StatusOK, get("/v2/").with("Authorization", s.Foreign))
	tag, d := s.pushImage(t, s.Repo1)
	blob := s.push(t, s.Repo1, random(10))
	upload := s.start(t, s.Repo1)
	there := []request{
		get(s.manifestPath(s.Repo1, tag)), remove(s.manifestPath(s.Repo1, d.Digest)), get(s.blobPath(s.Repo1, blob)), head(s.blobPath(s.Repo1, blob)),
		get(upload), patch(upload, []byte("x")), put(withQuery(t, upload, "digest", sha([]byte("x"))), []byte("x")), remove(upload),
		get("/v2/" + unique("no-such") + "/tags/list"),
	}
	for _, r := range append(s.everyRoute(), there...) {
		if s.Alias != "" && reads(r) {
			continue // everybody may; see anonymousPulls
		}
		a := s.refused(t, http.StatusForbidden, "DENIED", r.with("Authorization", s.Foreign))
		if r.method != http.MethodHead && !strings.Contains(string(a.body), "is not authorized to perform: "+s.service()+":") {
			t.Errorf("%s %s: %s", r.method, r.path, a.body)
		}
	}
	s.want(t, http.StatusNoContent, get(upload))
	s.want(t, http.StatusOK, get(s.manifestPath(s.Repo1, tag)))
}

func missingRepository(t *testing.T, s *suite) {
	known := s.Repo1
	gone := *s
	repo := unique("no/such/repository")
	gone.Repo1 = s.called(repo)
	for _, r := range gone.everyRoute() {
		if r.path == "/v2/_catalog" {
			continue
		}
		a := gone.refused(t, http.StatusNotFound, "NAME_UNKNOWN", r)
		if r.method != http.MethodHead && !strings.Contains(string(a.body), "The repository with name '"+repo+"' does not exist in the registry with id '") {
			t.Errorf("%s %s: %s", r.method, r.path, a.body)
		}
	}
	s.want(t, http.StatusOK, get(s.tagsPath(known)))
}

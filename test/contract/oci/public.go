package oci

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// publicChecks are the checks that only public registries have.
func publicChecks() []check {
	return []check{
		{"Tokens", tokens},
		{"AnonymousPulls", anonymousPulls},
		{"AnonymousPushes", anonymousPushes},
		{"Aliases", aliases},
		{"MountFromAnotherAccount", mountForeign},
		{"NoCatalog", noCatalog},
	}
}

// scheme begins the Authorization of the target's kind.
func (s *suite) scheme() string {
	if s.Alias != "" {
		return "Bearer "
	}
	return "Basic "
}

// unauthorized is the status of a token that is none. ECR Public does not challenge who
// has one.
func (s *suite) unauthorized() int {
	if s.Alias != "" {
		return http.StatusBadRequest
	}
	return http.StatusUnauthorized
}

// service is the one whose actions are needed.
func (s *suite) service() string {
	if s.Alias != "" {
		return "ecr-public"
	}
	return "ecr"
}

// reads says whether a request only reads what was pushed.
func reads(r request) bool {
	return (r.method == http.MethodGet || r.method == http.MethodHead) && !strings.Contains(r.path, "/uploads/")
}

// isBearerChallenge checks the 401 of a public registry word for word.
func (s *suite) isBearerChallenge(t *testing.T, a answer) {
	t.Helper()
	u, err := url.Parse(s.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := a.header.Get("Www-Authenticate"), `Bearer realm="`+s.BaseURL+`/token/",service="`+u.Hostname()+`",scope="aws"`; got != want {
		t.Errorf("Www-Authenticate is %q, want %q", got, want)
	}
	s.isNotAuthorized(t, a)
}

func (s *suite) isNotAuthorized(t *testing.T, a answer) {
	t.Helper()
	if got := string(a.body); got != `{"errors":[{"code":"DENIED","message":"Not Authorized"}]}`+"\n" {
		t.Errorf("the body is %q", got)
	}
	if got := a.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("Content-Type is %q", got)
	}
	if got := a.header.Get("Content-Length"); got != "58" {
		t.Errorf("Content-Length is %q", got)
	}
}

// token fetches a token with credentials, or an anonymous one with "".
func (s *suite) token(t *testing.T, authorization string) string {
	t.Helper()
	a := s.want(t, http.StatusOK, get("/token/?service=x&scope=repository%3A"+url.QueryEscape(s.Repo1)+"%3Apull%2Cpush&scope=aws").with("Authorization", authorization))
	var doc map[string]any
	if err := json.Unmarshal(a.body, &doc); err != nil {
		t.Fatal(err)
	}
	text, _ := doc["token"].(string)
	if len(doc) != 1 || text == "" {
		t.Fatalf("the answer is %s", a.body)
	}
	return "Bearer " + text
}

// anonymous is the suite without credentials.
func (s *suite) anonymous(t *testing.T) *suite {
	t.Helper()
	other := *s
	other.Authorization = s.token(t, "")
	return &other
}

func tokens(t *testing.T, s *suite) {
	password, _ := s.password(t)
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for what, authorization := range map[string]string{
		"an anonymous token":                   s.token(t, ""),
		"the token of a password":              s.token(t, basic("AWS", password)),
		"the API's token":                      "Bearer " + base64.StdEncoding.EncodeToString([]byte("AWS:"+password)),
		"the API's token in another spelling":  "bearer  " + base64.StdEncoding.EncodeToString([]byte("AWS:"+password)),
		"the password itself":                  basic("AWS", password),
		"an anonymous token without its slash": "Bearer " + decode[map[string]string](t, s.want(t, http.StatusOK, get("/token").with("Authorization", "")))["token"],
	} {
		t.Run(what, func(t *testing.T) {
			s.want(t, http.StatusOK, get("/v2/").with("Authorization", authorization))
		})
	}
	for what, authorization := range map[string]string{
		"a made-up password": basic("AWS", "eyJwYXlsb2FkIjoiIn0="), "another user": basic("aws", password), "no password": basic("AWS", ""), "a bearer": s.Authorization, "nonsense": "x",
	} {
		t.Run(what, func(t *testing.T) {
			a := s.want(t, http.StatusUnauthorized, get("/token/").with("Authorization", authorization))
			s.isNotAuthorized(t, a)
		})
	}
	t.Run("not for a token", func(t *testing.T) {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			a := s.refused(t, http.StatusMethodNotAllowed, "UNSUPPORTED", request{method: method, path: "/token/", body: strings.NewReader("grant_type=password")})
			if a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow is %q", a.header.Get("Allow"))
			}
		}
	})
	t.Run("altered", func(t *testing.T) {
		text := s.token(t, "")
		for i := len("Bearer "); i < len(text); i++ {
			changed := []byte(text)
			if changed[i] == '7' {
				changed[i] = '8'
			} else {
				changed[i] = '7'
			}
			a := s.do(t, get("/v2/").with("Authorization", string(changed)))
			if a.status != http.StatusBadRequest || a.header.Get("Www-Authenticate") != "" {
				t.Errorf("%s is answered with %d", changed, a.status)
			}
		}
	})
	for _, bearer := range []string{"Bearer", "Bearer ", "Bearer x", "Bearer QVdTOg==", "Bearer " + base64.StdEncoding.EncodeToString([]byte("aws:"+password))} {
		s.refused(t, http.StatusBadRequest, "DENIED", get("/v2/").with("Authorization", bearer))
	}
	if s.Expired != "" {
		a := s.do(t, get("/token/").with("Authorization", "Basic "+strings.TrimPrefix(s.Expired, "Bearer ")))
		if a.status != http.StatusUnauthorized || a.code() != "DENIED" || !strings.Contains(string(a.body), "Your authorization token has expired. Reauthenticate and try again.") {
			t.Errorf("an expired password: %d %s", a.status, a.body)
		}
	}
}

// anonymousPulls: whatever is in a public repository, anybody reads, and so does an
// account to which nothing is allowed.
func anonymousPulls(t *testing.T, s *suite) {
	m := s.image(t, s.Repo1)
	tag := unique("public")
	d := s.putManifest(t, s.Repo1, tag, m)
	empty := s.emptyBlob(t)
	attached := s.attach(t, manifest{SchemaVersion: 2, MediaType: typeImage, ArtifactType: "application/x", Config: &empty, Layers: []descriptor{empty}, Subject: &d}, "application/x")
	readers := map[string]string{"nobody": s.token(t, "")}
	if s.Foreign != "" {
		readers["another account"] = s.Foreign
	}
	for who, authorization := range readers {
		t.Run(who, func(t *testing.T) {
			r := *s
			r.Authorization = authorization
			for _, ref := range []string{tag, d.Digest} {
				r.serves(t, s.Repo1, ref, typeImage, d.Digest, m.bytes(t))
			}
			for _, l := range append([]descriptor{*m.Config}, m.Layers...) {
				a := r.want(t, http.StatusOK, get(s.blobPath(s.Repo1, l.Digest)))
				r.holds(t, s.Repo1, l.Digest, a.body)
			}
			all, _ := r.referrersOf(t, s.referrersPath(d.Digest))
			sameReferrers(t, "read by "+who, all, []descriptor{attached})
			if got := strings.Join(r.tags(t, s.Repo1), " "); !strings.Contains(got, tag) {
				t.Errorf("the tags are %s", got)
			}
			r.refused(t, http.StatusNotFound, "MANIFEST_UNKNOWN", get(s.manifestPath(s.Repo1, unique("none"))))
		})
	}
}

// anonymousPushes: nothing of a push works without a principal, whether the repository
// is there or not, and nothing is left of it.
func anonymousPushes(t *testing.T, s *suite) {
	a := s.anonymous(t)
	tag, d := s.pushImage(t, s.Repo1)
	upload := s.start(t, s.Repo1)
	writes := []request{
		remove(s.manifestPath(s.Repo1, tag)), remove(s.manifestPath(s.Repo1, d.Digest)), get(upload), patch(upload, []byte("x")),
		put(withQuery(t, upload, "digest", sha([]byte("x"))), []byte("x")), remove(upload), post("/v2/"+s.called(unique("no-such"))+"/blobs/uploads/", nil),
	}
	for _, r := range append(s.everyRoute(), writes...) {
		if reads(r) {
			continue
		}
		got := a.refused(t, http.StatusForbidden, "DENIED", r)
		if !strings.Contains(string(got.body), `"message":"Not Authorized"`) || got.header.Get("Www-Authenticate") != "" {
			t.Errorf("%s %s: %v %s", r.method, r.path, got.header, got.body)
		}
	}
	s.want(t, http.StatusNoContent, get(upload))
	s.want(t, http.StatusOK, get(s.manifestPath(s.Repo1, tag)))
}

// aliases: every active alias is the registry, in answers too, and others are none.
func aliases(t *testing.T, s *suite) {
	for _, alias := range []string{unique("nobody"), "x", "UPPER", "123456789012", "a%20b", "%ff", strings.Repeat("a", 51)} {
		path := "/v2/" + alias + "/" + strings.TrimPrefix(s.Repo1, s.Alias+"/")
		for _, r := range []request{get(path + "/tags/list"), head(path + "/manifests/x"), post(path+"/blobs/uploads/", nil)} {
			s.refused(t, http.StatusNotFound, "NAME_UNKNOWN", r)
			s.anonymous(t).refused(t, http.StatusNotFound, "NAME_UNKNOWN", r)
		}
	}
	s.refused(t, http.StatusNotFound, "NAME_UNKNOWN", get("/v2/"+s.Alias+"/tags/list")) // no repository
	if s.OtherAlias == "" {
		return
	}
	other := *s
	other.Alias = s.OtherAlias
	other.Repo1, other.Repo2 = other.called(strings.TrimPrefix(s.Repo1, s.Alias+"/")), other.called(strings.TrimPrefix(s.Repo2, s.Alias+"/"))
	content := random(100)
	at := other.start(t, other.Repo1)
	if !strings.Contains(at, "/v2/"+other.Repo1+"/") {
		t.Errorf("the Location is %s", at)
	}
	a := other.want(t, http.StatusCreated, put(withQuery(t, at, "digest", sha(content)), content))
	if got := location(t, a); !strings.Contains(got, "/v2/"+other.Repo1+"/") {
		t.Errorf("the blob's Location is %s", got)
	}
	s.holds(t, s.Repo1, sha(content), content)
	tag, d := other.pushImage(t, other.Repo1)
	if got := s.want(t, http.StatusOK, head(s.manifestPath(s.Repo1, tag))).header.Get("Docker-Content-Digest"); got != d.Digest {
		t.Errorf("by the first alias it is %s, want %s", got, d.Digest)
	}
	a = other.want(t, http.StatusOK, get(other.tagsPath(other.Repo1)+"?n=1"))
	if got := decode[tagList](t, a).Name; got != other.Repo1 || !strings.Contains(a.header.Get("Link"), "/v2/"+other.Repo1+"/") {
		t.Errorf("the list is of %s, the next page %s", got, a.header.Get("Link"))
	}

	// A layer is mounted whatever the repositories are called.
	m := s.image(t, s.Repo2)
	s.putManifest(t, s.Repo2, unique("source"), m)
	a = other.want(t, http.StatusCreated, post("/v2/"+other.Repo1+"/blobs/uploads/?mount="+m.Layers[0].Digest+"&from="+url.QueryEscape(s.Repo2), nil))
	if got := location(t, a); got != "/v2/"+other.Repo1+"/blobs/"+m.Layers[0].Digest {
		t.Errorf("the mounted layer's Location is %s", got)
	}
}

// mountForeign: a layer of another account's is not mounted, though anybody may read it;
// the push goes on as an upload.
func mountForeign(t *testing.T, s *suite) {
	if s.ForeignRepo == "" {
		return
	}
	m := decode[manifest](t, s.want(t, http.StatusOK, get(s.manifestPath(s.ForeignRepo, "latest"))))
	d := m.Layers[0].Digest
	content := s.want(t, http.StatusOK, get(s.blobPath(s.ForeignRepo, d))).body
	a := s.want(t, http.StatusAccepted, post("/v2/"+s.Repo1+"/blobs/uploads/?mount="+d+"&from="+url.QueryEscape(s.ForeignRepo), nil))
	s.lacks(t, s.Repo1, d)
	s.want(t, http.StatusCreated, put(withQuery(t, location(t, a), "digest", d), content))
	s.holds(t, s.Repo1, d, content)
	s.refused(t, http.StatusForbidden, "DENIED", post("/v2/"+s.ForeignRepo+"/blobs/uploads/", nil))
}

func noCatalog(t *testing.T, s *suite) {
	s.refused(t, http.StatusNotFound, "UNSUPPORTED", get("/v2/_catalog"))
	s.anonymous(t).refused(t, http.StatusNotFound, "UNSUPPORTED", get("/v2/_catalog"))
}

package aws

import (
	"encoding/base64"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// life is how long an authorization token holds.
const life = 12 * time.Hour

// token is the token of the first registry of an answer of
// GetAuthorizationToken.
func token(t *testing.T, got object) string {
	t.Helper()
	all, ok := got["authorizationData"].([]any)
	if !ok || len(all) == 0 {
		t.Fatalf("no authorizationData in %s", shown(got))
	}
	return text(t, all[0].(object), "authorizationToken")
}

// open asks the registry for a path with a token and returns the status.
func (s *suite) open(t *testing.T, host, path, token string) int {
	t.Helper()
	r := s.plain(t, http.MethodGet, s.URL+path, nil)
	if host != "" {
		r.Host = host
	}
	r.Header.Set("Authorization", "Basic "+token)
	return s.send(t, r).status
}

// tokenForm is AWS:password in base64.
var tokenForm = matching(`^QVdTO[A-Za-z0-9+/]+=*$`)

func (s *suite) authorizationToken(t *testing.T) {
	before := time.Now()
	want := object{"authorizationData": array{object{
		"authorizationToken": tokenForm, "expiresAt": between(before, life), "proxyEndpoint": s.URL,
	}}}
	first := token(t, s.want(t, "GetAuthorizationToken", nil, want))
	plain, err := base64.StdEncoding.DecodeString(first)
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := strings.Cut(string(plain), ":")
	if user != "AWS" || len(password) < 50 || strings.ContainsAny(password, " \n:") || strings.Contains(string(plain), s.SecretAccessKey) {
		t.Errorf("the token decodes to the user %q and a password of %d characters", user, len(password))
	}
	if _, err := base64.StdEncoding.DecodeString(password); err != nil {
		t.Errorf("the password is not base64: %v", err)
	}
	second := token(t, s.want(t, "GetAuthorizationToken", nil, want))
	if first == second {
		t.Error("the same token twice")
	}
	repo := s.repo(t, "token")
	for _, one := range []string{first, second} { // the older one goes on
		for path, status := range map[string]int{"/v2/": 200, "/v2/" + repo + "/tags/list": 200, "/v2/" + unique("none") + "/tags/list": 404} {
			if got := s.open(t, "", path, one); got != status {
				t.Errorf("%s with a token: status %d, want %d", path, got, status)
			}
		}
	}
	for what, bad := range map[string]string{
		"altered": first[:len(first)/2] + "AAAA" + first[len(first)/2+4:], "cut": first[:len(first)-8],
		"another user":       base64.StdEncoding.EncodeToString([]byte("aws:" + password)),
		"the secret key":     base64.StdEncoding.EncodeToString([]byte("AWS:" + s.SecretAccessKey)),
		"an access key pair": base64.StdEncoding.EncodeToString([]byte(s.AccessKeyID + ":" + s.SecretAccessKey)),
	} {
		if got := s.open(t, "", "/v2/", bad); got != http.StatusUnauthorized {
			t.Errorf("a token that is %s: status %d, want 401", what, got)
		}
	}
}

// port is the target's ":port", or "".
func (s *suite) port() string {
	if _, port, err := net.SplitHostPort(s.host()); err == nil {
		return ":" + port
	}
	return ""
}

func (s *suite) authorizationTokensOfRegistries(t *testing.T) {
	before := time.Now()
	data := func(endpoint any) object {
		return object{"authorizationToken": tokenForm, "expiresAt": between(before, life), "proxyEndpoint": endpoint}
	}
	const stranger = "111122223333"
	foreign := matching(`^https?://` + stranger + `\.dkr\.ecr\.` + s.Region + `\.[^/]+` + s.port() + `$`)
	got := s.want(t, "GetAuthorizationToken", object{"registryIds": array{stranger, s.Account}}, object{"authorizationData": array{data(foreign), data(s.URL)}})
	// A token is not of a registry but of its caller: the id only names the endpoint.
	if status := s.open(t, "", "/v2/", token(t, got)); status != http.StatusOK {
		t.Errorf("a token asked for with another registry's id: status %d at our own", status)
	}
	var ten array
	for range 10 {
		ten = append(ten, s.Account)
	}
	s.succeed(t, "GetAuthorizationToken", object{"registryIds": ten})
}

func (s *suite) registrySettings(t *testing.T) {
	want := object{"registryId": s.Account, "replicationConfiguration": object{"rules": array{}}}
	s.want(t, "DescribeRegistry", nil, want)
	s.want(t, "DescribeRegistry", object{"registryId": "111122223333"}, want) // it has no such member
}

// regions are registries of their own.
func (s *suite) regions(t *testing.T) {
	repo := s.repo(t, "region")
	there := func(op string, in any) answer {
		t.Helper()
		return s.do(t, call{op: op, in: in, region: s.OtherRegion})
	}
	in := object{"repositoryName": repo}
	s.refusal(t, "the same name there", there("DeleteRepository", in), "RepositoryNotFoundException", s.noRepository(repo))
	arn := strings.Replace(s.arn(s.Account, repo), s.Region, s.OtherRegion, 1)
	got := s.succeeded(t, "CreateRepository", there("CreateRepository", in))["repository"].(object)
	same(t, "repositoryArn", arn, got["repositoryArn"])
	if uri := text(t, got, "repositoryUri"); !strings.HasPrefix(uri, s.Account+".dkr.ecr."+s.OtherRegion+".") || !strings.HasSuffix(uri, s.port()+"/"+repo) {
		t.Errorf("repositoryUri is %s", uri)
	}
	s.invalid(t, "ListTagsForResource", object{"resourceArn": arn}, "resourceArn", "Invalid ARN")
	s.succeeded(t, "ListTagsForResource", there("ListTagsForResource", object{"resourceArn": arn}))

	// A token opens the registries of its region only.
	foreign := token(t, s.succeeded(t, "GetAuthorizationToken", there("GetAuthorizationToken", nil)))
	if status := s.open(t, "", "/v2/", foreign); status != http.StatusUnauthorized && status != http.StatusForbidden {
		t.Errorf("a token of %s answers %d in %s", s.OtherRegion, status, s.Region)
	}
	s.put(t, repo, "v1", s.kit(t, repo).image(t))
	elsewhere, _, _ := strings.Cut(text(t, got, "repositoryUri"), "/")
	own := token(t, s.succeed(t, "GetAuthorizationToken", nil))
	if here, there := s.open(t, "", "/v2/"+repo+"/manifests/v1", own), s.open(t, elsewhere, "/v2/"+repo+"/manifests/v1", foreign); here != 200 || there != 404 {
		t.Errorf("the image answers %d in its own region and %d in the other", here, there)
	}

	// Uploads, layers and page tokens do not cross over either.
	upload := s.begin(t, repo)
	missing := "The upload with id '" + upload + "' does not exist in the repository with name '" + repo + "' in the registry with id '" + s.Account + "'"
	s.refusal(t, "UploadLayerPart", there("UploadLayerPart", part(repo, upload, 0, []byte("x"))), "UploadNotFoundException", missing)
	layer := s.layer(t, repo, randomBytes(20))
	got = s.succeeded(t, "BatchCheckLayerAvailability", there("BatchCheckLayerAvailability", object{"repositoryName": repo, "layerDigests": array{layer}}))
	same(t, "a layer there", array{object{"layerDigest": layer, "layerAvailability": "UNAVAILABLE"}}, got["layers"])
	s.repo(t, "region")
	next := text(t, s.succeed(t, "DescribeRepositories", object{"maxResults": 1}), "nextToken")
	s.refusal(t, "a page token", there("DescribeRepositories", object{"nextToken": next}), "InvalidParameterException", parameterText("nextToken", badToken))
	s.succeeded(t, "DeleteRepository", there("DeleteRepository", in))
	s.succeed(t, "DescribeRepositories", object{"repositoryNames": array{repo}})
}

// canonicalHosts: who came by a canonical name is given canonical names.
func (s *suite) canonicalHosts(t *testing.T) {
	registry := s.Account + ".dkr.ecr." + s.Region + "." + s.Domain + s.port()
	scheme, _, _ := strings.Cut(s.URL, "://")
	for _, host := range []string{"api.ecr." + s.Region + "." + s.Domain, "ecr." + s.Region + "." + s.Domain, "api.ecr-fips." + s.Region + "." + s.Domain} {
		host += s.port()
		repo := unique("host")
		got := s.succeeded(t, host, s.do(t, call{op: "CreateRepository", in: object{"repositoryName": repo}, host: host}))
		same(t, host, registry+"/"+repo, got["repository"].(object)["repositoryUri"])
		got = s.succeeded(t, host, s.do(t, call{op: "GetAuthorizationToken", host: host}))
		same(t, host, scheme+"://"+registry, got["authorizationData"].([]any)[0].(object)["proxyEndpoint"])
		if status := s.open(t, registry, "/v2/"+repo+"/tags/list", token(t, got)); status != http.StatusOK {
			t.Errorf("the registry at its canonical host answers %d", status)
		}
		if s.OtherRegion != "" { // the host says which region has to be signed for
			a := s.do(t, call{op: "DescribeRegistry", host: host, region: s.OtherRegion})
			s.refusal(t, host, a, "InvalidSignatureException", "Credential should be scoped to a valid region, not '"+s.OtherRegion+"'. ")
		}
	}
	// The registry itself, and who is none.
	repo := s.repo(t, "host")
	s.put(t, repo, "v1", s.kit(t, repo).image(t))
	own := token(t, s.succeed(t, "GetAuthorizationToken", nil))
	for host, status := range map[string]int{
		"": http.StatusOK, "127.0.0.1": http.StatusOK, registry: http.StatusOK,
		strings.Replace(registry, ".ecr.", ".ecr-fips.", 1):     http.StatusOK,
		strings.Replace(registry, s.Account, "111122223333", 1): http.StatusForbidden,
		"api.ecr." + s.Region + "." + s.Domain + s.port():       http.StatusNotFound,
	} {
		if got := s.open(t, host, "/v2/"+repo+"/manifests/v1", own); got != status {
			t.Errorf("the registry as %q answers %d, want %d", host, got, status)
		}
	}
	r := s.plain(t, http.MethodGet, s.URL+"/v2/", nil)
	r.Host = registry
	want := `Basic realm="` + scheme + "://" + registry + `/",service="ecr.amazonaws.com"`
	if got := s.send(t, r).header.Get("Www-Authenticate"); got != want {
		t.Errorf("the challenge is %s, want %s", got, want)
	}
	for _, host := range []string{"sts." + s.Domain + s.port(), "sts." + s.Region + "." + s.Domain + s.port()} {
		c := s.stsCall(stsForm("GetCallerIdentity"))
		c.host = host
		if a := s.do(t, c); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", host, a.status, a.body)
		}
	}
}

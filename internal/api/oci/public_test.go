package oci_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/oci"
	"github.com/berth-registry/berth/internal/api/oci/public"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/repository"
	contract "github.com/berth-registry/berth/test/contract/oci"
)

// publicWorld is the same domain behind the front of public registries. The account has
// the aliases acme and acme-two, the foreign one has other.
type publicWorld struct {
	*world
	front *public.Front
	pulls []int64
}

func newPublicWorld(t *testing.T, change func(*public.Config, *oci.Config)) *publicWorld {
	t.Helper()
	w := &publicWorld{}
	aliases := map[string]name.AccountID{"acme": account, "acme-two": account, "other": foreign}
	w.world = newWorld(t, func(c *oci.Config) {
		f := public.Config{
			Base: func(r *http.Request) (string, bool) {
				if r.TLS != nil {
					return "https://" + r.Host, true
				}
				return "http://" + r.Host, r.Host != "elsewhere.example"
			},
			Tokens: c.Tokens, Key: []byte(strings.Repeat("k", 32)), Clock: c.Clock, Home: "us-east-1",
			Resolve: func(_ context.Context, alias string) (name.AccountID, error) {
				if a, ok := aliases[alias]; ok {
					return a, nil
				}
				return "", errs.New(errs.RegistryNotFound, "The registry with alias '%s' does not exist", alias)
			},
		}
		c.Resolve, c.Tokens, c.Templates = nil, nil, nil
		c.Pulled = func(id int64) { w.pulls = append(w.pulls, id) }
		if change != nil {
			change(&f, c)
		}
		var err error
		if w.front, err = public.New(f); err != nil {
			t.Fatal(err)
		}
		c.Front = w.front
	})
	for _, r := range []name.Registry{name.PublicRegistry(account), name.PublicRegistry(foreign)} {
		for _, repo := range []name.Repository{"team/one", "two"} {
			if _, err := w.repositories.Create(t.Context(), repository.Create{Registry: r, Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	server := httptest.NewServer(w.handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *publicWorld) handler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2") {
			w.api.ServeHTTP(rw, r)
			return
		}
		w.front.ServeToken(rw, r)
	})
}

// bearer is the API's token of an account's root user, as a bearer.
func (w *publicWorld) bearer(t *testing.T, a name.AccountID) string {
	t.Helper()
	return "Bearer " + strings.TrimPrefix(w.token(t, a, name.Public), "Basic ")
}

// nobody is a client with an anonymous token.
func (w *publicWorld) nobody(t *testing.T) *client {
	t.Helper()
	c := &client{t, w.world, ""}
	var doc struct{ Token string }
	if err := json.Unmarshal([]byte(c.do("GET", "/token/", nil).text), &doc); err != nil || doc.Token == "" {
		t.Fatal(err)
	}
	return &client{t, w.world, "Bearer " + doc.Token}
}

func (w *publicWorld) owner(t *testing.T) *client {
	t.Helper()
	return &client{t, w.world, w.bearer(t, account)}
}

// TestPublicContract runs the contract of the data plane over public registries.
func TestPublicContract(t *testing.T) {
	runContract(t, func(stall time.Duration) contract.Target {
		return newPublicWorld(t, func(_ *public.Config, c *oci.Config) { c.Stall = stall }).target(t, stall)
	})
}

// TestPublicContractOverHTTP2 does so over HTTP/2 and TLS.
func TestPublicContractOverHTTP2(t *testing.T) {
	runContract(t, func(stall time.Duration) contract.Target {
		w := newPublicWorld(t, func(_ *public.Config, c *oci.Config) { c.Stall = stall })
		server := httptest.NewUnstartedServer(w.handler())
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		target := w.target(t, stall)
		target.BaseURL, target.Client = server.URL, server.Client()
		target.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		return target
	})
}

func (w *publicWorld) target(t *testing.T, stall time.Duration) contract.Target {
	t.Helper()
	expired := w.bearer(t, account)
	w.clock.Advance(principal.TokenLife)
	theirs := &client{t, w.world, w.bearer(t, foreign)}
	theirs.wants(theirs.do("PUT", "/v2/other/team/one/manifests/latest", theirs.image("other/team/one", "theirs"), "Content-Type", imageType), 201)
	return contract.Target{
		BaseURL: w.url, Authorization: w.bearer(t, account), Alias: "acme", OtherAlias: "acme-two", Repo1: "acme/team/one", Repo2: "acme/two",
		ForeignRepo: "other/team/one", Refused: []string{"Bearer " + strings.TrimPrefix(w.world.token(t, account, region), "Basic ")},
		Expired: expired, Foreign: w.bearer(t, foreign), Stall: stall,
	}
}

// TestPublicTokensExpire: an anonymous token and one of a principal hold for twelve hours.
func TestPublicTokensExpire(t *testing.T) {
	w := newPublicWorld(t, nil)
	nobody, owner := w.nobody(t), w.owner(t)
	w.clock.Advance(12*time.Hour - time.Second)
	nobody.wants(nobody.do("GET", "/v2/", nil), 200)
	owner.wants(owner.do("GET", "/v2/", nil), 200)
	w.clock.Advance(time.Second)
	const text = `{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}`
	nobody.wants(nobody.do("GET", "/v2/", nil), 400, text)
	owner.wants(owner.do("GET", "/v2/", nil), 400, text)
	owner.token = strings.Replace(owner.token, "Bearer", "Basic", 1)
	owner.wants(owner.do("GET", "/v2/acme/team/one/tags/list", nil), 400, text)
	owner.wants(owner.do("GET", "/token/", nil), 401, text)
	if r := nobody.do("GET", "/v2/", nil); r.Header.Get("Www-Authenticate") != "" {
		t.Error("an expired token is challenged")
	}

	// Another key's anonymous tokens are none.
	other := newPublicWorld(t, func(c *public.Config, _ *oci.Config) { c.Key = []byte(strings.Repeat("l", 32)) })
	stranger := &client{t, other.world, w.nobody(t).token}
	stranger.wants(stranger.do("GET", "/v2/", nil), 400, "Your Authorization Token is invalid.")
}

// TestPublicHosts: other hosts have neither registries nor tokens.
func TestPublicHosts(t *testing.T) {
	w := newPublicWorld(t, nil)
	for _, path := range []string{"/v2/", "/token/"} {
		r := httptest.NewRequest("GET", path, nil)
		r.Host = "elsewhere.example"
		answer := httptest.NewRecorder()
		w.handler().ServeHTTP(answer, r)
		if answer.Code != 404 {
			t.Errorf("%s: %d %s", path, answer.Code, answer.Body)
		}
	}
}

// TestPublicNeeds: a push needs the actions of ECR Public on the ARN without a region, a
// pull nothing at all.
func TestPublicNeeds(t *testing.T) {
	var asked []string
	w := newPublicWorld(t, func(_ *public.Config, c *oci.Config) {
		c.Authorizer = asking(func(r authz.Request) {
			for _, n := range r.Needs {
				asked = append(asked, n.Action+" "+n.Resource.String()+" "+string(r.Region))
			}
		})
	})
	c := w.owner(t)
	c.wants(c.do("PUT", "/v2/acme-two/two/manifests/v1", c.image("acme/two", "needs"), "Content-Type", imageType), 201)
	for i, a := range asked {
		asked[i] = strings.TrimSuffix(a, " arn:aws:ecr-public::123456789012:repository/two us-east-1")
	}
	slices.Sort(asked)
	if got := strings.Join(slices.Compact(asked), " "); got != "ecr-public:CompleteLayerUpload ecr-public:InitiateLayerUpload ecr-public:PutImage ecr-public:UploadLayerPart" {
		t.Errorf("a push asks for %s", got)
	}
	asked = nil
	d := digest([]byte("the layer of needs"))
	for _, r := range []string{"GET manifests/v1", "HEAD manifests/v1", "GET blobs/" + d, "HEAD blobs/" + d, "GET tags/list", "GET referrers/" + d} {
		method, path, _ := strings.Cut(r, " ")
		c.wants(c.do(method, "/v2/acme/two/"+path, nil), 200)
	}
	c.wants(c.do("POST", "/v2/acme/team/one/blobs/uploads/?mount="+d+"&from=acme-two/two", nil), 201)
	if got := strings.Join(asked, " "); got != "ecr-public:InitiateLayerUpload arn:aws:ecr-public::123456789012:repository/team/one us-east-1" {
		t.Errorf("reading and a mount ask for %s", got)
	}
	asked = nil
	c.wants(c.do("DELETE", "/v2/acme/two/manifests/v1", nil), 202)
	if got := strings.Join(asked, " "); got != "ecr-public:BatchDeleteImage arn:aws:ecr-public::123456789012:repository/two us-east-1" {
		t.Errorf("a deletion asks for %s", got)
	}
}

// asking is an Authorizer that allows everything and tells what it was asked.
type asking func(authz.Request)

func (a asking) Authorize(_ context.Context, r authz.Request) error {
	a(r)
	return nil
}

// TestPublicAudit: what somebody does stands in the trail as ECR Public's, what nobody
// does not at all.
func TestPublicAudit(t *testing.T) {
	w := newPublicWorld(t, nil)
	c, nobody := w.owner(t), w.nobody(t)
	c.wants(c.do("PUT", "/v2/acme/two/manifests/v1", c.image("acme/two", "audit"), "Content-Type", imageType), 201)
	e := w.audit.last()
	if e.EventSource != "ecr-public.amazonaws.com" || e.EventName != "PutImage" || e.Region != "us-east-1" || e.Account != account ||
		!slices.Equal(e.Resources, []string{"arn:aws:ecr-public::123456789012:repository/two"}) || !strings.Contains(string(e.RequestParameters), `"repositoryName":"two"`) {
		t.Errorf("the entry is %+v", e)
	}
	before := len(w.audit.entries)
	nobody.wants(nobody.do("GET", "/v2/acme/two/manifests/v1", nil), 200)
	nobody.wants(nobody.do("POST", "/v2/acme/two/blobs/uploads/", nil), 403)
	nobody.wants(nobody.do("GET", "/v2/nothing/two/manifests/v1", nil), 404)
	if got := len(w.audit.entries); got != before {
		t.Errorf("%d entries of nobody: %+v", got-before, w.audit.last())
	}
	theirs := &client{t, w.world, w.bearer(t, foreign)}
	theirs.wants(theirs.do("POST", "/v2/acme/two/blobs/uploads/", nil), 403, "is not authorized to perform: ecr-public:InitiateLayerUpload on resource: arn:aws:ecr-public::123456789012:repository/two")
	if e := w.audit.last(); e.ErrorCode != "DENIED" || e.Principal.ARN != principal.RootARN(foreign) || e.Account != account {
		t.Errorf("the entry is %+v", e)
	}
	theirs.wants(theirs.do("GET", "/v2/nothing/two/manifests/v1", nil), 404)
	if e := w.audit.last(); e.ErrorCode != "NAME_UNKNOWN" || e.Account != foreign || len(e.Resources) != 0 {
		t.Errorf("the entry is %+v", e)
	}
}

// TestPublicPolicies: another account pushes where the repository's policy lets it, and
// no policy keeps anybody from a pull.
func TestPublicPolicies(t *testing.T) {
	w := newPublicWorld(t, nil)
	c := w.owner(t)
	body := c.image("acme/two", "policies")
	c.wants(c.do("PUT", "/v2/acme/two/manifests/v1", body, "Content-Type", imageType), 201)
	set := func(text string) {
		t.Helper()
		d, err := policy.Parse(text, policy.Repository)
		if err == nil {
			err = w.repositories.SetPolicy(t.Context(), name.PublicRegistry(account), "two", d, w.entities.PinPrincipals)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr-public:*"}]}`)
	theirs := &client{t, w.world, w.bearer(t, foreign)}
	for _, who := range []*client{c, theirs, w.nobody(t)} {
		who.wants(who.do("GET", "/v2/acme/two/manifests/v1", nil), 200)
		who.wants(who.do("GET", "/v2/acme/two/blobs/"+digest([]byte("the layer of policies")), nil), 200)
		who.wants(who.do("PUT", "/v2/acme/two/manifests/v2", body, "Content-Type", imageType), 403, "DENIED")
	}
	set(fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},
		"Action":["ecr-public:BatchCheckLayerAvailability","ecr-public:PutImage","ecr-public:InitiateLayerUpload","ecr-public:UploadLayerPart","ecr-public:CompleteLayerUpload"]}]}`, foreign))
	theirs.wants(theirs.do("PUT", "/v2/acme/two/manifests/v2", theirs.image("acme/two", "theirs"), "Content-Type", imageType), 201)
	theirs.wants(theirs.do("DELETE", "/v2/acme/two/manifests/v2", nil), 403, "DENIED", "ecr-public:BatchDeleteImage")
	theirs.wants(theirs.do("POST", "/v2/acme/team/one/blobs/uploads/", nil), 403, "DENIED")
}

// TestPublicThrottle: a pull is a GET of a manifest, and counts for an address or an
// account; a push counts as the API's operations do.
func TestPublicThrottle(t *testing.T) {
	g := &gate{}
	from := "192.0.2.7"
	w := newPublicWorld(t, func(f *public.Config, c *oci.Config) {
		f.Throttle = g.admit
		f.Workloads = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}
		c.Origin = func(*http.Request) authz.Origin { return authz.Origin{SourceIP: netip.MustParseAddr(from)} }
	})
	owner, nobody := w.owner(t), w.nobody(t)
	body := owner.image("acme/two", "throttle")
	owner.wants(owner.do("PUT", "/v2/acme/two/manifests/v1", body, "Content-Type", imageType), 201)
	blob := "/v2/acme/two/blobs/" + digest([]byte("the layer of throttle"))
	g.take()
	for _, step := range []struct {
		who          *client
		from         string
		method, path string
		want         string
	}{
		{nobody, "192.0.2.7", "GET", "/v2/acme/two/manifests/v1", "192.0.2.7 public ecr-public:AnonymousPull"},
		{nobody, "::ffff:192.0.2.7", "GET", "/v2/acme/two/manifests/v1", "192.0.2.7 public ecr-public:AnonymousPull"},
		{nobody, "2001:db8:1:2:3::4", "GET", "/v2/acme/two/manifests/v1", "2001:db8:1:2::/64 public ecr-public:AnonymousPull"},
		{nobody, "10.1.2.3", "GET", "/v2/acme/two/manifests/v1", "10.1.2.3 public ecr-public:WorkloadPull"},
		{owner, "10.1.2.3", "GET", "/v2/acme/two/manifests/v1", "10.1.2.3 public ecr-public:WorkloadPull"},
		{owner, "2001:db8:ffff::1", "GET", "/v2/acme/two/manifests/v1", "2001:db8:ffff::/64 public ecr-public:WorkloadPull"},
		{owner, "192.0.2.7", "GET", "/v2/acme/two/manifests/v1", string(account) + " public ecr-public:Pull"},
		{nobody, "192.0.2.7", "HEAD", "/v2/acme/two/manifests/v1", ""},
		{nobody, "192.0.2.7", "GET", blob, ""},
		{nobody, "192.0.2.7", "HEAD", blob, ""},
		{nobody, "192.0.2.7", "GET", "/v2/acme/two/tags/list", ""},
		{nobody, "192.0.2.7", "POST", "/v2/acme/two/blobs/uploads/", ""},
		{owner, "192.0.2.7", "HEAD", blob, string(account) + " public ecr-public:BatchCheckLayerAvailability"},
		{owner, "192.0.2.7", "GET", blob, ""},
		{owner, "192.0.2.7", "POST", "/v2/acme/two/blobs/uploads/", string(account) + " public ecr-public:InitiateLayerUpload"},
		{owner, "10.1.2.3", "POST", "/v2/acme/two/blobs/uploads/", string(account) + " public ecr-public:InitiateLayerUpload"},
	} {
		from = step.from
		step.who.do(step.method, step.path, nil)
		if got := strings.Join(g.take(), ", "); got != step.want {
			t.Errorf("%s %s from %s asks for %q, want %q", step.method, step.path, step.from, got, step.want)
		}
	}
	g.refuse, from = "ecr-public:AnonymousPull", "192.0.2.7"
	r := nobody.do("GET", "/v2/acme/two/manifests/v1", nil)
	nobody.wants(r, 429, `{"errors":[{"code":"TOOMANYREQUESTS","message":"Rate exceeded"}]}`)
	if got := r.Header.Get("Retry-After"); got != "3" {
		t.Errorf("Retry-After is %q", got)
	}
	owner.wants(owner.do("GET", "/v2/acme/two/manifests/v1", nil), 200)
}

// budget is a volume that ends.
type budget struct {
	mu   sync.Mutex
	over bool
	had  []string
}

func (b *budget) Allowed(context.Context, netip.Addr) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return errs.New(errs.Throttled, "This address has pulled enough").With("retryAfter", 60)
	}
	return nil
}

func (b *budget) Add(from netip.Addr, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.had = append(b.had, fmt.Sprintf("%s %d", from, n))
}

// take gives what has been counted once it is n things, which may be after the client
// has its answer.
func (b *budget) take(n int) (had []string) {
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		if had = b.had; len(had) >= n || time.Now().After(until) {
			b.had = nil
			b.mu.Unlock()
			return had
		}
		b.mu.Unlock()
	}
}

// TestPublicVolume: what nobody is sent counts for the address, until there is no more.
func TestPublicVolume(t *testing.T) {
	b, from, elsewhere := &budget{}, "::ffff:192.0.2.7", &redirecting{}
	w := newPublicWorld(t, func(f *public.Config, c *oci.Config) {
		f.Volume = b
		f.Workloads = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		elsewhere.Layers, c.Layers = c.Layers, elsewhere
		c.Origin = func(*http.Request) authz.Origin { return authz.Origin{SourceIP: netip.MustParseAddr(from)} }
	})
	owner, nobody := w.owner(t), w.nobody(t)
	body := owner.image("acme/two", "volume")
	owner.wants(owner.do("PUT", "/v2/acme/two/manifests/v1", body, "Content-Type", imageType), 201)
	layer := []byte("the layer of volume")
	image, blob := "/v2/acme/two/manifests/v1", "/v2/acme/two/blobs/"+digest(layer)

	owner.wants(owner.do("GET", image, nil), 200)
	owner.wants(owner.do("GET", blob, nil), 200)
	nobody.wants(nobody.do("HEAD", blob, nil), 200)
	nobody.wants(nobody.do("HEAD", image, nil), 200)
	from = "10.0.0.1"
	nobody.wants(nobody.do("GET", blob, nil), 200)
	from = "::ffff:192.0.2.7"
	nobody.wants(nobody.do("GET", image, nil), 200)
	nobody.wants(nobody.do("GET", blob, nil), 200)
	nobody.wants(nobody.do("GET", blob, nil, "Range", "bytes=0-4"), 206)
	elsewhere.on = true
	nobody.wants(nobody.do("GET", blob, nil), 307)
	elsewhere.on = false
	counted := func(n int) string { return fmt.Sprintf("192.0.2.7 %d", n) }
	want := []string{counted(len(body)), counted(len(layer)), counted(5), counted(len(layer))}
	got := b.take(len(want))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("counted are %q, want %q", got, want)
	}

	b.over = true
	for _, path := range []string{image, blob} {
		r := nobody.do("GET", path, nil)
		nobody.wants(r, 429, "TOOMANYREQUESTS", "This address has pulled enough")
		if got := r.Header.Get("Retry-After"); got != "60" {
			t.Errorf("Retry-After is %q", got)
		}
		owner.wants(owner.do("GET", path, nil), 200)
		nobody.wants(nobody.do("HEAD", path, nil), 200)
	}
	from = "10.0.0.1"
	nobody.wants(nobody.do("GET", blob, nil), 200)
	from, b.over = "192.0.2.8", false
	nobody.wants(nobody.do("GET", blob, nil), 200)
	if got := b.take(1); !slices.Equal(got, []string{fmt.Sprintf("192.0.2.8 %d", len(layer))}) {
		t.Errorf("counted are %q", got)
	}
}

// redirecting are layers that are to be had elsewhere, once on is set.
type redirecting struct {
	oci.Layers
	on bool
}

func (r *redirecting) Redirect(context.Context, repository.Repository, name.Digest) (string, bool) {
	return "https://elsewhere.example/layer", r.on
}

// TestPulled: every manifest that is handed out is told, and nothing else.
func TestPulled(t *testing.T) {
	w := newPublicWorld(t, nil)
	c, nobody := w.owner(t), w.nobody(t)
	body := c.image("acme/two", "pulled")
	c.wants(c.do("PUT", "/v2/acme/two/manifests/v1", body, "Content-Type", imageType), 201)
	r, err := w.repositories.Get(t.Context(), name.PublicRegistry(account), "two")
	if err != nil {
		t.Fatal(err)
	}
	nobody.wants(nobody.do("HEAD", "/v2/acme/two/manifests/v1", nil), 200)
	nobody.wants(nobody.do("GET", "/v2/acme/two/manifests/none", nil), 404)
	nobody.wants(nobody.do("GET", "/v2/acme/two/manifests/v1", nil, "If-None-Match", `"`+digest(body)+`"`), 304)
	if len(w.pulls) != 0 {
		t.Errorf("%v were told", w.pulls)
	}
	nobody.wants(nobody.do("GET", "/v2/acme-two/two/manifests/v1", nil), 200)
	c.wants(c.do("GET", "/v2/acme/two/manifests/"+digest(body), nil), 200)
	if !slices.Equal(w.pulls, []int64{r.ID, r.ID}) {
		t.Errorf("%v were told, want two of %d", w.pulls, r.ID)
	}
}

// TestPublicConversion is the table of the user guide, "Amazon ECR image manifest
// conversion": by tag a client gets the form that it understands, by digest what is there.
func TestPublicConversion(t *testing.T) {
	w := newPublicWorld(t, nil)
	c, nobody := w.owner(t), w.nobody(t)
	config, layer := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["`+digest(nil)+`"]},"history":[{"created_by":"COPY x /"}]}`), []byte("a layer")
	c.push("acme/two", config)
	c.push("acme/two", layer)
	docker := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":%q,"size":%d}]}`,
		manifest.DockerSchema2, digest(config), len(config), digest(layer), len(layer))
	ociImage := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d}]}`,
		imageType, digest(config), len(config), digest(layer), len(layer))
	stored := map[string][]byte{"docker": docker, "oci": ociImage}
	c.wants(c.do("PUT", "/v2/acme/two/manifests/docker", docker, "Content-Type", manifest.DockerSchema2), 201)
	c.wants(c.do("PUT", "/v2/acme/two/manifests/oci", ociImage, "Content-Type", imageType), 201)
	old := c.do("GET", "/v2/acme/two/manifests/docker", nil, "Accept", manifest.DockerSchema1Signed)
	c.wants(old, 200)
	c.wants(c.do("PUT", "/v2/acme/two/manifests/docker", []byte(old.text), "Content-Type", manifest.DockerSchema1Signed), 201)
	stored["schema1"] = []byte(old.text)
	c.wants(c.do("PUT", "/v2/acme/two/manifests/docker2", docker, "Content-Type", manifest.DockerSchema2), 201)

	for _, row := range []struct{ tag, accept, want string }{
		{"docker", manifest.DockerSchema1Signed, manifest.DockerSchema1Signed}, // schema 1, stored as that
		{"docker2", manifest.DockerSchema1Signed, manifest.DockerSchema1Signed},
		{"oci", manifest.DockerSchema1Signed, manifest.DockerSchema1Signed},
		{"docker", manifest.DockerSchema2, ""},
		{"docker2", manifest.DockerSchema2, manifest.DockerSchema2},
		{"oci", manifest.DockerSchema2, manifest.DockerSchema2},
		{"docker", imageType, ""},
		{"docker2", imageType, imageType},
		{"oci", imageType, imageType},
	} {
		r := nobody.do("GET", "/v2/acme/two/manifests/"+row.tag, nil, "Accept", row.accept)
		if row.want == "" {
			nobody.wants(r, 404, "MANIFEST_UNKNOWN")
			continue
		}
		nobody.wants(r, 200)
		if got := r.Header.Get("Content-Type"); got != row.want {
			t.Errorf("%s for a client of %s is %s", row.tag, row.accept, got)
		}
	}
	for tag, body := range stored {
		r := nobody.do("GET", "/v2/acme/two/manifests/"+digest(body), nil, "Accept", "application/none")
		if tag == "schema1" {
			continue // its digest is of a part of it
		}
		nobody.wants(r, 200)
		if r.text != string(body) {
			t.Errorf("%s by digest is %s", tag, r.text)
		}
	}
}

// TestPublicConfigHoles: the front says what is missing.
func TestPublicConfigHoles(t *testing.T) {
	whole := public.Config{
		Base: func(*http.Request) (string, bool) { return "", true }, Tokens: &principal.Service{}, Key: make([]byte, 32), Clock: clockless{}, Home: "us-east-1",
		Resolve: func(context.Context, string) (name.AccountID, error) { return "", nil },
	}
	if _, err := public.New(whole); err != nil {
		t.Fatal(err)
	}
	for what, hole := range map[string]func(*public.Config){
		"Base": func(c *public.Config) { c.Base = nil }, "Tokens": func(c *public.Config) { c.Tokens = nil }, "Key": func(c *public.Config) { c.Key = c.Key[:31] },
		"Clock": func(c *public.Config) { c.Clock = nil }, "Home": func(c *public.Config) { c.Home = "" }, "Resolve": func(c *public.Config) { c.Resolve = nil },
	} {
		c := whole
		hole(&c)
		if _, err := public.New(c); err == nil || !strings.Contains(err.Error(), "public.Config."+what) {
			t.Errorf("without %s: %v", what, err)
		}
	}
}

type clockless struct{}

func (clockless) Now() time.Time { return time.Time{} }

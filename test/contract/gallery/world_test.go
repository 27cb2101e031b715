package gallery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic/types"

	"github.com/berth-registry/berth/test/contract/gallery/browser"
	"github.com/berth-registry/berth/test/contract/harness"
)

// limit bounds every wait, for a machine that is busy with other tests.
const limit = 2 * time.Minute

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("waited %s for %s", limit, what)
		}
	}
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// world is a server with public registries.
type world struct {
	*harness.Server
	seed uint64 // of the last image
}

func start(t *testing.T, args ...string) *world {
	t.Helper()
	return &world{Server: harness.Start(t, harness.Options{Args: args})}
}

// berth runs a berth command against the server.
func (w *world) berth(t *testing.T, args ...string) {
	t.Helper()
	if out, err := w.Command(t.Context(), append(args, "--data", w.Data)...).CombinedOutput(); err != nil {
		t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// publisher is an account that publishes.
type publisher struct {
	*ecrpublic.Client
	w       *world
	account string
	alias   string // the default one
	push    *harness.Registry
}

// publisher makes an account and its public registry.
func (w *world) publisher(t *testing.T, account string) *publisher {
	t.Helper()
	id, secret := w.CreateAccount(t, account)
	p := &publisher{Client: ecrpublic.NewFromConfig(w.ConfigAs(id, secret, "")), w: w, account: account}
	p.repository(t, "nothing-in-it", nil)
	out, err := p.DescribeRegistries(t.Context(), &ecrpublic.DescribeRegistriesInput{})
	must(t, "DescribeRegistries", err)
	p.alias = *out.Registries[0].Aliases[0].Name
	token, err := p.GetAuthorizationToken(t.Context(), &ecrpublic.GetAuthorizationTokenInput{})
	must(t, "GetAuthorizationToken", err)
	p.push = harness.NewRegistry(w.PublicEndpoint, "Bearer "+*token.AuthorizationData.AuthorizationToken, http.DefaultTransport)
	return p
}

// named gives the account a custom alias, the badge and a display name.
func (p *publisher) named(t *testing.T, alias, display string) {
	t.Helper()
	p.w.berth(t, "public", "alias", "request", alias, "--account", p.account)
	p.w.berth(t, "public", "alias", "approve", alias)
	p.w.berth(t, "public", "verify", p.account)
	_, err := p.PutRegistryCatalogData(t.Context(), &ecrpublic.PutRegistryCatalogDataInput{DisplayName: &display})
	must(t, "PutRegistryCatalogData", err)
}

// data is what a publisher says of a repository.
type data = types.RepositoryCatalogDataInput

func (p *publisher) repository(t *testing.T, name string, d *data) {
	t.Helper()
	_, err := p.CreateRepository(t.Context(), &ecrpublic.CreateRepositoryInput{RepositoryName: &name, CatalogData: d})
	must(t, "CreateRepository "+name, err)
}

// describe says something else of a repository.
func (p *publisher) describe(t *testing.T, name string, d data) (*ecrpublic.PutRepositoryCatalogDataOutput, error) {
	t.Helper()
	return p.PutRepositoryCatalogData(t.Context(), &ecrpublic.PutRepositoryCatalogDataInput{RepositoryName: &name, CatalogData: &d})
}

// published makes a repository with an image for linux/amd64 under the tag v1.
func (p *publisher) published(t *testing.T, name string, d *data) {
	t.Helper()
	p.repository(t, name, d)
	p.image(t, name, "v1", "linux/amd64")
}

// descriptor is harness.Descriptor with the whole platform.
type descriptor struct {
	harness.Descriptor
	Platform any `json:"platform,omitempty"`
}

// image pushes an image for one platform, or an index of images for several, and returns
// its digest. A platform is "linux/arm64/v8".
func (p *publisher) image(t *testing.T, name, tag string, platforms ...string) (digest string) {
	t.Helper()
	repo := p.alias + "/" + name
	if len(platforms) == 1 {
		return p.single(t, repo, tag, platforms[0]).Digest
	}
	var children []descriptor
	for _, platform := range platforms {
		children = append(children, descriptor{p.single(t, repo, "", platform), parts(platform)})
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": harness.OCIIndex, "manifests": children})
	must(t, "the index", err)
	return p.push.PushManifest(t, repo, tag, harness.OCIIndex, index).Digest
}

func parts(platform string) map[string]string {
	part := strings.SplitN(platform, "/", 3)
	m := map[string]string{"os": part[0], "architecture": part[1]}
	if len(part) > 2 {
		m["variant"] = part[2]
	}
	return m
}

func (p *publisher) single(t *testing.T, repo, ref, platform string) harness.Descriptor {
	t.Helper()
	p.w.seed++
	layer := harness.Random(p.w.seed, 3000)
	config, err := json.Marshal(parts(platform))
	must(t, "the configuration", err)
	for _, blob := range [][]byte{layer, config} {
		if _, err := p.push.PutBlob(t.Context(), repo, blob); err != nil {
			t.Fatal(err)
		}
	}
	return p.push.PushManifest(t, repo, ref, harness.OCIImage, harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage,
		Config: &harness.Descriptor{MediaType: harness.OCIConfig, Digest: harness.Digest(config), Size: int64(len(config))},
		Layers: []harness.Descriptor{{MediaType: harness.OCILayer, Digest: harness.Digest(layer), Size: int64(len(layer))}},
	}.Bytes(t))
}

// retag puts further tags on an image.
func (p *publisher) retag(t *testing.T, name, digest string, tags ...string) {
	t.Helper()
	repo := p.alias + "/" + name
	manifest, mediaType, err := p.push.Manifest(t.Context(), repo, digest)
	must(t, "the manifest", err)
	for _, tag := range tags {
		p.push.PushManifest(t, repo, tag, mediaType, manifest)
	}
}

// remove deletes images by their tags or digests.
func (p *publisher) remove(t *testing.T, name string, refs ...string) {
	t.Helper()
	in := &ecrpublic.BatchDeleteImageInput{RepositoryName: &name}
	for _, ref := range refs {
		id := types.ImageIdentifier{ImageTag: &ref}
		if strings.HasPrefix(ref, "sha256:") {
			id = types.ImageIdentifier{ImageDigest: &ref}
		}
		in.ImageIds = append(in.ImageIds, id)
	}
	out, err := p.BatchDeleteImage(t.Context(), in)
	must(t, "BatchDeleteImage", err)
	if len(out.Failures) > 0 {
		t.Fatalf("BatchDeleteImage: %v", out.Failures)
	}
}

// anonymous pulls as nobody, with the token that anybody is given.
func (w *world) anonymous(t *testing.T) *harness.Registry {
	t.Helper()
	status, body := send(t, http.DefaultClient, http.MethodGet, w.PublicEndpoint+"/token/", "")
	var token struct{ Token string }
	if err := json.Unmarshal(body, &token); status != http.StatusOK || err != nil || token.Token == "" {
		t.Fatalf("the token is %d %s: %v", status, body, err)
	}
	return harness.NewRegistry(w.PublicEndpoint, "Bearer "+token.Token, http.DefaultTransport)
}

// send sends a request and returns what is answered.
func send(t *testing.T, c *http.Client, method, address, body string) (status int, answer []byte) {
	t.Helper()
	status, _, answer = get(t, c, method, address, body)
	return status, answer
}

func get(t *testing.T, c *http.Client, method, address, body string) (status int, header http.Header, answer []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	must(t, address, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := c.Do(r)
	must(t, address, err)
	defer func() { _ = response.Body.Close() }() // it was read to its end or failed
	answer, err = io.ReadAll(response.Body)
	must(t, address, err)
	return response.StatusCode, response.Header, answer
}

// logo is a picture that is good.
func logo(t *testing.T) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 96, 96))
	for i := range 96 * 96 {
		img.Set(i%96, i/96, color.NRGBA{R: 20, G: uint8(i / 96 * 2), B: 160, A: 255})
	}
	var b bytes.Buffer
	must(t, "the logo", png.Encode(&b, img))
	return b.Bytes()
}

// sound fails the test unless a page is whole: nothing went wrong in it, nothing of it
// came from elsewhere, it has no severe fault of accessibility, and it is not wider than
// the window.
func sound(t *testing.T, p *browser.Page, what string) {
	t.Helper()
	quiet(t, p, what)
	for _, v := range p.Axe() {
		if v.Severe() {
			t.Errorf("%s: %v", what, v)
		}
	}
}

// quiet is sound without a look at accessibility.
func quiet(t *testing.T, p *browser.Page, what string) {
	t.Helper()
	for _, e := range p.Trouble() {
		// The browser says so of every page that is answered with an error, which a test
		// asked for. Files of pages are another thing.
		if e.Kind == browser.Console && refusal.MatchString(e.Text) && (strings.Contains(e.Text, "absent") || !ofPages.MatchString(e.Text)) {
			continue
		}
		t.Errorf("%s: %v", what, e)
	}
	var wide []string
	p.Evaluate(tooWide, &wide)
	if len(wide) > 0 {
		t.Errorf("%s is wider than the window: %v", what, wide)
	}
}

var (
	refusal = regexp.MustCompile(`the server responded with a status of 40[04] `)
	ofPages = regexp.MustCompile(`/(static|logo)/`)
)

// tooWide names the window's width where it can be scrolled sideways, and some elements
// that reach out of it.
const tooWide = `(() => {
	const wide = document.scrollingElement.scrollWidth, room = document.documentElement.clientWidth;
	if (wide <= room) return [];
	return [wide + " instead of " + room].concat([...document.querySelectorAll("body *")]
		.filter((e) => e.getBoundingClientRect().right > room + 1).slice(0, 5).map((e) => e.outerHTML.slice(0, 150)));
})()`

// lacks fails the test unless a text has all of some parts.
func lacks(t *testing.T, what, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q:\n%s", what, want, text)
		}
	}
}

// same compares lists.
func same[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s is\n %v\nwant\n %v", what, got, want)
	}
}

// numbered are names with numbers from 1 to n.
func numbered(format string, n int) []string {
	all := make([]string, 0, n)
	for i := range n {
		all = append(all, fmt.Sprintf(format, i+1))
	}
	return all
}

// text is for the SDK.
func text(s string) *string { return aws.String(s) }

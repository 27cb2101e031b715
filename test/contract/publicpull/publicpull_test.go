package publicpull

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/test/contract/harness"
)

// later is the machine's clock, which a test can put forward.
type later struct{ by atomic.Int64 }

// Now is the shifted time.
func (l *later) Now() time.Time { return time.Now().Add(time.Duration(l.by.Load())) }

// denied and expired are the texts of the ECR Public user guide, as docker prints them.
const (
	denied  = "denied: Not Authorized"
	expired = "denied: Your authorization token has expired. Reauthenticate and try again."
)

// world is a server in the test's process, whose clock can be put forward, with one
// public repository that holds an image.
type world struct {
	*apptest.Server
	clock    *later
	host     string
	app      string // host/alias/app, without a tag
	password string
}

func newWorld(t *testing.T, change func(*config.Config)) *world {
	t.Helper()
	w := &world{clock: &later{}}
	w.Server = apptest.Start(t, apptest.Options{Clock: w.clock, Config: change, Work: true})
	_, w.host, _ = strings.Cut(w.PublicURL, "://")
	options := w.ECR.Options()
	api := ecrpublic.New(ecrpublic.Options{Region: "us-east-1", BaseEndpoint: options.BaseEndpoint, Credentials: options.Credentials, HTTPClient: options.HTTPClient})
	made, err := api.CreateRepository(t.Context(), &ecrpublic.CreateRepositoryInput{RepositoryName: aws.String("app")})
	if err != nil {
		t.Fatal(err)
	}
	w.app = aws.ToString(made.Repository.RepositoryUri)
	called, ok := strings.CutPrefix(w.app, w.host+"/")
	if !ok {
		t.Fatalf("the repository is %s, and the registry %s", w.app, w.host)
	}
	token, err := api.GetAuthorizationToken(t.Context(), &ecrpublic.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	text := aws.ToString(token.AuthorizationData.AuthorizationToken)
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	_, w.password, _ = strings.Cut(string(plain), ":")
	w.push(t, harness.NewRegistry(w.PublicURL, "Bearer "+text, http.DefaultTransport), called)
	return w
}

// push pushes an image that engines take.
func (w *world) push(t *testing.T, r *harness.Registry, repo string) {
	t.Helper()
	layer := harness.Tar(t, "hello", harness.Random(1, 2000))
	config := []byte(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["` + harness.Digest(layer) + `"]},"history":[{"created_by":"COPY hello /"}]}`)
	for _, blob := range [][]byte{layer, config} {
		if _, err := r.PutBlob(t.Context(), repo, blob); err != nil {
			t.Fatal(err)
		}
	}
	m := harness.Manifest{
		SchemaVersion: 2, MediaType: harness.DockerImage,
		Config: &harness.Descriptor{MediaType: harness.DockerConfig, Digest: harness.Digest(config), Size: int64(len(config))},
		Layers: []harness.Descriptor{{MediaType: "application/vnd.docker.image.rootfs.diff.tar", Digest: harness.Digest(layer), Size: int64(len(layer))}},
	}
	if err := r.PutManifest(t.Context(), repo, "v1", harness.DockerImage, m.Bytes(t)); err != nil {
		t.Fatal(err)
	}
}

// client is how a registry client does things; its box is its user's home.
type client struct {
	*harness.Box
	login, logout, pull, push func(*client, *world) error
	denied, expired           string // what it prints of these refusals
	printed                   string // by the last command
}

func (c *client) try(stdin, program string, args ...string) error {
	stdout, stderr, err := c.Try(stdin, program, args...)
	c.printed = stdout + stderr
	return err
}

// TestClients: anybody pulls, who is logged in pushes, who was logged in is told to do so
// again, and pulls when logged out.
func TestClients(t *testing.T) {
	for name, make := range map[string]func(*testing.T) *client{"docker": docker, "crane": crane, "skopeo": skopeo, "containerd": containerd} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c := newWorld(t, nil), make(t)
			works := func(what string, do func(*client, *world) error) {
				t.Helper()
				if err := do(c, w); err != nil {
					t.Fatalf("%s: %v\n%s", what, err, c.printed)
				}
			}
			refused := func(what, text string, do func(*client, *world) error) {
				t.Helper()
				if err := do(c, w); err == nil || !strings.Contains(strings.ToLower(c.printed), strings.ToLower(text)) {
					t.Errorf("%s: %v, want %q\n%s", what, err, text, c.printed)
				}
				t.Logf("%s: %s", what, strings.TrimSpace(c.printed))
			}
			works("an anonymous pull", c.pull)
			refused("an anonymous push", c.denied, c.push)
			works("a login", c.login)
			works("a pull after a login", c.pull)
			works("a push", c.push)
			w.clock.by.Store(int64(12*time.Hour + time.Minute))
			refused("a pull with a login of yesterday", c.expired, c.pull)
			refused("a push with a login of yesterday", c.expired, c.push)
			works("a logout", c.logout)
			works("an anonymous pull after a logout", c.pull)
		})
	}
}

func docker(t *testing.T) *client {
	b := harness.NewBox(t, "docker")
	harness.StartDocker(t, b)
	return &client{
		Box: b, denied: denied, expired: expired,
		login: func(c *client, w *world) error {
			return c.try(w.password, "docker", "login", "--username", "AWS", "--password-stdin", w.host)
		},
		logout: func(c *client, w *world) error { return c.try("", "docker", "logout", w.host) },
		pull:   func(c *client, w *world) error { return c.try("", "docker", "pull", w.app+":v1") },
		push: func(c *client, w *world) error {
			if err := c.try("", "docker", "tag", w.app+":v1", w.app+":docker"); err != nil {
				return err
			}
			return c.try("", "docker", "push", w.app+":docker")
		},
	}
}

func crane(t *testing.T) *client {
	b := harness.NewBox(t, "crane")
	return &client{
		Box: b, denied: denied, expired: expired,
		login: func(c *client, w *world) error {
			return c.try(w.password, "crane", "auth", "login", "--username", "AWS", "--password-stdin", w.host)
		},
		logout: func(c *client, w *world) error { return c.try("", "crane", "auth", "logout", w.host) },
		pull:   func(c *client, w *world) error { return c.try("", "crane", "pull", w.app+":v1", c.Path("image.tar")) },
		push: func(c *client, w *world) error {
			return c.try("", "crane", "push", c.Path("image.tar"), w.app+":crane")
		},
	}
}

func skopeo(t *testing.T) *client {
	b := harness.NewBox(t, "skopeo")
	return &client{
		Box: b, denied: denied, expired: expired,
		login: func(c *client, w *world) error {
			return c.try(w.password, "skopeo", "login", "--tls-verify=false", "--username", "AWS", "--password-stdin", w.host)
		},
		logout: func(c *client, w *world) error { return c.try("", "skopeo", "logout", w.host) },
		pull: func(c *client, w *world) error {
			return c.try("", "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://"+w.app+":v1", "oci:"+c.Path("image"))
		},
		push: func(c *client, w *world) error {
			return c.try("", "skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "oci:"+c.Path("image"), "docker://"+w.app+":skopeo")
		},
	}
}

func containerd(t *testing.T) *client {
	b := harness.NewBox(t, "ctr")
	harness.StartContainerd(t, b)
	user := func() []string { return []string{"--plain-http"} }
	return &client{
		// Debian's ctr says no more than the status.
		Box: b, denied: "403 Forbidden", expired: "401 Unauthorized",
		login: func(_ *client, w *world) error { // ctr keeps no logins
			user = func() []string { return []string{"--plain-http", "--user", "AWS:" + w.password} }
			return nil
		},
		logout: func(*client, *world) error {
			user = func() []string { return []string{"--plain-http"} }
			return nil
		},
		pull: func(c *client, w *world) error {
			return c.try("", "ctr", append(append([]string{"image", "pull"}, user()...), w.app+":v1")...)
		},
		push: func(c *client, w *world) error {
			return c.try("", "ctr", append(append([]string{"image", "push"}, user()...), w.app+":ctr", w.app+":v1")...)
		},
	}
}

// TestTooMany: a docker pull without a login is refused while its address pulls too often;
// one with a login goes on.
func TestTooMany(t *testing.T) {
	t.Parallel()
	once := int64(1)
	w := newWorld(t, func(c *config.Config) {
		c.Public.PullRate.Anonymous = &once
		c.Quota.Patience = 0
	})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	greedy := anonymous(t, w)
	_, called, _ := strings.Cut(w.app, "/")
	var pulling sync.WaitGroup
	defer pulling.Wait()
	pulling.Go(func() {
		for ctx.Err() == nil {
			// Most are refused, and the end of the test ends the last one.
			_, _, _ = greedy.Manifest(ctx, called, "v1", harness.DockerImage)
		}
	})
	c := docker(t)
	refused := false
	for until := time.Now().Add(time.Minute); !refused && time.Now().Before(until); {
		if refused = c.pull(c, w) != nil; !refused {
			if err := c.try("", "docker", "rmi", w.app+":v1"); err != nil {
				t.Fatal(c.printed)
			}
		}
	}
	if !refused || !strings.Contains(c.printed, "toomanyrequests: Rate exceeded") {
		t.Errorf("too many pulls: %s", c.printed)
	}
	t.Log(c.printed)
	if err := c.login(c, w); err != nil {
		t.Fatal(c.printed)
	}
	if err := c.pull(c, w); err != nil {
		t.Fatal(c.printed)
	}
	stop()
}

// anonymous is a client of the registry without credentials.
func anonymous(t *testing.T, w *world) *harness.Registry {
	t.Helper()
	resp, text := apptest.Do(t, http.MethodGet, w.PublicURL+"/token/", "", nil, nil)
	var doc struct{ Token string }
	if err := json.Unmarshal(text, &doc); err != nil || doc.Token == "" {
		t.Fatal(resp.Status, err)
	}
	return harness.NewRegistry(w.PublicURL, "Bearer "+doc.Token, http.DefaultTransport)
}

// TestTooMuch: without a login there is an end to what one address pulls in a month.
func TestTooMuch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Public.AnonymousBytesPerMonth = 10_000 })
	c := crane(t)
	refused := false
	for range 20 {
		if err := c.pull(c, w); err != nil {
			refused = true
			break
		}
	}
	if !refused || !strings.Contains(c.printed, "This address has pulled all that may be pulled without authentication in a month. Authenticate to go on") {
		t.Errorf("too much: %s", c.printed)
	}
	t.Log(c.printed)
	if err := c.login(c, w); err != nil {
		t.Fatal(c.printed)
	}
	if err := c.pull(c, w); err != nil {
		t.Fatal(c.printed)
	}
}

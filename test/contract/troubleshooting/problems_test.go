package troubleshooting

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"golang.org/x/sys/unix"

	"github.com/berth-registry/berth/test/contract/harness"
)

// problems are all rows of the page, in its order.
var problems = []problem{
	{"no basic auth credentials", "docker has no login for this host", func(t *testing.T, w *world) string {
		w.tag(w.Host + "/app:anonymous")
		return failing(t, w.apart(t), "docker", "push", w.Host+"/app:anonymous")
	}},
	{"no basic auth credentials", "the login was at another host, of another region or account perhaps", func(t *testing.T, w *world) string {
		b := w.apart(t)
		w.login(t, b, w.Password(t), w.Host)
		return failing(t, b, "docker", "pull", w.canonical+"/app:v1")
	}},
	{"401 Unauthorized", "the password is no token of this server", func(t *testing.T, w *world) string {
		return failing(t, w.apart(t), "docker", "login", "--username", "AWS", "--password", "secret", w.Host)
	}},
	{"Your authorization token has expired. Reauthenticate and try again.", "a token lives 12 hours, or as long as the account's setting says", oldToken},
	{"error storing credentials - err: ...docker-credential-...", "docker's configuration names a helper that is not installed", func(t *testing.T, w *world) string {
		b := w.apart(t)
		b.Write(".docker/config.json", []byte(`{"credsStore":"missing"}`))
		return failing(t, b, "docker", "login", "--username", "AWS", "--password", w.Password(t), w.Host)
	}},
	{"WARNING: Error loading config file: ...", "docker's configuration is no JSON, so that docker does not see its logins", func(t *testing.T, w *world) string {
		b := w.apart(t)
		b.Write(".docker/config.json", []byte(`{"auths":`))
		return failing(t, b, "docker", "pull", w.Host+"/app:v1")
	}},
	{"denied: User: ... is not authorized to perform: ecr:... on resource: ...", "no policy allows the user to push or pull there", func(t *testing.T, w *world) string {
		b := w.apart(t)
		w.login(t, b, w.passwordOf(t, w.poor), w.Host)
		w.tag(w.Host + "/app:poor")
		return failing(t, b, "docker", "push", w.Host+"/app:poor")
	}},
	{"name unknown: The repository with name '...' does not exist in the registry with id '...'", "the repository was not created, or its name is misspelt", func(t *testing.T, w *world) string {
		w.tag(w.Host + "/missing:v1")
		return failing(t, w.docker, "docker", "push", w.Host+"/missing:v1")
	}},
	{"manifest unknown: Requested image not found", "there is no image with this tag or digest: never pushed, expired, archived or deleted", func(t *testing.T, w *world) string {
		return failing(t, w.docker, "docker", "pull", w.Host+"/app:missing")
	}},
	{"tag invalid: The image tag '...' already exists in the '...' repository and cannot be overwritten because the tag is immutable.", "the repository's tags are immutable", func(t *testing.T, w *world) string {
		_, err := w.ECR().PutImageTagMutability(t.Context(), &ecr.PutImageTagMutabilityInput{RepositoryName: aws.String("fixed"), ImageTagMutability: types.ImageTagMutabilityImmutable})
		if err != nil {
			t.Fatal(err)
		}
		w.Registry(t).PushImage(t, "fixed", "v1", 7, 1000)
		w.tag(w.Host + "/fixed:v1")
		return failing(t, w.docker, "docker", "push", w.Host+"/fixed:v1")
	}},
	{"toomanyrequests: Rate exceeded", "the account's request rate is used up", func(t *testing.T, w *world) string {
		s := harness.Start(t, harness.Options{Namespace: w.inside, Config: impatient})
		s.CreateRepository(t, "app")
		b := w.apart(t)
		w.login(t, b, s.Password(t), s.Host)
		b.Run("docker", "tag", "many", s.Host+"/app:v1")
		berth(t, s, "quota", "set", "rate:InitiateLayerUpload", "1")
		return failing(t, b, "docker", "push", s.Host+"/app:v1")
	}},
	{"filesystem layer verification failed for digest sha256:...", "the layer's bytes changed on their way, in a proxy or on a bad link", func(t *testing.T, w *world) string {
		host := w.proxy(t, func(p *httputil.ReverseProxy) {
			p.ModifyResponse = func(r *http.Response) error {
				if strings.Contains(r.Request.URL.Path, "/blobs/") && r.ContentLength > 10_000 {
					r.Body = struct {
						io.Reader
						io.Closer
					}{&flip{r: r.Body}, r.Body}
				}
				return nil
			}
		})
		w.Registry(t).PushImage(t, "app", "flipped", 9, 50_000)
		w.login(t, w.docker, w.Password(t), host)
		return failing(t, w.docker, "docker", "pull", host+"/app:flipped")
	}},
	{"no space left on device", "the client's disk is full", func(t *testing.T, w *world) string {
		full := w.box(t, "crane")
		w.inside.Tmpfs(t, full.Path("small"), "64k")
		w.Registry(t).PushImage(t, "app", "large", 11, 1_000_000)
		full.Feed(w.Password(t), "crane", "auth", "login", "--username", "AWS", "--password-stdin", w.Host)
		out := failing(t, full, "crane", "pull", w.Host+"/app:large", full.Path("small", "image.tar"))
		if err := w.inside.Do(func() error { return unix.Unmount(full.Path("small"), 0) }); err != nil {
			t.Error(err)
		}
		return out
	}},
	{"dial tcp: lookup registry.invalid", "the client's resolver does not know the host, or cannot be reached", func(t *testing.T, w *world) string {
		return failing(t, w.docker, "docker", "pull", "registry.invalid/app:v1")
	}},
	{"connect: connection refused", "nothing listens at this address and port", func(t *testing.T, w *world) string {
		return failing(t, w.docker, "docker", "pull", "localhost:1/app:v1")
	}},
	{"x509: certificate signed by unknown authority", "the client does not trust the authority of the server's certificate", func(t *testing.T, w *world) string {
		s := harness.Start(t, harness.Options{Namespace: w.inside, TLS: harness.NewCertificate(t, other)})
		return failing(t, w.box(t, "crane"), "crane", "ls", strings.Replace(s.Host, "localhost", other, 1)+"/app")
	}},
	{"x509: certificate is valid for ..., not ...", "the certificate is for other names than the one that the client uses", func(t *testing.T, w *world) string {
		c := harness.NewCertificate(t, "elsewhere.example")
		s := harness.Start(t, harness.Options{Namespace: w.inside, TLS: c})
		b := w.box(t, "crane").With("SSL_CERT_FILE=" + c.Path)
		return failing(t, b, "crane", "ls", strings.Replace(s.Host, "localhost", other, 1)+"/app")
	}},
	{"http: server gave HTTP response to HTTPS client", "the server speaks HTTP, which clients take from local hosts only", func(t *testing.T, w *world) string {
		return failing(t, w.box(t, "crane"), "crane", "ls", strings.Replace(w.Host, "localhost", other, 1)+"/app")
	}},
	{"net/http: TLS handshake timeout", "something takes the connection and does not answer: a firewall, a proxy, an overloaded machine", func(t *testing.T, w *world) string {
		host := strings.Replace(w.silent(t), "localhost", other, 1)
		return failing(t, w.box(t, "skopeo"), "skopeo", "list-tags", "docker://"+host+"/app")
	}},
	{"413 Request Entity Too Large", "a proxy in front bounds the size of bodies", func(t *testing.T, w *world) string {
		host := w.proxy(t, nil)
		b := w.box(t, "crane")
		b.Feed(w.Password(t), "crane", "auth", "login", "--username", "AWS", "--password-stdin", host)
		tar := b.Write("layer.tar", harness.Tar(t, "file", harness.Random(12, 2_000_000)))
		return failing(t, b, "crane", "append", "--new_layer", tar, "--new_tag", host+"/app:bounded")
	}},
	{"The registry has no storage space left. Ask its operator to make room, then try again.", "the disk of the server is full, or below `blobs.min_free_bytes`", func(t *testing.T, w *world) string {
		s := harness.Start(t, harness.Options{Namespace: w.inside, Config: "blobs: {min_free_bytes: 1152921504606846976}\n"})
		s.CreateRepository(t, "app")
		b := w.box(t, "crane")
		b.Feed(s.Password(t), "crane", "auth", "login", "--username", "AWS", "--password-stdin", s.Host)
		tar := b.Write("layer.tar", harness.Tar(t, "file", harness.Random(13, 20_000)))
		return failing(t, b, "crane", "append", "--new_layer", tar, "--new_tag", s.Host+"/app:v1")
	}},

	{"(AccessDeniedException) ... User: ... is not authorized to perform: ecr:DescribeRepositories on resource: ...", "no policy allows the user the operation", func(t *testing.T, w *world) string {
		return w.cli(t, w.Endpoint, w.poor)("ecr", "describe-repositories")
	}},
	{"User: ... is not authorized to perform: iam:PassRole on resource: ...", "a creation template names a role that the user may not hand to Berth", func(t *testing.T, w *world) string {
		_, err := ecr.NewFromConfig(w.ConfigAs(w.poor.AccessKeyID, w.poor.SecretAccessKey, "")).CreateRepositoryCreationTemplate(t.Context(), &ecr.CreateRepositoryCreationTemplateInput{
			Prefix: aws.String("passed"), AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForCreateOnPush}, CustomRoleArn: aws.String("arn:aws:iam::" + w.Account + ":role/maker"),
		})
		return fmt.Sprint(err)
	}},
	{"(RepositoryNotFoundException) ... The repository with name '...' does not exist in the registry with id '...'", "the repository is not in this account and region", func(t *testing.T, w *world) string {
		return w.cli(t, w.Endpoint, w.root())("ecr", "list-images", "--repository-name", "missing")
	}},
	{"(ThrottlingException) ... Rate exceeded", "the account's request rate is used up", func(t *testing.T, w *world) string {
		s := harness.Start(t, harness.Options{Namespace: w.inside})
		s.CreateRepository(t, "app")
		berth(t, s, "quota", "set", "rate:ListTagsForResource", "1")
		config := s.Config()
		used := ecr.NewFromConfig(config)
		arn := aws.String("arn:aws:ecr:" + s.Region + ":" + s.Account + ":repository/app")
		b := w.box(t, "bash", "aws")
		b.With("AWS_ACCESS_KEY_ID="+s.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.SecretAccessKey, "AWS_REGION="+s.Region, "AWS_MAX_ATTEMPTS=1")
		// The CLI takes longer to start than the rate needs to recover: somebody else uses
		// it up meanwhile.
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				_, _ = used.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: arn}) // refused as a rule
			}
		}()
		defer func() {
			stop()
			<-done
		}()
		out := ""
		for range 40 {
			stdout, stderr, err := b.Try("", "aws", "--endpoint-url", s.Endpoint, "ecr", "list-tags-for-resource", "--resource-arn", *arn)
			if out = stdout + stderr; err != nil {
				break
			}
		}
		return out
	}},
	{"(LimitExceeded) ... Cannot exceed quota for AccessKeysPerUser: 2", "the user has two access keys already; the secret of an old one cannot be shown again", func(t *testing.T, w *world) string {
		w.user(t, "keys", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecr:*","Resource":"*"}}`)
		b := w.box(t, "aws").With("AWS_ACCESS_KEY_ID="+w.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+w.SecretAccessKey, "AWS_REGION="+w.Region)
		b.Run("aws", "--endpoint-url", w.Endpoint, "iam", "create-access-key", "--user-name", "keys")
		return failing(t, b, "aws", "--endpoint-url", w.Endpoint, "iam", "create-access-key", "--user-name", "keys")
	}},
	{"(UnrecognizedClientException) ... The security token included in the request is invalid.", "the access key is not one of this server's: another server's, AWS's own, or deleted", func(t *testing.T, w *world) string {
		return w.cli(t, w.Endpoint, aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "x"})("ecr", "describe-repositories")
	}},
	{"(InvalidSignatureException) ... The request signature we calculated does not match the signature you provided.", "the secret access key is wrong", func(t *testing.T, w *world) string {
		return w.cli(t, w.Endpoint, aws.Credentials{AccessKeyID: w.AccessKeyID, SecretAccessKey: "wrong"})("ecr", "describe-repositories")
	}},
	{"(InvalidSignatureException) ... The request signature we calculated does not match the signature you provided.", "a proxy changes what is signed, the `Host` header as a rule", func(t *testing.T, w *world) string {
		host := w.proxy(t, func(p *httputil.ReverseProxy) {
			keep := p.Rewrite
			p.Rewrite = func(r *httputil.ProxyRequest) {
				keep(r)
				r.Out.Host = "backend:5000"
			}
		})
		return w.cli(t, "http://"+host, w.root())("ecr", "describe-repositories")
	}},
	{"(InvalidSignatureException) ... Signature expired: ...", "the clocks of client and server are more than 5 minutes apart", wrongClock},
	{"Unable to locate credentials", "the AWS CLI has no access key", func(t *testing.T, w *world) string {
		return failing(t, w.box(t, "aws"), "aws", "--endpoint-url", w.Endpoint, "--region", w.Region, "ecr", "describe-repositories")
	}},
	{"You must specify a region", "the AWS CLI has no region", func(t *testing.T, w *world) string {
		return failing(t, w.box(t, "aws"), "aws", "--endpoint-url", w.Endpoint, "ecr", "describe-repositories")
	}},
	{"Could not connect to the endpoint URL: ...", "no server listens there, or the AWS CLI was not told of Berth and asks AWS", func(t *testing.T, w *world) string {
		return w.cli(t, "http://localhost:1", w.root())("ecr", "describe-repositories")
	}},
}

// impatient refuses registry clients at once when their rate is used up.
const impatient = "quota: {patience: 0s}\n"

// berth runs a command on a server.
func berth(t *testing.T, s *harness.Server, args ...string) {
	t.Helper()
	if out, err := s.Command(t.Context(), append(args, "--data", s.Data)...).CombinedOutput(); err != nil {
		t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// flip changes one byte.
type flip struct {
	r    io.Reader
	done bool
}

// Read reads and changes the first byte that comes.
func (f *flip) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	if n > 0 && !f.done {
		b[0], f.done = b[0]^1, true
	}
	return n, err
}

// listen opens an address in the world's network, and gives it as localhost:port.
func (w *world) listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	var l net.Listener
	err := w.inside.Do(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return l, "localhost:" + port
}

// maxBody is what a proxy lets through that nobody has told about registries; it is
// nginx's own default.
const maxBody = 1 << 20

// proxy is a reverse proxy in front of the server that bounds bodies, changed by
// change if there is one.
func (w *world) proxy(t *testing.T, change func(*httputil.ReverseProxy)) string {
	t.Helper()
	target, err := url.Parse("http://" + w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: w.inside.Dial, DisableCompression: true}
	p := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	if change != nil {
		change(p)
	}
	l, host := w.listen(t)
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBody || r.ContentLength < 0 {
			http.Error(rw, "Request Entity Too Large", http.StatusRequestEntityTooLarge)
			return
		}
		p.ServeHTTP(rw, r)
	})}
	go func() { _ = server.Serve(l) }() // ends with Close
	t.Cleanup(func() {
		_ = server.Close() // nothing is under way any more
		transport.CloseIdleConnections()
	})
	return host
}

// silent takes connections and says nothing.
func (w *world) silent(t *testing.T) string {
	t.Helper()
	l, host := w.listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, conn) // until the client gives up
				_ = conn.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close() // which ends the loop
		<-done
	})
	return host
}

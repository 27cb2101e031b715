package troubleshooting

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// A problem is a row of the page: an error, why it comes about, and what makes it
// happen here.
type problem struct {
	// sees is the error as the page shows it; "..." stands for what differs.
	sees string
	// why is the page's second column.
	why string
	// happen runs the client and returns all that it wrote.
	happen func(*testing.T, *world) string
}

// world is a network of its own with a server, in which the clients run.
type world struct {
	*harness.Server
	inside *harness.Namespace
	docker *harness.Box
	// canonical is the default registry's host with its account and region.
	canonical string
	// poor is a user who may log in and look at the repository "seen", and no more.
	poor aws.Credentials
}

// other is a name that no client takes for a local one.
const other = "registry.example"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{inside: harness.NewNamespace(t, true)}
	w.Server = harness.Start(t, harness.Options{Namespace: w.inside})
	_, port, err := net.SplitHostPort(w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	name := w.Account + ".dkr.ecr." + w.Region + ".localhost"
	w.canonical = name + ":" + port
	w.inside.Hosts(t, net.IPv4(127, 0, 0, 1), name, other)
	w.docker = w.box(t, "docker", "dockerd")
	harness.StartDocker(t, w.docker)
	w.login(t, w.docker, w.Password(t), w.Host)
	w.CreateRepository(t, "app", "limited", "fixed")
	w.docker.Write("ctx/Dockerfile", []byte("FROM scratch\nCOPY file /file\n"))
	w.docker.Write("ctx/file", harness.Random(1, 200_000))
	w.docker.Run("docker", "build", "-t", "image", "ctx")
	w.docker.Write("many/Dockerfile", []byte("FROM scratch\nCOPY one /1\nCOPY two /2\nCOPY three /3\nCOPY four /4\n"))
	for i, name := range []string{"one", "two", "three", "four"} {
		w.docker.Write("many/"+name, harness.Random(uint64(20+i), 30_000))
	}
	w.docker.Run("docker", "build", "-t", "many", "many")
	w.tag(w.Host + "/app:v1")
	w.docker.Run("docker", "push", w.Host+"/app:v1")
	w.poor = w.user(t, "poor", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["ecr:GetAuthorizationToken","ecr:CreateRepositoryCreationTemplate"],"Resource":"*"}}`)
	return w
}

// box is a place for clients in the world's network.
func (w *world) box(t *testing.T, programs ...string) *harness.Box {
	t.Helper()
	b := harness.NewBox(t, programs...)
	b.Namespace = w.inside
	return b
}

// login gives docker the password.
func (w *world) login(t *testing.T, b *harness.Box, password, host string) {
	t.Helper()
	b.Feed(password, "docker", "login", "--username", "AWS", "--password-stdin", host)
}

func (w *world) tag(ref string) { w.docker.Run("docker", "tag", "image", ref) }

// apart is a docker client of the same engine with a configuration of its own.
func (w *world) apart(t *testing.T) *harness.Box {
	t.Helper()
	b := w.box(t, "docker")
	return b.With("DOCKER_HOST=" + w.docker.Getenv("DOCKER_HOST"))
}

// user makes a user with the policy.
func (w *world) user(t *testing.T, name, policy string) aws.Credentials {
	t.Helper()
	client := iam.NewFromConfig(w.Config())
	if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatal(err)
	}
	_, err := client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: &policy})
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return aws.Credentials{AccessKeyID: *out.AccessKey.AccessKeyId, SecretAccessKey: *out.AccessKey.SecretAccessKey}
}

// passwordOf is the registry password of a user.
func (w *world) passwordOf(t *testing.T, c aws.Credentials) string {
	t.Helper()
	s := *w.Server
	s.AccessKeyID, s.SecretAccessKey = c.AccessKeyID, c.SecretAccessKey
	return s.Password(t)
}

// cli is the AWS CLI as the user, at the endpoint; more changes the environment.
func (w *world) cli(t *testing.T, endpoint string, c aws.Credentials, more ...string) func(args ...string) string {
	t.Helper()
	b := w.box(t, "aws")
	b.With("AWS_ACCESS_KEY_ID="+c.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+c.SecretAccessKey, "AWS_REGION="+w.Region, "AWS_MAX_ATTEMPTS=1").With(more...)
	return func(args ...string) string {
		t.Helper()
		return failing(t, b, "aws", append([]string{"--endpoint-url", endpoint}, args...)...)
	}
}

func (w *world) root() aws.Credentials {
	return aws.Credentials{AccessKeyID: w.AccessKeyID, SecretAccessKey: w.SecretAccessKey}
}

// failing runs a command that has to fail and returns what it wrote.
func failing(t *testing.T, b *harness.Box, program string, args ...string) string {
	t.Helper()
	stdout, stderr, err := b.Try("", program, args...)
	if err == nil {
		t.Fatalf("%s %s succeeded:\n%s%s", program, strings.Join(args, " "), stdout, stderr)
	}
	return stdout + "\n" + stderr
}

// said says whether a text has the error in it.
func said(text, sees string) bool {
	for part := range strings.SplitSeq(sees, "...") {
		_, rest, ok := strings.Cut(text, part)
		if !ok {
			return false
		}
		text = rest
	}
	return true
}

func TestProblems(t *testing.T) {
	w := newWorld(t)
	t.Run("with", func(t *testing.T) {
		for i, p := range problems {
			t.Run(fmt.Sprintf("%02d", i+1), func(t *testing.T) {
				t.Parallel()
				if out := p.happen(t, w); !said(out, p.sees) {
					t.Errorf("%s: the page says %q, the client\n%s", p.why, p.sees, out)
				}
			})
		}
	})
	w.MustFsck(t)
}

// TestPage holds the tables of docs/troubleshooting.md to the cases.
func TestPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rows, want []string
	for line := range strings.Lines(string(page)) {
		m := regexp.MustCompile("^\\| `([^`]+)` \\| ([^|]+) \\| ([^|]+) \\|$").FindStringSubmatch(strings.TrimSpace(line))
		if m != nil {
			rows = append(rows, m[1]+" | "+m[2])
			if len(m[3]) < 10 {
				t.Errorf("%s has no remedy", m[1])
			}
		} else if strings.HasPrefix(line, "| `") {
			t.Errorf("this row is in another form: %s", line)
		}
	}
	for _, p := range problems {
		want = append(want, p.sees+" | "+p.why)
	}
	for _, r := range rows {
		if !slices.Contains(want, r) {
			t.Errorf("nobody makes this happen: %s", r)
		}
	}
	for _, r := range want {
		if !slices.Contains(rows, r) {
			t.Errorf("the page does not have: %s", r)
		}
	}
	if len(rows) != len(want) {
		t.Errorf("%d rows for %d problems", len(rows), len(want))
	}
}

// later is a clock that the test puts forward.
type later struct{ by atomic.Int64 }

// Now is the shifted time.
func (l *later) Now() time.Time { return time.Now().Add(time.Duration(l.by.Load())) }

// oldToken is a registry client whose token is older than it may be. The server
// runs in the test's process, where its clock can be put forward.
func oldToken(t *testing.T, _ *world) string {
	clock := &later{}
	s := apptest.Start(t, apptest.Options{Clock: clock})
	s.CreateRepository(t, "app")
	token, ok := strings.CutPrefix(s.Authorization(t), "Basic ")
	password, err := base64.StdEncoding.DecodeString(token)
	if !ok || err != nil {
		t.Fatal(err)
	}
	_, host, _ := strings.Cut(s.URL, "://")
	b := harness.NewBox(t, "crane")
	b.Feed(strings.TrimPrefix(string(password), "AWS:"), "crane", "auth", "login", "--username", "AWS", "--password-stdin", host)
	b.Run("crane", "ls", host+"/app")
	clock.by.Store(int64(12*time.Hour + time.Minute))
	return failing(t, b, "crane", "ls", host+"/app")
}

// wrongClock is a client whose clock is an hour behind the server's.
func wrongClock(t *testing.T, w *world) string {
	clock := &later{}
	clock.by.Store(int64(time.Hour))
	s := apptest.Start(t, apptest.Options{Clock: clock})
	b := harness.NewBox(t, "aws")
	b.With("AWS_ACCESS_KEY_ID="+apptest.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+apptest.SecretAccessKey, "AWS_REGION="+w.Region, "AWS_MAX_ATTEMPTS=1")
	return failing(t, b, "aws", "--endpoint-url", s.URL, "ecr", "describe-repositories")
}

package events

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// patience is for a machine that is busy with other tests.
const patience = 3 * time.Minute

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// must ends the test where its preparation failed.
func must[T any](out T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// decode reads the JSON that a client has printed.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("this is no JSON: %v\n%.500s", err, text)
	}
	return v
}

// world is a server, and the AWS CLI for its root user.
type world struct {
	*harness.Server
	box *harness.Box
	env string
}

func start(t *testing.T, o harness.Options) *world {
	t.Helper()
	return around(t, harness.Start(t, o))
}

func around(t *testing.T, s *harness.Server) *world {
	t.Helper()
	b := harness.NewBox(t, "bash", "aws")
	// Debian's AWS CLI may be older than the variable for endpoints.
	return &world{Server: s, box: b, env: b.Run(s.Binary(), "env", "--data", s.Data) + "\naws() { command aws --endpoint-url \"$AWS_ENDPOINT_URL\" --output json \"$@\"; }\n"}
}

// cli runs a script in which aws is the AWS CLI.
func (w *world) cli(script string) string { return w.box.Script(w.env + script) }

// try runs a berth command against the server.
func (w *world) try(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := w.Command(t.Context(), append(args, "--data", w.Data)...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err = cmd.Run()
	return out.String(), complaint.String(), err
}

// berth runs a berth command, which has to succeed, and returns what it printed.
func (w *world) berth(t *testing.T, args ...string) string {
	t.Helper()
	out, complaint, err := w.try(t, args...)
	if err != nil {
		t.Fatalf("berth %s: %v\n%s%s", strings.Join(args, " "), err, out, complaint)
	}
	return out
}

// refused runs a berth command, which has to end with status 1 and the text.
func (w *world) refused(t *testing.T, text string, args ...string) {
	t.Helper()
	out, complaint, err := w.try(t, args...)
	exit, ended := errors.AsType[*exec.ExitError](err)
	if !ended || exit.ExitCode() != 1 || !strings.Contains(complaint, text) || out != "" {
		t.Errorf("berth %s: %v, want status 1 and %q\n%s%s", strings.Join(args, " "), err, text, out, complaint)
	}
}

// destination makes one, and returns its ARN.
func (w *world) destination(t *testing.T, args ...string) string {
	t.Helper()
	made := decode[struct{ ARN string }](t, w.berth(t, append(append([]string{"events", "destination", "create"}, args...), "--json")...))
	if made.ARN == "" {
		t.Fatalf("berth events destination create %q prints no ARN", args)
	}
	return made.ARN
}

// secret writes a file with a secret.
func secret(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// delivery is what berth events list prints of one.
type delivery struct {
	ID, State, EventID, DetailType, Repository, Rule, Target, LastError string
	Attempts                                                            int64
}

func (w *world) deliveries(t *testing.T, flags ...string) []delivery {
	t.Helper()
	return decode[[]delivery](t, w.berth(t, append([]string{"events", "list", "--json"}, flags...)...))
}

// happened is an event as a target has it. Line is what tells it from others of its
// repository.
type happened struct{ ID, Repository, Line, Body string }

// event is what tests read of one.
type event struct {
	ID         string `json:"id"`
	DetailType string `json:"detail-type"`
	Source     string `json:"source"`
	Region     string `json:"region"`
	Detail     detail `json:"detail"`
}

type detail struct {
	Result       string         `json:"result"`
	Action       string         `json:"action-type"`
	Scan         string         `json:"scan-status"`
	Counts       map[string]int `json:"finding-severity-counts"`
	Repository   string         `json:"repository-name"`
	Digest       string         `json:"image-digest"`
	Tag          string         `json:"image-tag"`
	PullCount    int            `json:"pull-count"`
	Since        string         `json:"since"`
	SourceRegion string         `json:"source-region"`
	ID           string         `json:"berth-id"` // asked for of the bus
}

func (d detail) line() string {
	if d.Scan != "" {
		return "SCAN " + d.Scan
	}
	return d.Action + " " + d.Tag
}

func read(t *testing.T, body string) happened {
	t.Helper()
	e := decode[event](t, body)
	return happened{e.ID, e.Detail.Repository, e.Detail.line(), body}
}

// hook is a webhook's receiver, of HTTPS, which verifies signatures.
type hook struct {
	*sinktest.Server
	url, ca string
	t       *testing.T

	mu       sync.Mutex
	verifier *standardwebhooks.Webhook
	taken    []happened
	asked    int
	// answer is the status for the n-th request, which is kept all the same; nil is 204.
	answer func(n int, e happened) int
	wrong  []string
	last   string // where the last request came from
}

func newHook(t *testing.T, answer func(n int, e happened) int) *hook {
	t.Helper()
	c := harness.NewCertificate(t)
	pair := must(tls.LoadX509KeyPair(c.Path, c.KeyPath))(t)
	h := &hook{t: t, answer: answer, ca: c.Path}
	h.Server = sinktest.Serve(t, h, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	h.url = "https://localhost" + h.Address[strings.LastIndex(h.Address, ":"):] + "/hook"
	return h
}

// destination makes the destination that leads here, and returns its ARN.
func (h *hook) destination(w *world, name string) string {
	h.t.Helper()
	out := w.berth(h.t, "events", "destination", "create", "webhook", name, "--url", h.url, "--ca-file", h.ca)
	key := regexp.MustCompile(`(?m)^ +(whsec_\S+)$`).FindStringSubmatch(out)
	arn := regexp.MustCompile(`(?m)^ARN +(arn:aws:events:\S+:api-destination/` + name + `/\S+)$`).FindStringSubmatch(out)
	if key == nil || arn == nil || !strings.Contains(out, "--targets Id=1,Arn="+arn[1]+"\n") {
		h.t.Fatalf("berth events destination create webhook prints no secret or ARN:\n%s", out)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.verifier = must(standardwebhooks.NewWebhook(key[1]))(h.t)
	return arn[1]
}

// ServeHTTP takes an event.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the server was killed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var e event
	err = errors.Join(h.verifier.Verify(body, r.Header), json.Unmarshal(body, &e))
	if id := r.Header.Get("Webhook-Id"); err != nil || id != e.ID || r.URL.Path != "/hook" {
		h.wrong = append(h.wrong, r.URL.Path+" "+id+" "+e.ID+" "+string(body))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	h.asked++
	h.last = r.RemoteAddr
	got := happened{e.ID, e.Detail.Repository, e.Detail.line(), string(body)}
	h.taken = append(h.taken, got)
	status := http.StatusNoContent
	if h.answer != nil {
		status = h.answer(h.asked, got)
	}
	w.WriteHeader(status)
}

// events are what has come, in order.
func (h *hook) events() []happened {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.taken)
}

// verify takes another secret.
func (h *hook) verify(with *standardwebhooks.Webhook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.verifier = with
}

// from is the address that the last event came from.
func (h *hook) from() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// signed fails the test where a request was none of a signed event.
func (h *hook) signed() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.wrong) > 0 {
		h.t.Errorf("%d requests are wrong, the first is %s", len(h.wrong), h.wrong[0])
	}
}

// lines are the whole lines of a file of events, none where there is no file yet.
func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	text, _, whole := cutLast(string(b))
	if !whole {
		return nil
	}
	return strings.Split(text, "\n")
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '\n')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// filed are the events of a file.
func filed(t *testing.T, path string) []happened {
	t.Helper()
	var all []happened
	for _, line := range lines(t, path) {
		all = append(all, read(t, line))
	}
	return all
}

// sum is what a target has: the lines of a repository in the order in which they first
// came, and how many came again.
func sum(t *testing.T, all []happened) (order map[string][]string, again int) {
	t.Helper()
	order = map[string][]string{}
	bodies := map[string]string{}
	for _, e := range all {
		if before, twice := bodies[e.ID]; twice {
			again++
			if before != e.Body {
				t.Errorf("%s comes as\n%s\nand as\n%s", e.ID, before, e.Body)
			}
			continue
		}
		bodies[e.ID] = e.Body
		order[e.Repository] = append(order[e.Repository], e.Line)
	}
	return order, again
}

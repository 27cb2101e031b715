package replication

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/berth-registry/berth/test/contract/harness"
)

// The regions, and the accounts: east and west are served by the first deployment,
// ireland by the second.
const (
	east, west, ireland = "us-east-1", "us-west-2", "eu-west-1"

	accountA, accountB = "000000000000", "111122223333"
)

// patience is for a machine that is busy with other tests.
const patience = 3 * time.Minute

const mib = 1 << 20

// eventually waits until ok, and says how long that took.
func eventually(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return time.Since(began)
		}
		if time.Since(began) > patience {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// key is an access key.
type key struct{ id, secret string }

func rootKey(s *harness.Server) key { return key{s.AccessKeyID, s.SecretAccessKey} }

// place is the registry of an account in a region, as the account's root user sees it.
type place struct {
	account, region string
	api             *ecr.Client
	iam             *iam.Client
	*harness.Registry
}

// at makes a client of a registry.
func at(t *testing.T, s *harness.Server, account, region string, k key) *place {
	t.Helper()
	config := s.ConfigAs(k.id, k.secret, "")
	config.Region = region
	p := &place{account: account, region: region, api: ecr.NewFromConfig(config), iam: iam.NewFromConfig(config)}
	out, err := p.api.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	p.Registry = s.RegistryAt(account+".dkr.ecr."+region+".localhost", "Basic "+*out.AuthorizationData[0].AuthorizationToken)
	return p
}

func (p *place) String() string { return p.region + "/" + p.account }

// create makes repositories.
func (p *place) create(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := p.api.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name}); err != nil {
			t.Fatal(err)
		}
	}
}

// rule sends the repositories of these prefixes to the places.
func rule(prefixes []string, to ...*place) types.ReplicationRule {
	r := types.ReplicationRule{}
	for _, p := range to {
		r.Destinations = append(r.Destinations, types.ReplicationDestination{Region: &p.region, RegistryId: &p.account})
	}
	for _, prefix := range prefixes {
		r.RepositoryFilters = append(r.RepositoryFilters, types.RepositoryFilter{Filter: &prefix, FilterType: types.RepositoryFilterTypePrefixMatch})
	}
	return r
}

// replicate sets the configuration.
func (p *place) replicate(t *testing.T, rules ...types.ReplicationRule) {
	t.Helper()
	if rules == nil {
		rules = []types.ReplicationRule{}
	}
	in := &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: &types.ReplicationConfiguration{Rules: rules}}
	if _, err := p.api.PutReplicationConfiguration(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// imageID is a tag or a digest as the SDK takes it.
func imageID(ref string) *types.ImageIdentifier {
	if strings.HasPrefix(ref, "sha256:") {
		return &types.ImageIdentifier{ImageDigest: &ref}
	}
	return &types.ImageIdentifier{ImageTag: &ref}
}

// status is the status of an image at a destination with its failure code, "" for
// none.
func (p *place) status(t *testing.T, repo, ref string, to *place) string {
	t.Helper()
	out, err := p.api.DescribeImageReplicationStatus(t.Context(), &ecr.DescribeImageReplicationStatusInput{RepositoryName: &repo, ImageId: imageID(ref)})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range out.ReplicationStatuses {
		if *s.Region == to.region && *s.RegistryId == to.account {
			return strings.TrimSpace(string(s.Status) + " " + aws.ToString(s.FailureCode))
		}
	}
	return ""
}

// arrives waits until an image is at the destination.
func (p *place) arrives(t *testing.T, repo, ref string, to *place) time.Duration {
	t.Helper()
	return p.ends(t, repo, ref, to, "COMPLETE")
}

// ends waits until the status of an image is no more IN_PROGRESS, and compares it.
func (p *place) ends(t *testing.T, repo, ref string, to *place, want string) time.Duration {
	t.Helper()
	got := ""
	took := eventually(t, repo+":"+ref+" at "+to.String(), func() bool { got = p.status(t, repo, ref, to); return got != "IN_PROGRESS" })
	if got != want {
		t.Fatalf("%s:%s at %s: %q, want %q", repo, ref, to, got, want)
	}
	return took
}

// has says whether an image can be pulled.
func (p *place) has(t *testing.T, repo, ref string) bool {
	t.Helper()
	a, err := p.Do(t.Context(), harness.Request{Method: http.MethodHead, Path: "/v2/" + repo + "/manifests/" + ref, Accept: harness.EveryManifest()}, http.StatusOK, http.StatusNotFound)
	if err != nil {
		t.Fatal(err)
	}
	return a.Status == http.StatusOK
}

// same compares an image at two places, every byte of it.
func same(t *testing.T, repo, ref string, from, to *place) {
	t.Helper()
	here, there := from.Verify(t, repo, ref), to.Verify(t, repo, ref)
	if !reflect.DeepEqual(here, there) {
		t.Errorf("%s:%s is %s of %d bytes at %s and %s of %d bytes at %s", repo, ref, here.Digest, len(here.Raw), from, there.Digest, len(there.Raw), to)
	}
}

// run runs a berth command on a running server's data directory.
func run(t *testing.T, s *harness.Server, data string, args ...string) string {
	t.Helper()
	out, err := s.Command(t.Context(), append(args, "--data", data)...).CombinedOutput()
	if err != nil {
		t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// side is a deployment in an exchange of keys.
type side struct {
	data string
	// url is where the other side finds it.
	url string
}

// exchange has one deployment send images of the accounts to another, as
// docs/peers.md says.
func exchange(t *testing.T, s *harness.Server, from, to side, accounts string) {
	t.Helper()
	text := run(t, s, from.data, "peer", "add", "there", "--url", to.url, "--key", run(t, s, to.data, "peer", "key"), "--insecure-http")
	if !strings.Contains(text, "does not know this deployment yet") {
		t.Fatalf("berth peer add on the one side: %s", text)
	}
	text = run(t, s, to.data, "peer", "add", "here", "--url", from.url, "--key", run(t, s, from.data, "peer", "key"), "--accounts", accounts, "--insecure-http")
	if !strings.Contains(text, "knows this deployment") {
		t.Fatalf("berth peer add on the other side: %s", text)
	}
}

// pair is two deployments.
type pair struct {
	one, two *harness.Server
	// line is between them.
	line *line
	// east and ireland are account A's.
	east, ireland *place
}

// newPair starts two deployments that know each other. more is added to the first
// one's configuration file.
func newPair(t *testing.T, more string, o harness.Options) *pair {
	t.Helper()
	o.Config = "region: " + ireland + "\n"
	p := &pair{two: harness.Start(t, o)}
	p.line = newLine(t, p.two.Addr)
	p.one = harness.Start(t, harness.Options{Config: "regions:\n  " + east + ": {}\n  " + west + ": {}\n  " + ireland + ": {peer: \"" + p.line.url + "\"}\n" + more})
	exchange(t, p.one, side{p.one.Data, "http://" + p.one.Addr}, side{p.two.Data, p.line.url}, accountA)
	p.east, p.ireland = at(t, p.one, accountA, east, rootKey(p.one)), at(t, p.two, accountA, ireland, rootKey(p.two))
	return p
}

// line is a TCP proxy that counts what passes and can be cut.
type line struct {
	url string
	// there are the bytes on the way to the listener.
	there atomic.Int64

	to    string
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{url: "http://" + listener.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { l.join(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close() // ends the acceptor
		l.setCut(true)
		all.Wait()
	})
	return l
}

// setCut cuts the line, and with it all connections, or heals it.
func (l *line) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for conn := range l.conns {
		if cut {
			_ = conn.Close() // that is the cut
		}
	}
}

// hold has the connection closed when the line is cut; false when it is.
func (l *line) hold(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[conn] = true
	return !l.cut
}

func (l *line) let(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	_ = conn.Close() // may be closed already
}

func (l *line) join(in net.Conn) {
	defer l.let(in)
	if !l.hold(in) {
		return
	}
	out, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer l.let(out)
	if !l.hold(out) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(in, out) // a broken connection is the other side's to notice
		_ = in.Close()
	})
	_, _ = io.Copy(counting{out, &l.there}, in) // likewise
	_ = out.Close()
	back.Wait()
}

type counting struct {
	io.Writer
	n *atomic.Int64
}

// Write counts what gets through.
func (c counting) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// stream is n random bytes that the seed decides and that are nowhere kept.
func stream(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed, 7}), n)
}

// digestOf reads to the end.
func digestOf(r io.Reader) (digest string, n int64, err error) {
	sum := sha256.New()
	n, err = io.Copy(sum, r)
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), n, err
}

// pushStream pushes a layer of n bytes without holding it.
func pushStream(t *testing.T, p *place, repo string, seed byte, n int64) harness.Descriptor {
	t.Helper()
	digest, _, err := digestOf(stream(seed, n))
	if err != nil {
		t.Fatal(err)
	}
	location, err := p.StartUpload(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Do(t.Context(), harness.Request{Method: http.MethodPatch, Path: location, Body: stream(seed, n), Length: n}, http.StatusAccepted)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Finish(t.Context(), a.Header.Get("Location"), digest, nil); err != nil {
		t.Fatal(err)
	}
	return harness.Descriptor{MediaType: harness.OCILayer, Digest: digest, Size: n}
}

// pullStream reads a layer back and compares it.
func pullStream(ctx context.Context, p *place, repo string, d harness.Descriptor) error {
	answer, err := p.Open(ctx, harness.Request{Method: http.MethodGet, Path: "/v2/" + repo + "/blobs/" + url.PathEscape(d.Digest)})
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	digest, n, err := digestOf(answer.Body)
	if err == nil && (digest != d.Digest || n != d.Size) {
		err = fmt.Errorf("%s, %d bytes with the digest %s; want %d with %s", answer.Status, n, digest, d.Size, d.Digest)
	}
	return err
}

// pushConfig pushes a configuration.
func pushConfig(t *testing.T, p *place, repo, text string) *harness.Descriptor {
	t.Helper()
	body := []byte(text)
	digest, err := p.PutBlob(t.Context(), repo, body)
	if err != nil {
		t.Fatal(err)
	}
	return &harness.Descriptor{MediaType: harness.OCIConfig, Digest: digest, Size: int64(len(body))}
}

// sameBytes compares a manifest at two places.
func sameBytes(t *testing.T, repo, ref string, from, to *place) {
	t.Helper()
	here, _, err := from.Manifest(t.Context(), repo, ref)
	if err != nil {
		t.Fatal(err)
	}
	there, _, err := to.Manifest(t.Context(), repo, ref)
	if err != nil || !bytes.Equal(here, there) {
		t.Errorf("%s:%s differs: %v", repo, ref, err)
	}
}

// countLines is how many lines of a text have the words.
func countLines(text, words string) (n int) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, words) {
			n++
		}
	}
	return n
}

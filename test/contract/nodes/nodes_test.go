package nodes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/test/contract/harness"
)

// patience is for a machine that is busy with other tests.
const patience = 2 * time.Minute

// deployment is three nodes and what stands in front of them.
type deployment struct {
	nodes []*harness.Server
	// seen is the deployment as clients see it.
	seen *harness.Server
}

func start(t *testing.T, o harness.Options) *deployment {
	t.Helper()
	o.Shape = harness.ScaleOut
	first := harness.Start(t, o)
	d := &deployment{nodes: []*harness.Server{first, harness.StartNode(t, first, o), harness.StartNode(t, first, o)}}
	d.seen = harness.StartBalancer(t, d.nodes...).Behind(first)
	return d
}

// eventually waits until ok.
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

// TestUploads: every request of an upload goes to another node.
func TestUploads(t *testing.T) {
	d := start(t, harness.Options{})
	d.seen.CreateRepository(t, "nodes")
	registry := d.seen.Registry(t)
	for name, size := range map[string]int{"small": 100_000, "parts": 17 << 20} {
		content := harness.Random(uint64(size), size)
		location, err := registry.StartUpload(t.Context(), "nodes")
		if err != nil {
			t.Fatal(err)
		}
		sent, step := 0, size/5
		for ; size-sent > step; sent += step {
			if location, err = registry.Append(t.Context(), location, int64(sent), content[sent:sent+step]); err != nil {
				t.Fatalf("%s, at %d: %v", name, sent, err)
			}
			if n, found, err := registry.Received(t.Context(), location); err != nil || !found || n != int64(sent+step) {
				t.Fatalf("%s: the next node knows of %d bytes of %d (%t, %v)", name, n, sent+step, found, err)
			}
		}
		digest := harness.Digest(content)
		if err := registry.Finish(t.Context(), location, digest, content[sent:]); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range d.nodes {
			got, err := registry.Blob(t.Context(), "nodes", digest)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		}
	}
	d.nodes[2].MustFsck(t)
}

// TestAgreement: what one node changed the others go by within CacheLife, and what
// is not cached at once.
func TestAgreement(t *testing.T) {
	d := start(t, harness.Options{Config: "quota: {rates: off}\n"})
	d.seen.CreateRepository(t, "agree")
	registry := d.seen.Registry(t)
	registry.PushImage(t, "agree", "v1", 1, 10_000)
	api := make([]*ecr.Client, len(d.nodes))
	for i, n := range d.nodes {
		api[i] = n.ECR()
	}
	pull := func(node *harness.Server) int {
		a, err := harness.NewRegistry(node.Endpoint, "Basic "+node.Token(t), http.DefaultTransport).Do(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/agree/manifests/v1"})
		if err != nil {
			t.Fatal(err)
		}
		return a.Status
	}
	for _, n := range d.nodes {
		if status := pull(n); status != http.StatusOK { // and so the policies are cached everywhere
			t.Fatalf("before: %d", status)
		}
	}
	deny := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr:BatchGetImage"}]}`
	if _, err := api[0].SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("agree"), PolicyText: &deny}); err != nil {
		t.Fatal(err)
	}
	if status := pull(d.nodes[0]); status != http.StatusForbidden {
		t.Errorf("on the node itself the policy does not hold at once: %d", status)
	}
	for i, n := range d.nodes[1:] {
		took := eventually(t, "the policy on another node", func() bool { return pull(n) == http.StatusForbidden })
		t.Logf("node %d obeys after %s; the bound is %s", i+1, took.Round(time.Millisecond), principal.CacheLife)
	}
	// Keys that seal: a repository under a key that another node has just made.
	for i := range d.nodes {
		name := aws.String(fmt.Sprintf("sealed/%d", i))
		if _, err := api[i].CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: name,
			EncryptionConfiguration: &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeKms}}); err != nil {
			t.Fatal(err)
		}
		image := registry.PushImage(t, *name, "v1", uint64(50+i), 30_000)
		for range d.nodes {
			if w := registry.Verify(t, *name, "v1"); w.Digest != image.Digest {
				t.Errorf("%s: %s", *name, w.Digest)
			}
		}
	}
}

// TestOnce: what a job does is done once, whichever node does it, and also when
// the node that is at it is killed: others take it over within 30 seconds.
func TestOnce(t *testing.T) {
	const images = 1500
	d := start(t, harness.Options{Config: "lifecycle_delay: 1s\n"})
	d.seen.CreateRepository(t, "expire")
	registry := d.seen.Registry(t)
	layer := harness.Random(1, 1000)
	digest, err := registry.PutBlob(t.Context(), "expire", layer)
	if err != nil {
		t.Fatal(err)
	}
	descriptor := harness.Descriptor{MediaType: harness.OCILayer, Digest: digest, Size: int64(len(layer))}
	var pushing sync.WaitGroup
	for worker := range 8 {
		pushing.Go(func() {
			for n := worker; n < images; n += 8 {
				config := descriptor
				config.MediaType = harness.OCIConfig
				m := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIImage, Config: &config, Layers: []harness.Descriptor{descriptor}, Annotations: map[string]string{"n": strconv.Itoa(n)}}
				raw, err := json.Marshal(m)
				if err == nil {
					err = registry.PutManifest(t.Context(), "expire", harness.Digest(raw), m.MediaType, raw)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	pushing.Wait()
	db, err := sqldb.OpenPostgres(t.Context(), sqldb.PostgresOptions{URL: d.seen.Backing.DatabaseURL, MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // it was only read
	ask := func(query string) (text string) {
		err := db.View(t.Context(), func(tx *sqldb.Tx) error { return tx.QueryRow(t.Context(), query).Scan(&text) })
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	policy := `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":5},"action":{"type":"expire"}}]}`
	if _, err := d.seen.ECR().PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: aws.String("expire"), LifecyclePolicyText: &policy}); err != nil {
		t.Fatal(err)
	}
	const left = `SELECT CAST(count(*) AS text) FROM image`
	owner := ""
	eventually(t, "a node to begin", func() bool {
		owner = ask(`SELECT COALESCE(max(owner), '') FROM job WHERE kind = 'lifecycle.run' AND state = 1`)
		return owner != "" && ask(left) != strconv.Itoa(images)
	})
	killed := false
	for _, n := range d.nodes {
		if strings.Contains(owner, "/"+strconv.Itoa(n.Pid())+"/") {
			n.Kill()
			killed = true
		}
	}
	if !killed {
		t.Fatalf("the job's owner %q is none of the nodes", owner)
	}
	before := ask(left)
	took := eventually(t, "another node to take over", func() bool { return ask(left) != before })
	t.Logf("killed with %s of %d images left; another node went on after %s", before, images, took.Round(time.Millisecond))
	if took > time.Minute {
		t.Errorf("the leases of a killed node were taken over after %s, want 30s", took)
	}
	eventually(t, "the policy to be carried out", func() bool { return ask(left) == "5" })
	for what, query := range map[string]string{
		"events":  `SELECT CAST(count(*) AS text) FROM event WHERE kind = 'ImageDeleted'`,
		"digests": `SELECT CAST(count(DISTINCT detail::json->>'digest') AS text) FROM event WHERE kind = 'ImageDeleted'`,
	} {
		if got := ask(query); got != strconv.Itoa(images-5) {
			t.Errorf("%s: %s, want %d", what, got, images-5)
		}
	}
}

// TestRollingRestart: each node is stopped and started again, twice, while
// clients work through the balancer; none of their operations fails.
func TestRollingRestart(t *testing.T) {
	d := start(t, harness.Options{Config: "drain_timeout: 20s\ndrain_delay: 2s\n"})
	d.seen.CreateRepository(t, "rolling/docker", "rolling/crane")
	b := harness.NewBox(t, "docker", "crane")
	harness.StartDocker(t, b)
	password := d.seen.Password(t)
	b.Feed(password, "docker", "login", "--username", "AWS", "--password-stdin", d.seen.Host)
	b.Feed(password, "crane", "auth", "login", d.seen.Host, "--username", "AWS", "--password-stdin")
	config := d.seen.Config()
	config.Retryer = func() aws.Retryer { return retry.NewStandard() } // the SDK's own
	api := ecr.NewFromConfig(config)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var working sync.WaitGroup
	var done [4]atomic.Int64
	work := func(i int, what string, do func(n int) error) {
		working.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := do(n); err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
				done[i].Add(1)
			}
		})
	}
	work(0, "docker", func(n int) error {
		image := fmt.Sprintf("%s/rolling/docker:%d", d.seen.Host, n)
		b.Write("context/Dockerfile", []byte("FROM scratch\nCOPY file /\n"))
		b.Write("context/file", harness.Random(uint64(1000+n), 3_000_000))
		for _, args := range [][]string{{"build", "-q", "-t", image, b.Path("context")}, {"push", "-q", image}, {"rmi", image}, {"pull", "-q", image}} {
			if _, stderr, err := b.Try("", "docker", args...); err != nil {
				return fmt.Errorf("docker %s: %w\n%s", args[0], err, stderr)
			}
		}
		return nil
	})
	layer := b.Write("layer.tar", harness.Tar(t, "file", harness.Random(7, 1_000_000)))
	work(1, "crane", func(n int) error {
		image := fmt.Sprintf("%s/rolling/crane:%d", d.seen.Host, n%5)
		for _, args := range [][]string{{"append", "--oci-empty-base", "-f", layer, "-t", image}, {"pull", image, b.Path("pulled.tar")}} {
			if _, stderr, err := b.Try("", "crane", args...); err != nil {
				return fmt.Errorf("crane %s: %w\n%s", args[0], err, stderr)
			}
		}
		return nil
	})
	work(2, "SDK, reading", func(int) error {
		_, err := api.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{})
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	work(3, "SDK, writing", func(n int) error {
		name := aws.String(fmt.Sprintf("rolling/r%d", n))
		if _, err := api.CreateRepository(context.WithoutCancel(ctx), &ecr.CreateRepositoryInput{RepositoryName: name}); err != nil {
			return err
		}
		_, err := api.DeleteRepository(context.WithoutCancel(ctx), &ecr.DeleteRepositoryInput{RepositoryName: name})
		return err
	})
	for round := range 2 {
		for i, n := range d.nodes {
			before := done[0].Load() + done[1].Load()
			end, cancel := context.WithTimeout(t.Context(), patience)
			if err := n.Stop(end); err != nil {
				t.Errorf("round %d, node %d: %v", round, i, err)
			}
			cancel()
			if err := n.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if t.Failed() {
				break
			}
			eventually(t, "clients to go on", func() bool { return done[0].Load()+done[1].Load() > before || t.Failed() })
		}
	}
	stop()
	working.Wait()
	t.Logf("done meanwhile: %d times docker build, push and pull; %d times crane; %d and %d calls of the SDK", done[0].Load(), done[1].Load(), done[2].Load(), done[3].Load())
	for i := range done {
		if done[i].Load() == 0 {
			t.Errorf("client %d did nothing", i)
		}
	}
	d.nodes[1].MustFsck(t)
}

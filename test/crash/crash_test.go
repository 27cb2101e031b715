package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/test/contract/harness"
)

var (
	rounds  = flag.Int("rounds", 3, "how often the server is killed, in each of the two settings")
	clients = flag.Int("clients", 16, "how many clients push at once")
	seed    = flag.Uint64("seed", 0, "seed of all choices; 0 takes a new one")
)

// TestCrash kills the server in the middle of pushes, and while it starts.
func TestCrash(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed=%d", *seed)
	t.Run("default", func(t *testing.T) { run(t, "", false) })
	// Layers without an image go at once, so that the collector works all the time.
	t.Run("collecting", func(t *testing.T) { run(t, "layer_grace: 1s\n", true) })
}

// trial is one server with what its clients were promised.
type trial struct {
	*harness.Server
	registry *harness.Registry
	ledger   *ledger
	repos    []string
	rnd      *rand.Rand
	collects bool

	resumed, gone int
}

func run(t *testing.T, config string, collects bool) {
	s := harness.Start(t, harness.Options{Config: config})
	trial := &trial{
		Server: s, registry: s.Registry(t), ledger: newLedger(), collects: collects,
		repos: []string{"crash/one", "crash/two", "crash/three"}, rnd: rand.New(rand.NewPCG(*seed, 1)),
	}
	s.CreateRepository(t, trial.repos...)
	pushers := make([]*pusher, *clients)
	for i := range pushers {
		pushers[i] = &pusher{
			id: i, registry: trial.registry, ledger: trial.ledger, repos: trial.repos,
			rnd: rand.New(rand.NewPCG(*seed, uint64(100+i))), collects: collects, did: map[string]int{},
		}
	}
	for round := range *rounds {
		trial.pushUntilKilled(t, pushers)
		trial.restart(t)
		trial.verify(t, round == *rounds-1)
		if t.Failed() {
			t.Fatalf("after the kill number %d", round+1)
		}
	}
	total := map[string]int{}
	for _, p := range pushers {
		for k, n := range p.did {
			total[k] += n
		}
	}
	t.Logf("%d kills; done: %v; acknowledged: %d images, %d blobs; unfinished uploads: %d went on, %d were gone",
		*rounds, total, len(trial.ledger.images), len(trial.ledger.blobs), trial.resumed, trial.gone)
	if trial.resumed == 0 && trial.gone > 10 {
		t.Error("no unfinished upload ever survived a kill; they are kept where that is possible")
	}

	t.Log("a proper end, and a look from outside")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	trial.fsck(t)
}

// pushUntilKilled lets all clients push, and kills the server at a random
// moment. Only the kill may make a client fail.
func (c *trial) pushUntilKilled(t *testing.T, pushers []*pusher) {
	var killed atomic.Bool
	var working sync.WaitGroup
	failures := make(chan error, len(pushers))
	for _, p := range pushers {
		working.Go(func() {
			err := p.run(t.Context())
			var status *harness.StatusError
			if !killed.Load() || errors.As(err, &status) {
				failures <- err
			}
		})
	}
	time.Sleep(200*time.Millisecond + time.Duration(c.rnd.Int64N(int64(2*time.Second))))
	killed.Store(true)
	c.Kill()
	working.Wait()
	close(failures)
	for err := range failures {
		t.Errorf("before the kill: %v", err)
	}
}

// restart brings the server back, sometimes after a kill while it starts, and
// sometimes after a check of what lies on the disk.
func (c *trial) restart(t *testing.T) {
	t.Helper()
	if c.rnd.IntN(2) == 0 {
		if err := c.Launch(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(c.rnd.Int64N(int64(100 * time.Millisecond))))
		c.Kill()
	}
	if c.rnd.IntN(2) == 0 {
		c.fsck(t)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (c *trial) fsck(t *testing.T) {
	t.Helper()
	if out, err := c.Fsck(t.Context()); err != nil {
		t.Errorf("berth fsck: %v\n%.4000s", err, out)
	}
}

// verify holds the server against the ledger. What is in doubt is settled: what
// stands now has to stand after the next kill too.
func (c *trial) verify(t *testing.T, all bool) {
	t.Helper()
	c.fsck(t)
	ctx := t.Context()
	blobs, images := c.ledger.due(c.rnd, all)
	needed := map[place]bool{}
	var checks []func() error
	for p, image := range images {
		for _, b := range image.blobs {
			needed[place{p.repo, b}] = true
		}
		checks = append(checks, func() error {
			raw, mediaType, err := c.registry.Manifest(ctx, p.repo, p.what)
			if err == nil && (harness.Digest(raw) != p.what || mediaType != image.mediaType) {
				err = fmt.Errorf("came back as %s, %s", harness.Digest(raw), mediaType)
			}
			return wrap(err, "the acknowledged image", p)
		})
	}
	if !c.collects {
		for _, p := range blobs {
			needed[p] = true
		}
	}
	for p := range needed {
		checks = append(checks, func() error {
			_, err := c.registry.Blob(ctx, p.repo, p.what)
			return wrap(err, "the acknowledged layer", p)
		})
	}
	checks = append(checks, c.settleDeletes(ctx)...)
	checks = append(checks, c.settleTags(ctx)...)
	for _, u := range c.ledger.takeUploads() {
		checks = append(checks, func() error { return c.resume(ctx, u) })
	}
	inParallel(t, checks)
	for _, repo := range c.repos {
		if err := c.compareTagList(ctx, repo); err != nil {
			t.Error(err)
		}
		if all {
			c.compareImages(t, repo)
		}
	}
}

func wrap(err error, what string, p place) error {
	if err != nil {
		return fmt.Errorf("%s %s of %s: %w", what, p.what, p.repo, err)
	}
	return nil
}

func inParallel(t *testing.T, checks []func() error) {
	t.Helper()
	queue := make(chan func() error)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for check := range queue {
				if err := check(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, check := range checks {
		queue <- check
	}
	close(queue)
	workers.Wait()
}

func (c *trial) exists(ctx context.Context, p place) (bool, error) {
	_, _, err := c.registry.Manifest(ctx, p.repo, p.what)
	var status *harness.StatusError
	if errors.As(err, &status) && status.Status == 404 {
		return false, nil
	}
	return err == nil, err
}

// settleDeletes checks that deleted images are gone, and finds out about those
// whose delete was never answered.
func (c *trial) settleDeletes(ctx context.Context) (checks []func() error) {
	for p := range maps.Clone(c.ledger.deleted) {
		checks = append(checks, func() error {
			there, err := c.exists(ctx, p)
			if there {
				err = errors.New("it is there")
			}
			return wrap(err, "the image whose delete was acknowledged", p)
		})
	}
	for p := range maps.Clone(c.ledger.deleting) {
		checks = append(checks, func() error {
			there, err := c.exists(ctx, p)
			c.ledger.mu.Lock()
			defer c.ledger.mu.Unlock()
			delete(c.ledger.deleting, p)
			if err == nil && !there {
				c.ledger.deleted[p] = true
			}
			return wrap(err, "the image whose delete was sent", p)
		})
	}
	return checks
}

// settleTags checks that each tag points to what it may point to.
func (c *trial) settleTags(ctx context.Context) (checks []func() error) {
	for p, state := range c.ledger.tags {
		checks = append(checks, func() error {
			raw, _, err := c.registry.Manifest(ctx, p.repo, p.what)
			var status *harness.StatusError
			if errors.As(err, &status) && status.Status == 404 {
				if state.last == "" {
					state.attempts = nil
					return nil
				}
				return wrap(errors.New("it is missing"), "the acknowledged tag", p)
			}
			if err != nil {
				return wrap(err, "the tag", p)
			}
			digest := harness.Digest(raw)
			if digest != state.last && !slices.Contains(state.attempts, digest) {
				return wrap(fmt.Errorf("it points to %s; acknowledged was %q, sent since %v", digest, state.last, state.attempts), "the tag", p)
			}
			state.last, state.attempts = digest, nil
			return nil
		})
	}
	return checks
}

// resume goes on with an upload that a kill has left, if it is still there.
func (c *trial) resume(ctx context.Context, u leftover) error {
	what := place{u.repo, u.location}
	n, found, err := c.registry.Received(ctx, u.location)
	c.ledger.mu.Lock()
	if found {
		c.resumed++
	} else {
		c.gone++
	}
	c.ledger.mu.Unlock()
	if err != nil || !found {
		return wrap(err, "the unfinished upload", what)
	}
	if n > int64(u.sent) {
		return wrap(fmt.Errorf("it holds %d bytes, %d were sent", n, u.sent), "the unfinished upload", what)
	}
	b := u.content.bytes()
	digest := harness.Digest(b)
	if n == 0 && u.sent > 0 && len(b) > 1 {
		// "0-0" is the answer for no byte and for one: the next range tells.
		var status *harness.StatusError
		next, err := c.registry.Append(ctx, u.location, 0, b[:1])
		if err != nil && (!errors.As(err, &status) || status.Status != 416) {
			return wrap(err, "the unfinished upload", what)
		} else if err == nil {
			u.location = next
		}
		n = 1
	}
	if err := c.registry.FinishAt(ctx, u.location, digest, n, b[n:]); err != nil {
		return wrap(fmt.Errorf("going on at %d of %d bytes: %w", n, len(b), err), "the unfinished upload", what)
	}
	if _, err := c.registry.Blob(ctx, u.repo, digest); err != nil {
		return wrap(err, "the unfinished upload's layer", what)
	}
	c.ledger.blob(u.repo, digest)
	return nil
}

// compareTagList checks that a repository lists exactly the tags that it has.
func (c *trial) compareTagList(ctx context.Context, repo string) error {
	a, err := c.registry.Do(ctx, harness.Request{Method: "GET", Path: "/v2/" + repo + "/tags/list?n=1000"}, 200)
	if err != nil {
		return err
	}
	var want []string
	for p, state := range c.ledger.tags {
		if p.repo == repo && state.last != "" {
			want = append(want, fmt.Sprintf("%q", p.what))
		}
	}
	slices.Sort(want)
	if list := "[" + strings.Join(want, ",") + "]"; !strings.Contains(string(a.Body), list) {
		return fmt.Errorf("%s lists %s, want %s", repo, a.Body, list)
	}
	return nil
}

// compareImages checks by the API that a repository lists every acknowledged
// image, and none that was never sent.
func (c *trial) compareImages(t *testing.T, repo string) {
	t.Helper()
	listed := map[string]bool{}
	pages := ecr.NewListImagesPaginator(c.ECR(), &ecr.ListImagesInput{RepositoryName: &repo, MaxResults: aws.Int32(100)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Errorf("ListImages %s: %v", repo, err)
			return
		}
		for _, id := range page.ImageIds {
			digest := aws.ToString(id.ImageDigest)
			listed[digest] = true
			if !c.ledger.attempted[place{repo, digest}] {
				t.Errorf("%s lists the image %s, which nobody has sent", repo, digest)
			}
		}
	}
	for p := range c.ledger.images {
		if p.repo == repo && !listed[p.what] {
			t.Errorf("%s does not list the acknowledged image %s", repo, p.what)
		}
	}
}

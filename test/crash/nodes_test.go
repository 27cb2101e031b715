package crash

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestNodes kills one of three nodes again and again while clients push through a
// balancer to all of them. Clients lose requests, and never what was acknowledged.
func TestNodes(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed=%d", *seed)
	first := harness.Start(t, harness.Options{Shape: harness.ScaleOut})
	nodes := []*harness.Server{first, harness.StartNode(t, first, harness.Options{}), harness.StartNode(t, first, harness.Options{})}
	seen := harness.StartBalancer(t, nodes...).Behind(first)
	trial := &trial{
		Server: first, registry: seen.Registry(t), ledger: newLedger(),
		repos: []string{"crash/one", "crash/two"}, rnd: rand.New(rand.NewPCG(*seed, 2)),
	}
	seen.CreateRepository(t, trial.repos...)

	stop := make(chan struct{})
	var working sync.WaitGroup
	var mu sync.Mutex
	cut, kinds := 0, map[string]int{}
	for i := range *clients / 2 {
		p := &pusher{
			id: i, registry: trial.registry, ledger: trial.ledger, repos: trial.repos,
			rnd: rand.New(rand.NewPCG(*seed, uint64(200+i))), did: map[string]int{}, stop: stop,
		}
		working.Go(func() {
			for !p.stopped() {
				err := p.run(t.Context())
				if err == nil {
					break // told to stop
				}
				// A node that was killed cuts connections, for which the balancer
				// answers 502 or ends the client's. All else is Berth's doing.
				var status *harness.StatusError
				var broken *net.OpError
				if errors.As(err, &status) && status.Status != http.StatusBadGateway ||
					status == nil && !errors.As(err, &broken) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("beside the kills: %v", err)
				}
				mu.Lock()
				cut++
				mu.Unlock()
			}
			mu.Lock()
			defer mu.Unlock()
			for k, n := range p.did {
				kinds[k] += n
			}
		})
	}
	for range *rounds {
		victim := nodes[trial.rnd.IntN(len(nodes))]
		time.Sleep(200*time.Millisecond + time.Duration(trial.rnd.Int64N(int64(time.Second))))
		victim.Kill()
		time.Sleep(time.Duration(trial.rnd.Int64N(int64(time.Second))))
		if err := victim.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	working.Wait()
	trial.verify(t, true)
	t.Logf("%d kills; done: %v, %d operations were cut; acknowledged: %d images, %d blobs; unfinished uploads: %d went on, %d were gone",
		*rounds, kinds, cut, len(trial.ledger.images), len(trial.ledger.blobs), trial.resumed, trial.gone)
	if trial.gone > 0 {
		t.Errorf("%d unfinished uploads were gone, though only nodes were killed", trial.gone)
	}
}

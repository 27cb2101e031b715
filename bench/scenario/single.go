package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/berth-registry/berth/bench/content"
	"github.com/berth-registry/berth/bench/load"
)

// The scenarios of this file are no operations that repeat: each of them does one thing
// and measures it.

// herd is how many clients pull one image at once.
const herd = 1000

// idleTime is how long a server has had nothing to do when its memory is read.
const idleTime = 15 * time.Second

// memory are a server without work, and one with very many clients.
func memory() []Scenario {
	return []Scenario{
		{
			Name: "idle memory", Group: "memory", Rate: "ops", Clients: []int{1}, Own: true, For: anything,
			Measure: func(ctx context.Context, w *World, _ int) (load.Sample, error) {
				s := once(idleTime)
				select {
				case <-ctx.Done():
					return s, ctx.Err()
				case <-time.After(idleTime):
				}
				var err error
				s.Peak, err = w.Server.Resident()
				return s, err
			},
			Bars: []Bar{{Target: berth, Clients: 1, Figure: Peak, AtMost: 60}},
		},
		{
			Name: "1,000 clients pull one image of 8 MiB at once", Group: "memory", Rate: "bytes", Clients: []int{herd}, Own: true,
			Prepare: func(ctx context.Context, w *World) error {
				_, err := made(w, herdKey, func() (*image, error) { return pushHerdImage(ctx, w) })
				return err
			},
			Measure: func(ctx context.Context, w *World, clients int) (load.Sample, error) {
				i := have[*image](w, herdKey)
				return together(ctx, w.Addr, clients, func(c *load.Conn) (int64, error) {
					return i.payload, pullImage(c, pulled, i)
				})
			},
			Bars: []Bar{{Target: berth, Clients: herd, Figure: Peak, AtMost: 300}},
		},
	}
}

const herdKey = "image that many pull"

// pushHerdImage pushes an image of two layers.
func pushHerdImage(ctx context.Context, w *World) (*image, error) {
	source := content.New(4 * mib)
	one, err := source.Next()
	if err != nil {
		return nil, err
	}
	two, err := source.Next()
	if err != nil {
		return nil, err
	}
	config := newConfig(one, two)
	i := newImage("herd", config, "", one, two)
	return i, w.alone(ctx, "push an image", func(c *load.Conn) error {
		if err := w.repository(ctx, c, pulled); err != nil {
			return err
		}
		for _, b := range []*content.Blob{one, two} {
			if err := pushBlob(c, pulled, b); err != nil {
				return err
			}
		}
		if err := pushBytes(c, pulled, content.Digest(config), config); err != nil {
			return err
		}
		return putManifest(c, pulled, i.tag, i.raw)
	})
}

// together has each of n new clients do something once, all at the same time.
func together(ctx context.Context, addr load.Addr, n int, do func(c *load.Conn) (int64, error)) (load.Sample, error) {
	var mu sync.Mutex
	var s load.Sample
	var took []time.Duration
	var working sync.WaitGroup
	conns := make([]*load.Conn, n)
	for i := range conns {
		conns[i] = load.NewConn(addr)
	}
	stop := context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.Close()
		}
	})
	defer stop()
	start := time.Now()
	for _, c := range conns {
		working.Go(func() {
			defer c.Close()
			began := time.Now()
			bytes, err := do(c)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.Errors++
				if s.FirstError == nil {
					s.FirstError = err
				}
				return
			}
			s.Ops++
			s.Bytes += bytes
			took = append(took, time.Since(began))
		})
	}
	working.Wait()
	s.Elapsed = time.Since(start)
	if err := ctx.Err(); err != nil {
		return s, err
	}
	if len(took) == 0 {
		return s, fmt.Errorf("no client succeeded: %w", s.FirstError)
	}
	slices.Sort(took)
	s.P50, s.P99 = took[len(took)/2], took[len(took)*99/100]
	return s, nil
}

// starts is the start of a server that holds many images.
func starts(long bool) []Scenario {
	n := few
	if long {
		n = many
	}
	s := Scenario{
		Name: "start with " + thousands(n) + " images", Group: "start", Rate: "ops", Clients: []int{1},
		Prepare: withStock(n),
		Measure: func(ctx context.Context, w *World, _ int) (load.Sample, error) {
			took, err := w.Server.Restart(ctx)
			if err != nil {
				return load.Sample{}, err
			}
			s := once(took)
			if s.CPU, err = w.Server.CPU(); err != nil {
				return s, err
			}
			s.Peak, err = w.Server.Peak()
			return s, err
		},
		Bars: []Bar{{Target: berth, Clients: 1, Figure: P50, AtMost: 1000}},
	}
	if long {
		s.For = signed
	}
	return []Scenario{s}
}

// preview is a preview of a lifecycle policy over the largest repository, from the call
// until its result is there.
func preview() Scenario {
	const policy = `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":50000},"action":{"type":"expire"}}]}`
	return Scenario{
		Name: "lifecycle preview of 100,000 images", Group: "api", Rate: "ops", Clients: []int{1}, For: signed,
		Prepare: withStock(many),
		Measure: func(ctx context.Context, w *World, _ int) (load.Sample, error) {
			in := map[string]any{"repositoryName": have[*stock](w, stockKey(many)).repository}
			c := load.NewConn(w.Addr)
			defer c.Close()
			began := time.Now()
			var answer struct{ Status string }
			err := w.ask(ctx, c, "StartLifecyclePolicyPreview", map[string]any{"repositoryName": in["repositoryName"], "lifecyclePolicyText": policy}, &answer)
			if err != nil {
				return load.Sample{}, err
			}
			in["maxResults"] = 1
			for answer.Status = "IN_PROGRESS"; answer.Status == "IN_PROGRESS"; {
				select {
				case <-ctx.Done():
					return load.Sample{}, ctx.Err()
				case <-time.After(20 * time.Millisecond):
				}
				if err := w.ask(ctx, c, "GetLifecyclePolicyPreview", in, &answer); err != nil {
					return load.Sample{}, err
				}
			}
			if answer.Status != "COMPLETE" {
				return load.Sample{}, fmt.Errorf("the preview is %s", answer.Status)
			}
			return once(time.Since(began)), nil
		},
	}
}

// deletes are the deletion of 10,000 images, and the collection of what they leave.
func deletes(long bool) []Scenario {
	if !long {
		return nil
	}
	return []Scenario{
		{
			Name: "delete 10,000 images", Group: "delete", Rate: "ops", Clients: []int{1}, Own: true, For: signed,
			Prepare: prepareDeletion,
			Measure: func(ctx context.Context, w *World, _ int) (load.Sample, error) { return deleteAll(ctx, w) },
			Bars:    []Bar{memoryBar(100)},
		},
		{
			Name: "collection of 10,000 images", Group: "delete", Rate: "ops", Clients: []int{1}, Own: true, For: signed,
			Prepare: func(ctx context.Context, w *World) error {
				if err := prepareDeletion(ctx, w); err != nil {
					return err
				}
				if _, err := deleteAll(ctx, w); err != nil {
					return err
				}
				return graceOver(ctx)
			},
			Measure: collectAll,
			Bars:    []Bar{memoryBar(100)},
		},
	}
}

const (
	// grace is the period of grace that layers have in these scenarios, in place of a day.
	grace       = time.Second
	deletionKey = "images that are deleted"
	deleted     = "bench/deleted"
	// batch is how many images one call deletes at most.
	batch = 100
)

// prepareDeletion pushes images of which each has a layer of its own. Only then the server
// gets a short period of grace, which would end for layers before their image is there.
func prepareDeletion(ctx context.Context, w *World) error {
	_, err := made(w, deletionKey, func() ([]*image, error) {
		images, source := make([]*image, more), content.New(kib)
		if err := w.alone(ctx, "make a repository", func(c *load.Conn) error { return w.repository(ctx, c, deleted) }); err != nil {
			return nil, err
		}
		err := w.each(ctx, fmt.Sprintf("push %d images", more), more, func(c *load.Conn, i int) error {
			layer, err := source.Next()
			if err != nil {
				return err
			}
			images[i] = newImage(stockTag(i), newConfig(layer), "", layer)
			return pushImage(c, deleted, images[i], layer)
		})
		if err != nil {
			return nil, err
		}
		w.Server.Config += fmt.Sprintf("layer_grace: %s\n", grace)
		_, err = w.Server.Restart(ctx)
		return images, err
	})
	return err
}

// deleteAll deletes them by their digests, in as few calls as there can be.
func deleteAll(ctx context.Context, w *World) (load.Sample, error) {
	images := have[[]*image](w, deletionKey)
	var bodies [][]byte
	for some := range slices.Chunk(images, batch) {
		ids := make([]any, 0, batch)
		for _, i := range some {
			ids = append(ids, map[string]string{"imageDigest": i.digest})
		}
		bodies = append(bodies, encode(map[string]any{"repositoryName": deleted, "imageIds": ids}))
	}
	c := load.NewConn(w.Addr)
	defer c.Close()
	began := time.Now()
	for _, body := range bodies {
		answer, err := w.call(ctx, c, "BatchDeleteImage", body, false)
		if err != nil {
			return load.Sample{}, err
		}
		var out struct{ Failures []json.RawMessage }
		if err := json.Unmarshal(answer, &out); err != nil {
			return load.Sample{}, err
		}
		if len(out.Failures) > 0 {
			return load.Sample{}, fmt.Errorf("BatchDeleteImage failed for %d images: %s", len(out.Failures), out.Failures[0])
		}
	}
	s := once(time.Since(began))
	s.Ops = int64(len(images))
	return s, nil
}

// graceOver waits until layers that were released before are due.
func graceOver(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * grace):
		return nil
	}
}

// collectAll has the server collect, and compares what it freed with what was deleted.
func collectAll(ctx context.Context, w *World, _ int) (load.Sample, error) {
	began := time.Now()
	text, err := w.Server.Command(ctx, "gc", "run", "--json")
	if err != nil {
		return load.Sample{}, err
	}
	s := once(time.Since(began))
	var did struct {
		Layers int64 `json:"layers"`
	}
	if err := json.Unmarshal([]byte(text), &did); err != nil {
		return s, fmt.Errorf("what berth gc run printed: %w", err)
	}
	if did.Layers < 2*more { // each image has a layer and a config
		return s, fmt.Errorf("the collection has taken %d layers away, and %d were left by the images", did.Layers, 2*more)
	}
	s.Ops = did.Layers
	return s, nil
}

package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/bench/load"
	"github.com/berth-registry/berth/bench/target"
)

// World is one server with what scenarios have prepared on it and share. There is one for
// each server, or one without a server for the machine's own scenarios.
type World struct {
	// Server is nil for the machine itself.
	Server *target.Server
	// Addr is where its registry is.
	Addr load.Addr
	// Dir is a directory on the file system of the stores, for the machine's own
	// scenarios.
	Dir string
	// Progress takes lines about preparations that take long.
	Progress io.Writer

	state   sync.Map // what was prepared, by its key
	prepare sync.Mutex
	tags    atomic.Int64 // that scenarios have pushed
	signer  signer
}

// NewWorld is the world of a server, or of the machine if that is nil, whose scenarios
// then write below dir.
func NewWorld(s *target.Server, dir string) *World {
	w := &World{Server: s, Dir: dir, Progress: os.Stderr}
	if s != nil {
		w.Addr = load.Addr{Base: s.Base, Host: s.Host, Authorization: s.Authorization}
		w.signer = newSigner(s.API)
	}
	return w
}

// made returns what was prepared under a key, and prepares it at the first time.
func made[T any](w *World, key string, do func() (T, error)) (T, error) {
	if v, ok := w.state.Load(key); ok {
		return v.(T), nil
	}
	v, err := do()
	if err == nil {
		w.state.Store(key, v)
	}
	return v, err
}

// have returns what Prepare has made under a key.
func have[T any](w *World, key string) T {
	v, _ := w.state.Load(key)
	out, _ := v.(T) // Prepare comes before each Op and has made it
	return out
}

// fillers is how many connections prepare things.
const fillers = 16

// each does n things on a few connections, and shows progress if it takes long.
func (w *World) each(ctx context.Context, what string, n int, do func(c *load.Conn, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	var working sync.WaitGroup
	for range min(fillers, n) {
		working.Go(func() {
			c := load.NewConn(w.Addr)
			defer c.Close()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(c, i); err != nil {
					cancel(fmt.Errorf("%s: %s, number %d: %w", w.Server.Name, what, i, err))
					return
				}
				done.Add(1)
			}
		})
	}
	finished := make(chan struct{})
	go func() { working.Wait(); close(finished) }()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			return context.Cause(ctx)
		case <-tick.C:
			_, _ = fmt.Fprintf(w.Progress, "%s: %s, %d of %d\n", w.Server.Name, what, done.Load(), n) // for who watches
		}
	}
}

// alone is each for one thing.
func (w *World) alone(ctx context.Context, what string, do func(c *load.Conn) error) error {
	return w.each(ctx, what, 1, func(c *load.Conn, _ int) error { return do(c) })
}

// repository makes a repository, with these resource tags, where that has to be done
// before a push, and does nothing if it is there.
func (w *World) repository(ctx context.Context, c *load.Conn, name string, tags ...tag) error {
	if w.Server.API == nil {
		return nil
	}
	_, err := made(w, "repository "+name, func() (bool, error) {
		_, err := w.call(ctx, c, "CreateRepository", encode(map[string]any{"repositoryName": name, "tags": tags}), true)
		return true, err
	})
	return err
}

// tag is a resource tag.
type tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

// encode is JSON of something that has one.
func encode(v any) []byte {
	b, _ := json.Marshal(v) // of maps, strings and numbers
	return b
}

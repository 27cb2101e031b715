package scenario

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/berth-registry/berth/bench/content"
	"github.com/berth-registry/berth/bench/load"
)

// Sizes of blobs.
const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// size is one size of blobs that is pushed and pulled.
type size struct {
	name  string
	bytes int64
	// pool is how many blobs of it are pulled in turn.
	pool int
}

func sizes() []size {
	return []size{{"4 KiB", 4 * kib, 64}, {"1 MiB", mib, 32}, {"64 MiB", 64 * mib, 4}, {"1 GiB", gib, 1}}
}

// clients are the numbers of clients that move blobs of this size: 128 of a gigabyte
// take minutes.
func (z size) clients(long bool) []int {
	if z.bytes >= gib && !long {
		return []int{1, 16}
	}
	return nil
}

// rate is what says most about blobs of this size.
func (z size) rate() string {
	if z.bytes < mib {
		return "ops"
	}
	return "bytes"
}

// blobPulls are pulls of single blobs, and questions for them.
func blobPulls(long bool) []Scenario {
	var all []Scenario
	for _, z := range sizes() {
		all = append(all, Scenario{
			Name: "pull " + z.name, Group: "pull", Rate: z.rate(), Clients: z.clients(long), Quick: z.bytes == mib || z.bytes == 64*mib,
			For: anything, Prepare: z.prepare, Op: z.pull, Bars: z.pullBars(),
		})
	}
	small := sizes()[0]
	return append(all, Scenario{
		Name: "HEAD blob", Group: "manifest", Rate: "ops", Quick: true,
		Prepare: small.prepare,
		Op: func(_ context.Context, w *World, c *load.Worker) (int64, error) {
			pool := have[[]*content.Blob](w, small.key())
			return 0, head(c.Conn, pulled, pool[c.Rand.IntN(len(pool))].Digest, http.StatusOK)
		},
		Bars: []Bar{
			{Target: berth, Clients: 16, Figure: Rate, AtLeast: 3, Of: []Ref{{Targets: []string{distribution}}}},
			{Target: berth, Clients: 16, Figure: CPUPerOp, AtMost: 100},
			memoryBar(100),
		},
	})
}

// pulled is the repository that blobs are pulled from.
const pulled = "bench/pulled"

func (z size) key() string { return "blobs of " + z.name }

// prepare puts blobs onto the server. What it has then comes back as it was.
func (z size) prepare(ctx context.Context, w *World) error {
	_, err := made(w, z.key(), func() ([]*content.Blob, error) {
		source, pool := content.New(z.bytes), make([]*content.Blob, z.pool)
		for i := range pool {
			var err error
			if pool[i], err = source.Next(); err != nil {
				return nil, err
			}
		}
		err := w.alone(ctx, "push blobs of "+z.name, func(c *load.Conn) error {
			if !blobs(w.Server) {
				return writeFiles(w.Server.Root, pool)
			}
			if err := w.repository(ctx, c, pulled); err != nil {
				return err
			}
			for _, b := range pool {
				if err := pushBlob(c, pulled, b); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return pool, w.alone(ctx, "compare blobs of "+z.name, func(c *load.Conn) error { return z.compare(c, w, pool[0]) })
	})
	return err
}

// compare reads a blob and compares its bytes, where it is not too large to be kept.
func (z size) compare(c *load.Conn, w *World, b *content.Blob) error {
	if z.bytes > 64*mib {
		return nil
	}
	answer, err := c.Do(&load.Request{Method: http.MethodGet, Path: w.blob(b), Header: blobHeader, Keep: true})
	if err != nil {
		return err
	}
	if err := answer.Want(http.StatusOK); err != nil {
		return err
	}
	if got := content.Digest(answer.Body); got != b.Digest {
		return fmt.Errorf("the blob %s came back as %s with %d bytes", b.Digest, got, len(answer.Body))
	}
	return nil
}

// blob is the path of a blob that is pulled.
func (w *World) blob(b *content.Blob) string {
	if !blobs(w.Server) {
		return "/blobs/" + b.Hex()
	}
	return blobPath(pulled, b.Digest)
}

// writeFiles puts blobs where a file server finds them.
func writeFiles(root string, pool []*content.Blob) error {
	dir := filepath.Join(root, "blobs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, b := range pool {
		f, err := os.OpenFile(filepath.Join(dir, b.Hex()), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		_, err = b.WriteTo(f)
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (z size) pull(_ context.Context, w *World, c *load.Worker) (int64, error) {
	pool := have[[]*content.Blob](w, z.key())
	return z.bytes, getBlob(c.Conn, w.blob(pool[(c.N+c.Seq)%len(pool)]), z.bytes)
}

func (z size) pullBars() []Bar {
	files := []Ref{{Targets: []string{nginx}}}
	switch {
	case z.bytes >= 64*mib:
		return []Bar{
			{Target: berthPlain, Clients: 16, Figure: Rate, AtLeast: 0.95, Of: files},
			{Target: berthPlain, Clients: 16, Figure: CPUPerGiB, AtMost: 1, Of: []Ref{{Targets: peers}}},
			{Target: berth, Clients: 16, Figure: Rate, AtLeast: 1, Of: []Ref{{Targets: peers}}, Or: &Bar{
				Target: berth, Clients: 16, Figure: CPUPerGiB, AtMost: 1,
				Of: []Ref{{Targets: peers}, {Targets: []string{Machine}, Scenario: sealAlone}},
			}},
			memoryBar(100),
		}
	case z.bytes == mib:
		return []Bar{
			{Target: berth, Clients: 16, Figure: Rate, AtLeast: 3, Of: []Ref{{Targets: []string{distribution, zot}}}},
			{Target: berth, Clients: 16, Figure: Rate, AtLeast: 0.7, Of: files},
			memoryBar(100),
		}
	}
	return []Bar{memoryBar(100)}
}

// pushed is the repository that blobs are pushed to.
const pushed = "bench/pushed"

// blobPushes are pushes of single blobs that no server has seen before.
func blobPushes(long bool) []Scenario {
	var all []Scenario
	for _, z := range sizes() {
		fresh := content.Lazy(z.bytes)
		all = append(all, Scenario{
			Name: "push " + z.name, Group: "push", Rate: z.rate(), Clients: z.clients(long), Quick: z.bytes <= mib,
			Own: z.bytes >= mib, Room: z.bytes * 3 / 2, For: blobs,
			Prepare: func(ctx context.Context, w *World) error {
				fresh() // the time for it is no server's
				return w.alone(ctx, "make a repository", func(c *load.Conn) error { return w.repository(ctx, c, pushed) })
			},
			Op: func(_ context.Context, _ *World, c *load.Worker) (int64, error) {
				b, err := fresh().Next()
				if err != nil {
					return 0, err
				}
				return b.Size, pushBlob(c.Conn, pushed, b)
			},
			Bars: z.pushBars(),
		})
	}
	return all
}

func (z size) pushBars() []Bar {
	switch {
	case z.bytes >= 64*mib:
		return []Bar{
			{Target: berth, Figure: CPUPerGiB, AtMost: 1.2},
			{Target: berth, Clients: 1, Figure: Rate, AtLeast: 1.5, Of: []Ref{{Targets: peers}}},
			{Target: berth, Clients: 1, Figure: Rate, AtLeast: 0.85, Of: []Ref{{Targets: []string{Machine}, Scenario: hashAndWrite}}},
			memoryBar(100),
		}
	case z.bytes == mib:
		return []Bar{
			{Target: berth, Clients: 16, Figure: Rate, AtLeast: 2, Of: []Ref{{Targets: peers}}},
			{Target: berth, Clients: 16, Figure: CPUPerGiB, AtMost: 1.5},
			memoryBar(100),
		}
	}
	return []Bar{memoryBar(100)}
}

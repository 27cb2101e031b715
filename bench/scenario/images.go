package scenario

import (
	"context"
	"fmt"
	"net/http"

	"github.com/berth-registry/berth/bench/content"
	"github.com/berth-registry/berth/bench/load"
)

// layerSize is the size of the layer of a small image.
const layerSize = 8 * kib

// stock is a repository with images that share a layer and a config and differ in
// their manifests only; each has a tag.
type stock struct {
	repository string
	images     []*image
}

// stocked is the repository of so many images, which all scenarios of a server share.
func stocked(ctx context.Context, w *World, n int) (*stock, error) {
	return made(w, stockKey(n), func() (*stock, error) {
		s := &stock{repository: fmt.Sprintf("bench/images-%d", n), images: make([]*image, n)}
		layer, err := content.New(layerSize).Next()
		if err != nil {
			return nil, err
		}
		config := newConfig(layer)
		err = w.alone(ctx, "begin a repository", func(c *load.Conn) error {
			if err := w.repository(ctx, c, s.repository); err != nil {
				return err
			}
			if err := pushBlob(c, s.repository, layer); err != nil {
				return err
			}
			return pushBytes(c, s.repository, content.Digest(config), config)
		})
		if err != nil {
			return nil, err
		}
		return s, w.each(ctx, fmt.Sprintf("fill a repository with %d images", n), n, func(c *load.Conn, i int) error {
			tag := stockTag(i)
			s.images[i] = newImage(tag, config, tag, layer)
			return putManifest(c, s.repository, tag, s.images[i].raw)
		})
	})
}

func stockKey(n int) string { return fmt.Sprintf("repository of %d images", n) }

// stockTag is the tag of the image with a number; tags are in the order of numbers.
func stockTag(i int) string { return fmt.Sprintf("v%07d", i) }

// withStock is Prepare for scenarios on the repository of n images.
func withStock(n int) func(context.Context, *World) error {
	return func(ctx context.Context, w *World) error {
		_, err := stocked(ctx, w, n)
		return err
	}
}

// few is the number of images in the smallest repository.
const few = 100

// manifests are questions for manifests and their headers.
func manifests() []Scenario {
	var all []Scenario
	for _, by := range []string{"tag", "digest"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			s := Scenario{
				Name: method + " manifest by " + by, Group: "manifest", Rate: "ops", Quick: true,
				Prepare: withStock(few),
				Op: func(_ context.Context, w *World, c *load.Worker) (int64, error) {
					s := have[*stock](w, stockKey(few))
					i := s.images[c.Rand.IntN(len(s.images))]
					ref := i.tag
					if by == "digest" {
						ref = i.digest
					}
					return 0, getManifest(c.Conn, method, s.repository, ref, i)
				},
				Bars: []Bar{memoryBar(100)},
			}
			if by == "tag" {
				s.Bars = append([]Bar{
					{Target: berth, Clients: 16, Figure: Rate, AtLeast: 3, Of: []Ref{{Targets: []string{distribution}}}},
					{Target: berth, Clients: 16, Figure: CPUPerOp, AtMost: 100},
					{Target: berth, Clients: 16, Figure: P99, AtMost: 10},
				}, s.Bars...)
			}
			all = append(all, s)
		}
	}
	return all
}

// small makes images that no server has seen.
type small struct{ layers func() *content.Source }

// push pushes one to a repository.
func (f small) push(w *World, c *load.Worker, repository string) (int64, error) {
	layer, err := f.layers().Next()
	if err != nil {
		return 0, err
	}
	i := newImage(fmt.Sprintf("pushed-%08d", w.tags.Add(1)), newConfig(layer), "", layer)
	return i.payload, pushImage(c.Conn, repository, i, layer)
}

// imagePushes are pushes of whole small images, with new layers, configs and tags.
func imagePushes(long bool) []Scenario {
	f := small{content.Lazy(layerSize)}
	bars := func() []Bar {
		return []Bar{
			{Target: berth, Clients: 16, Figure: Rate, AtLeast: 5, Of: []Ref{{Targets: []string{distribution}, Scenario: pushSmall}}},
			{Target: berth, Clients: 16, Figure: CPUPerOp, AtMost: 2000},
			memoryBar(100),
		}
	}
	all := []Scenario{{
		Name: pushSmall, Group: "push", Rate: "ops", Quick: true,
		Prepare: func(ctx context.Context, w *World) error {
			return w.alone(ctx, "make a repository", func(c *load.Conn) error { return w.repository(ctx, c, pushed) })
		},
		Op:   func(_ context.Context, w *World, c *load.Worker) (int64, error) { return f.push(w, c, pushed) },
		Bars: bars(),
	}}
	if long {
		all = append(all, Scenario{
			Name: "push small image into 100,000 tags", Group: "push", Rate: "ops",
			For:     signed,
			Prepare: withStock(many),
			Op: func(_ context.Context, w *World, c *load.Worker) (int64, error) {
				return f.push(w, c, have[*stock](w, stockKey(many)).repository)
			},
			Bars: bars(),
		})
	}
	return all
}

// pushSmall is the name of the scenario that pushes small images.
const pushSmall = "push small image"

// pushes are all scenarios that push and nothing else.
func pushes(long bool) []Scenario { return append(imagePushes(long), blobPushes(long)...) }

// mixed are pulls of whole small images, by themselves and with a push for each three of
// them.
func mixed() []Scenario {
	f := small{content.Lazy(layerSize)}
	pull := func(w *World, c *load.Worker) (int64, error) {
		s := have[*stock](w, stockKey(few))
		i := s.images[c.Rand.IntN(len(s.images))]
		return i.payload, pullImage(c.Conn, s.repository, i)
	}
	return []Scenario{
		{
			Name: "pull small image", Group: "pull", Rate: "ops", Quick: true,
			Prepare: withStock(few),
			Op:      func(_ context.Context, w *World, c *load.Worker) (int64, error) { return pull(w, c) },
			Bars:    []Bar{memoryBar(100)},
		},
		{
			Name: "75 pulls to 25 pushes of small images", Group: "mixed", Rate: "ops",
			Prepare: func(ctx context.Context, w *World) error {
				if err := withStock(few)(ctx, w); err != nil {
					return err
				}
				return w.alone(ctx, "make a repository", func(c *load.Conn) error { return w.repository(ctx, c, pushed) })
			},
			Op: func(_ context.Context, w *World, c *load.Worker) (int64, error) {
				if (c.N+c.Seq)%4 == 3 {
					return f.push(w, c, pushed)
				}
				return pull(w, c)
			},
			Bars: []Bar{memoryBar(100)},
		},
	}
}

package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/berth-registry/berth/bench/load"
)

const (
	// page is how many entries a page has.
	page = 100
	// more and many are the numbers of images in larger repositories.
	more = 10_000
	many = 100_000
)

// lists are pages of tags and of images in repositories of several sizes.
func lists(long bool) []Scenario {
	counts := []int{few, more}
	if long {
		counts = append(counts, many)
	}
	var all []Scenario
	for _, n := range counts {
		all = append(all, tagsPage(n, long), imagesPage(n))
	}
	return all
}

func tagsPageName(n int) string   { return "tags page of 100 out of " + thousands(n) }
func imagesPageName(n int) string { return "DescribeImages page of 100 out of " + thousands(n) }

// thousands writes a number below a million with a comma.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// flat holds a page to what it costs in the smallest repository.
func flat(n int, smallest string, limit float64) []Bar {
	bars := []Bar{{Target: berth, Clients: 16, Figure: CPUPerOp, AtMost: limit}}
	if n > few {
		bars = append(bars, Bar{Target: berth, Clients: 16, Figure: CPUPerOp, AtMost: 1.2, Of: []Ref{{Scenario: smallest}}})
	}
	return append(bars, memoryBar(100))
}

// tagsPage reads a page of tags that begins anywhere. Peers take very long to be filled,
// so they have the larger repository with long only, and the largest one never.
func tagsPage(n int, long bool) Scenario {
	s := Scenario{
		Name: tagsPageName(n), Group: "tags", Rate: "ops", Quick: n == few,
		Prepare: withStock(n),
		Op: func(_ context.Context, w *World, c *load.Worker) (int64, error) {
			return 0, readTags(c.Conn, have[*stock](w, stockKey(n)), c.Rand)
		},
		Bars: flat(n, tagsPageName(few), 200),
	}
	if n > more || n > few && !long {
		s.For = signed
	}
	return s
}

// readTags asks for a page of 100 tags, and compares the length of the answer with that of
// so many tags.
func readTags(c *load.Conn, s *stock, random *rand.Rand) error {
	path := "/v2/" + s.repository + "/tags/list?n=100"
	if n := len(s.images); n > page {
		path += "&last=" + stockTag(random.IntN(n-page))
	}
	answer, err := c.Do(&load.Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return err
	}
	if err := answer.Want(http.StatusOK); err != nil {
		return err
	}
	if least := int64(page * (len(stockTag(0)) + len(`"",`))); answer.Bytes < least || answer.Bytes > least+page+200 {
		return fmt.Errorf("a page of %d tags came with %d bytes, it should have %d and a little", page, answer.Bytes, least)
	}
	return nil
}

// walk are the requests for all pages of a list of the API, in their order.
type walk struct{ bodies [][]byte }

// walked follows a list of the API to its end, and keeps the request for each of its pages.
func walked(ctx context.Context, w *World, operation string, in map[string]any) (*walk, error) {
	out := &walk{}
	in["maxResults"] = page
	err := w.alone(ctx, "go through "+operation, func(c *load.Conn) error {
		for {
			var answer struct {
				NextToken string `json:"nextToken"`
			}
			body := encode(in)
			if err := w.ask(ctx, c, operation, in, &answer); err != nil {
				return err
			}
			if answer.NextToken == "" && len(out.bodies) > 0 {
				return nil // the last page may be shorter
			}
			out.bodies = append(out.bodies, body)
			if answer.NextToken == "" {
				return nil
			}
			in["nextToken"] = answer.NextToken
		}
	})
	return out, err
}

// imagesPage describes a page of images anywhere in the repository.
func imagesPage(n int) Scenario {
	key := fmt.Sprintf("pages of %d images", n)
	return Scenario{
		Name: imagesPageName(n), Group: "api", Rate: "ops", For: signed, Quick: n == few,
		Prepare: func(ctx context.Context, w *World) error {
			s, err := stocked(ctx, w, n)
			if err != nil {
				return err
			}
			_, err = made(w, key, func() (*walk, error) {
				return walked(ctx, w, "DescribeImages", map[string]any{"repositoryName": s.repository})
			})
			return err
		},
		Op: func(ctx context.Context, w *World, c *load.Worker) (int64, error) {
			return 0, readPage(ctx, w, c, "DescribeImages", have[*walk](w, key))
		},
		Bars: flat(n, imagesPageName(few), 1000),
	}
}

// readPage asks for one page of a walk.
func readPage(ctx context.Context, w *World, c *load.Worker, operation string, pages *walk) error {
	answer, err := w.call(ctx, c.Conn, operation, pages.bodies[c.Rand.IntN(len(pages.bodies))], false)
	if err == nil && len(answer) < page*100 {
		err = fmt.Errorf("a page of %s has %d bytes, too few for %d entries", operation, len(answer), page)
	}
	return err
}

// crowd makes so many repositories beside those that are there, each with one image where
// a push is what makes it.
func crowd(ctx context.Context, w *World, n int) error {
	_, err := made(w, fmt.Sprintf("%d repositories", n), func() (bool, error) {
		s, err := stocked(ctx, w, few)
		if err != nil {
			return false, err
		}
		return true, w.each(ctx, fmt.Sprintf("make %d repositories", n), n, func(c *load.Conn, i int) error {
			repository := fmt.Sprintf("bench/crowd/r%05d", i)
			if w.Server.API != nil {
				return w.repository(ctx, c, repository)
			}
			for _, b := range s.images[0].blobs {
				answer, err := c.Do(&load.Request{Method: http.MethodPost, Path: "/v2/" + repository + "/blobs/uploads/?mount=" + b.Digest + "&from=" + s.repository})
				if err != nil {
					return err
				}
				if err := answer.Want(http.StatusCreated); err != nil {
					return fmt.Errorf("mount a blob: %w", err)
				}
			}
			return putManifest(c, repository, s.images[0].tag, s.images[0].raw)
		})
	})
	return err
}

// calls are calls of the signed API, and pages in registries of many repositories. Those
// that make the registry large stand last.
func calls(long bool) []Scenario {
	memory := func() []Bar { return []Bar{memoryBar(100)} }
	all := []Scenario{
		{
			Name: "BatchGetImage", Group: "api", Rate: "ops", For: signed, Quick: true, Prepare: withStock(few), Bars: memory(),
			Op: func(ctx context.Context, w *World, c *load.Worker) (int64, error) {
				s := have[*stock](w, stockKey(few))
				i := s.images[c.Rand.IntN(len(s.images))]
				answer, err := w.call(ctx, c.Conn, "BatchGetImage", []byte(`{"repositoryName":"`+s.repository+`","imageIds":[{"imageTag":"`+i.tag+`"}]}`), false)
				if err == nil && len(answer) < len(i.raw) {
					err = fmt.Errorf("BatchGetImage answered %d bytes, fewer than the manifest has: %s", len(answer), answer)
				}
				return 0, err
			},
		},
		{
			Name: "GetAuthorizationToken", Group: "api", Rate: "ops", For: signed, Quick: true, Bars: memory(),
			Op: func(ctx context.Context, w *World, c *load.Worker) (int64, error) {
				_, err := w.call(ctx, c.Conn, "GetAuthorizationToken", []byte("{}"), false)
				return 0, err
			},
		},
		{
			Name: "DescribeRepositories out of 10", Group: "api", Rate: "ops", For: signed, Bars: memory(),
			Prepare: func(ctx context.Context, w *World) error { return crowd(ctx, w, 10) },
			Op: func(ctx context.Context, w *World, c *load.Worker) (int64, error) {
				_, err := w.call(ctx, c.Conn, "DescribeRepositories", []byte(`{"maxResults":100}`), false)
				return 0, err
			},
		},
	}
	if !long {
		return all
	}
	largest := func(prepare func(context.Context, *World) error) func(context.Context, *World) error {
		return func(ctx context.Context, w *World) error {
			if err := crowd(ctx, w, more); err != nil {
				return err
			}
			return prepare(ctx, w)
		}
	}
	tags, images := tagsPage(few, long), imagesPage(few)
	for _, s := range []*Scenario{&tags, &images} {
		small := s.Name
		s.Name, s.Quick, s.Prepare = s.Name+" among 10,000 repositories", false, largest(s.Prepare)
		s.Bars = append(s.Bars, Bar{Target: berth, Clients: 16, Figure: CPUPerOp, AtMost: 1.2, Of: []Ref{{Scenario: small}}})
	}
	const key = "pages of repositories"
	return append(all, preview(), tags, images, Scenario{
		Name: "DescribeRepositories page of 100 out of 10,000", Group: "api", Rate: "ops", For: signed, Bars: memory(),
		Prepare: largest(func(ctx context.Context, w *World) error {
			_, err := made(w, key, func() (*walk, error) { return walked(ctx, w, "DescribeRepositories", map[string]any{}) })
			return err
		}),
		Op: func(ctx context.Context, w *World, c *load.Worker) (int64, error) {
			return 0, readPage(ctx, w, c, "DescribeRepositories", have[*walk](w, key))
		},
	})
}

package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/berth-registry/berth/test/contract/harness"
)

// sharedContents is how many blobs all clients have in common, so that they push
// the same digests at once, and sharedTags how many tags.
const (
	sharedContents = 40
	sharedTags     = 6
	ownedTags      = 4
)

// pusher is one client. It pushes until the server is killed.
type pusher struct {
	id       int
	registry *harness.Registry
	ledger   *ledger
	repos    []string
	rnd      *rand.Rand
	// collects says that the server gives up layers without an image quickly, so
	// that a push may find a layer gone that it has just seen.
	collects bool
	// stop ends the run between two operations; nil never does.
	stop chan struct{}

	own       []place // acknowledged images that this client may build upon
	deletable []place // acknowledged images without a tag that nothing refers to
	did       map[string]int
}

// stopped says whether the client was told to stop.
func (p *pusher) stopped() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// run pushes until an operation fails, and returns why, or until it is told to
// stop.
func (p *pusher) run(ctx context.Context) error {
	for !p.stopped() {
		var what string
		var err error
		switch n := p.rnd.IntN(100); {
		case n < 55:
			what, err = "image", p.image(ctx)
		case n < 65:
			what, err = "index", p.index(ctx)
		case n < 72:
			what, err = "artifact", p.artifact(ctx)
		case n < 82:
			what, err = "unfinished upload", p.unfinished(ctx)
		case n < 88:
			what, err = "delete", p.remove(ctx)
		case n < 93:
			what, err = "mount", p.mount(ctx)
		default:
			what, err = "pull", p.pull(ctx)
		}
		if err != nil {
			return fmt.Errorf("client %d, %s: %w", p.id, what, err)
		}
		p.did[what]++
	}
	return nil
}

func (p *pusher) repo() string { return p.repos[p.rnd.IntN(len(p.repos))] }

// content makes bytes to push: one of the shared ones or new ones, mostly small.
func (p *pusher) content() content {
	if p.rnd.IntN(3) == 0 {
		seed := uint64(p.rnd.IntN(sharedContents))
		return content{seed, int(seed*seed*331)%200_000 + 1}
	}
	size := 1 + p.rnd.IntN(100_000)
	switch p.rnd.IntN(20) {
	case 0:
		size = 1_000_000 + p.rnd.IntN(3_000_000)
	case 1:
		size = 1 + p.rnd.IntN(10)
	case 2:
		size = 65536 * (1 + p.rnd.IntN(3)) // whole segments of a sealed object
	}
	return content{p.rnd.Uint64() | 1<<63, size}
}

func (c content) bytes() []byte { return harness.Random(c.seed, c.size) }

// blob pushes content in one of the ways that clients have.
func (p *pusher) blob(ctx context.Context, repo string, b []byte) (harness.Descriptor, error) {
	d := harness.Descriptor{MediaType: harness.OCILayer, Digest: harness.Digest(b), Size: int64(len(b))}
	if p.rnd.IntN(2) == 0 { // look first, as most clients do
		a, err := p.registry.Do(ctx, harness.Request{Method: http.MethodHead, Path: "/v2/" + repo + "/blobs/" + d.Digest}, http.StatusOK, http.StatusNotFound)
		if err != nil {
			return d, err
		}
		if a.Status == http.StatusOK {
			p.ledger.blob(repo, d.Digest)
			return d, nil
		}
	}
	location, err := p.registry.StartUpload(ctx, repo)
	if err != nil {
		return d, err
	}
	rest := b
	switch p.rnd.IntN(3) {
	case 0: // everything in the PUT
	case 1: // everything in one PATCH
		if location, err = p.registry.Stream(ctx, location, bytes.NewReader(b)); err != nil {
			return d, err
		}
		rest = nil
	case 2: // chunks, perhaps with the last one in the PUT
		step := 1 + p.rnd.IntN(len(b)/2+1)
		sent := 0
		for ; len(b)-sent > step; sent += step {
			if location, err = p.registry.Append(ctx, location, int64(sent), b[sent:sent+step]); err != nil {
				return d, err
			}
		}
		rest = b[sent:]
	}
	if err := p.registry.Finish(ctx, location, d.Digest, rest); err != nil {
		return d, err
	}
	p.ledger.blob(repo, d.Digest)
	return d, nil
}

// tag chooses where a manifest goes: a tag of this client's, one that all write
// to, or none.
func (p *pusher) tag() (tag string, owned bool) {
	switch p.rnd.IntN(3) {
	case 0:
		return fmt.Sprintf("own-%d-%d", p.id, p.rnd.IntN(ownedTags)), true
	case 1:
		return fmt.Sprintf("shared-%d", p.rnd.IntN(sharedTags)), false
	}
	return "", false
}

// put pushes a manifest and enters it into the ledger.
func (p *pusher) put(ctx context.Context, repo string, m harness.Manifest, image pushedImage) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	digest := harness.Digest(raw)
	tag, owned := p.tag()
	ref := tag
	if ref == "" {
		ref = digest
	}
	p.ledger.attempt(repo, digest, tag, owned)
	image.mediaType = m.MediaType
	err = p.registry.PutManifest(ctx, repo, ref, m.MediaType, raw)
	var refused *harness.StatusError
	if p.collects && errors.As(err, &refused) && refused.Status < 500 && len(image.children) == 0 {
		return nil // a layer was given up before the manifest came
	}
	if err != nil {
		return err
	}
	p.ledger.acknowledge(repo, digest, tag, image)
	if tag == "" && m.Subject == nil && len(m.Manifests) == 0 && p.rnd.IntN(2) == 0 {
		p.deletable = append(p.deletable, place{repo, digest})
	} else if len(m.Manifests) == 0 {
		p.own = append(p.own, place{repo, digest})
	}
	return nil
}

func (p *pusher) image(ctx context.Context) error {
	repo := p.repo()
	m := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIImage}
	var image pushedImage
	config, err := p.blob(ctx, repo, fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","by":"%d/%x"}`, p.id, p.rnd.Uint64()))
	if err != nil {
		return err
	}
	config.MediaType = harness.OCIConfig
	m.Config = &config
	image.blobs = append(image.blobs, config.Digest)
	for range 1 + p.rnd.IntN(4) {
		d, err := p.blob(ctx, repo, p.content().bytes())
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, d)
		image.blobs = append(image.blobs, d.Digest)
	}
	return p.put(ctx, repo, m, image)
}

// ownIn picks an image of this client's, and lists those of the same repository.
func (p *pusher) ownIn() (one place, same []place) {
	if len(p.own) == 0 {
		return place{}, nil
	}
	one = p.own[p.rnd.IntN(len(p.own))]
	for _, o := range p.own {
		if o.repo == one.repo {
			same = append(same, o)
		}
	}
	return one, same
}

func (p *pusher) describe(of place) (harness.Descriptor, bool) {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	image, ok := p.ledger.images[of]
	return harness.Descriptor{MediaType: image.mediaType, Digest: of.what, Size: 1}, ok
}

func (p *pusher) index(ctx context.Context) error {
	one, same := p.ownIn()
	if one.repo == "" {
		return nil
	}
	m := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Annotations: map[string]string{"n": fmt.Sprint(p.rnd.Uint64())}}
	var image pushedImage
	for range 1 + p.rnd.IntN(3) {
		child := same[p.rnd.IntN(len(same))]
		d, ok := p.describe(child)
		if !ok {
			continue
		}
		m.Manifests = append(m.Manifests, d)
		image.children = append(image.children, child.what)
	}
	return p.put(ctx, one.repo, m, image)
}

func (p *pusher) artifact(ctx context.Context) error {
	one, _ := p.ownIn()
	if one.repo == "" {
		return nil
	}
	subject, ok := p.describe(one)
	if !ok {
		return nil
	}
	d, err := p.blob(ctx, one.repo, p.content().bytes())
	if err != nil {
		return err
	}
	config := d
	return p.put(ctx, one.repo, harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage, ArtifactType: "example/crash", Subject: &subject,
		Config: &config, Layers: []harness.Descriptor{d}, Annotations: map[string]string{"n": fmt.Sprint(p.rnd.Uint64())},
	}, pushedImage{blobs: []string{d.Digest}})
}

// unfinished begins an upload and leaves it.
func (p *pusher) unfinished(ctx context.Context) error {
	repo, c := p.repo(), p.content()
	b := c.bytes()
	location, err := p.registry.StartUpload(ctx, repo)
	if err != nil {
		return err
	}
	sent := 0
	for range p.rnd.IntN(3) {
		step := p.rnd.IntN(len(b)-sent) + 1
		if step == len(b)-sent {
			break
		}
		next, err := p.registry.Append(ctx, location, int64(sent), b[sent:sent+step])
		if err != nil {
			p.ledger.left(leftover{repo, location, c, sent + step})
			return err
		}
		location, sent = next, sent+step
	}
	p.ledger.left(leftover{repo, location, c, sent})
	return nil
}

func (p *pusher) remove(ctx context.Context) error {
	if len(p.deletable) == 0 {
		return nil
	}
	i := p.rnd.IntN(len(p.deletable))
	victim := p.deletable[i]
	p.deletable = append(p.deletable[:i], p.deletable[i+1:]...)
	done := p.ledger.deleteImage(victim.repo, victim.what)
	_, err := p.registry.Do(ctx, harness.Request{Method: http.MethodDelete, Path: "/v2/" + victim.repo + "/manifests/" + victim.what}, http.StatusAccepted)
	if err != nil {
		return err
	}
	done(true)
	return nil
}

// mount takes a layer of an image over into another repository.
func (p *pusher) mount(ctx context.Context) error {
	one, _ := p.ownIn()
	if one.repo == "" {
		return nil
	}
	p.ledger.mu.Lock()
	blobs := p.ledger.images[one].blobs
	p.ledger.mu.Unlock()
	if len(blobs) == 0 {
		return nil
	}
	digest, to := blobs[p.rnd.IntN(len(blobs))], p.repo()
	a, err := p.registry.Do(ctx, harness.Request{
		Method: http.MethodPost, Path: "/v2/" + to + "/blobs/uploads/?mount=" + digest + "&from=" + one.repo,
	}, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return err
	}
	if a.Status == http.StatusAccepted {
		return fmt.Errorf("the layer %s of an image in %s could not be mounted into %s", digest, one.repo, to)
	}
	p.ledger.blob(to, digest)
	return nil
}

func (p *pusher) pull(ctx context.Context) error {
	one, _ := p.ownIn()
	if one.repo == "" {
		return nil
	}
	_, err := p.registry.Pull(ctx, one.repo, one.what)
	return err
}

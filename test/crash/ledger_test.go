package crash

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// place is a digest or a tag in a repository.
type place struct{ repo, what string }

// pushedImage is a manifest that was sent.
type pushedImage struct {
	mediaType string
	blobs     []string // digests that it names and that have to be there with it
	children  []string
}

// tagState is what is known of a tag.
type tagState struct {
	// owned tags have one writer, so that each acknowledgement is the last word.
	owned bool
	// last was acknowledged or seen; "" means that the tag may be missing.
	last string
	// attempts were sent since and may stand as well.
	attempts []string
}

// leftover is an upload that was begun and not finished.
type leftover struct {
	repo, location string
	content        content
	sent           int // bytes that may have arrived
}

// content is bytes that can be made again.
type content struct {
	seed uint64
	size int
}

// ledger is what the clients have been promised. It is safe for concurrent use.
type ledger struct {
	mu        sync.Mutex
	blobs     map[place]bool        // acknowledged
	images    map[place]pushedImage // acknowledged, and not deleted
	attempted map[place]bool        // manifests that were sent, whatever came back
	fresh     map[place]bool        // images and blobs that no round has verified yet
	deleting  map[place]bool        // deletes that were sent and not answered
	deleted   map[place]bool        // deletes that were acknowledged
	tags      map[place]*tagState
	uploads   []leftover
}

func newLedger() *ledger {
	return &ledger{
		blobs: map[place]bool{}, images: map[place]pushedImage{}, attempted: map[place]bool{}, fresh: map[place]bool{},
		deleting: map[place]bool{}, deleted: map[place]bool{}, tags: map[place]*tagState{},
	}
}

func (l *ledger) blob(repo, digest string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := place{repo, digest}
	if !l.blobs[p] {
		l.blobs[p], l.fresh[p] = true, true
	}
}

// attempt notes that a manifest is about to be sent. tag may be "".
func (l *ledger) attempt(repo, digest, tag string, owned bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempted[place{repo, digest}] = true
	if tag == "" {
		return
	}
	p := place{repo, tag}
	if l.tags[p] == nil {
		l.tags[p] = &tagState{owned: owned}
	}
	l.tags[p].attempts = append(l.tags[p].attempts, digest)
}

// acknowledge notes that the manifest of an attempt was accepted.
func (l *ledger) acknowledge(repo, digest, tag string, image pushedImage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := place{repo, digest}
	l.images[p], l.fresh[p] = image, true
	if tag == "" {
		return
	}
	t := l.tags[place{repo, tag}]
	if t.owned {
		t.last, t.attempts = digest, nil
	} else if t.last == "" {
		t.last = digest // the tag exists now, whoever wrote it last
		t.attempts = append(t.attempts, digest)
	}
}

// deleteImage notes that a delete is about to be sent; the returned function
// that it was acknowledged, or refused.
func (l *ledger) deleteImage(repo, digest string) (done func(deleted bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := place{repo, digest}
	image := l.images[p]
	delete(l.images, p)
	delete(l.fresh, p)
	l.deleting[p] = true
	return func(deleted bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.deleting, p)
		if deleted {
			l.deleted[p] = true
		} else {
			l.images[p] = image
		}
	}
}

func (l *ledger) left(u leftover) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.uploads = append(l.uploads, u)
}

// due takes what this round has to verify: everything new, and some of the old.
// all takes everything.
func (l *ledger) due(rnd *rand.Rand, all bool) (blobs []place, images map[place]pushedImage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const sample = 100
	images = map[place]pushedImage{}
	for _, p := range sortedPlaces(l.blobs) {
		if all || l.fresh[p] || rnd.IntN(len(l.blobs)) < sample {
			blobs = append(blobs, p)
		}
	}
	for _, p := range sortedPlaces(l.images) {
		if all || l.fresh[p] || rnd.IntN(len(l.images)) < sample {
			images[p] = l.images[p]
		}
	}
	l.fresh = map[place]bool{}
	return blobs, images
}

func sortedPlaces[V any](m map[place]V) []place {
	return slices.SortedFunc(maps.Keys(m), func(a, b place) int {
		if a.repo != b.repo {
			return compare(a.repo, b.repo)
		}
		return compare(a.what, b.what)
	})
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// takeUploads empties the list of unfinished uploads.
func (l *ledger) takeUploads() []leftover {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.uploads
	l.uploads = nil
	return u
}

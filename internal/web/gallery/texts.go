package gallery

import (
	"crypto/sha256"
	"html/template"
	"sync"

	"github.com/berth-registry/berth/internal/web/gallery/markdown"
)

// maxTexts bounds each of the two generations of rendered texts, in bytes. An ordinary text
// takes a millisecond or two to render; one that was made to take long takes that once.
const maxTexts = 8 << 20

// texts renders texts, and remembers those that were asked for lately by their content.
type texts struct {
	renderer *markdown.Renderer
	most     int // bytes of a generation

	mu       sync.Mutex
	now, old map[[sha256.Size]byte]template.HTML
	size     int // of what is in now
}

func newTexts(r *markdown.Renderer, most int) *texts {
	return &texts{renderer: r, most: most, now: map[[sha256.Size]byte]template.HTML{}}
}

func (t *texts) render(source string) (template.HTML, error) {
	key := sha256.Sum256([]byte(source))
	if html, ok := t.get(key); ok {
		return html, nil
	}
	html, err := t.renderer.Render(markdown.Newlines(source))
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(key, html)
	return html, nil
}

func (t *texts) get(key [sha256.Size]byte) (template.HTML, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	html, ok := t.now[key]
	if !ok {
		if html, ok = t.old[key]; ok {
			t.put(key, html)
		}
	}
	return html, ok
}

// put remembers a text. When the present generation is full, the one before is forgotten.
func (t *texts) put(key [sha256.Size]byte, html template.HTML) {
	if t.size += len(html) + sha256.Size; t.size > t.most {
		t.old, t.now, t.size = t.now, map[[sha256.Size]byte]template.HTML{}, len(html)+sha256.Size
	}
	t.now[key] = html
}

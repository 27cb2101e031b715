package pattern_test

import (
	"encoding/json"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/pattern"
)

// FuzzMatch: whatever the pattern and the event, the answer is a pattern or an error that
// says it is none, and the same pattern matches the same event always.
func FuzzMatch(f *testing.F) {
	c := readCorpus(f)
	for _, one := range c.Cases {
		f.Add(one.Pattern, c.event(f, one.Event))
	}
	for _, one := range c.Invalid {
		f.Add(one.Pattern, c.event(f, nil))
	}
	f.Fuzz(func(t *testing.T, text string, event []byte) {
		p, err := pattern.Parse(text)
		if err != nil && !errs.Is(err, errs.EventPatternInvalid) {
			t.Fatal(err)
		}
		if err == nil && !json.Valid([]byte(text)) {
			t.Errorf("%q is no JSON", text)
		}
		e, eventErr := pattern.ParseEvent(event)
		if eventErr != nil && !errs.Is(eventErr, errs.Validation) {
			t.Fatal(eventErr)
		}
		if err != nil || eventErr != nil {
			return
		}
		again, err := pattern.Parse(text)
		if err != nil || p.Match(e) != again.Match(e) {
			t.Errorf("%q on %q: %v", text, event, err)
		}
	})
}

package name

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

// TestPatterns compares with the patterns as the API model has them.
func TestPatterns(t *testing.T) {
	for what, c := range map[string]struct {
		pattern string
		is      func(string) bool
		text    *rapid.Generator[string]
	}{
		"account":    {`[0-9]{12}`, isAccount, rapid.StringMatching(`[0-9]{11,13}a?`)},
		"region":     {`[0-9a-z-]{2,25}`, isRegion, rapid.StringMatching(`[0-9a-zA-]{0,27}`)},
		"repository": {RepositoryPattern, isRepository, rapid.StringMatching(`([a-c0-1]{0,2}[._/-]{0,3}){0,6}[A-]?`)},
		"tag":        {`[a-zA-Z0-9_.-]+`, isTag, rapid.StringMatching(`[a-zA-Z0-9_.+-]{0,9}`)},
		"digest":     {`[a-zA-Z0-9_+.-]+:[a-fA-F0-9]+`, LooksLikeDigest, rapid.StringMatching(`[a-z_.+-]{0,5}:?[a-gA-G0-9]{0,5}:?`)},
	} {
		t.Run(what, func(t *testing.T) {
			want := regexp.MustCompile(`^(?:` + c.pattern + `)$`)
			matched := 0
			rapid.Check(t, func(r *rapid.T) {
				s := rapid.OneOf(c.text, rapid.StringMatching(c.pattern), rapid.String()).Draw(r, "text")
				if got := c.is(s); got != want.MatchString(s) {
					r.Fatalf("%q: %t", s, got)
				} else if got {
					matched++
				}
			})
			if matched == 0 {
				t.Error("nothing matches")
			}
		})
	}
}

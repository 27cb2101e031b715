package pattern

import (
	"encoding/binary"
	"slices"
	"strings"
)

// parseWildcard reads a wildcard: * is any text, \* a star, \\ a backslash. What is wrong
// with one is a syntaxError without a place in the pattern.
func parseWildcard(text string) (wildcard, error) {
	var w wildcard
	var part strings.Builder
	for i := 0; i < len(text); i++ {
		// Positions count the opening quote, as AWS's matcher does.
		switch c := text[i]; {
		case c == '*' && strings.HasPrefix(text[i+1:], "*"):
			return wildcard{}, wrong(i+1, "Consecutive wildcard characters at pos %d", i+1)
		case c == '*':
			w.parts = append(w.parts, part.String())
			part.Reset()
		case c == '\\':
			if i++; i >= len(text) || (text[i] != '*' && text[i] != '\\') {
				return wildcard{}, wrong(i, "Invalid escape character at pos %d", i)
			}
			part.WriteByte(text[i])
		default:
			part.WriteByte(c)
		}
	}
	w.parts = append(w.parts, part.String())
	return w, nil
}

// The limits of wildcards. AWS refuses rules by a measure (MachineComplexityEvaluator of
// event-ruler) whose threshold it does not publish; ten is the one of event-ruler's
// example, and refuses and accepts what the EventBridge user guide says is too complex
// and is not.
const (
	maxComplexity = 10
	// maxExplored is how many states the measure looks at; a rule that needs more is too
	// complex as well. A wildcard with one gap needs one for each of its characters.
	maxExplored = 10000
)

// step is a character of a wildcard, or a gap.
type step struct {
	pattern int
	at      int // of the byte or star, in steps
}

// tooComplex says whether one text can be in too many places of the wildcards of one path
// at once: in gaps, and in repetitions behind them.
func tooComplex(wild []string) bool {
	m := machine{}
	for _, text := range wild {
		m.add(text)
	}
	if m.stars == 0 {
		return false
	}
	start := make([]step, 0, len(m.tokens))
	for i := range m.tokens {
		start = append(start, step{i, 0})
	}
	seen := map[string]bool{}
	queue := [][]step{start}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, c := range m.ahead(at) {
			next, size := m.read(at, c)
			if size >= maxComplexity {
				return true
			}
			key := stepsKey(next)
			if len(next) == 0 || seen[key] {
				continue
			}
			if seen[key] = true; len(seen) > maxExplored {
				return true
			}
			queue = append(queue, next)
		}
	}
	return false
}

// machine reads all wildcards of a path at once.
type machine struct {
	tokens [][]token
	stars  int
}

// token is a byte, or a gap.
type token struct {
	char int
	star bool
}

// other is any byte that no wildcard names.
const other = -1

func (m *machine) add(text string) {
	var tokens []token
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '*' {
			tokens = append(tokens, token{star: true})
			m.stars++
			continue
		}
		if c == '\\' {
			i++
			c = text[i]
		}
		tokens = append(tokens, token{char: int(c)})
	}
	m.tokens = append(m.tokens, tokens)
}

// ahead are the characters that make a difference at some places: those that come next in
// a wildcard, and one that comes in none.
func (m *machine) ahead(at []step) []int {
	out := []int{other}
	for _, s := range at {
		tokens := m.tokens[s.pattern]
		if s.at < len(tokens) && tokens[s.at].star {
			s.at++
		}
		if s.at < len(tokens) && !slices.Contains(out, tokens[s.at].char) {
			out = append(out, tokens[s.at].char)
		}
	}
	return out
}

func stepsKey(at []step) string {
	var key []byte
	for _, s := range at {
		key = binary.AppendUvarint(binary.AppendUvarint(key, uint64(s.pattern)), uint64(s.at))
	}
	return string(key)
}

// read says where a character leads to from some places, each before a step, and how many
// places count: characters just read, gaps that took one, and gaps that begin now.
func (m *machine) read(at []step, c int) (next []step, size int) {
	add := func(s step) {
		if !slices.Contains(next, s) {
			next = append(next, s)
		}
	}
	counted := map[step]bool{}
	for _, s := range at {
		tokens := m.tokens[s.pattern]
		if s.at < len(tokens) && tokens[s.at].star {
			counted[s] = true
			add(s)
			s.at++ // or the gap is over, and the character is the next one's
		}
		if s.at < len(tokens) && tokens[s.at].char == c && !tokens[s.at].star {
			counted[s] = true
			s.at++
			add(s)
			if s.at < len(tokens) && tokens[s.at].star {
				counted[s] = true
			}
		}
	}
	slices.SortFunc(next, func(a, b step) int {
		if a.pattern != b.pattern {
			return a.pattern - b.pattern
		}
		return a.at - b.at
	})
	return next, len(counted)
}

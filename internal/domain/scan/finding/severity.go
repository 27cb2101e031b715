package finding

import "cmp"

// rank orders severities, the worst first. UNTRIAGED is UNDEFINED by another name; a word
// that is none comes last.
func rank(s Severity) int {
	switch s {
	case Critical:
		return 0
	case High:
		return 1
	case Medium:
		return 2
	case Low:
		return 3
	case Informational:
		return 4
	case Undefined, Untriaged:
		return 5
	}
	return 6
}

// CompareSeverity orders severities, the worst first: negative if a is worse than b.
func CompareSeverity(a, b Severity) int { return cmp.Compare(rank(a), rank(b)) }

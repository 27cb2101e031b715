package pattern

import "strings"

// Action is a compiled pattern of actions, "ecr:Describe*", immutable. Case has
// no meaning in it, and "*" covers every action.
type Action struct {
	all     bool
	service string // in lower case
	name    string // in lower case; "" without a colon
	colon   bool
}

// CompileAction reads a pattern of actions.
func CompileAction(s string) Action {
	a := Action{all: s == "*"}
	a.service, a.name, a.colon = strings.Cut(strings.ToLower(s), ":")
	return a
}

// Match says whether the pattern covers an action. The part before the first
// colon and the part behind it are compared by themselves. Actions are ASCII.
func (a *Action) Match(action string) bool {
	if a.all {
		return true
	}
	service, name, colon := strings.Cut(action, ":")
	return colon == a.colon && matchFold(a.service, service) && matchFold(a.name, name)
}

// matchFold is match for ASCII, with the action in any case and the pattern in
// lower case.
func matchFold(p, s string) bool {
	i, at := 0, 0
	for at < len(s) && i < len(p) && p[i] != '*' { // up to the first star there is no way back
		if p[i] != '?' && p[i] != lower(s[at]) {
			return false
		}
		i++
		at++
	}
	star, mark := -1, 0
	for at < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			if i+1 == len(p) {
				return true
			}
			star, mark = i, at
			i++
			continue
		case i < len(p) && (p[i] == '?' || p[i] == lower(s[at])):
			i++
			at++
			continue
		case star < 0:
			return false
		}
		mark++
		at, i = mark, star+1
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

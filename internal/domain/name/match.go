package name

// Every request comes here several times, so the patterns are matched by hand; a test
// compares with regexp.

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }

// inTag says whether tags may have the character.
func inTag(c byte) bool {
	return isDigit(c) || isLower(c) || 'A' <= c && c <= 'Z' || c == '-' || c == '_' || c == '.'
}

// consists says whether the text has characters and all of them are so.
func consists(s string, so func(byte) bool) bool {
	for i := range len(s) {
		if !so(s[i]) {
			return false
		}
	}
	return s != ""
}

func isAccount(s string) bool { return len(s) == 12 && consists(s, isDigit) }

func isRegion(s string) bool {
	return len(s) >= 2 && len(s) <= 25 && consists(s, func(c byte) bool { return isDigit(c) || isLower(c) || c == '-' })
}

func isTag(s string) bool { return consists(s, inTag) }

// isRepository matches RepositoryPattern: words, with a slash between two or a dot, one or
// two underscores, or hyphens.
func isRepository(s string) bool {
	word := false // the character before is of a word
	for i := 0; i < len(s); i++ {
		c := s[i]
		if isDigit(c) || isLower(c) {
			word = true
			continue
		}
		if !word {
			return false
		}
		switch c {
		case '/', '.':
		case '_':
			if i+1 < len(s) && s[i+1] == '_' {
				i++
			}
		case '-':
			for i+1 < len(s) && s[i+1] == '-' {
				i++
			}
		default:
			return false
		}
		word = false
	}
	return word
}

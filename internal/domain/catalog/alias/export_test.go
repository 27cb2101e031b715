package alias

import "slices"

// Listed are all words of the rules.
func Listed() []string { return slices.Concat(reserved, parts, generic, services) }

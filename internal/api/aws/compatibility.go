package aws

import (
	"bytes"
	"fmt"
	"slices"
)

// Compatibility prints docs/compatibility.md: for each service all operations of
// its model and whether they are built. The same services give the same bytes.
func Compatibility(services []Service) []byte {
	var b bytes.Buffer
	b.WriteString("# Compatibility\n\n" +
		"Printed from the tables of operations; do not edit. An operation that is missing is answered as AWS\n" +
		"answers an operation that does not exist.\n")
	for _, s := range services {
		built := map[string]bool{}
		for _, op := range slices.Concat(s.Operations, s.Open) {
			built[op.Name] = true
		}
		names := slices.Sorted(slices.Values(s.Known))
		fmt.Fprintf(&b, "\n## %s\n\n%d of %d operations are built.\n\n| operation | state |\n|---|---|\n", s.Name, len(built), len(names))
		for _, n := range names {
			state := "missing"
			if built[n] {
				state = "built"
				if note := s.Notes[n]; note != "" {
					state += "; " + note
				}
			}
			fmt.Fprintf(&b, "| %s | %s |\n", n, state)
		}
	}
	return b.Bytes()
}

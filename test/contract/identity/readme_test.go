package identity

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeHasTheTable keeps the table of attempts that people read the one
// that is checked.
func TestReadmeHasTheTable(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), table()) {
		t.Errorf("README.md has another table than the attempts. It has to be:\n%s", table())
	}
	titles := map[string]bool{}
	for _, g := range groups() {
		for _, a := range g.attempts {
			if titles[a.title] {
				t.Errorf("%q stands twice", a.title)
			}
			titles[a.title] = true
		}
	}
	if len(titles) < 30 {
		t.Errorf("%d attempts", len(titles))
	}
}

package aws

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeHasTheTable keeps the table of bad input that people read the one
// that is checked.
func TestReadmeHasTheTable(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), Table()) {
		t.Errorf("README.md has another table than badinput.go. It has to be:\n%s", Table())
	}
}

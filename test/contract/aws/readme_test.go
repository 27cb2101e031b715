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
	for file, table := range map[string]string{"badinput.go": Table(), "publicrefusals.go": PublicTable()} {
		if !strings.Contains(string(text), table) {
			t.Errorf("README.md has another table than %s. It has to be:\n%s", file, table)
		}
	}
}

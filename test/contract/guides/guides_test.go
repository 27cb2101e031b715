package guides

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// policy is one that a guide prints.
type policy struct {
	// file is its name in testdata.
	file string
	// corrected says that the print has slips: beside the file there is one with
	// the slips corrected.
	corrected bool
	show      func(*testing.T, *world, texts)
}

// texts are a policy with its placeholders.
type texts struct {
	printed   string
	corrected string // "" where the print has no slips
}

// policies is the corpus, in the order of the guides.
func policies() []policy {
	return slices.Concat(identityPolicies(), managedPolicies(), registryPolicies(), repositoryPolicies(), publicPolicies())
}

func TestGuides(t *testing.T) {
	w := newWorld(t)
	t.Run("show", func(t *testing.T) {
		for _, p := range policies() {
			t.Run(strings.TrimSuffix(p.file, ".json"), func(t *testing.T) {
				t.Parallel()
				text := texts{printed: read(t, p.file)}
				if p.corrected {
					text.corrected = read(t, correctedName(p.file))
				}
				p.show(t, w, text)
			})
		}
	})
	w.MustFsck(t)
}

func correctedName(file string) string { return strings.TrimSuffix(file, ".json") + ".corrected.json" }

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	must(t, "the policy", err)
	return string(b)
}

// fill puts values in the place of placeholders, each of which has to occur.
func fill(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the policy has no %s:\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// sameJSON fails unless two texts are the same but for white space.
func sameJSON(t *testing.T, what, got, want string) {
	t.Helper()
	if compact(t, got) != compact(t, want) {
		t.Errorf("%s is\n%s\nwant\n%s", what, got, want)
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(text)); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return out.String()
}

// TestCorpus holds the corpus complete: every file has a test and a row of
// README's table, and a correction stands beside the print that it corrects.
func TestCorpus(t *testing.T) {
	var want []string
	for _, p := range policies() {
		want = append(want, p.file)
		if p.corrected {
			want = append(want, correctedName(p.file))
		}
	}
	slices.Sort(want)
	entries, err := os.ReadDir("testdata")
	must(t, "testdata", err)
	var files []string
	for _, e := range entries {
		files = append(files, e.Name())
	}
	slices.Sort(files)
	if !slices.Equal(files, want) {
		t.Errorf("testdata has\n%s\nthe tests show\n%s", strings.Join(files, "\n"), strings.Join(want, "\n"))
	}

	readme, err := os.ReadFile("README.md")
	must(t, "README.md", err)
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\d\\d-[^`]+)` \\|[^|]+\\|([^|]+)\\|[^|]+\\|$").FindAllStringSubmatch(string(readme), -1) {
		rows = append(rows, m[1]+".json")
		if corrected := strings.TrimSpace(m[2]) != "none" && !strings.HasPrefix(strings.TrimSpace(m[2]), "noted:"); corrected {
			rows = append(rows, correctedName(m[1]+".json"))
		}
	}
	slices.Sort(rows)
	if !slices.Equal(rows, want) {
		t.Errorf("README.md has rows for\n%s\nthe tests show\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
}

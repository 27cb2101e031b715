package selection_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/lifecycle/selection"
	"github.com/berth-registry/berth/internal/domain/name"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 500, time.UTC)

type corpusCase struct {
	Case      string
	Images    []string
	Rules     []string
	MultiArch bool
	Want      []string
}

// image reads an image as testdata/README.md describes it.
func image(t testing.TB, text string) selection.Image {
	t.Helper()
	ago := func(days string) time.Time {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return now.Add(-time.Duration(n * float64(day)))
	}
	words := strings.Fields(text)
	id, rest, _ := strings.Cut(words[0], "[")
	tags, pushed, _ := strings.Cut(rest, "]@")
	i := selection.Image{Digest: name.Digest(id), PushedAt: ago(pushed)}
	if tags != "" {
		i.Tags = strings.Split(tags, ",")
	}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(strings.Replace(word, "@", "=", 1), "=")
		switch key {
		case "pulled":
			i.LastPulledAt = ago(value)
		case "archived":
			i.LastArchivedAt, i.Status = ago(value), selection.Archived
		case "restored":
			i.LastActivatedAt, i.Status = ago(value), selection.Active
		case "activating":
			i.Status = selection.Activating
		case "lists":
			for _, child := range strings.Split(value, "+") {
				i.Children = append(i.Children, name.Digest(child))
			}
		case "about":
			i.Subject = name.Digest(value)
		case "order":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			i.Order = n
		default:
			t.Fatalf("%s: what is %s?", text, word)
		}
	}
	return i
}

// policyText writes rules given as testdata/README.md describes them.
func policyText(t fataler, list []string) string {
	t.Helper()
	var all []map[string]any
	for _, text := range list {
		words := strings.Fields(text)
		priority, err := strconv.Atoi(strings.TrimPrefix(words[0], "#"))
		if err != nil {
			t.Fatalf("%v", err)
		}
		s := map[string]any{"tagStatus": words[1]}
		a := map[string]any{"type": words[len(words)-1]}
		if a["type"] == "transition" {
			a["targetStorageClass"] = "archive"
		}
		for _, word := range words[2 : len(words)-1] {
			key, value, _ := strings.Cut(word, "=")
			switch {
			case key == "prefix":
				s["tagPrefixList"] = strings.Split(value, ",")
			case key == "pattern":
				s["tagPatternList"] = strings.Split(value, ",")
			case key == "archive":
				s["storageClass"] = "archive"
			case s["countType"] == nil:
				s["countType"] = key
				if key != "imageCountMoreThan" {
					s["countUnit"] = "days"
				}
			default:
				s["countNumber"] = json.Number(key)
			}
		}
		all = append(all, map[string]any{"rulePriority": priority, "selection": s, "action": a})
	}
	text, err := json.Marshal(map[string]any{"rules": all})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return string(text)
}

func parse(t testing.TB, text string) *rules.Policy {
	t.Helper()
	p, err := rules.Parse(text, rules.Extended, rules.Limits{})
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return p
}

// told writes actions as testdata/README.md describes them.
func told(images []selection.Image, actions []selection.Action, blocked map[int][]name.Digest) []string {
	list := []string{}
	for n, a := range actions {
		text := fmt.Sprintf("%s %s #%d", images[a.Image].Digest, a.Type, a.Rule)
		if a.Tags != nil {
			text += " [" + strings.Join(a.Tags, ",") + "]"
		}
		if by := blocked[n]; by != nil {
			text += " blocked by"
			for _, d := range by {
				text += " " + string(d)
			}
		}
		list = append(list, text)
	}
	return list
}

func corpus(t testing.TB) []corpusCase {
	t.Helper()
	text, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []corpusCase
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCorpus(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range corpus(t) {
		if seen[c.Case] {
			t.Errorf("%q is there twice", c.Case)
		}
		seen[c.Case] = true
		t.Run(c.Case, func(t *testing.T) {
			p := parse(t, policyText(t, c.Rules))
			var images []selection.Image
			for _, text := range c.Images {
				images = append(images, image(t, text))
			}
			o := selection.Options{MultiArch: c.MultiArch}
			for range 2 { // once more with the images in the other order
				actions := selection.Evaluate(p, images, now, o)
				if got := told(images, actions, selection.Blocked(images, actions)); !reflect.DeepEqual(got, c.Want) {
					t.Errorf("got  %q\nwant %q", got, c.Want)
				}
				for _, a := range actions {
					if (a.Type == rules.Transition) != (a.Target == rules.Archive) || (a.Type == rules.Untag) != (a.Tags != nil) {
						t.Errorf("%+v", a)
					}
				}
				actions = referenceEvaluate(p, images, now, o)
				if got := told(images, actions, referenceBlocked(images, actions)); !reflect.DeepEqual(got, c.Want) {
					t.Errorf("the reference evaluator says %q\nwant %q", got, c.Want)
				}
				slices.Reverse(images)
			}
		})
	}
	t.Logf("%d cases", len(seen))
}

package selection_test

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/lifecycle/selection"
	"github.com/berth-registry/berth/internal/domain/name"
)

// TestMain makes the properties run longer than rapid's default, because a
// repository has many sides; -rapid.checks still has its way.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "600"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// What random repositories are made of: few enough values that they meet often.
var (
	someTags  = []string{"a", "a1", "ab", "b", "b1", "v1", "v2"}
	someAges  = []time.Duration{0, time.Nanosecond, day, 2 * day, 2*day + 1, 3 * day, 4 * day, 90 * day, 91 * day, 92 * day, 100 * day, 200 * day}
	someLists = []string{"prefix=a", "prefix=b", "prefix=a,b", "prefix=v", "pattern=*", "pattern=a*", "pattern=*1", "pattern=a", "pattern=*1,v*", "pattern=*b*", "pattern=a*1"}
)

func drawImages(t *rapid.T) []selection.Image {
	images := make([]selection.Image, rapid.IntRange(0, 14).Draw(t, "images"))
	for i := range images {
		images[i].Digest = name.Digest(fmt.Sprintf("d%02d", i))
	}
	age := func(label string) time.Time {
		if rapid.Bool().Draw(t, label) {
			return time.Time{}
		}
		return now.Add(-rapid.SampledFrom(someAges).Draw(t, label+" at"))
	}
	for i := range images {
		m := &images[i]
		m.PushedAt = now.Add(-rapid.SampledFrom(someAges).Draw(t, "pushed"))
		if n := rapid.IntRange(-2, 3).Draw(t, "tags"); n > 0 {
			m.Tags = rapid.SliceOfNDistinct(rapid.SampledFrom(someTags), n, n, rapid.ID).Draw(t, "tag")
		}
		m.LastPulledAt, m.LastActivatedAt = age("pulled"), age("activated")
		m.Order = rapid.Int64Range(0, 2).Draw(t, "order")
		if m.Status = rapid.SampledFrom([]selection.Status{selection.Active, selection.Active, selection.Active, selection.Archived, selection.Activating}).Draw(t, "status"); m.Status != selection.Active {
			m.LastArchivedAt = age("archived")
		}
		// An index is pushed after what it lists, and so lists images before it;
		// "none" stands for a child that the repository does not have.
		for range rapid.IntRange(-6, 3).Draw(t, "children") {
			m.Children = append(m.Children, rapid.SampledFrom(append([]selection.Image{{Digest: "none"}}, images[:i]...)).Draw(t, "child").Digest)
		}
		if i > 0 && rapid.IntRange(0, 9).Draw(t, "refers") == 0 {
			m.Subject = rapid.SampledFrom([]name.Digest{"none", images[0].Digest, images[i-1].Digest}).Draw(t, "subject")
		}
	}
	return images
}

// drawPolicy adds rules as long as they make a policy.
func drawPolicy(t *rapid.T, actions ...string) *rules.Policy {
	var list []string
	var policy *rules.Policy
	for range rapid.IntRange(1, 8).Draw(t, "rules") {
		pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
		text := fmt.Sprintf("#%d %s", rapid.IntRange(1, 50).Draw(t, "priority"), pick("status", "tagged", "tagged", "tagged", "untagged", "any"))
		if strings.HasSuffix(text, " tagged") {
			text += " " + pick("list", someLists...)
		}
		count := pick("count", "imageCountMoreThan 1", "imageCountMoreThan 2", "imageCountMoreThan 3", "sinceImagePushed 1", "sinceImagePushed 2", "sinceImagePushed 91", "sinceImagePulled 2",
			"archive sinceImageTransitioned 90", "")
		text += " " + count + " " + pick("action", actions...)
		if p, err := rules.Parse(policyText(t, append(list, text)), rules.Extended, rules.Limits{}); err == nil {
			list, policy = append(list, text), p
		}
	}
	if policy == nil {
		policy = &rules.Policy{}
	}
	return policy
}

// drawOptions draws the one option.
func drawOptions(t *rapid.T) selection.Options {
	return selection.Options{MultiArch: rapid.Bool().Draw(t, "multi-arch")}
}

var allActions = []string{"expire", "expire", "expire", "transition", "transition", "retain", "untag"}

// agree compares with the reference, and looks at what holds for every plan.
func agree(t fataler, p *rules.Policy, images []selection.Image, o selection.Options) []selection.Action {
	t.Helper()
	actions := selection.Evaluate(p, images, now, o)
	want := referenceEvaluate(p, images, now, o)
	if !slices.EqualFunc(actions, want, func(a, b selection.Action) bool { return reflect.DeepEqual(a, b) }) {
		t.Fatalf("%+v\nEvaluate  %+v\nreference %+v\nimages %+v", p, actions, want, images)
	}
	blocked, wantBlocked := selection.Blocked(images, actions), referenceBlocked(images, actions)
	if len(blocked)+len(wantBlocked) > 0 && !reflect.DeepEqual(blocked, wantBlocked) {
		t.Fatalf("Blocked %v, reference %v\nactions %+v\nimages %+v", blocked, wantBlocked, actions, images)
	}
	acted := map[int]bool{}
	for _, a := range actions {
		if acted[a.Image] {
			t.Fatalf("image %d is acted on twice: %+v", a.Image, actions)
		}
		acted[a.Image] = true
	}
	return actions
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func TestAgreesWithReference(t *testing.T) {
	reached := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		images, p := drawImages(t), drawPolicy(t, allActions...)
		actions := agree(t, p, images, o)
		blocked := selection.Blocked(images, actions)
		for n, a := range actions {
			reached[fmt.Sprint(a.Type, o.MultiArch, blocked[n] != nil)]++
		}
	})
	// expire and transition, each with and without the option, refused and not;
	// an untag is never refused.
	if len(reached) != 10 {
		t.Errorf("the random repositories reach only %v", reached)
	}
}

func TestOrderOfImagesNeverMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		images, p := drawImages(t), drawPolicy(t, allActions...)
		tell := func(images []selection.Image) []string {
			actions := selection.Evaluate(p, images, now, o)
			return told(images, actions, selection.Blocked(images, actions))
		}
		before := tell(images)
		if after := tell(rapid.Permutation(images).Draw(t, "permutation")); !reflect.DeepEqual(after, before) {
			t.Fatalf("%q became %q", before, after)
		}
	})
}

// TestOwnedImagesStay shows that the first rule whose selection an image is in is
// the only one that acts on it.
func TestOwnedImagesStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		images, p := drawImages(t), drawPolicy(t, allActions...)
		for _, a := range selection.Evaluate(p, images, now, selection.Options{}) {
			class := rules.Standard
			if images[a.Image].Status == selection.Archived {
				class = rules.Archive
			}
			first := slices.IndexFunc(p.Rules, func(r rules.Rule) bool {
				return r.Action.Type != rules.Retain && r.Selection.StorageClass == class && r.Matches(images[a.Image].Tags)
			})
			if p.Rules[first].Priority != a.Rule {
				t.Fatalf("%+v, and rule %d is the first for it", a, p.Rules[first].Priority)
			}
			if images[a.Image].Status == selection.Activating {
				t.Fatalf("%+v is on its way back", a)
			}
		}
	})
}

// TestRetainOnlyTakesActionsAway shows that rules that retain protect what they
// are told to, and change nothing else.
func TestRetainOnlyTakesActionsAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		images, p := drawImages(t), drawPolicy(t, "expire", "transition", "untag", "retain", "retain")
		without := &rules.Policy{}
		for _, r := range p.Rules {
			if r.Action.Type != rules.Retain {
				without.Rules = append(without.Rules, r)
			}
		}
		kept := func(image *selection.Image) bool {
			return slices.ContainsFunc(p.Rules, func(r rules.Rule) bool {
				s := r.Selection
				return r.Action.Type == rules.Retain && s.CountType == rules.NoCount && (s.StorageClass == rules.Archive) == (image.Status == selection.Archived) && r.Matches(image.Tags)
			})
		}
		before, after := selection.Evaluate(without, images, now, selection.Options{}), selection.Evaluate(p, images, now, selection.Options{})
		for _, a := range after {
			if kept(&images[a.Image]) {
				t.Fatalf("%+v acts on an image that is retained", a)
			}
			at := slices.IndexFunc(before, func(b selection.Action) bool { return reflect.DeepEqual(a, b) })
			if at < 0 {
				t.Fatalf("%+v comes from a rule that retains", a)
			}
			before = before[at+1:] // the order stays
		}
	})
}

// TestChildrenAreNotInTheWay shows that with the multi-arch option an untagged
// child is refused only because its index was refused before.
func TestChildrenAreNotInTheWay(t *testing.T) {
	followed := 0
	rapid.Check(t, func(t *rapid.T) {
		images, p := drawImages(t), drawPolicy(t, allActions...)
		actions := selection.Evaluate(p, images, now, selection.Options{MultiArch: true})
		blocked := selection.Blocked(images, actions)
		for n, a := range actions {
			i := &images[a.Image]
			if len(i.Tags) > 0 || !slices.ContainsFunc(images, func(x selection.Image) bool { return slices.Contains(x.Children, i.Digest) }) {
				continue
			}
			followed++
			for _, by := range blocked[n] {
				refused := slices.IndexFunc(actions[:n], func(b selection.Action) bool { return images[b.Image].Digest == by })
				if refused < 0 || blocked[refused] == nil {
					t.Fatalf("%s is refused because of %s, which was not refused itself: %q", i.Digest, by, told(images, actions, blocked))
				}
			}
		}
	})
	if followed == 0 {
		t.Error("no child ever followed its index")
	}
}

// TestTagsAreMatchedAsTheRuleSays compares the matching of all rules at once with
// each rule's own.
func TestTagsAreMatchedAsTheRuleSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rules.Rule{
			Priority: 1, Action: rules.Action{Type: rules.Expire},
			Selection: rules.Selection{TagStatus: rules.Tagged, StorageClass: rules.Standard, CountType: rules.SinceImagePushed, CountNumber: 1},
		}
		if rapid.Bool().Draw(t, "prefixes") {
			r.Selection.Prefixes = rapid.SliceOfN(rapid.StringMatching(`[ab*]{1,3}`), 1, 2).Draw(t, "prefix")
		} else {
			r.Selection.Patterns = rapid.SliceOfN(rapid.StringMatching(`[ab*]{1,6}`), 1, 2).Draw(t, "pattern")
		}
		tags := rapid.SliceOfN(rapid.StringMatching(`[ab]{1,5}`), 0, 3).Draw(t, "tags")
		images := []selection.Image{{Digest: "d", Tags: tags, PushedAt: now.Add(-2 * day)}}
		if got := len(selection.Evaluate(&rules.Policy{Rules: []rules.Rule{r}}, images, now, selection.Options{})) == 1; got != r.Matches(tags) {
			t.Fatalf("%+v with %q: %t", r.Selection, tags, got)
		}
	})
}

// TestLongAgo has more days than a time.Duration can hold.
func TestLongAgo(t *testing.T) {
	p := parse(t, policyText(t, []string{"#1 any sinceImagePushed 2147483647 expire"}))
	if got := selection.Evaluate(p, []selection.Image{{Digest: "a", PushedAt: now.AddDate(-1000, 0, 0)}}, now, selection.Options{}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	p = parse(t, policyText(t, []string{"#1 any sinceImagePushed 1 expire"}))
	if got := selection.Evaluate(p, []selection.Image{{Digest: "a", PushedAt: now.AddDate(1000, 0, 0)}}, now, selection.Options{}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// FuzzEvaluate reads a repository from bytes, six for each image, in which
// indexes may list each other in circles, as no hash allows.
func FuzzEvaluate(f *testing.F) {
	for n, c := range corpus(f) {
		f.Add([]byte(strings.Repeat(c.Case, 2)), policyText(f, c.Rules), n%2 == 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, text string, multi bool) {
		p, err := rules.Parse(text, rules.Extended, rules.Limits{})
		if err != nil {
			return
		}
		var images []selection.Image
		digest := func(n byte) name.Digest { return name.Digest(fmt.Sprintf("d%02d", n%20)) }
		for ; len(data) >= 6 && len(images) < 16; data = data[6:] {
			i := selection.Image{Digest: digest(byte(len(images))), Status: selection.Status(data[0] % 3), Order: int64(data[0] / 3 % 2)}
			i.PushedAt = now.Add(-someAges[int(data[1])%len(someAges)])
			if data[1] >= 128 {
				i.LastActivatedAt, i.LastPulledAt = now.Add(-someAges[int(data[2])%len(someAges)]), now.Add(-someAges[int(data[3])%len(someAges)])
			}
			if i.Status != selection.Active {
				i.LastArchivedAt = now.Add(-someAges[int(data[0]/6)%len(someAges)])
			}
			for bit, tag := range someTags {
				if data[2]&data[3]&(1<<bit) != 0 {
					i.Tags = append(i.Tags, tag)
				}
			}
			if data[4] >= 128 {
				i.Children = []name.Digest{digest(data[4]), digest(data[5]), digest(data[4] / 2)}
			} else if data[4] >= 110 {
				i.Subject = digest(data[5])
			}
			images = append(images, i)
		}
		agree(t, p, images, selection.Options{MultiArch: multi})
	})
}

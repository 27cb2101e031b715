package repository

import (
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

func TestMutabilityAllows(t *testing.T) {
	filters := []string{"latest", "dev-*", "*-rc*"}
	for _, c := range []struct {
		setting  TagMutability
		tag      name.Tag
		excluded bool
	}{
		{"", "latest", true}, {"", "latest2", false}, {"", "dev-", true}, {"", "dev-1", true}, {"", "xdev-1", false},
		{"", "v1-rc2", true}, {"", "v1", false},
	} {
		for setting, want := range map[TagMutability]bool{
			Mutable: true, Immutable: false, MutableWithExclusion: !c.excluded, ImmutableWithExclusion: c.excluded,
		} {
			if got := (Mutability{Setting: setting, Filters: filters}).Allows(c.tag); got != want {
				t.Errorf("%s Allows(%q) = %v, want %v", setting, c.tag, got, want)
			}
		}
	}
}

// The oracle is path.Match, which agrees on text without slashes and classes.
func TestMatchWildcardAgainstPathMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab.*]{0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab.]{0,10}`).Draw(t, "s")
		want, err := path.Match(pattern, s)
		if err != nil {
			t.Fatal(err)
		}
		if got := matchWildcard(pattern, s); got != want {
			t.Fatalf("matchWildcard(%q, %q) = %v, want %v", pattern, s, got, want)
		}
	})
}

func TestMatchWildcardIsNotExponential(t *testing.T) {
	if matchWildcard(strings.Repeat("*a", 60)+"b", strings.Repeat("a", 300)) {
		t.Error("matched")
	}
}

func TestMutabilityValidate(t *testing.T) {
	for _, c := range []struct {
		m  Mutability
		ok bool
	}{
		{Mutability{Setting: Mutable}, true},
		{Mutability{Setting: Immutable}, true},
		{Mutability{Setting: ImmutableWithExclusion, Filters: []string{"a"}}, true},
		{Mutability{Setting: ImmutableWithExclusion}, false},
		{Mutability{Setting: Mutable, Filters: []string{"a"}}, false},
		{Mutability{Setting: "OTHER"}, false},
	} {
		err := c.m.Validate()
		if (err == nil) != c.ok || err != nil && !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%+v: %v", c.m, err)
		}
	}
}

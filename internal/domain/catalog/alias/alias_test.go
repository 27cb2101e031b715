package alias_test

import (
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/catalog/alias"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

func TestCheck(t *testing.T) {
	const ok = ""
	for _, c := range []struct{ alias, want, forced string }{
		{"acme", ok, ok},
		{"acme-tools.io_x", ok, ok},
		{"a1", ok, ok},
		{"secsuite", ok, ok}, // ecs is no word of it
		{"vector", ok, ok},
		{"testlab", ok, ok}, // a generic name is one that is nothing else
		{"searching", ok, ok},
		{"lambda-club", "'lambda'", ok},
		{"my.s3", "'s3'", ok},
		{"code-build", "'codebuild'", ok},
		{"mydynamodbtools", "'dynamodb'", ok},
		{"aws", "'aws'", ok},
		{"awsome", "'aws'", ok},
		{"myaws", "'aws'", ok},
		{"not-amazon", "'amazon'", ok},
		{"test", "generic", ok},
		{"public", "generic", ok},
		{"marketplace", "generic", ok},
		{"search", "reserved", "reserved"},
		{"static", "reserved", "reserved"},
		{"logo", "reserved", "reserved"},
		{"gallery", "reserved", "reserved"},
		{"token", "reserved", "reserved"},
		{"v2", "reserved", "reserved"},
		{"api", "reserved", "reserved"},
		{"healthz", "reserved", "reserved"},
		{"readyz", "reserved", "reserved"},
		{"favicon.ico", "reserved", "reserved"},
		{"", "cannot be", "cannot be"},
		{"a", "cannot be", "cannot be"},
		{"1acme", "cannot be", "cannot be"},
		{"111111111111", "cannot be", "cannot be"},
		{"Acme", "cannot be", "cannot be"},
		{"acme--x", "cannot be", "cannot be"},
		{"acme-", "cannot be", "cannot be"},
		{"acme/x", "cannot be", "cannot be"},
		{"acmé", "cannot be", "cannot be"},
		{strings.Repeat("a", 50), ok, ok},
		{strings.Repeat("a", 51), "cannot be", "cannot be"},
	} {
		for force, want := range map[bool]string{false: c.want, true: c.forced} {
			err := alias.Check(c.alias, force)
			if want == ok && err != nil || want != ok && (!errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), want)) {
				t.Errorf("Check(%q, %v) = %v, want %q", c.alias, force, err, want)
			}
		}
	}
}

// What is listed can be an alias, or nobody would have to be kept from it.
func TestListsAreOfAliases(t *testing.T) {
	for _, one := range alias.Listed() {
		if _, err := name.ParseAlias(one); err != nil {
			t.Errorf("%q: %v", one, err)
		}
		if alias.Check(one, false) == nil {
			t.Errorf("%q may be had", one)
		}
	}
}

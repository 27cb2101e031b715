package paging

import (
	"strconv"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
)

func TestPageTokensOpenForTheirScopeOnly(t *testing.T) {
	tokens := Tokens{Key: make([]byte, 32)}
	token := tokens.Token("images/1/0", "abc:v1")
	if token == nil {
		t.Fatal("no token")
	}
	if got, err := tokens.Cursor("images/1/0", token); err != nil || got != "abc:v1" {
		t.Errorf("%q %v", got, err)
	}
	if got, err := tokens.Cursor("images/1/0", nil); err != nil || got != "" {
		t.Errorf("the first page: %q %v", got, err)
	}
	if tokens.Token("images/1/0", "") != nil {
		t.Error("a token after the last page")
	}
	for what, bad := range map[string]string{"altered": (*token)[:len(*token)-1] + "A", "short": "AAAA", "no base64": "***", "another key's": *Tokens{Key: []byte("another")}.Token("images/1/0", "abc:v2")} {
		if _, err := tokens.Cursor("images/1/0", &bad); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := tokens.Cursor("images/2/0", token); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("in another repository: %v", err)
	}
}

// TestTokensAreNoFlags: the AWS CLI takes an argument that begins with "-" for a flag,
// "--next-token -abc" fails.
func TestTokensAreNoFlags(t *testing.T) {
	tokens := Tokens{Key: make([]byte, 32)}
	for n := range 1000 { // one in 64 would begin so in the other alphabet
		if token := *tokens.Token("images/1/0", strconv.Itoa(n)); token[0] == '-' {
			t.Fatalf("the token %s", token)
		}
	}
}

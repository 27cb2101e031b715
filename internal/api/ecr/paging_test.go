package ecr

import (
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
)

func TestPageTokensOpenForTheirScopeOnly(t *testing.T) {
	a := New(Config{SigningKey: make([]byte, 32)})
	token := a.pageToken("images/1/0", "abc:v1")
	if token == nil {
		t.Fatal("no token")
	}
	if got, err := a.cursor("images/1/0", token); err != nil || got != "abc:v1" {
		t.Errorf("%q %v", got, err)
	}
	if got, err := a.cursor("images/1/0", nil); err != nil || got != "" {
		t.Errorf("the first page: %q %v", got, err)
	}
	if a.pageToken("images/1/0", "") != nil {
		t.Error("a token after the last page")
	}
	for what, bad := range map[string]string{"altered": (*token)[:len(*token)-1] + "A", "short": "AAAA", "no base64": "***", "another key's": *New(Config{SigningKey: []byte("another")}).pageToken("images/1/0", "abc:v2")} {
		if _, err := a.cursor("images/1/0", &bad); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := a.cursor("images/2/0", token); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("in another repository: %v", err)
	}
}

func TestErrorTableNamesOnlyErrorsOfTheModelOrCommonOnes(t *testing.T) {
	known := map[string]bool{
		// Common to all AWS operations (API reference, "common errors").
		"AccessDeniedException": true, "ExpiredTokenException": true, "ThrottlingException": true, "RequestAbortedException": true, "ServiceUnavailable": true,
	}
	for _, e := range ErrorShapes() {
		known[e.Name] = true
	}
	for code := errs.Internal; code <= errs.Unavailable; code++ {
		if n, _ := errorOf(code); !known[n] {
			t.Errorf("code %d is answered as %s, which no client knows", code, n)
		}
	}
}

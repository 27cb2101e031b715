package wire_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/peer/wire"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// TestWords: every failure has a word of its own, which leads back to it, and those of
// the exchange are none of them.
func TestWords(t *testing.T) {
	exchange := []string{
		wire.RefusedMalformed, wire.RefusedAudience, wire.RefusedKey, wire.RefusedSignature, wire.RefusedClock,
		wire.RefusedReplay, wire.RefusedAccount, wire.RefusedContent, wire.RefusedIncomplete,
	}
	form := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[string]errs.Code{}
	for c := errs.Internal; c <= errs.Unavailable; c++ {
		status, f := wire.Of(errs.New(c, "the text"), "the-id")
		if before, there := seen[f.Word]; there {
			t.Errorf("codes %d and %d are both %q", before, c, f.Word)
		}
		seen[f.Word] = c
		if !form.MatchString(f.Word) || slices.Contains(exchange, f.Word) {
			t.Errorf("code %d is %q", c, f.Word)
		}
		if got := wire.Code(f.Word); got != c {
			t.Errorf("code %d comes back as %d", c, got)
		}
		if c != errs.Internal && (f.Message != "the text" || status < 400 || status == http.StatusInternalServerError) {
			t.Errorf("code %d is %d %+v", c, status, f)
		}
	}
	for _, err := range []error{errors.New("secret path"), errs.Wrap(errors.New("secret path"), errs.Internal, "secret path")} {
		status, f := wire.Of(err, "the-id")
		text, _ := json.Marshal(f)
		if status != http.StatusInternalServerError || f.Word != "internal" || strings.Contains(string(text), "secret") || !strings.Contains(f.Message, "the-id") {
			t.Errorf("%d %s", status, text)
		}
	}
	if status, f := wire.Of(errs.Wrap(errors.New("secret path"), errs.StorageFull, "full"), ""); status != http.StatusInsufficientStorage || f.Message != "full" {
		t.Errorf("%d %+v", status, f)
	}
	if c := wire.Code("a-word-of-later-times"); c != errs.Internal {
		t.Errorf("an unknown word is %d", c)
	}
}

// TestReadRequest: a request is read when every header is there once and well-formed.
func TestReadRequest(t *testing.T) {
	good := map[string]string{
		wire.HeaderKey: strings.Repeat("a", 32), wire.HeaderTo: strings.Repeat("b", 32), wire.HeaderSource: "111122223333/eu-west-1",
		wire.HeaderTime: "1700000000000000", wire.HeaderNonce: wire.NewNonce(), wire.HeaderContent: wire.BodyDigest(nil), wire.HeaderSignature: "AAAA",
	}
	make := func(change func(http.Header)) (wire.Request, error) {
		r := httptest.NewRequest(http.MethodPost, "/peer/v1/ping?a=%2F", nil)
		for k, v := range good {
			r.Header.Set(k, v)
		}
		change(r.Header)
		out, _, err := wire.ReadRequest(r)
		return out, err
	}
	got, err := make(func(http.Header) {})
	if err != nil || got.Target != "/peer/v1/ping?a=%2F" || got.Source.String() != "111122223333/eu-west-1" || got.Time.Unix() != 1700000000 || got.Method != "POST" {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := make(func(h http.Header) { h.Set(wire.HeaderSource, "-") }); err != nil || got.Source.Account != "" {
		t.Errorf("%+v %v", got, err)
	}
	for header, bad := range map[string][]string{
		wire.HeaderKey: {"", strings.Repeat("A", 32), strings.Repeat("a", 31)}, wire.HeaderTo: {"", "x"},
		wire.HeaderSource: {"", "111122223333", "1/eu-west-1", "111122223333/", "*/eu-west-1"}, wire.HeaderTime: {"", "x", "1.5"},
		wire.HeaderNonce: {"", "short", strings.Repeat("a", 23)}, wire.HeaderContent: {"", "sha256:abc"}, wire.HeaderSignature: {"A", "??", "AAB="},
	} {
		for _, value := range bad {
			if _, err := make(func(h http.Header) { h.Set(header, value) }); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%s: %q is taken: %v", header, value, err)
			}
		}
		if _, err := make(func(h http.Header) { h.Del(header) }); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s may be missing: %v", header, err)
		}
		if _, err := make(func(h http.Header) { h.Add(header, good[header]) }); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s may be there twice: %v", header, err)
		}
	}
}

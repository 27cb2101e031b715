package password_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/principal/credential/password"
)

func TestHash(t *testing.T) {
	h := password.NewHasher(0)
	ctx := t.Context()
	one, err := h.Hash(ctx, "korrekt Pferd é")
	if err != nil || !strings.HasPrefix(one, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(one, "Pferd") {
		t.Fatalf("%q %v", one, err)
	}
	other, err := h.Hash(ctx, "korrekt Pferd é")
	if err != nil || other == one {
		t.Errorf("two hashes of a password are one: %v", err)
	}
	if ok, err := h.Verify(ctx, one, "korrekt Pferd é"); err != nil || !ok {
		t.Errorf("the right password: %v %v", ok, err)
	}
	if ok, err := h.Verify(ctx, one, "korrekt Pferd e"); err != nil || ok {
		t.Errorf("a wrong password: %v %v", ok, err)
	}
}

// A hash is held against its own parameters, not against today's.
func TestVerifyOtherParameters(t *testing.T) {
	h := password.NewHasher(1)
	hash, err := h.Hash(t.Context(), "pw")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := h.Verify(t.Context(), strings.Replace(hash, "t=2", "t=3", 1), "pw"); err != nil || ok {
		t.Errorf("with more passes than it was made with: %v %v", ok, err)
	}
}

func TestVerifyRefusesForeignHashes(t *testing.T) {
	h := password.NewHasher(1)
	salt, sum := strings.Repeat("A", 22), strings.Repeat("A", 43)
	for _, bad := range []string{
		"", "x", "$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=99999999,t=2,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=19456,t=99,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + sum,
		"$argon2id$v=19$m=19456,t=2,p=1$AAAA$" + sum,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$AAAA",
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + base64.RawStdEncoding.EncodeToString(make([]byte, 65)),
		"$argon2id$v=19$m=19456,t=2,p=1$!$" + sum,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$!",
		"$argon2id$v=19$t=2,m=19456,p=1$" + salt + "$" + sum,
	} {
		if ok, err := h.Verify(t.Context(), bad, "pw"); ok || !errors.Is(err, password.ErrHash) {
			t.Errorf("%q: %v %v", bad, ok, err)
		}
	}
}

// A request that has been given up does not wait for memory.
func TestHasherIsBounded(t *testing.T) {
	h := password.NewHasher(1)
	hash, err := h.Hash(t.Context(), "pw")
	if err != nil {
		t.Fatal(err)
	}
	var wait []chan error
	for range 4 { // keep the slot taken for a while
		c := make(chan error, 1)
		wait = append(wait, c)
		go func() { c <- h.Pretend(context.Background(), "pw") }()
	}
	time.Sleep(5 * time.Millisecond)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // select is random when both are ready
		_, err = h.Hash(gone, "pw")
		if errors.Is(err, context.Canceled) {
			break
		}
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Hash: %v", err)
	}
	for _, c := range wait {
		if err := <-c; err != nil {
			t.Error(err)
		}
	}
	if ok, err := h.Verify(t.Context(), hash, "pw"); err != nil || !ok {
		t.Errorf("afterwards: %v %v", ok, err)
	}
}

func TestRefusal(t *testing.T) {
	all := &password.Policy{Length: 10, Symbols: true, Numbers: true, Uppercase: true, Lowercase: true}
	const up, low, num, sym = "Password should have at least one uppercase letter", "Password should have at least one lowercase letter",
		"Password should have at least one number", "Password should have at least one symbol"
	for _, c := range []struct {
		policy   *password.Policy
		password string
		want     string
	}{
		{nil, "Abcdefg1", ""},
		{nil, "abcdefg1!", ""},
		{nil, "Abcdef1", "Password should have a minimum length of 8"},
		{nil, "ABCDEFG1", "Password should meet 1 more of the following requirements: " + low + ", " + sym},
		{nil, "abcdefg1", "Password should meet 1 more of the following requirements: " + up + ", " + sym},
		{nil, "abcdefgh", "Password should meet 2 more of the following requirements: " + up + ", " + num + ", " + sym},
		{nil, "a", "Password should have a minimum length of 8, Password should meet 2 more of the following requirements: " + up + ", " + num + ", " + sym},
		{nil, "éÉéÉéÉé1", "Password should meet 2 more of the following requirements: " + up + ", " + low + ", " + sym},
		{nil, "Joe.Doe1!", "Password should not be the name of the user or the account"},
		{nil, "joe.DOE1!", "Password should not be the name of the user or the account"},
		{all, "Abcdefgh1!", ""},
		{all, "Abcdef1!", "Password should have a minimum length of 10"},
		{all, "abcdefgh1!", up}, {all, "ABCDEFGH1!", low}, {all, "Abcdefghi!", num}, {all, "Abcdefgh12", sym},
		{all, "Abcdefgh1 ", sym}, // a space is no symbol
		{all, "", "Password should have a minimum length of 10, " + up + ", " + low + ", " + num + ", " + sym},
		{&password.Policy{Length: 6}, "aaaaaa", ""},
		{&password.Policy{Length: 6}, "ééééé", "Password should have a minimum length of 6"},
		{&password.Policy{Length: 6}, "joe.doe1!", "Password should not be the name of the user or the account"},
	} {
		if got := c.policy.Refusal(c.password, "", "Joe.Doe1!", "acme"); got != c.want {
			t.Errorf("%+v %q:\n got %q\nwant %q", c.policy, c.password, got, c.want)
		}
	}
}

func TestExpired(t *testing.T) {
	set := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := &password.Policy{MaxAge: 90}
	for _, c := range []struct {
		p    *password.Policy
		days int
		less time.Duration
		want bool
	}{
		{nil, 5000, 0, false}, {&password.Policy{}, 5000, 0, false},
		{p, 90, time.Microsecond, false}, {p, 90, 0, true}, {p, 91, 0, true},
	} {
		if got := c.p.Expired(set, set.Add(time.Duration(c.days)*24*time.Hour-c.less)); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if (*password.Policy)(nil).Forbids() != 0 || (&password.Policy{Remembered: 5}).Forbids() != 5 || (&password.Policy{Remembered: 99}).Forbids() != 24 {
		t.Error("Forbids")
	}
}

// Package keystest is the suite that every keys.Manager passes. It supports
// tests and is not for programs.
package keystest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/infra/keys"
)

const (
	account = "123456789012"
	region  = "eu-central-1"
	alias   = "alias/aws/ecr"
)

// unknown is a well-formed ID that no key has.
const unknown = "00000000-0000-4000-8000-000000000000"

// Run runs the suite. Each call of open returns a Manager of its own with no
// key but the default one.
func Run(t *testing.T, open func(t *testing.T) keys.Manager) {
	for name, test := range map[string]func(*testing.T, keys.Manager){
		"WrapUnwrap":  testWrapUnwrap,
		"Altered":     testAltered,
		"UnknownKeys": testUnknownKeys,
		"Create":      testCreate,
		"Resolve":     testResolve,
		"Rotate":      testRotate,
		"Enabled":     testEnabled,
		"Default":     testDefault,
		"Derive":      testDerive,
		"List":        testList,
		"Concurrency": testConcurrency,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	t.Run("Separate", func(t *testing.T) { testSeparate(t, open(t), open(t)) })
}

func dataKey(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i + 1)
	}
	return b
}

func create(t *testing.T, m keys.Manager, account, region, alias string) keys.Key {
	t.Helper()
	key, err := m.Create(t.Context(), account, region, alias)
	if err != nil {
		t.Fatalf("create %q: %v", alias, err)
	}
	return key
}

func wrap(t *testing.T, m keys.Manager, id string, plain, context []byte) []byte {
	t.Helper()
	wrapped, err := m.Wrap(t.Context(), id, plain, context)
	if err != nil {
		t.Fatalf("wrap under %q: %v", id, err)
	}
	return wrapped
}

// opens says whether wrapped holds plain.
func opens(t *testing.T, m keys.Manager, wrapped, context, plain []byte) {
	t.Helper()
	got, err := m.Unwrap(t.Context(), wrapped, context)
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("unwrapped %x, %v; want %x", got, err, plain)
	}
}

func wantError(t *testing.T, err, want error, what string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func testWrapUnwrap(t *testing.T, m keys.Manager) {
	key := create(t, m, account, region, alias)
	for _, id := range []string{"", key.ID} {
		for _, size := range []int{1, 16, 32, keys.MaxDataKey} {
			for _, context := range [][]byte{nil, []byte("blobs/ab/cd"), bytes.Repeat([]byte("c"), 4000)} {
				plain := dataKey(size)
				wrapped := wrap(t, m, id, plain, context)
				if len(wrapped) > keys.MaxWrapped {
					t.Errorf("a key of %d bytes takes %d wrapped", size, len(wrapped))
				}
				if size >= 16 && bytes.Contains(wrapped, plain[:16]) {
					t.Error("the wrapped key shows the key")
				}
				opens(t, m, wrapped, context, plain)
				if bytes.Equal(wrapped, wrap(t, m, id, plain, context)) {
					t.Error("wrapping twice gives the same bytes")
				}
			}
		}
		for _, size := range []int{0, keys.MaxDataKey + 1} {
			if _, err := m.Wrap(t.Context(), id, make([]byte, size), nil); err == nil {
				t.Errorf("wrapped a data key of %d bytes", size)
			}
		}
	}
}

func testAltered(t *testing.T, m keys.Manager) {
	key := create(t, m, account, region, alias)
	context := []byte("context")
	for _, id := range []string{"", key.ID} {
		wrapped := wrap(t, m, id, dataKey(32), context)
		for _, other := range [][]byte{nil, []byte("contex"), []byte("context2"), []byte("Context")} {
			_, err := m.Unwrap(t.Context(), wrapped, other)
			wantError(t, err, keys.ErrUnwrap, fmt.Sprintf("context %q", other))
		}
		for i := range len(wrapped) {
			altered := slices.Clone(wrapped)
			altered[i] ^= 1
			_, err := m.Unwrap(t.Context(), altered, context)
			if !errors.Is(err, keys.ErrUnwrap) && !errors.Is(err, keys.ErrNotFound) {
				t.Errorf("byte %d of %d altered: %v", i, len(wrapped), err)
			}
			_, err = m.Unwrap(t.Context(), wrapped[:i], context)
			wantError(t, err, keys.ErrUnwrap, fmt.Sprintf("cut to %d bytes", i))
		}
		for _, longer := range [][]byte{append(slices.Clone(wrapped), 0), append(slices.Clone(wrapped), make([]byte, 600)...)} {
			_, err := m.Unwrap(t.Context(), longer, context)
			wantError(t, err, keys.ErrUnwrap, fmt.Sprintf("%d bytes", len(longer)))
		}
	}
}

func testUnknownKeys(t *testing.T, m keys.Manager) {
	ctx := t.Context()
	for _, id := range []string{unknown, "nonsense", alias} {
		_, err := m.Wrap(ctx, id, dataKey(32), nil)
		wantError(t, err, keys.ErrNotFound, "wrap")
		_, err = m.Rotate(ctx, id)
		wantError(t, err, keys.ErrNotFound, "rotate")
		_, err = m.SetEnabled(ctx, id, false)
		wantError(t, err, keys.ErrNotFound, "disable")
		_, err = m.Resolve(ctx, account, region, id)
		wantError(t, err, keys.ErrNotFound, "resolve")
	}
}

func testCreate(t *testing.T, m keys.Manager) {
	key := create(t, m, account, region, alias)
	if key.ID == "" || key.Account != account || key.Region != region || !key.Enabled || key.Versions != 1 ||
		!slices.Equal(key.Aliases, []string{alias}) || key.CreatedAt.IsZero() {
		t.Errorf("created %+v", key)
	}
	if again := create(t, m, account, region, alias); again.ID != key.ID {
		t.Errorf("the alias was given to %s and %s", key.ID, again.ID)
	}
	seen := map[string]bool{key.ID: true}
	for _, other := range []keys.Key{
		create(t, m, account, "us-east-1", alias),
		create(t, m, "999999999999", region, alias),
		create(t, m, account, region, alias+"2"),
		create(t, m, account, region, ""),
		create(t, m, account, region, ""),
	} {
		if seen[other.ID] {
			t.Errorf("key %s was given out twice", other.ID)
		}
		seen[other.ID] = true
	}
	for _, bad := range []string{"aws/ecr", "alias/", "alias", "alias/a b", "alias/a:b", "alias/ä", "alias/" + strings.Repeat("x", 251)} {
		if _, err := m.Create(t.Context(), account, region, bad); err == nil {
			t.Errorf("created alias %q", bad)
		}
	}
	create(t, m, account, region, "alias/"+strings.Repeat("x", 250))
	for _, owner := range [][2]string{{"", region}, {account, ""}, {"", ""}} {
		if _, err := m.Create(t.Context(), owner[0], owner[1], alias); err == nil {
			t.Errorf("created a key of account %q and region %q", owner[0], owner[1])
		}
	}
}

func testResolve(t *testing.T, m keys.Manager) {
	key := create(t, m, account, region, alias)
	create(t, m, "999999999999", region, "alias/theirs")
	for _, ref := range []string{
		key.ID,
		alias,
		key.ARN("aws"),
		"arn:aws:kms:" + region + ":" + account + ":key/" + key.ID,
		"arn:aws-cn:kms:" + region + ":" + account + ":key/" + key.ID,
		"arn:aws:kms:" + region + ":" + account + ":" + alias,
	} {
		got, err := m.Resolve(t.Context(), account, region, ref)
		if err != nil || got.ID != key.ID || got.Account != account || !slices.Equal(got.Aliases, []string{alias}) {
			t.Errorf("resolved %q to %+v, %v", ref, got, err)
		}
		_, err = m.Resolve(t.Context(), "999999999999", region, ref)
		wantError(t, err, keys.ErrNotFound, "another account's "+ref)
		_, err = m.Resolve(t.Context(), account, "us-east-1", ref)
		wantError(t, err, keys.ErrNotFound, "another region's "+ref)
	}
	for _, ref := range []string{
		"", "alias/", "alias/theirs", "alias/none", unknown, "key/" + key.ID, strings.ToUpper(key.ID) + "x",
		"arn:aws:kms:" + region + ":" + account + ":" + key.ID,
		"arn:aws:kms:" + region + ":" + account + ":key/" + alias,
		"arn:aws:kms:" + region + ":" + account + ":alias/theirs",
		"arn:aws:s3:" + region + ":" + account + ":key/" + key.ID,
		"arn::kms:" + region + ":" + account + ":key/" + key.ID,
		"arn:aws:kms:" + region + ":999999999999:alias/theirs",
		"arn:aws:kms", "arn:",
	} {
		got, err := m.Resolve(t.Context(), account, region, ref)
		if !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("resolved %q to %+v, %v", ref, got, err)
		}
	}
	disable(t, m, key.ID)
	if got, err := m.Resolve(t.Context(), account, region, alias); err != nil || got.Enabled {
		t.Errorf("a disabled key resolves to %+v, %v", got, err)
	}
}

func disable(t *testing.T, m keys.Manager, id string) {
	t.Helper()
	if key, err := m.SetEnabled(t.Context(), id, false); err != nil || key.Enabled {
		t.Fatalf("disable %q: %+v, %v", id, key, err)
	}
}

func testRotate(t *testing.T, m keys.Manager) {
	key := create(t, m, account, region, alias)
	context, plain := []byte("context"), dataKey(32)
	for _, id := range []string{key.ID, ""} {
		wrapped := [][]byte{wrap(t, m, id, plain, context)}
		for version := 2; version <= 4; version++ {
			got, err := m.Rotate(t.Context(), id)
			if err != nil || got.Versions != version {
				t.Fatalf("rotation to version %d: %+v, %v", version, got, err)
			}
			wrapped = append(wrapped, wrap(t, m, id, plain, context))
			for _, w := range wrapped {
				opens(t, m, w, context, plain)
			}
		}
	}
	if got, err := m.Resolve(t.Context(), account, region, alias); err != nil || got.Versions != 4 {
		t.Errorf("after rotation: %+v, %v", got, err)
	}
}

func testEnabled(t *testing.T, m keys.Manager) {
	key := create(t, m, account, region, alias)
	other := create(t, m, account, region, "alias/other")
	wrapped, wrappedOther := wrap(t, m, key.ID, dataKey(32), nil), wrap(t, m, other.ID, dataKey(32), nil)
	disable(t, m, key.ID)
	disable(t, m, key.ID)
	_, err := m.Unwrap(t.Context(), wrapped, nil)
	wantError(t, err, keys.ErrDisabled, "unwrap")
	_, err = m.Wrap(t.Context(), key.ID, dataKey(32), nil)
	wantError(t, err, keys.ErrDisabled, "wrap")
	_, err = m.Rotate(t.Context(), key.ID)
	wantError(t, err, keys.ErrDisabled, "rotate")
	opens(t, m, wrappedOther, nil, dataKey(32))
	if again := create(t, m, account, region, alias); again.ID != key.ID || again.Enabled {
		t.Errorf("creating a disabled key's alias gives %+v", again)
	}
	if got, err := m.SetEnabled(t.Context(), key.ID, true); err != nil || !got.Enabled {
		t.Fatalf("enable: %+v, %v", got, err)
	}
	opens(t, m, wrapped, nil, dataKey(32))
}

// testDefault: the default key is Berth's and nobody's to name or disable.
func testDefault(t *testing.T, m keys.Manager) {
	list, err := m.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("a new manager has %+v, %v", list, err)
	}
	standard := list[0]
	if standard.Account != "" || standard.Region != "" || !standard.Enabled || standard.ARN("aws") != "" {
		t.Errorf("the default key is %+v", standard)
	}
	for _, id := range []string{"", standard.ID} {
		if _, err := m.SetEnabled(t.Context(), id, false); err == nil {
			t.Error("disabled the default key")
		}
		opens(t, m, wrap(t, m, id, dataKey(32), nil), nil, dataKey(32))
	}
	for _, owner := range [][2]string{{account, region}, {"", ""}} {
		_, err := m.Resolve(t.Context(), owner[0], owner[1], standard.ID)
		wantError(t, err, keys.ErrNotFound, "resolve the default key")
	}
}

func testDerive(t *testing.T, m keys.Manager) {
	derive := func(purpose string, size int) []byte {
		t.Helper()
		b, err := m.Derive(purpose, size)
		if err != nil || len(b) != size {
			t.Fatalf("derive %d bytes for %q: %d, %v", size, purpose, len(b), err)
		}
		return b
	}
	tokens := derive("tokens", 32)
	if !bytes.Equal(tokens, derive("tokens", 32)) {
		t.Error("deriving twice gives different bytes")
	}
	seen := map[string]string{string(tokens): "tokens"}
	for _, purpose := range []string{"", "token", "tokens2", "urls", "Tokens"} {
		b := string(derive(purpose, 32))
		if other, ok := seen[b]; ok {
			t.Errorf("%q and %q derive the same bytes", purpose, other)
		}
		seen[b] = purpose
	}
	derive("short", 1)
	derive("long", keys.MaxDerived)
	for _, size := range []int{-1, 0, keys.MaxDerived + 1} {
		if _, err := m.Derive("tokens", size); err == nil {
			t.Errorf("derived %d bytes", size)
		}
	}
	if _, err := m.Rotate(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	create(t, m, account, region, alias)
	if !bytes.Equal(tokens, derive("tokens", 32)) {
		t.Error("rotation changed what is derived")
	}
}

func testList(t *testing.T, m keys.Manager) {
	want := []string{}
	for i := range 20 {
		want = append(want, create(t, m, account, region, fmt.Sprintf("alias/%d", i)).ID)
	}
	list, err := m.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all, named []string
	for _, key := range list {
		all = append(all, key.ID)
		if key.Account != "" {
			named = append(named, key.ID)
		}
	}
	slices.Sort(want)
	if !slices.IsSorted(all) || !slices.Equal(named, want) || len(all) != len(want)+1 {
		t.Errorf("listed %q, want %q and the default key", all, want)
	}
	// What is handed out is the caller's.
	for _, key := range list {
		for i := range key.Aliases {
			key.Aliases[i] = "alias/altered"
		}
	}
	_, err = m.Resolve(t.Context(), account, region, "alias/altered")
	wantError(t, err, keys.ErrNotFound, "an alias altered in a listing")
	if key, err := m.Resolve(t.Context(), account, region, "alias/7"); err != nil || key.Aliases[0] != "alias/7" {
		t.Errorf("resolved %+v, %v", key, err)
	}
}

func testConcurrency(t *testing.T, m keys.Manager) {
	var group sync.WaitGroup
	ids := make([]string, 8)
	for worker := range ids {
		group.Go(func() {
			key, err := m.Create(t.Context(), account, region, alias)
			if err != nil {
				t.Errorf("create: %v", err)
				return
			}
			ids[worker] = key.ID
			own, err := m.Create(t.Context(), account, region, fmt.Sprintf("alias/worker%d", worker))
			if err != nil {
				t.Errorf("create: %v", err)
				return
			}
			for range 10 {
				context := []byte(own.ID)
				wrapped, err := m.Wrap(t.Context(), own.ID, dataKey(32), context)
				if err != nil {
					t.Errorf("wrap: %v", err)
					return
				}
				if _, err := m.Rotate(t.Context(), own.ID); err != nil {
					t.Errorf("rotate: %v", err)
					return
				}
				got, err := m.Unwrap(t.Context(), wrapped, context)
				if err != nil || !bytes.Equal(got, dataKey(32)) {
					t.Errorf("unwrap: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("the alias was given to %s and %s", id, ids[0])
		}
	}
	list, err := m.List(t.Context())
	if err != nil || len(list) != 1+1+len(ids) {
		t.Fatalf("%d keys are there, %v", len(list), err)
	}
	for _, key := range list {
		if want := map[bool]int{true: 11, false: 1}[strings.HasPrefix(strings.Join(key.Aliases, ""), "alias/worker")]; key.Versions != want {
			t.Errorf("key %v has %d versions, want %d", key.Aliases, key.Versions, want)
		}
	}
}

// testSeparate: two managers have nothing in common.
func testSeparate(t *testing.T, a, b keys.Manager) {
	wrapped := wrap(t, a, "", dataKey(32), nil)
	_, err := b.Unwrap(t.Context(), wrapped, nil)
	if !errors.Is(err, keys.ErrNotFound) && !errors.Is(err, keys.ErrUnwrap) {
		t.Errorf("another manager's wrapped key: %v", err)
	}
	fromA, errA := a.Derive("tokens", 32)
	fromB, errB := b.Derive("tokens", 32)
	if errA != nil || errB != nil || bytes.Equal(fromA, fromB) {
		t.Errorf("two managers derive the same: %t, %v, %v", bytes.Equal(fromA, fromB), errA, errB)
	}
}

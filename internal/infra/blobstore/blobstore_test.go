package blobstore

import (
	"path"
	"strings"
	"testing"
)

// FuzzCheckKey: a key that passes is a clean path that stays where it begins.
// (storetest has the table of good and bad ones.)
func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"a", "a/b.c/d-e_f", "../a", "a/../../b", "", "/", "a//b", "a\\..\\b", "a/.", strings.Repeat("x", MaxKey+1)} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil {
			return
		}
		if path.Clean("/"+key) != "/"+key || strings.ContainsAny(key, "\x00\\:") || len(key) > MaxKey {
			t.Errorf("%q passes", key)
		}
	})
}

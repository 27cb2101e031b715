package path

import (
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for escaped, want := range map[string]Target{
		"/v2":                                   {Kind: Base},
		"/v2/":                                  {Kind: Base},
		"/v2/_catalog":                          {Kind: Catalog},
		"/v2/a/tags/list":                       {Tags, "a", ""},
		"/v2/a/b/c/d/tags/list":                 {Tags, "a/b/c/d", ""},
		"/v2/a/manifests/v1":                    {Manifest, "a", "v1"},
		"/v2/a/manifests/sha256:00":             {Manifest, "a", "sha256:00"},
		"/v2/a/manifests/sha256%3A00":           {Manifest, "a", "sha256:00"},
		"/v2/a/blobs/sha256:00":                 {Blob, "a", "sha256:00"},
		"/v2/a/blobs/uploads/":                  {Uploads, "a", ""},
		"/v2/a/blobs/uploads":                   {Uploads, "a", ""},
		"/v2/a/blobs/uploads/some-id":           {Upload, "a", "some-id"},
		"/v2/a/referrers/sha256:00":             {Referrers, "a", "sha256:00"},
		"/v2/a/_catalog/tags/list":              {Tags, "a/_catalog", ""},
		"/v2/a%20b/tags/list":                   {Tags, "a b", ""},
		"/v2/a//b/tags/list":                    {Tags, "a//b", ""},
		"/v2//tags/list":                        {Tags, "", ""},
		"/v2/../a/tags/list":                    {Tags, "../a", ""},
		"/v2/a/%2e%2e/tags/list":                {Tags, "a/..", ""},
		"/v2/blobs/uploads/blobs/uploads/":      {Uploads, "blobs/uploads", ""},
		"/v2/a/blobs/uploads/manifests/v1":      {Manifest, "a/blobs/uploads", "v1"},
		"/v2/a/blobs/uploads/tags/list":         {Tags, "a/blobs/uploads", ""},
		"/v2/manifests/manifests/manifests":     {Manifest, "manifests", "manifests"},
		"/v2/a/tags/list/referrers/d":           {Referrers, "a/tags/list", "d"},
		"/v2/a/manifests/blobs/uploads/id":      {Upload, "a/manifests", "id"},
		"/v2/a/tags/list/blobs/uploads":         {Uploads, "a/tags/list", ""},
		"/v2/a%2Fb/tags/list":                   {Tags, "/", ""},
		"/v2/x/a%2Fb/tags/list":                 {Tags, "x//", ""},
		"/v2/a/manifests/v%2F1":                 {Manifest, "a", "/"},
		"/v2/a/blobs/uploads/..%2F..%2Fsecrets": {Upload, "a", "/"},
		"/v2/a/manifests/%zz":                   {Manifest, "a", "/"},
	} {
		if got := Split(escaped); got != want {
			t.Errorf("Split(%q) is %+v, want %+v", escaped, got, want)
		}
	}
	for _, none := range []string{
		"", "/", "/v1/", "/v2x", "/v2x/a/tags/list", "v2/", "//v2/", "/v2/a", "/v2/a/b", "/v2/a/manifests", "/v2/a/manifests/", "/v2/a/blobs/",
		"/v2/tags/list", "/v2/manifests/v1", "/v2/blobs/uploads/", "/v2/blobs/uploads/id", "/v2/referrers/d", "/v2/a/tags/all", "/v2/a/tags/list/",
		"/v2/a/blobs/uploads/id/more", "/v2/_catalog/", "/v2/a/referrers/", "/v2/a/tags%2Flist",
	} {
		if got := Split(none); got.Kind != None {
			t.Errorf("Split(%q) is %+v, want nothing", none, got)
		}
	}
}

// FuzzSplit: whatever comes, a name has its tail cut off where the request had
// a slash, and a reference never holds one that could mean a directory.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"/v2/a/tags/list", "/v2/a/b/manifests/v1", "/v2/a%2Fb/blobs/uploads/x%00", "/v2/%", "/v2///", "/v2/%2e%2e/blobs/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		got := Split(escaped)
		switch got.Kind {
		case None:
			if got != (Target{}) {
				t.Errorf("Split(%q) is nothing and %+v", escaped, got)
			}
		case Base, Catalog:
			if got.Name != "" || got.Reference != "" {
				t.Errorf("Split(%q) is %+v", escaped, got)
			}
		case Manifest, Blob, Upload, Referrers:
			if got.Reference == "" {
				t.Errorf("Split(%q) has no reference", escaped)
			}
		case Tags, Uploads:
			if got.Reference != "" {
				t.Errorf("Split(%q) has the reference %q", escaped, got.Reference)
			}
		}
		if strings.Contains(got.Reference, "/") && got.Reference != "/" {
			t.Errorf("Split(%q) has the reference %q", escaped, got.Reference)
		}
	})
}

package main

import (
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"
)

func TestWiretable(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), wiretable, "example.com/internal/api/wire", "example.com/internal/domain/thing")
}

func TestInTests(t *testing.T) {
	for _, c := range []struct {
		pkg, file string
		want      bool
	}{
		{"m/internal/api/oci", "/x/oci.go", false},
		{"m/internal/api/oci", "/x/oci_test.go", true},
		{"m/internal/api/oci [m/internal/api/oci.test]", "/x/oci.go", false},
		{"m/internal/app/apptest", "/x/do.go", true},
		{"m/test/contract/oci", "/x/pull.go", true},
	} {
		if got := inTests(c.pkg, c.file); got != c.want {
			t.Errorf("%s %s: %t", c.pkg, c.file, got)
		}
	}
}

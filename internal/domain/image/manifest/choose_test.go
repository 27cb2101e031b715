package manifest_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/image/manifest"
)

func TestChoose(t *testing.T) {
	const oci, docker, signedV1, plainV1 = manifest.OCIImage, manifest.DockerSchema2, manifest.DockerSchema1Signed, manifest.DockerSchema1
	ociForms := []string{oci, docker, signedV1}
	dockerForms := []string{docker, oci, signedV1}
	for _, c := range []struct {
		name   string
		forms  []string
		accept []string
		want   string // "" for none
	}{
		{"nothing said", ociForms, nil, oci},
		{"empty header", ociForms, []string{""}, oci},
		{"exact", ociForms, []string{oci}, oci},
		{"exact in capitals with parameters", ociForms, []string{strings.ToUpper(oci) + " ; charset=utf-8;q=0.1"}, oci},
		{"anything", ociForms, []string{"*/*"}, oci},
		{"any application", ociForms, []string{"application/*;q=0.2"}, oci},
		{"any text", ociForms, []string{"text/*, text/html"}, ""},
		{"stored form before a better liked one", ociForms, []string{docker + ", " + oci + ";q=0.1"}, oci},
		{"translated", ociForms, []string{docker}, docker},
		{"translated to OCI", dockerForms, []string{oci}, oci},
		{"translated to schema 1", ociForms, []string{signedV1}, signedV1},
		{"the plain name of schema 1", dockerForms, []string{plainV1}, signedV1},
		{"schema 1 is the last resort", dockerForms, []string{signedV1, oci}, oci},
		{"unless it is preferred", dockerForms, []string{signedV1 + ", " + oci + ";q=0.5"}, signedV1},
		{"in one header", ociForms, []string{"text/html," + docker + " , " + signedV1}, docker},
		{"refused by zero", ociForms, []string{oci + ";q=0, */*;q=0.5"}, docker},
		{"everything refused", ociForms, []string{"*/*;q=0"}, ""},
		{"none of them", ociForms, []string{manifest.OCIIndex, manifest.DockerList}, ""},
		{"a list is never translated", []string{manifest.DockerList}, []string{manifest.OCIIndex, oci, docker}, ""},
		{"plain JSON means whatever there is", ociForms, []string{"application/json"}, oci},
		{"docker's plain JSON means schema 1", ociForms, []string{"application/json", docker}, docker},
		{"and finds it", []string{signedV1}, []string{"application/json", docker}, signedV1},
		{"schema 1 has no translation", []string{plainV1}, []string{docker, oci}, ""},
		{"rubbish beside good values", ociForms, []string{";;;q=x, " + docker + ";q=nan, /, " + signedV1}, signedV1},
		{"nothing but rubbish", ociForms, []string{"rubbish"}, oci},
		{"what containerd sends", []string{manifest.OCIIndex}, []string{manifest.DockerSchema2 + ", " + manifest.DockerList + ", " + oci + ", " + manifest.OCIIndex + ", */*"}, manifest.OCIIndex},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := manifest.Choose(c.forms, c.accept)
			if got != c.want || ok != (c.want != "") {
				t.Errorf("got %q %v, want %q", got, ok, c.want)
			}
		})
	}
	if _, ok := manifest.Choose(nil, nil); ok {
		t.Error("chose a form of nothing")
	}
}

func TestChooseProperties(t *testing.T) {
	all := []string{manifest.OCIImage, manifest.DockerSchema2, manifest.DockerSchema1Signed, manifest.OCIIndex, manifest.DockerList}
	rapid.Check(t, func(t *rapid.T) {
		forms := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 4, rapid.ID).Draw(t, "forms")
		accept := rapid.SliceOf(rapid.SampledFrom(append(slices.Clone(all), "*/*", "application/*", "application/json", "text/html", "", "x;q=7", manifest.OCIImage+";q=0"))).Draw(t, "accept")
		got, ok := manifest.Choose(forms, accept)
		if ok != slices.Contains(forms, got) {
			t.Fatalf("chose %q out of %v", got, forms)
		}
		if slices.Contains(accept, forms[0]) && got != forms[0] && !slices.Contains(accept, forms[0]+";q=0") {
			t.Fatalf("%v accepts the stored form and was given %q", accept, got)
		}
		joined, _ := manifest.Choose(forms, []string{strings.Join(accept, ",")})
		if joined != got {
			t.Fatalf("one header gives %q, several give %q", joined, got)
		}
	})
}

func FuzzChoose(f *testing.F) {
	f.Add("application/vnd.oci.image.manifest.v1+json;q=0.5, */*;q=0")
	f.Fuzz(func(t *testing.T, accept string) {
		forms := []string{manifest.OCIImage, manifest.DockerSchema2}
		if got, ok := manifest.Choose(forms, []string{accept}); ok != slices.Contains(forms, got) {
			t.Fatalf("chose %q", got)
		}
	})
}

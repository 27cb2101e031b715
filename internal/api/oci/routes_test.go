package oci

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/oci/front"
	"github.com/berth-registry/berth/internal/api/oci/path"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
)

// TestTableRefusesHoles: a route that says no needs cannot come into being.
func TestTableRefusesHoles(t *testing.T) {
	do := func(*API, context.Context, *call) (response, error) { return response{}, nil }
	whole := row{Method: http.MethodGet, Kind: path.Tags, Name: "ListImages", Needs: onRepository("ecr:ListImages"), Do: do}
	if _, err := newTable([]row{whole}, nil); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*row){
		"no needs":   func(r *row) { r.Needs = nil },
		"no name":    func(r *row) { r.Name = "" },
		"no handler": func(r *row) { r.Do = nil },
	} {
		r := whole
		change(&r)
		if _, err := newTable([]row{r}, nil); err == nil {
			t.Errorf("a row with %s is taken", what)
		}
	}
	if _, err := newTable([]row{whole, whole}, nil); err == nil {
		t.Error("a row that stands twice is taken")
	}
	if _, err := newTable([]row{whole}, []row{{Method: whole.Method, Kind: whole.Kind, Do: do}}); err == nil {
		t.Error("an open row over another row is taken")
	}
	if open := openRows(); len(open) != 1 || open[0].Kind != path.Base {
		t.Errorf("the open rows are %v: everything but the version check has to say its needs", open)
	}
}

// TestNeeds is the table of the user guide: what each request asks for.
func TestNeeds(t *testing.T) {
	table, err := newTable(rows(), openRows())
	if err != nil {
		t.Fatal(err)
	}
	api := &API{front: front.Private{}}
	reg := name.Registry{Account: "123456789012", Region: "eu-central-1"}
	const d = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for request, want := range map[string]string{
		"GET /v2/_catalog":                                      "ecr:DescribeRepositories *",
		"GET /v2/a/b/tags/list":                                 "ecr:ListImages a/b",
		"HEAD /v2/a/b/tags/list":                                "ecr:ListImages a/b",
		"GET /v2/a/b/referrers/" + d:                            "ecr:BatchGetImage a/b",
		"GET /v2/a/b/manifests/v1":                              "ecr:BatchGetImage a/b",
		"HEAD /v2/a/b/manifests/v1":                             "ecr:BatchGetImage a/b",
		"PUT /v2/a/b/manifests/v1":                              "ecr:PutImage a/b",
		"DELETE /v2/a/b/manifests/v1":                           "ecr:BatchDeleteImage a/b",
		"GET /v2/a/b/blobs/" + d:                                "ecr:GetDownloadUrlForLayer a/b",
		"HEAD /v2/a/b/blobs/" + d:                               "ecr:BatchCheckLayerAvailability a/b",
		"DELETE /v2/a/b/blobs/" + d:                             "ecr:BatchDeleteImage a/b",
		"POST /v2/a/b/blobs/uploads/":                           "ecr:InitiateLayerUpload a/b",
		"POST /v2/a/b/blobs/uploads/?digest=" + d:               "ecr:InitiateLayerUpload a/b, ecr:UploadLayerPart a/b, ecr:CompleteLayerUpload a/b",
		"POST /v2/a/b/blobs/uploads/?mount=" + d + "&from=c":    "ecr:InitiateLayerUpload a/b",
		"POST /v2/a/b/blobs/uploads/?mount=" + d + "&from=c/d":  "ecr:InitiateLayerUpload a/b; ecr:GetDownloadUrlForLayer c/d",
		"POST /v2/a/b/blobs/uploads/?mount=" + d:                "ecr:InitiateLayerUpload a/b",
		"POST /v2/a/b/blobs/uploads/?mount=" + d + "&from=../x": "ecr:InitiateLayerUpload a/b",
		"POST /v2/a/b/blobs/uploads/?from=c/d":                  "ecr:InitiateLayerUpload a/b",
		"GET /v2/a/b/blobs/uploads/id":                          "ecr:UploadLayerPart a/b",
		"PATCH /v2/a/b/blobs/uploads/id":                        "ecr:UploadLayerPart a/b",
		"PUT /v2/a/b/blobs/uploads/id?digest=" + d:              "ecr:CompleteLayerUpload a/b",
		"PUT+ /v2/a/b/blobs/uploads/id?digest=" + d:             "ecr:CompleteLayerUpload a/b, ecr:UploadLayerPart a/b",
		"DELETE /v2/a/b/blobs/uploads/id":                       "ecr:InitiateLayerUpload a/b",
	} {
		method, target, _ := strings.Cut(request, " ")
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Method: strings.TrimSuffix(method, "+"), URL: u}
		if strings.HasSuffix(method, "+") {
			r.ContentLength = 1
		}
		c := &call{r: r, registry: reg, Target: path.Split(u.EscapedPath())}
		c.repo = name.Repository(c.Name)
		if err := api.findSource(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		found, ok := table.find(c.Kind, r.Method)
		if !ok {
			t.Errorf("%s has no row", request)
			continue
		}
		say := func(needs []authz.Need) string {
			var all []string
			for _, n := range needs {
				all = append(all, n.Action+" "+strings.TrimPrefix(n.Resource.Resource, "repository/"))
				if n.Resource.Account != reg.Account || n.Resource.Region != reg.Region {
					t.Errorf("%s needs something of %s", request, n.Resource)
				}
			}
			return strings.Join(all, ", ")
		}
		got := say(found.Needs(c))
		if found.MayAlso != nil {
			if also := say(found.MayAlso(c)); also != "" {
				got += "; " + also
			}
		}
		if got != want {
			t.Errorf("%s needs %q, want %q", request, got, want)
		}
	}
	if len(table.rows) != len(rows())+len(openRows()) {
		t.Errorf("%d rows in the table", len(table.rows))
	}
}

// TestConfigHoles: New says what is missing.
func TestConfigHoles(t *testing.T) {
	_, err := New(Config{})
	if err == nil {
		t.Fatal("an empty configuration is taken")
	}
	optional := []string{"Quirks", "Mounting", "Templates", "Cache", "Gate", "Throttle", "Front", "Pulled", "Draining", "Origin", "Stall", "Observe"}
	known := map[string]bool{}
	for range 200 { // the holes are reported in no order
		_, err := New(Config{})
		known[strings.TrimSuffix(strings.TrimPrefix(err.Error(), "oci.Config."), " is not set")] = true
	}
	for f := range reflect.TypeFor[Config]().Fields() {
		if !slices.Contains(optional, f.Name) && !known[f.Name] {
			t.Errorf("Config.%s may be missing; New reports only %v", f.Name, slices.Sorted(maps.Keys(known)))
		}
	}
}

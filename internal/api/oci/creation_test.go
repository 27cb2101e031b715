package oci_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/api/oci"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/template"
)

// template makes a template for pushes under the prefix; change may be nil.
func (w *world) template(t *testing.T, prefix string, change func(*template.Template)) {
	t.Helper()
	made := template.Template{Registry: here(), Prefix: prefix, Mutability: repository.Mutability{Setting: repository.Immutable}, AppliedFor: []template.Trigger{template.CreateOnPush}}
	if change != nil {
		change(&made)
	}
	if _, err := w.templates.Create(t.Context(), made); err != nil {
		t.Fatal(err)
	}
}

// of returns the trail's entries of an event, oldest first.
func (t *trail) of(event string) []audit.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []audit.Entry
	for _, e := range t.entries {
		if e.EventName == event {
			all = append(all, e)
		}
	}
	return all
}

// TestCreateOnPush: the first write of a push makes the repository, and nothing
// else does.
func TestCreateOnPush(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client(t)
	blob := []byte("content")
	unknown := func(r reply, repo string) {
		t.Helper()
		c.wants(r, 404, "NAME_UNKNOWN", "The repository with name '"+repo+"' does not exist in the registry with id '"+string(account)+"'")
	}
	unknown(c.do("POST", "/v2/made/app/blobs/uploads/", nil), "made/app")
	w.template(t, "made", nil)
	w.template(t, "cached", func(m *template.Template) { m.AppliedFor = []template.Trigger{template.PullThroughCache} })
	for _, repo := range []string{"cached/app", "made", "other/app"} {
		unknown(c.do("POST", "/v2/"+repo+"/blobs/uploads/", nil), repo)
		unknown(c.do("PUT", "/v2/"+repo+"/manifests/v1", []byte("{}"), "Content-Type", imageType), repo)
	}
	// What only reads, or goes on with what a push has begun, makes nothing.
	const base = "/v2/made/app"
	d := digest(blob)
	for _, request := range []string{
		"GET /manifests/v1", "HEAD /manifests/v1", "DELETE /manifests/v1", "GET /tags/list", "GET /referrers/" + d, "GET /blobs/" + d, "HEAD /blobs/" + d, "DELETE /blobs/" + d,
		"GET /blobs/uploads/x", "PATCH /blobs/uploads/x", "PUT /blobs/uploads/x?digest=" + d, "DELETE /blobs/uploads/x",
	} {
		method, path, _ := strings.Cut(request, " ")
		if r := c.do(method, base+path, nil); r.StatusCode != 404 {
			t.Errorf("%s: %d %s", request, r.StatusCode, r.text)
		}
	}
	if made := w.audit.of("CreateRepository"); len(made) > 0 {
		t.Errorf("the trail has %+v", made)
	}

	started := c.do("POST", base+"/blobs/uploads/", nil)
	c.wants(started, 202)
	c.wants(c.do("PUT", started.Header.Get("Location")+"?digest="+d, blob), 201)
	r, err := w.repositories.Get(t.Context(), here(), "made/app")
	if err != nil || r.Mutability.Setting != repository.Immutable {
		t.Errorf("made %+v, %v", r, err)
	}
	made := w.audit.of("CreateRepository")
	if len(made) != 1 {
		t.Fatalf("the trail has %d entries of it", len(made))
	}
	if e := made[0]; e.ErrorCode != "" || e.InvokedBy != "ecr.amazonaws.com" || e.Principal.ARN != "arn:aws:iam::"+string(account)+":root" || e.ReadOnly || e.RequestID != started.Header.Get("X-Amzn-Requestid") ||
		len(e.Resources) != 1 || e.Resources[0] != r.ARN().String() || !strings.Contains(string(e.RequestParameters), `"repositoryName":"made/app"`) ||
		!strings.Contains(string(e.ResponseElements), `"repositoryArn":"`+r.ARN().String()+`"`) {
		t.Errorf("the entry is %+v", e)
	}
	if begun := w.audit.of("InitiateLayerUpload"); begun[len(begun)-1].ErrorCode != "" || begun[len(begun)-1].InvokedBy != "" {
		t.Errorf("the push's own entry is %+v", begun[len(begun)-1])
	}

	// With the whole blob, with a mount, and with a manifest.
	c.push("made/whole", blob)
	manifest := c.image("made/whole", "whole")
	c.wants(c.do("PUT", "/v2/made/whole/manifests/v1", manifest, "Content-Type", imageType), 201)
	c.wants(c.do("POST", "/v2/made/mounted/blobs/uploads/?mount="+digest([]byte("the layer of whole"))+"&from=made/whole", nil), 201)
	c.wants(c.do("HEAD", "/v2/made/mounted/blobs/"+digest([]byte("the layer of whole")), nil), 200)
	c.wants(c.do("POST", "/v2/made/unmounted/blobs/uploads/?mount="+d+"&from=made/nothing", nil), 202)
	index := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	c.wants(c.do("PUT", "/v2/made/index/manifests/v1", index, "Content-Type", "application/vnd.oci.image.index.v1+json"), 201)
	if made := w.audit.of("CreateRepository"); len(made) != 5 {
		t.Errorf("the trail has %d entries", len(made))
	}

	w = newWorld(t, func(c *oci.Config) { c.Templates = nil })
	w.template(t, "made", nil)
	c = w.client(t)
	unknown(c.do("POST", base+"/blobs/uploads/", nil), "made/app")
}

// TestCreateOnPushRefused: who may not push learns nothing, who may and may not
// make repositories is told that.
func TestCreateOnPushRefused(t *testing.T) {
	for refuse, want := range map[string]string{
		"ecr:CreateRepository repository/made/app":    "is not authorized to perform: ecr:CreateRepository",
		"ecr:InitiateLayerUpload repository/made/app": "is not authorized to perform: ecr:InitiateLayerUpload",
	} {
		w := newWorld(t, func(c *oci.Config) { c.Authorizer = picky{refuse} })
		w.template(t, "made", nil)
		c := w.client(t)
		c.wants(c.do("POST", "/v2/made/app/blobs/uploads/", nil), 403, "DENIED", want)
		if _, err := w.repositories.Get(t.Context(), here(), "made/app"); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("without %s: %v", refuse, err)
		}
		tried := w.audit.of("CreateRepository")
		if strings.Contains(refuse, "CreateRepository") != (len(tried) == 1 && tried[0].ErrorCode == "DENIED") {
			t.Errorf("without %s the trail has %+v", refuse, tried)
		}
		if e := w.audit.last(); e.EventName != "InitiateLayerUpload" || e.ErrorCode != "DENIED" {
			t.Errorf("without %s the trail ends with %+v", refuse, e)
		}
	}
	w := newWorld(t, nil)
	w.template(t, "made", func(m *template.Template) { m.CustomRole = "arn:aws:iam::" + string(account) + ":role/gone" })
	c := w.client(t)
	c.wants(c.do("PUT", "/v2/made/app/manifests/v1", []byte("{}"), "Content-Type", imageType), 403, "DENIED",
		"The repository cannot be created by the repository creation template with the prefix 'made': The role arn:aws:iam::"+string(account)+":role/gone does not exist.")
	if _, err := w.repositories.Get(t.Context(), here(), "made/app"); !errs.Is(err, errs.RepositoryNotFound) {
		t.Errorf("with a role that has gone: %v", err)
	}
	// Nobody of another account makes repositories here.
	stranger := &client{t, w, w.token(t, foreign, region)}
	stranger.wants(stranger.do("POST", "/v2/made/app/blobs/uploads/", nil), 403, "DENIED", "ecr:InitiateLayerUpload")
}

// tagging keeps the condition keys of the requests for ecr:CreateRepository.
type tagging struct {
	mu  sync.Mutex
	got []map[string][]string
}

func (a *tagging) Authorize(_ context.Context, r authz.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range r.Needs {
		if n.Action == "ecr:CreateRepository" {
			a.got = append(a.got, n.Context)
		}
	}
	return nil
}

// TestCreateOnPushTags: the resource tags are those of the request for a policy.
func TestCreateOnPushTags(t *testing.T) {
	asked := &tagging{}
	w := newWorld(t, func(c *oci.Config) { c.Authorizer = asked })
	w.template(t, "made", func(m *template.Template) { m.Tags = map[string]string{"Team": "blue"} })
	w.client(t).do("POST", "/v2/made/app/blobs/uploads/", nil)
	if len(asked.got) != 1 || fmt.Sprint(asked.got[0]) != fmt.Sprint(authz.TagContext(map[string]string{"Team": "blue"})) {
		t.Errorf("asked with %v", asked.got)
	}
}

// TestCreateOnPushAtOnce: pushes at the same time make one repository.
func TestCreateOnPushAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.template(t, "made", nil)
	c := w.client(t)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if r := c.do("POST", "/v2/made/app/blobs/uploads/", nil); r.StatusCode != 202 {
				t.Errorf("%d %s", r.StatusCode, r.text)
			}
		})
	}
	wait.Wait()
	if made := w.audit.of("CreateRepository"); len(made) != 1 {
		t.Errorf("the trail has %d entries", len(made))
	}
}

// TestBlobMountingSetting: the registry's own setting goes before the
// configuration.
func TestBlobMountingSetting(t *testing.T) {
	for _, byDefault := range []bool{true, false} {
		w := newWorld(t, func(c *oci.Config) { c.Mounting = byDefault })
		c := w.client(t)
		c.wants(c.do("PUT", "/v2/team/two/manifests/v1", c.image("team/two", "source"), "Content-Type", imageType), 201)
		mount := func(want bool) {
			t.Helper()
			status := map[bool]int{true: 201, false: 202}[want]
			c.wants(c.do("POST", "/v2/team/one/blobs/uploads/?mount="+digest([]byte("the layer of source"))+"&from=team/two", nil), status)
		}
		mount(byDefault)
		for _, value := range []string{registry.Disabled, registry.Enabled, registry.Disabled} {
			if err := w.registries.PutSetting(t.Context(), here(), registry.SettingBlobMounting, value); err != nil {
				t.Fatal(err)
			}
			mount(value == registry.Enabled)
		}
	}
}

package authz_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestImageTag(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	reads := 0
	var failure error
	w.ImageTags = func(_ context.Context, r name.Registry, repo name.Repository, digests []string) ([]string, error) {
		reads++
		if r != reg(ours) || repo != "app" {
			t.Errorf("asked for %s %s", r, repo)
		}
		var tags []string
		for _, d := range digests {
			if d == "sha256:prod" {
				tags = append(tags, "also", "prod-1")
			}
		}
		return tags, failure
	}
	const may = `{"Effect":"Allow","Action":"ecr:*","Resource":"*"}`
	plain := w.user(ours, "plain", may)
	guarded := w.user(ours, "guarded", may+`,{"Effect":"Deny","Action":"ecr:*","Resource":"*","Condition":{"ForAnyValue:StringLike":{"ecr:ImageTag":"prod*"}}}`)
	twice := w.user(ours, "twice", may+`,{"Effect":"Deny","Action":"ecr:*","Resource":"*","Condition":{"ForAnyValue:StringLike":{"ecr:imagetag":"prod*"},"Null":{"ecr:ImageTag":"true"}}}`)
	dev := w.user(ours, "dev", `{"Effect":"Allow","Action":"ecr:*","Resource":"*","Condition":{"ForAllValues:StringLike":{"ecr:ImageTag":"dev*"}}}`)
	negated := w.user(ours, "negated", `{"Effect":"Allow","Action":"ecr:*","Resource":"*","Condition":{"ForAllValues:StringNotLike":{"ecr:ImageTag":"prod*"}}}`)
	tag := func(all ...string) (ids []authz.ImageID) {
		for _, t := range all {
			ids = append(ids, authz.ImageID{Tag: t})
		}
		return ids
	}
	digest := func(d string) authz.ImageID { return authz.ImageID{Digest: d} }
	for _, c := range []struct {
		who     principal.Principal
		images  []authz.ImageID
		allowed bool
		reads   int
	}{
		{plain, []authz.ImageID{digest("sha256:prod")}, true, 0},
		{plain, tag("prod-1"), true, 0},
		{guarded, nil, true, 0},
		{guarded, tag("v1", "product"), false, 0},
		{guarded, tag("v1", "my-prod"), true, 0},
		{guarded, []authz.ImageID{{}}, true, 0},
		{guarded, []authz.ImageID{digest("sha256:none")}, true, 1},
		{guarded, []authz.ImageID{digest("sha256:none"), digest("sha256:prod")}, false, 1},
		{guarded, []authz.ImageID{{Tag: "v1", Digest: "sha256:prod"}}, true, 0},
		{twice, []authz.ImageID{digest("sha256:prod")}, true, 1}, // the key is there
		{dev, nil, true, 0},                                      // ForAllValues holds for no value
		{dev, tag("dev-1", "dev-2"), true, 0},
		{dev, tag("dev-1", "rel"), false, 0},
		{dev, []authz.ImageID{digest("sha256:prod"), {Tag: "dev"}}, false, 1},
		{negated, []authz.ImageID{digest("sha256:prod")}, false, 1},
		{negated, tag("also"), true, 0},
	} {
		reads = 0
		need := app("ecr:BatchDeleteImage")
		need.Images = c.images
		err := w.Authorize(t.Context(), request(c.who, need))
		if (err == nil) != c.allowed || err != nil && !errs.Is(err, errs.AccessDenied) || reads != c.reads {
			t.Errorf("%s %+v: %v after %d reads, want allowed %v after %d", c.who.ARN, c.images, err, reads, c.allowed, c.reads)
		}
	}

	// A key that cannot be read decides nothing, whichever way it is asked.
	failure = errors.New("the database is away")
	for _, who := range []principal.Principal{guarded, negated, dev} {
		need := app("ecr:BatchDeleteImage")
		need.Images = []authz.ImageID{digest("sha256:prod")}
		if err := w.Authorize(t.Context(), request(who, need)); !errors.Is(err, failure) {
			t.Errorf("%s: %v", who.ARN, err)
		}
	}
	w.ImageTags = nil
	need := app("ecr:BatchDeleteImage")
	need.Images = []authz.ImageID{digest("sha256:prod")}
	if err := w.Authorize(t.Context(), request(guarded, need)); err == nil || errs.Is(err, errs.AccessDenied) {
		t.Errorf("without a reader: %v", err)
	}
	// Berth explain is told the tags.
	e, err := w.Explain(t.Context(), authz.Question{Principal: guarded.ARN, Action: "ecr:PutImage", Resource: reg(ours).RepositoryARN("app").String(),
		Region: region, Context: map[string][]string{"ecr:ImageTag": {"prod-2"}}})
	if err != nil || e.Allowed || e.Statement != 1 {
		t.Errorf("%+v %v", e, err)
	}
}

func TestImagesOf(t *testing.T) {
	const d = "sha256:00"
	for _, c := range []struct {
		reference string
		push      bool
		tags      []string
		want      []authz.ImageID
	}{
		{"v1", true, nil, []authz.ImageID{{Tag: "v1"}}},
		{"v1", true, []string{"v2"}, []authz.ImageID{{Tag: "v1"}}},
		{"v1", false, nil, []authz.ImageID{{Tag: "v1"}}},
		{d, false, []string{"v2"}, []authz.ImageID{{Digest: d}}},
		{d, true, nil, []authz.ImageID{}},
		{d, true, []string{"v2", "v3"}, []authz.ImageID{{Tag: "v2"}, {Tag: "v3"}}},
	} {
		if got := authz.ImagesOf(c.reference, c.push, c.tags); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %v %v: %s", c.reference, c.push, c.tags, fmt.Sprint(got))
		}
	}
}

package oci

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// decode reads a JSON answer.
func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("not the expected JSON: %v\n%.300s", err, a.body)
	}
	return v
}

// next is the path that a Link header gives for the next page, "" without one.
func next(t *testing.T, a answer) string {
	t.Helper()
	link := a.header.Get("Link")
	if link == "" {
		return ""
	}
	target, rel, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(rel, `rel="next"`) {
		t.Fatalf("the Link %q", link)
	}
	return target
}

type tagList struct {
	Name string
	Tags []string
}

func (s *suite) tagsPath(repo string) string { return "/v2/" + repo + "/tags/list" }

// tags lists all tags of a repository, following the pages.
func (s *suite) tags(t *testing.T, repo string) []string {
	t.Helper()
	var all []string
	for path := s.tagsPath(repo); path != ""; {
		a := s.want(t, http.StatusOK, get(path))
		all = append(all, decode[tagList](t, a).Tags...)
		path = next(t, a)
	}
	return all
}

// manyTags pushes one image under several tags and returns them in order.
func (s *suite) manyTags(t *testing.T, n int) []string {
	t.Helper()
	m := s.image(t, s.Repo1)
	base := unique("zz")
	var tags []string
	for i := range n {
		tag := base + "." + strconv.Itoa(i)
		s.putManifest(t, s.Repo1, tag, m)
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	return tags
}

func tagsInOrder(t *testing.T, s *suite) {
	m := s.image(t, s.Repo1)
	for _, prefix := range []string{"B", "a", "_", "0", "Z", "z"} {
		s.putManifest(t, s.Repo1, prefix+unique("order"), m)
	}
	a := s.want(t, http.StatusOK, get(s.tagsPath(s.Repo1)))
	list := decode[tagList](t, a)
	if list.Name != s.Repo1 {
		t.Errorf("the list's name is %q", list.Name)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	if tags := s.tags(t, s.Repo1); !slices.IsSorted(tags) {
		t.Error("the tags are not in byte order")
	}
}

func tagPages(t *testing.T, s *suite) {
	mine := s.manyTags(t, 7)
	all := s.tags(t, s.Repo1)
	page := func(query string) (answer, []string) {
		a := s.want(t, http.StatusOK, get(s.tagsPath(s.Repo1)+"?"+query))
		list := decode[tagList](t, a)
		if list.Tags == nil {
			t.Errorf("%s: tags is null", query)
		}
		return a, list.Tags
	}
	if a, tags := page("n=0"); len(tags) != 0 || next(t, a) != "" {
		t.Error("n=0 gives tags or another page")
	}
	for _, n := range []int{1, 2, 3, len(all), len(all) + 1} {
		var got []string
		for path := s.tagsPath(s.Repo1) + "?n=" + strconv.Itoa(n); path != ""; {
			a := s.want(t, http.StatusOK, get(path))
			tags := decode[tagList](t, a).Tags
			if len(tags) > n || len(tags) < n && next(t, a) != "" {
				t.Errorf("a page of n=%d has %d tags", n, len(tags))
			}
			got = append(got, tags...)
			path = next(t, a)
		}
		if !slices.Equal(got, all) {
			t.Errorf("pages of %d give %d tags, the whole list %d", n, len(got), len(all))
		}
	}
	for i, tag := range mine { // last is exclusive, with and without n
		_, tags := page("last=" + tag)
		if want := all[slices.Index(all, tag)+1:]; !slices.Equal(tags, want) {
			t.Errorf("last=%s gives %v, want %v", tag, tags, want)
		}
		if _, tags := page("n=1&last=" + tag); i+1 < len(mine) && (len(tags) != 1 || tags[0] != mine[i+1]) {
			t.Errorf("n=1&last=%s gives %v", tag, tags)
		}
	}
	if _, tags := page("last=" + mine[0] + "x"); slices.Contains(tags, mine[0]) { // last need not be there
		t.Error("a last that is no tag lets an earlier tag through")
	}
	if _, tags := page("n=100000"); len(tags) == 0 {
		t.Error("a large n gives nothing")
	}
}

func catalog(t *testing.T, s *suite) {
	list := func(path string) (answer, []string) {
		a := s.want(t, http.StatusOK, get(path))
		return a, decode[struct{ Repositories []string }](t, a).Repositories
	}
	var all []string
	for path := "/v2/_catalog?n=1"; path != ""; {
		a, repos := list(path)
		if len(repos) > 1 {
			t.Fatalf("n=1 gives %d repositories", len(repos))
		}
		all = append(all, repos...)
		path = next(t, a)
	}
	if !slices.IsSorted(all) || !slices.Contains(all, s.Repo1) || !slices.Contains(all, s.Repo2) {
		t.Errorf("the catalogue is %v", all)
	}
	if _, repos := list("/v2/_catalog?last=" + url.QueryEscape(s.Repo1)); slices.Contains(repos, s.Repo1) {
		t.Error("last is not exclusive")
	}
	if a, repos := list("/v2/_catalog?n=0"); len(repos) != 0 || next(t, a) != "" {
		t.Error("n=0 gives repositories or another page")
	}
}

func (s *suite) referrersPath(digest string) string {
	return "/v2/" + s.Repo1 + "/referrers/" + digest
}

// referrersOf lists all referrers, following the pages.
func (s *suite) referrersOf(t *testing.T, path string) ([]descriptor, answer) {
	t.Helper()
	var all []descriptor
	var first answer
	for path != "" {
		a := s.want(t, http.StatusOK, get(path))
		if first.header == nil {
			first = a
		}
		if got := a.header.Get("Content-Type"); got != typeIndex {
			t.Fatalf("%s: Content-Type is %q", path, got)
		}
		m := decode[manifest](t, a)
		if m.SchemaVersion != 2 || m.MediaType != typeIndex || m.Manifests == nil {
			t.Fatalf("%s is no index: %.200s", path, a.body)
		}
		all = append(all, m.Manifests...)
		path = next(t, a)
	}
	return all, first
}

func referrersOfNothing(t *testing.T, s *suite) {
	for _, algorithm := range algorithms() {
		if all, _ := s.referrersOf(t, s.referrersPath(digestOf(algorithm, random(5)))); len(all) != 0 {
			t.Errorf("%d referrers of nothing", len(all))
		}
	}
	_, d := s.pushImage(t, s.Repo1)
	if all, _ := s.referrersOf(t, s.referrersPath(d.Digest)+"?artifactType=application/x"); len(all) != 0 {
		t.Errorf("%d referrers of a fresh image", len(all))
	}
}

// attach pushes a manifest with a subject and returns its entry in the list.
func (s *suite) attach(t *testing.T, m manifest, effective string) descriptor {
	t.Helper()
	body := m.bytes(t)
	a := s.want(t, http.StatusCreated, put(s.manifestPath(s.Repo1, sha(body)), body).with("Content-Type", m.MediaType))
	if got := a.header.Get("OCI-Subject"); got != m.Subject.Digest {
		t.Errorf("OCI-Subject is %q, want %q", got, m.Subject.Digest)
	}
	return descriptor{MediaType: m.MediaType, Digest: sha(body), Size: len(body), ArtifactType: effective, Annotations: m.Annotations}
}

func (s *suite) emptyBlob(t *testing.T) descriptor {
	t.Helper()
	return descriptor{MediaType: typeEmpty, Digest: s.push(t, s.Repo1, []byte("{}")), Size: 2}
}

func sameReferrers(t *testing.T, what string, got, want []descriptor) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d referrers, want %d", what, len(got), len(want))
	}
	for _, w := range want {
		i := slices.IndexFunc(got, func(g descriptor) bool { return g.Digest == w.Digest })
		if i < 0 {
			t.Errorf("%s: %s is missing", what, w.Digest)
			continue
		}
		g := got[i]
		if g.MediaType != w.MediaType || g.Size != w.Size || g.ArtifactType != w.ArtifactType || !maps.Equal(g.Annotations, w.Annotations) {
			t.Errorf("%s: got %+v, want %+v", what, g, w)
		}
	}
}

func referrers(t *testing.T, s *suite) {
	empty := s.emptyBlob(t)
	const typeA, typeB = "application/vnd.example.a", "application/vnd.example.b+json"
	// The subject may come after its referrers.
	subjectManifest := s.image(t, s.Repo1)
	subjectBody := subjectManifest.bytes(t)
	subject := &descriptor{MediaType: typeImage, Digest: sha(subjectBody), Size: len(subjectBody)}
	note := func() map[string]string { return map[string]string{"org.example.note": unique("n")} }
	_, child := s.pushImage(t, s.Repo1)
	config := s.image(t, s.Repo1).Config

	a1 := s.attach(t, manifest{SchemaVersion: 2, MediaType: typeImage, ArtifactType: typeA, Config: &empty, Layers: []descriptor{empty}, Subject: subject, Annotations: note()}, typeA)
	a2 := s.attach(t, manifest{SchemaVersion: 2, MediaType: typeImage, ArtifactType: typeA, Config: &empty, Layers: []descriptor{empty}, Subject: subject, Annotations: note()}, typeA)
	b := s.attach(t, manifest{SchemaVersion: 2, MediaType: typeIndex, ArtifactType: typeB, Manifests: []descriptor{child}, Subject: subject, Annotations: note()}, typeB)
	// Without an artifact type an image has its configuration's, an index none.
	c := s.attach(t, manifest{SchemaVersion: 2, MediaType: typeImage, Config: config, Layers: []descriptor{empty}, Subject: subject, Annotations: note()}, typeConf)
	i := s.attach(t, manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{child}, Subject: subject, Annotations: note()}, "")
	every := []descriptor{a1, a2, b, c, i}

	path := s.referrersPath(subject.Digest)
	all, first := s.referrersOf(t, path)
	sameReferrers(t, "before the subject", all, every)
	if got := first.header.Get("OCI-Filters-Applied"); got != "" {
		t.Errorf("OCI-Filters-Applied is %q without a filter", got)
	}
	s.want(t, http.StatusCreated, put(s.manifestPath(s.Repo1, subject.Digest), subjectBody).with("Content-Type", typeImage))
	all, _ = s.referrersOf(t, path)
	sameReferrers(t, "after the subject", all, every)
	for artifactType, want := range map[string][]descriptor{typeA: {a1, a2}, typeB: {b}, typeConf: {c}, "application/none": nil} {
		all, first := s.referrersOf(t, path+"?artifactType="+url.QueryEscape(artifactType))
		sameReferrers(t, artifactType, all, want)
		if got := first.header.Get("OCI-Filters-Applied"); got != "artifactType" {
			t.Errorf("OCI-Filters-Applied is %q", got)
		}
	}
	s.want(t, http.StatusOK, head(path))
	// A referrer that goes leaves the list; the other repository has none of it.
	s.want(t, http.StatusAccepted, remove(s.manifestPath(s.Repo1, a1.Digest)))
	all, _ = s.referrersOf(t, path)
	sameReferrers(t, "after a deletion", all, []descriptor{a2, b, c, i})
	if all, _ := s.referrersOf(t, "/v2/"+s.Repo2+"/referrers/"+subject.Digest); len(all) != 0 {
		t.Errorf("the other repository has %d referrers", len(all))
	}
	// The subject may go before its referrers.
	s.want(t, http.StatusAccepted, remove(s.manifestPath(s.Repo1, subject.Digest)))
	all, _ = s.referrersOf(t, path)
	sameReferrers(t, "after the subject's deletion", all, []descriptor{a2, b, c, i})
}

// referrerPages pushes more referrers than fit a page of 4 MiB, which is what
// the specification allows an index to have.
func referrerPages(t *testing.T, s *suite) {
	empty := s.emptyBlob(t)
	_, subject := s.pushImage(t, s.Repo1)
	var want []descriptor
	for range 130 {
		want = append(want, s.attach(t, manifest{
			SchemaVersion: 2, MediaType: typeImage, ArtifactType: "application/vnd.example.many", Config: &empty, Layers: []descriptor{empty},
			Subject: &subject, Annotations: map[string]string{"pad": unique("p") + strings.Repeat("x", 40_000)},
		}, "application/vnd.example.many"))
	}
	for _, query := range []string{"", "?artifactType=application/vnd.example.many"} {
		pages := 0
		var all []descriptor
		for path := s.referrersPath(subject.Digest) + query; path != ""; pages++ {
			a := s.want(t, http.StatusOK, get(path))
			if len(a.body) > 4<<20 {
				t.Errorf("a page has %d bytes", len(a.body))
			}
			if query != "" && a.header.Get("OCI-Filters-Applied") != "artifactType" {
				t.Error("a later page forgets the filter")
			}
			all = append(all, decode[manifest](t, a).Manifests...)
			path = next(t, a)
		}
		if pages < 2 {
			t.Errorf("%d pages", pages)
		}
		sameReferrers(t, "pages"+query, all, want)
	}
	for _, d := range want {
		s.want(t, http.StatusAccepted, remove(s.manifestPath(s.Repo1, d.Digest)))
	}
}

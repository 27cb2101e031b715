package aws

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// badToken is the constraint that a wrong page token breaks.
const badToken = "Invalid pagination token provided"

// filtered is the input of a listing with a filter.
func filtered(repo string, filter object) object {
	return object{"repositoryName": repo, "filter": filter}
}

func (s *suite) listImages(t *testing.T) {
	repo := s.repo(t, "list")
	s.want(t, "ListImages", object{"repositoryName": repo}, object{"imageIds": array{}})
	k := s.kit(t, repo)
	one := k.image(t)
	a := s.put(t, repo, "v1", one)
	s.put(t, repo, "v2", one)
	b := s.put(t, repo, "", k.image(t))
	tagged, loose := []any{imageID(a, "v1"), imageID(a, "v2")}, byDigest(b)
	for _, c := range []struct {
		filter object
		want   []any
	}{
		{object{}, append(slices.Clone(tagged), loose)},
		{object{"tagStatus": "ANY"}, append(slices.Clone(tagged), loose)},
		{object{"tagStatus": "TAGGED"}, tagged},
		{object{"tagStatus": "UNTAGGED"}, []any{loose}},
		{object{"imageStatus": "ACTIVE"}, append(slices.Clone(tagged), loose)},
		{object{"imageStatus": "ANY", "tagStatus": "UNTAGGED"}, []any{loose}},
		{object{"imageStatus": "ARCHIVED"}, nil},
		{object{"imageStatus": "ACTIVATING", "tagStatus": "ANY"}, nil},
	} {
		s.want(t, "ListImages", filtered(repo, c.filter), object{"imageIds": anyOrder(c.want...)})
	}
	s.invalid(t, "ListImages", object{"repositoryName": repo, "filter": object{"imageStatus": "ARCHIVED"}, "nextToken": "x"}, "nextToken", badToken)
}

// detail is an image of the kit as DescribeImages has to give it.
func (s *suite) detail(repo, digest string, size int, before time.Time, tags ...any) object {
	want := object{
		"registryId": s.Account, "repositoryName": repo, "imageDigest": digest, "imageSizeInBytes": size, "imagePushedAt": during(before),
		"imageManifestMediaType": typeImage, "artifactMediaType": typeConfig, "imageStatus": "ACTIVE",
	}
	if len(tags) > 0 {
		want["imageTags"] = array(tags) // in order
	}
	return want
}

// describeImages is every member of a detail, present or absent.
func (s *suite) describeImages(t *testing.T) {
	before := time.Now()
	repo := s.repo(t, "describe")
	s.want(t, "DescribeImages", object{"repositoryName": repo}, object{"imageDetails": array{}})
	k := s.kit(t, repo)
	one := k.image(t)
	s.put(t, repo, "v2", one)
	s.put(t, repo, "v1", one)
	tagged := s.detail(repo, sha256Digest(one), k.size(), before, "v1", "v2")

	more := randomBytes(5000) // a layer that stands twice counts once
	m := k.manifest()
	extra := descriptor{MediaType: typeLayer, Digest: s.layer(t, repo, more), Size: len(more)}
	m.Layers = append(m.Layers, extra, extra)
	large := m.text(t)
	s.put(t, repo, "", large)
	untagged := s.detail(repo, sha256Digest(large), k.size()+len(more), before)

	index := indexOf(t, one, large) // is as large as its largest image
	s.put(t, repo, "index", index)
	list := s.detail(repo, sha256Digest(index), k.size()+len(more), before, "index")
	list["imageManifestMediaType"], list["artifactMediaType"] = typeIndex, nil

	m = k.manifest()
	m.ArtifactType = "application/vnd.example.sbom"
	m.Subject = &descriptor{MediaType: typeImage, Digest: sha256Digest(one), Size: len(one)}
	s.put(t, repo, "", m.text(t))
	artifact := s.detail(repo, sha256Digest(m.text(t)), k.size(), before)
	artifact["artifactMediaType"], artifact["subjectManifestDigest"] = "application/vnd.example.sbom", sha256Digest(one)

	for _, c := range []struct {
		filter object
		want   []any
	}{
		{object{}, []any{tagged, untagged, list, artifact}},
		{object{"tagStatus": "ANY"}, []any{tagged, untagged, list, artifact}},
		{object{"tagStatus": "TAGGED"}, []any{tagged, list}},
		{object{"tagStatus": "UNTAGGED"}, []any{untagged, artifact}},
		{object{"imageStatus": "ACTIVE"}, []any{tagged, untagged, list, artifact}},
		{object{"imageStatus": "ARCHIVED"}, nil},
		{object{"imageStatus": "ACTIVATING", "tagStatus": "TAGGED"}, nil},
	} {
		s.want(t, "DescribeImages", filtered(repo, c.filter), object{"imageDetails": anyOrder(c.want...)})
	}
}

// describeImagesByName: each image once, and all or none.
func (s *suite) describeImagesByName(t *testing.T) {
	before := time.Now()
	repo := s.repo(t, "describe")
	k := s.kit(t, repo)
	one, two := k.image(t), k.image(t)
	a, b := s.put(t, repo, "v1", one), s.put(t, repo, "v3", two)
	s.put(t, repo, "v2", one)
	first, second := s.detail(repo, a, k.size(), before, "v1", "v2"), s.detail(repo, b, k.size(), before, "v3")
	s.want(t, "DescribeImages", ids(repo, byTag("v3"), byTag("v1"), byDigest(b)), object{"imageDetails": anyOrder(first, second)})
	s.want(t, "DescribeImages", ids(repo, byTag("v1"), byTag("v2"), byDigest(a), imageID(a, "v2")), object{"imageDetails": array{first}})
	for _, c := range []struct {
		id          object
		digest, tag string
	}{
		{byTag("none"), "null", "none"},
		{byDigest("sha256:00ff"), "sha256:00ff", "null"},
		{imageID(a, "none"), a, "none"},
		{imageID(a, "v3"), a, "v3"},
	} {
		s.refused(t, "DescribeImages", ids(repo, byTag("v1"), c.id, byTag("v3")), "ImageNotFoundException", s.noImage(repo, c.digest, c.tag))
	}
	// A filter holds for those too, but what is not there is missed first.
	for status, n := range map[string]int{"ACTIVE": 1, "ANY": 1, "ARCHIVED": 0} {
		in := ids(repo, byTag("v1"))
		in["filter"] = object{"imageStatus": status}
		s.want(t, "DescribeImages", in, object{"imageDetails": append(array{}, array{first}[:n]...)})
		in = ids(repo, byTag("v1"), byTag("none"))
		in["filter"] = object{"imageStatus": status}
		s.refused(t, "DescribeImages", in, "ImageNotFoundException", s.noImage(repo, "null", "none"))
	}
	for tagStatus, n := range map[string]int{"TAGGED": 1, "ANY": 1, "UNTAGGED": 0} {
		in := ids(repo, byTag("v1"))
		in["filter"] = object{"tagStatus": tagStatus}
		s.want(t, "DescribeImages", in, object{"imageDetails": append(array{}, array{first}[:n]...)})
	}
	for id, reason := range map[string]string{`{}`: noIDReason, `{"imageDigest":"nonsense"}`: badDigest, `{"imageTag":"not a tag"}`: badTag} {
		s.refused(t, "DescribeImages", `{"repositoryName":"`+repo+`","imageIds":[`+id+`]}`, "InvalidParameterException", reason)
	}
}

// walk reads a whole listing page by page, and gives each entry as text.
func (s *suite) walk(t *testing.T, op, member string, in object, size int, between func(sofar []string)) []string {
	t.Helper()
	in = maps.Clone(in)
	in["maxResults"] = size
	var all []string
	for {
		got := s.succeed(t, op, in)
		entries, ok := got[member].([]any)
		if !ok || len(entries) > size {
			t.Fatalf("%s: a page of %s, want at most %d", op, shown(got[member]), size)
		}
		for _, e := range entries {
			whole, err := json.Marshal(e) // its members in order
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(whole))
		}
		if got["nextToken"] == nil {
			return all
		}
		if len(all) > 10_000 {
			t.Fatalf("%s: the pages do not end", op)
		}
		in["nextToken"] = text(t, got, "nextToken")
		between(all)
	}
}

// sameEntries compares what pages gave with the whole, in order.
func sameEntries(t *testing.T, what string, want, got []string) {
	t.Helper()
	if !slices.Equal(want, got) {
		t.Errorf("%s: %d entries, want %d in the same order:\n%v\n%v", what, len(got), len(want), got, want)
	}
}

// pages of every size give the whole, each entry once.
func (s *suite) pages(t *testing.T) {
	repo := s.repo(t, "pages")
	k := s.kit(t, repo)
	entries := 0
	for i := range 7 { // 0, 1, 2, 3, 0, 1, 2 tags
		image := k.image(t)
		for j := range i % 4 {
			s.put(t, repo, fmt.Sprintf("t%d-%d", i, j), image)
		}
		if i%4 == 0 {
			s.put(t, repo, "", image)
		}
		entries += max(1, i%4)
	}
	for _, filter := range []object{{}, {"tagStatus": "TAGGED"}, {"tagStatus": "UNTAGGED"}} {
		in := filtered(repo, filter)
		for op, member := range map[string]string{"ListImages": "imageIds", "DescribeImages": "imageDetails"} {
			whole := s.walk(t, op, member, in, 1000, func([]string) {})
			if n := map[string]int{"ListImages": entries, "DescribeImages": 7}[op]; len(filter) == 0 && len(whole) != n {
				t.Errorf("%s lists %d entries, want %d", op, len(whole), n)
			}
			if n := len(slices.Compact(slices.Sorted(slices.Values(whole)))); n != len(whole) {
				t.Errorf("%s lists %d entries, of which %d are different", op, len(whole), n)
			}
			for size := 1; size <= len(whole)+1; size++ {
				sameEntries(t, fmt.Sprintf("%s in pages of %d, %v", op, size, filter), whole, s.walk(t, op, member, in, size, func([]string) {}))
			}
		}
	}
}

// defaultPages have a hundred entries.
func (s *suite) defaultPages(t *testing.T) {
	repo := s.repo(t, "default")
	k := s.kit(t, repo)
	first := k.image(t)
	for i := range 3 {
		s.put(t, repo, fmt.Sprintf("t%d", i), first)
	}
	for range 100 {
		s.put(t, repo, "", k.image(t))
	}
	in := object{"repositoryName": repo}
	for op, c := range map[string]struct {
		member string
		rest   int
	}{"ListImages": {"imageIds", 3}, "DescribeImages": {"imageDetails", 1}} {
		got := s.succeed(t, op, in)
		if n := len(got[c.member].([]any)); n != 100 {
			t.Errorf("%s: a page of %d, want 100", op, n)
		}
		got = s.succeed(t, op, object{"repositoryName": repo, "nextToken": text(t, got, "nextToken")})
		if n := len(got[c.member].([]any)); n != c.rest || got["nextToken"] != nil {
			t.Errorf("%s: the second page has %d entries and the token %v", op, n, got["nextToken"])
		}
	}
}

// pageTokens belong to one listing and cannot be made up.
func (s *suite) pageTokens(t *testing.T) {
	repo, other := s.repo(t, "tokens"), s.repo(t, "tokens")
	subject := someDigest()
	for _, r := range []string{repo, other} {
		k := s.kit(t, r)
		for range 2 {
			m := k.manifest()
			m.Subject = &descriptor{MediaType: typeImage, Digest: subject, Size: 1}
			s.put(t, r, "", m.text(t))
		}
	}
	listings := map[string]struct {
		op string
		in object
	}{
		"images":                  {"ListImages", object{"repositoryName": repo}},
		"images of another":       {"ListImages", object{"repositoryName": other}},
		"untagged images":         {"ListImages", filtered(repo, object{"tagStatus": "UNTAGGED"})},
		"details":                 {"DescribeImages", object{"repositoryName": repo}},
		"untagged details":        {"DescribeImages", filtered(repo, object{"tagStatus": "UNTAGGED"})},
		"referrers":               {"ListImageReferrers", object{"repositoryName": repo, "subjectId": object{"imageDigest": subject}}},
		"referrers of a type":     {"ListImageReferrers", object{"repositoryName": repo, "subjectId": object{"imageDigest": subject}, "filter": object{"artifactTypes": array{typeConfig}}}},
		"referrers in another":    {"ListImageReferrers", object{"repositoryName": other, "subjectId": object{"imageDigest": subject}}},
		"repositories":            {"DescribeRepositories", object{}},
		"images of a registry id": {"ListImages", object{"repositoryName": repo, "registryId": s.Account}},
	}
	with := func(in object, k string, v any) object {
		in = maps.Clone(in)
		in[k] = v
		return in
	}
	tokens := map[string]string{}
	for what, l := range listings {
		tokens[what] = text(t, s.succeed(t, l.op, with(l.in, "maxResults", 1)), "nextToken")
		if strings.Contains(tokens[what], "sha256") || strings.ContainsAny(tokens[what], " \n") {
			t.Errorf("the token %s is not opaque", tokens[what])
		}
	}
	// Naming one's own registry makes no other listing of it.
	s.succeed(t, "ListImages", with(listings["images of a registry id"].in, "nextToken", tokens["images"]))
	delete(tokens, "images of a registry id")
	for what, token := range tokens {
		for of, l := range listings {
			if of == what || of == "images of a registry id" {
				continue
			}
			s.invalid(t, l.op, with(l.in, "nextToken", token), "nextToken", badToken)
		}
		l := listings[what]
		for _, bad := range []string{"x", "null", token + "x", "A" + token, token[1:], token[:len(token)-2], strings.Repeat("A", 43), token + token} {
			s.invalid(t, l.op, with(l.in, "nextToken", bad), "nextToken", badToken)
		}
		for range 2 { // it can be used again, with another page size too
			s.succeed(t, l.op, with(with(l.in, "nextToken", token), "maxResults", 50))
		}
	}
}

// pagesUnderChange: what is there from the first page to the last comes exactly
// once, though other images come and go in between.
func (s *suite) pagesUnderChange(t *testing.T) {
	repo := s.repo(t, "change")
	k := s.kit(t, repo)
	for op, member := range map[string]string{"ListImages": "imageIds", "DescribeImages": "imageDetails"} {
		var stays, goes []string
		gone := map[string]int{} // how often it had come by then
		for i := range 24 {
			image := k.image(t)
			digest := s.put(t, repo, unique("t"), image)
			if i%2 == 0 {
				stays = append(stays, digest)
				s.put(t, repo, unique("second"), image)
			} else {
				goes = append(goes, digest)
			}
		}
		all := s.walk(t, op, member, object{"repositoryName": repo}, 5, func(sofar []string) {
			if len(goes) > 0 {
				for _, digest := range []string{goes[0], goes[len(goes)-1]} {
					if _, before := gone[digest]; !before {
						gone[digest] = entriesOf(digest, sofar)
					}
				}
				s.succeed(t, "BatchDeleteImage", ids(repo, byDigest(goes[0]), byDigest(goes[len(goes)-1])))
				goes = goes[1:]
			}
			s.put(t, repo, unique("new"), k.image(t))
			s.put(t, repo, "moving", k.image(t))
		})
		want := map[string]int{"ListImages": 2, "DescribeImages": 1}[op]
		for _, digest := range stays {
			if n := entriesOf(digest, all); n != want {
				t.Errorf("%s: %s comes %d times, want %d", op, digest, n, want)
			}
		}
		for digest, n := range gone {
			if entriesOf(digest, all) != n {
				t.Errorf("%s: %s comes after it was deleted", op, digest)
			}
		}
	}
}

// entriesOf counts the entries about an image.
func entriesOf(digest string, entries []string) (n int) {
	for _, entry := range entries {
		n += strings.Count(entry, `"imageDigest":"`+digest)
	}
	return n
}

// listImageReferrers is every member of a referrer, the filters, and the same
// as the registry says.
func (s *suite) listImageReferrers(t *testing.T) {
	repo, other := s.repo(t, "referrers"), s.repo(t, "referrers")
	k := s.kit(t, repo)
	subject := k.image(t)
	digest := sha256Digest(subject)
	in := func(filter any) object {
		in := object{"repositoryName": repo, "subjectId": object{"imageDigest": digest}}
		if filter != nil {
			in["filter"] = filter
		}
		return in
	}
	s.want(t, "ListImageReferrers", in(nil), object{"referrers": array{}}) // of what is not there
	for _, other := range []string{"sha256:00ff", "md5:00ff", sha512Digest("x")} {
		s.want(t, "ListImageReferrers", object{"repositoryName": repo, "subjectId": object{"imageDigest": other}}, object{"referrers": array{}})
	}
	s.put(t, repo, "v1", subject)
	s.want(t, "ListImageReferrers", in(nil), object{"referrers": array{}})

	push := func(repo string, m manifest, artifactType any, of string) object {
		t.Helper()
		m.Subject = &descriptor{MediaType: typeImage, Digest: of, Size: len(subject)}
		want := object{
			"digest": s.put(t, repo, "", m.text(t)), "mediaType": m.MediaType, "artifactType": artifactType, "size": len(m.text(t)), "artifactStatus": "ACTIVE",
		}
		if m.Annotations != nil {
			annotations := object{}
			for k, v := range m.Annotations {
				annotations[k] = v
			}
			want["annotations"] = annotations
		}
		return want
	}
	sbom, bare := k.manifest(), k.manifest()
	sbom.ArtifactType, bare.Annotations = "application/vnd.example.sbom", nil
	index := manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{}, Annotations: map[string]string{"unique": unique("i"), "more": "<&>"}}
	a, b := push(repo, sbom, "application/vnd.example.sbom", digest), push(repo, bare, typeConfig, digest)
	c := push(repo, index, nil, digest)
	push(repo, k.manifest(), typeConfig, someDigest())          // of another subject
	push(other, s.kit(t, other).manifest(), typeConfig, digest) // in another repository
	for _, f := range []struct {
		filter any
		want   []any
	}{
		{nil, []any{a, b, c}},
		{object{}, []any{a, b, c}},
		{object{"artifactTypes": array{}}, []any{a, b, c}},
		{object{"artifactTypes": array{"application/vnd.example.sbom"}}, []any{a}},
		{object{"artifactTypes": array{typeConfig, "application/vnd.example.sbom", "x/1", "x/2", "x/3"}}, []any{a, b}},
		{object{"artifactTypes": array{"application/vnd.example"}}, nil},
		{object{"artifactStatus": "ACTIVE"}, []any{a, b, c}},
		{object{"artifactStatus": "ANY"}, []any{a, b, c}},
		{object{"artifactStatus": "ARCHIVED"}, nil},
		{object{"artifactStatus": "ACTIVATING"}, nil},
	} {
		s.want(t, "ListImageReferrers", in(f.filter), object{"referrers": anyOrder(f.want...)})
	}

	r := s.plain(t, http.MethodGet, s.URL+"/v2/"+repo+"/referrers/"+digest, nil)
	r.Header.Set("Authorization", "Basic "+token(t, s.succeed(t, "GetAuthorizationToken", nil)))
	answer := s.send(t, r)
	for _, one := range []object{a, b, c} {
		if !strings.Contains(string(answer.body), one["digest"].(string)) {
			t.Errorf("the registry's list of referrers has no %s: %s", one["digest"], answer.body)
		}
	}
}

// referrerPages have twenty entries, or up to fifty.
func (s *suite) referrerPages(t *testing.T) {
	repo := s.repo(t, "referrers")
	k := s.kit(t, repo)
	subject := someDigest()
	for range 51 {
		m := k.manifest()
		m.Subject = &descriptor{MediaType: typeImage, Digest: subject, Size: 1}
		s.put(t, repo, "", m.text(t))
	}
	in := object{"repositoryName": repo, "subjectId": object{"imageDigest": subject}}
	got := s.succeed(t, "ListImageReferrers", in)
	if n := len(got["referrers"].([]any)); n != 20 {
		t.Errorf("a page of %d where nothing is said, want 20", n)
	}
	text(t, got, "nextToken")
	whole := s.walk(t, "ListImageReferrers", "referrers", in, 50, func([]string) {})
	if n := len(slices.Compact(slices.Sorted(slices.Values(whole)))); n != 51 || len(whole) != 51 {
		t.Errorf("%d entries, %d of them different, want 51", len(whole), n)
	}
	for _, size := range []int{1, 7, 25} {
		sameEntries(t, fmt.Sprintf("pages of %d", size), whole, s.walk(t, "ListImageReferrers", "referrers", in, size, func([]string) {}))
	}
	s.succeed(t, "ListImageReferrers", object{"repositoryName": repo, "subjectId": object{"imageDigest": subject}, "maxResults": 50})
}

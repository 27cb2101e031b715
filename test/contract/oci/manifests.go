package oci

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// serves checks that a reference gives the manifest, byte by byte.
func (s *suite) serves(t *testing.T, repo, ref, mediaType, digest string, body []byte) {
	t.Helper()
	path := s.manifestPath(repo, ref)
	for _, accept := range []string{mediaType, typeIndex + ", " + typeImage, "*/*", ""} {
		a := s.want(t, http.StatusOK, get(path).with("Accept", accept))
		if !bytes.Equal(a.body, body) {
			t.Fatalf("%s came back with other bytes", path)
		}
		if got := a.header.Get("Content-Type"); got != mediaType {
			t.Errorf("%s: Content-Type is %q, want %q", path, got, mediaType)
		}
		if got := a.header.Get("Docker-Content-Digest"); got != digest {
			t.Errorf("%s: Docker-Content-Digest is %q, want %q", path, got, digest)
		}
		if got := a.header.Get("Content-Length"); got != strconv.Itoa(len(body)) {
			t.Errorf("%s: Content-Length is %q, want %d", path, got, len(body))
		}
		s.sameHead(t, a, path)
	}
}

// gone checks that a reference gives no manifest.
func (s *suite) gone(t *testing.T, repo, ref string) {
	t.Helper()
	s.refused(t, http.StatusNotFound, "MANIFEST_UNKNOWN", get(s.manifestPath(repo, ref)))
	s.refused(t, http.StatusNotFound, "MANIFEST_UNKNOWN", head(s.manifestPath(repo, ref)))
}

func pushManifestByTag(t *testing.T, s *suite) {
	tag, body := unique("tag"), s.image(t, s.Repo1).bytes(t)
	s.gone(t, s.Repo1, tag)
	for range 2 { // the second push changes nothing
		a := s.want(t, http.StatusCreated, put(s.manifestPath(s.Repo1, tag), body).with("Content-Type", typeImage))
		if got := a.header.Get("Docker-Content-Digest"); got != sha(body) {
			t.Errorf("Docker-Content-Digest is %q, want %q", got, sha(body))
		}
		if got := s.want(t, http.StatusOK, get(location(t, a)).with("Accept", typeImage)); !bytes.Equal(got.body, body) {
			t.Error("the Location of the new manifest gives other bytes")
		}
	}
	s.serves(t, s.Repo1, tag, typeImage, sha(body), body)
	s.serves(t, s.Repo1, sha(body), typeImage, sha(body), body)
	if tags := s.tags(t, s.Repo1); !slices.Contains(tags, tag) {
		t.Error("the new tag is not listed")
	}
	// Parameters of the media type mean nothing; the edges of the tag grammar.
	for _, tag := range []string{"_" + unique("x"), strings.Repeat("t", 115) + unique("")} {
		s.want(t, http.StatusCreated, put(s.manifestPath(s.Repo1, tag), body).with("Content-Type", typeImage+"; charset=utf-8"))
		s.serves(t, s.Repo1, tag, typeImage, sha(body), body)
	}
}

func pushManifestByDigest(t *testing.T, s *suite) {
	for _, algorithm := range algorithms() {
		body := s.image(t, s.Repo1).bytes(t)
		d := digestOf(algorithm, body)
		before := s.tags(t, s.Repo1)
		a := s.want(t, http.StatusCreated, put(s.manifestPath(s.Repo1, d), body).with("Content-Type", typeImage))
		if got := a.header.Get("Docker-Content-Digest"); got != d {
			t.Errorf("Docker-Content-Digest is %q, want %q", got, d)
		}
		s.serves(t, s.Repo1, d, typeImage, d, body)
		if after := s.tags(t, s.Repo1); !slices.Equal(before, after) {
			t.Error("a push by digest changed the tags")
		}
		// Bytes that the digest is not of.
		s.refused(t, http.StatusBadRequest, "DIGEST_INVALID",
			put(s.manifestPath(s.Repo1, digestOf(algorithm, random(9))), body).with("Content-Type", typeImage))
		s.refused(t, http.StatusBadRequest, "DIGEST_INVALID",
			put(s.manifestPath(s.Repo1, d), append(body, ' ')).with("Content-Type", typeImage))
	}
}

func tagParameters(t *testing.T, s *suite) {
	body := s.image(t, s.Repo1).bytes(t)
	tags := []string{unique("a"), unique("b"), unique("c")}
	path := s.manifestPath(s.Repo1, sha(body)) + "?tag=" + strings.Join(tags, "&tag=")
	a := s.want(t, http.StatusCreated, put(path, body).with("Content-Type", typeImage))
	said := strings.Join(a.header.Values("OCI-Tag"), ", ")
	for _, tag := range tags {
		if !strings.Contains(said, tag) {
			t.Errorf("OCI-Tag %q lacks %q", said, tag)
		}
		s.serves(t, s.Repo1, tag, typeImage, sha(body), body)
	}
}

// manifestKinds pushes what else is called a manifest.
func manifestKinds(t *testing.T, s *suite) {
	first, second := s.image(t, s.Repo1), s.image(t, s.Repo1)
	a := s.putManifest(t, s.Repo1, sha(first.bytes(t)), first)
	b := s.putManifest(t, s.Repo1, sha(second.bytes(t)), second)
	index := manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{a, b}, Annotations: map[string]string{"x": unique("y")}}
	i := s.putManifest(t, s.Repo1, unique("index"), index)
	empty := []byte("{}")
	e := descriptor{MediaType: typeEmpty, Digest: s.push(t, s.Repo1, empty), Size: 2}
	artifact := manifest{SchemaVersion: 2, MediaType: typeImage, ArtifactType: "application/vnd.example.thing.v1", Config: &e, Layers: []descriptor{e}}
	noLayers := s.image(t, s.Repo1)
	noLayers.Layers = nil
	all := map[string]manifest{
		"index":       index,
		"nested":      {SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{i, a}},
		"empty-index": {SchemaVersion: 2, MediaType: typeIndex, Annotations: map[string]string{"x": unique("y")}},
		"artifact":    artifact,
		"no-layers":   noLayers,
	}
	for kind, m := range all {
		t.Run(kind, func(t *testing.T) {
			tag, body := unique(kind), m.bytes(t)
			switch kind { // lists that are there and empty, and a member that nobody knows
			case "empty-index":
				body = append([]byte(`{"manifests":[],"unknown":"`+unique("u")+`",`), body[1:]...)
			case "no-layers":
				body = append([]byte(`{"layers":[],"unknown":"`+unique("u")+`",`), body[1:]...)
			}
			s.want(t, http.StatusCreated, put(s.manifestPath(s.Repo1, tag), body).with("Content-Type", m.MediaType))
			s.serves(t, s.Repo1, tag, m.MediaType, sha(body), body)
		})
	}
	t.Run("foreign layer", func(t *testing.T) {
		m := s.image(t, s.Repo1)
		body := m.bytes(t)
		foreign := fmt.Sprintf(`"layers": [{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"%s","size":123,"urls":["https://store.example.com/x"]},`, sha(random(8)))
		body = bytes.Replace(body, []byte(`"layers": [`), []byte(foreign), 1)
		s.want(t, http.StatusCreated, put(s.manifestPath(s.Repo1, unique("foreign")), body).with("Content-Type", typeImage))
	})
	t.Run("no media type inside", func(t *testing.T) {
		m := s.image(t, s.Repo1)
		m.MediaType = ""
		tag, body := unique("bare"), m.bytes(t)
		s.want(t, http.StatusCreated, put(s.manifestPath(s.Repo1, tag), body).with("Content-Type", typeImage))
		s.serves(t, s.Repo1, tag, typeImage, sha(body), body)
	})
}

func largeManifest(t *testing.T, s *suite) {
	m := s.image(t, s.Repo1)
	m.Annotations = map[string]string{}
	for i := range 390 {
		m.Annotations["large-"+strconv.Itoa(i)] = strings.Repeat("A", 10_000)
	}
	tag, body := unique("large"), m.bytes(t)
	s.want(t, http.StatusCreated, put(s.manifestPath(s.Repo1, tag), body).with("Content-Type", typeImage))
	s.serves(t, s.Repo1, tag, typeImage, sha(body), body)
	s.want(t, http.StatusCreated, put(s.manifestPath(s.Repo1, unique("large")), body).with("Content-Type", typeImage).streamed())
	s.want(t, http.StatusAccepted, remove(s.manifestPath(s.Repo1, sha(body))))
}

func conditionalManifest(t *testing.T, s *suite) {
	m := s.image(t, s.Repo1)
	body := m.bytes(t)
	m.Annotations = map[string]string{"pad": strings.Repeat("p", 2048-len(body)-len(",\n   \"annotations\": {\n      \"pad\": \"\"\n   }"))}
	tag := unique("cond")
	body = m.bytes(t)
	if len(body) != 2048 {
		t.Fatalf("the padding is off: %d bytes", len(body))
	}
	d := s.putManifest(t, s.Repo1, tag, m)
	for _, ref := range []string{tag, d.Digest} {
		s.conditional(t, s.manifestPath(s.Repo1, ref))
		s.ranges(t, s.manifestPath(s.Repo1, ref), body)
	}
}

func moveTag(t *testing.T, s *suite) {
	tag := unique("moving")
	first, second := s.image(t, s.Repo1), s.image(t, s.Repo1)
	a := s.putManifest(t, s.Repo1, tag, first)
	b := s.putManifest(t, s.Repo1, tag, second)
	s.serves(t, s.Repo1, tag, typeImage, b.Digest, second.bytes(t))
	s.serves(t, s.Repo1, a.Digest, typeImage, a.Digest, first.bytes(t))
}

func deleteManifestByTag(t *testing.T, s *suite) {
	m := s.image(t, s.Repo1)
	one, two := unique("one"), unique("two")
	d := s.putManifest(t, s.Repo1, one, m)
	s.putManifest(t, s.Repo1, two, m)
	s.want(t, http.StatusAccepted, remove(s.manifestPath(s.Repo1, one)))
	s.gone(t, s.Repo1, one)
	s.serves(t, s.Repo1, two, typeImage, d.Digest, m.bytes(t))
	s.serves(t, s.Repo1, d.Digest, typeImage, d.Digest, m.bytes(t))
	tags := s.tags(t, s.Repo1)
	if slices.Contains(tags, one) || !slices.Contains(tags, two) {
		t.Error("the list of tags does not follow the deletion")
	}
	s.refused(t, http.StatusNotFound, "MANIFEST_UNKNOWN", remove(s.manifestPath(s.Repo1, one)))
}

func deleteManifestByDigest(t *testing.T, s *suite) {
	m := s.image(t, s.Repo1)
	one, two := unique("one"), unique("two")
	d := s.putManifest(t, s.Repo1, one, m)
	s.putManifest(t, s.Repo1, two, m)
	s.want(t, http.StatusAccepted, remove(s.manifestPath(s.Repo1, d.Digest)))
	for _, ref := range []string{one, two, d.Digest} {
		s.gone(t, s.Repo1, ref)
		s.refused(t, http.StatusNotFound, "MANIFEST_UNKNOWN", remove(s.manifestPath(s.Repo1, ref)))
	}
	tags := s.tags(t, s.Repo1)
	if slices.Contains(tags, one) || slices.Contains(tags, two) {
		t.Error("the list of tags does not follow the deletion")
	}
	s.putManifest(t, s.Repo1, one, m) // it can come back
	s.serves(t, s.Repo1, one, typeImage, d.Digest, m.bytes(t))
}

func deleteChild(t *testing.T, s *suite) {
	tag, child := s.pushImage(t, s.Repo1)
	i := s.putManifest(t, s.Repo1, unique("index"), manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{child}})
	a := s.refused(t, http.StatusMethodNotAllowed, "UNSUPPORTED", remove(s.manifestPath(s.Repo1, child.Digest)))
	if !strings.Contains(string(a.body), i.Digest) {
		t.Errorf("the refusal does not name the index: %s", a.body)
	}
	s.want(t, http.StatusOK, get(s.manifestPath(s.Repo1, tag)))
	s.want(t, http.StatusAccepted, remove(s.manifestPath(s.Repo1, i.Digest)))
	s.want(t, http.StatusAccepted, remove(s.manifestPath(s.Repo1, child.Digest)))
	s.gone(t, s.Repo1, child.Digest)
}

// immutableTags: the same push again is no change and so no failure.
func immutableTags(t *testing.T, s *suite) {
	tag := unique("fixed")
	first := s.image(t, s.ImmutableRepo)
	d := s.putManifest(t, s.ImmutableRepo, tag, first)
	s.putManifest(t, s.ImmutableRepo, tag, first)
	other := s.image(t, s.ImmutableRepo)
	a := s.refused(t, http.StatusBadRequest, "TAG_INVALID",
		put(s.manifestPath(s.ImmutableRepo, tag), other.bytes(t)).with("Content-Type", typeImage))
	want := fmt.Sprintf("The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the", tag, s.ImmutableRepo)
	if !strings.Contains(string(a.body), want) {
		t.Errorf("the refusal reads %s", a.body)
	}
	s.serves(t, s.ImmutableRepo, tag, typeImage, d.Digest, first.bytes(t))
}

package aws

import (
	"encoding/json"
	"testing"
)

func (s *suite) batchGetImage(t *testing.T) {
	repo, other := s.repo(t, "get"), s.repo(t, "get")
	k := s.kit(t, repo)
	one, two := k.image(t), k.image(t)
	a, b := s.put(t, repo, "v1", one), s.put(t, repo, "v2", two)
	theirs := s.put(t, other, "v3", s.kit(t, other).image(t))
	none := someDigest()
	image := func(digest, tag, manifest string) object {
		want := s.imageAnswer(repo, tag, manifest, typeImage)
		want["imageId"] = imageID(digest, tag)
		return want
	}
	s.want(t, "BatchGetImage", ids(repo,
		byTag("v2"), byDigest(a), imageID(a, "v1"), byTag("v3"), byDigest(none), byDigest(theirs), imageID(b, "v1"), object{}, byDigest("nonsense"),
		imageID("nonsense", "v1"), byTag("not a tag"), byDigest("sha256:00ff"), byTag("v2"), byTag("v9"),
	), object{
		"images": array{image(b, "v2", two), image(a, "", one), image(a, "v1", one), image(b, "v2", two)},
		"failures": array{
			failure(byTag("v3"), "ImageNotFound", notFound), failure(byDigest(none), "ImageNotFound", notFound), failure(byDigest(theirs), "ImageNotFound", notFound),
			failure(imageID(b, "v1"), "ImageTagDoesNotMatchDigest", mismatched), failure(object{}, "MissingDigestAndTag", noIDReason),
			failure(byDigest("nonsense"), "InvalidImageDigest", badDigest), failure(imageID("nonsense", "v1"), "InvalidImageDigest", badDigest),
			failure(byTag("not a tag"), "InvalidImageTag", badTag), failure(byDigest("sha256:00ff"), "ImageNotFound", notFound),
			failure(byTag("v9"), "ImageNotFound", notFound),
		},
	})
	var hundred array
	for range 100 {
		hundred = append(hundred, byTag("v1"))
	}
	if n := len(s.succeed(t, "BatchGetImage", ids(repo, hundred...))["images"].([]any)); n != 100 {
		t.Errorf("a hundred times the same image gives %d", n)
	}
}

// translation: by tag into a form that the client takes, by digest never.
func (s *suite) translation(t *testing.T) {
	repo := s.repo(t, "translate")
	k := s.kit(t, repo)
	m := k.manifest()
	m.MediaType, m.Annotations = typeDockerImage, nil
	m.Config.MediaType, m.Layers[0].MediaType = typeDockerConfig, typeDockerLayer
	stored := m.text(t)
	digest := s.put(t, repo, "v1", stored)
	get := func(id object, accept ...string) object {
		t.Helper()
		in := ids(repo, id)
		in["acceptedMediaTypes"] = accept
		got := s.succeed(t, "BatchGetImage", in)
		images := got["images"].([]any)
		if len(images) != 1 {
			t.Fatalf("%v: %s", accept, shown(got))
		}
		return images[0].(object)
	}
	asStored := s.imageAnswer(repo, "v1", stored, typeDockerImage)
	for _, accept := range [][]string{{typeDockerImage}, {typeImage, typeDockerImage}, {"*/*"}, {"application/json"}} {
		same(t, "the stored form is taken", asStored, get(byTag("v1"), accept...))
	}
	oci := get(byTag("v1"), typeImage)
	translated := text(t, oci, "imageManifest")
	same(t, "translated", s.imageAnswer(repo, "v1", translated, typeImage), oci)
	var read manifest
	if err := json.Unmarshal([]byte(translated), &read); err != nil {
		t.Fatal(err)
	}
	if read.MediaType != typeImage || read.Config.MediaType != typeConfig || read.Config.Digest != k.config.Digest || len(read.Layers) != 1 ||
		read.Layers[0].MediaType != typeLayer || read.Layers[0].Digest != k.layer.Digest {
		t.Errorf("the translation is %s", translated)
	}
	own := text(t, oci, "imageId", "imageDigest")
	for _, accept := range [][]string{{typeImage}, {typeDockerImage}, {"text/plain"}} {
		same(t, "by digest, whatever is taken", s.imageAnswer(repo, "", stored, typeDockerImage), get(byDigest(digest), accept...))
	}
	same(t, "by its own digest", s.imageAnswer(repo, "", translated, typeImage), get(byDigest(own), typeImage))
	same(t, "by tag and its own digest", s.imageAnswer(repo, "v1", translated, typeImage), get(imageID(own, "v1"), typeImage))
	if again := get(byTag("v1"), typeImage); text(t, again, "imageManifest") != translated {
		t.Error("a second translation is another one")
	}
	// It is no image of its own.
	s.tags(t, repo, imageID(digest, "v1"))
	s.want(t, "BatchDeleteImage", ids(repo, byDigest(own)), object{"imageIds": array{}, "failures": array{failure(byDigest(own), "ImageNotFound", notFound)}})

	// The other way round.
	plain := k.image(t)
	s.put(t, repo, "oci", plain)
	docker := get(byTag("oci"), typeDockerImage)
	translated = text(t, docker, "imageManifest")
	same(t, "translated", s.imageAnswer(repo, "oci", translated, typeDockerImage), docker)
	own = text(t, docker, "imageId", "imageDigest")
	same(t, "by its own digest", s.imageAnswer(repo, "", translated, typeDockerImage), get(byDigest(own), typeDockerImage))
	same(t, "by digest", s.imageAnswer(repo, "", plain, typeImage), get(byDigest(sha256Digest(plain)), typeDockerImage))

	in := ids(repo, byTag("v1"))
	in["acceptedMediaTypes"] = array{typeIndex}
	s.want(t, "BatchGetImage", in, object{"images": array{}, "failures": array{failure(byTag("v1"), "ImageNotFound",
		"Requested image has a manifest of the media type "+typeDockerImage+", which is none of those that the client accepts, and cannot be translated")}})
}

// removed is the output of BatchDeleteImage.
func removed(gone, failures array) object {
	if failures == nil {
		failures = array{}
	}
	if gone == nil {
		gone = array{}
	}
	return object{"imageIds": gone, "failures": failures}
}

// deleteByTag: a tag goes, and the image with its last one.
func (s *suite) deleteByTag(t *testing.T) {
	repo := s.repo(t, "delete")
	k := s.kit(t, repo)
	one, two := k.image(t), k.image(t)
	for _, tag := range []string{"a", "b", "c"} {
		s.put(t, repo, tag, one)
	}
	a, b := sha256Digest(one), s.put(t, repo, "d", two)
	s.want(t, "BatchDeleteImage", ids(repo, byTag("b")), removed(array{imageID(a, "b")}, nil))
	s.tags(t, repo, imageID(a, "a"), imageID(a, "c"), imageID(b, "d"))
	s.want(t, "BatchDeleteImage", ids(repo, imageID(a, "a")), removed(array{imageID(a, "a")}, nil)) // with the digest it is on
	s.want(t, "BatchDeleteImage", ids(repo, byTag("d"), byTag("c")), removed(array{imageID(b, "d"), imageID(a, "c")}, nil))
	s.tags(t, repo)
	s.want(t, "BatchGetImage", ids(repo, byDigest(a)), object{"images": array{}, "failures": array{failure(byDigest(a), "ImageNotFound", notFound)}})
	s.want(t, "BatchDeleteImage", ids(repo, byTag("c")), removed(nil, array{failure(byTag("c"), "ImageNotFound", notFound)})) // a second time

	// All tags of an image in one call, and one of them twice.
	for _, tag := range []string{"a", "b"} {
		s.put(t, repo, tag, one)
	}
	s.want(t, "BatchDeleteImage", ids(repo, byTag("a"), byTag("a"), byTag("b")),
		removed(array{imageID(a, "a"), imageID(a, "b")}, array{failure(byTag("a"), "ImageNotFound", notFound)}))
	s.tags(t, repo)
}

// deleteByDigest: the image goes with all its tags.
func (s *suite) deleteByDigest(t *testing.T) {
	repo := s.repo(t, "delete")
	k := s.kit(t, repo)
	one, two, three := k.image(t), k.image(t), k.image(t)
	for _, tag := range []string{"a", "b", "c"} {
		s.put(t, repo, tag, one)
	}
	a, b, c := sha256Digest(one), s.put(t, repo, "", two), s.put(t, repo, "d", three)
	got := s.succeed(t, "BatchDeleteImage", ids(repo, byDigest(a)))
	same(t, "BatchDeleteImage", object{"imageIds": anyOrder(imageID(a, "a"), imageID(a, "b"), imageID(a, "c")), "failures": array{}}, got)
	s.want(t, "BatchDeleteImage", ids(repo, byDigest(b), byDigest(a), byDigest(c)),
		removed(array{byDigest(b), imageID(c, "d")}, array{failure(byDigest(a), "ImageNotFound", notFound)}))
	s.tags(t, repo)
	s.put(t, repo, "a", one) // its layers are still there
	s.want(t, "BatchGetImage", ids(repo, byTag("a")), object{"failures": array{}, "images": array{s.imageAnswer(repo, "a", one, typeImage)}})
}

// deleteFailures: what cannot be followed does not stop the rest.
func (s *suite) deleteFailures(t *testing.T) {
	repo := s.repo(t, "delete")
	k := s.kit(t, repo)
	one, two := k.image(t), k.image(t)
	a, b := s.put(t, repo, "a", one), s.put(t, repo, "b", two)
	none := someDigest()
	s.want(t, "BatchDeleteImage", ids(repo, object{}, byTag("none"), byDigest(none), imageID(b, "a"), imageID(none, "a"), imageID(a, "none"),
		byDigest("nonsense"), byDigest("sha256:00ff"), byTag("not a tag"), byTag("b")),
		removed(array{imageID(b, "b")}, array{
			failure(object{}, "MissingDigestAndTag", noIDReason), failure(byTag("none"), "ImageNotFound", notFound), failure(byDigest(none), "ImageNotFound", notFound),
			failure(imageID(b, "a"), "ImageTagDoesNotMatchDigest", mismatched), failure(imageID(none, "a"), "ImageTagDoesNotMatchDigest", mismatched),
			failure(imageID(a, "none"), "ImageNotFound", notFound), failure(byDigest("nonsense"), "InvalidImageDigest", badDigest),
			failure(byDigest("sha256:00ff"), "ImageNotFound", notFound), failure(byTag("not a tag"), "InvalidImageTag", badTag),
		}))
	s.tags(t, repo, imageID(a, "a"))
}

// deleteReferenced: what an index names stays, until the index goes.
func (s *suite) deleteReferenced(t *testing.T) {
	repo := s.repo(t, "delete")
	k := s.kit(t, repo)
	child, second := k.image(t), k.image(t)
	c := s.put(t, repo, "child", child)
	s.put(t, repo, "also", child)
	d := s.put(t, repo, "", second)
	one, two := indexOf(t, child), indexOf(t, child, second)
	x, y := s.put(t, repo, "index", one), s.put(t, repo, "", two)
	held := func(id object, indexes ...string) object {
		return failure(id, "ImageReferencedByManifestList", referencedBy(indexes...))
	}
	// A tag of it may go, as long as it is not the last.
	s.want(t, "BatchDeleteImage", ids(repo, byTag("also"), byTag("child"), byDigest(c), byDigest(d)),
		removed(array{imageID(c, "also")}, array{held(byTag("child"), one, two), held(byDigest(c), one, two), held(byDigest(d), two)}))
	s.tags(t, repo, imageID(c, "child"), byDigest(d), imageID(x, "index"), byDigest(y))
	s.want(t, "BatchDeleteImage", ids(repo, byDigest(c), byDigest(y), byDigest(d), byDigest(c)),
		removed(array{byDigest(y), byDigest(d)}, array{held(byDigest(c), one, two), held(byDigest(c), one)}))
	s.want(t, "BatchDeleteImage", ids(repo, byTag("index"), byTag("child")), removed(array{imageID(x, "index"), imageID(c, "child")}, nil))
	s.tags(t, repo)

	// Not so what a referrer names.
	subject := k.image(t)
	digest := s.put(t, repo, "subject", subject)
	m := k.manifest()
	m.Subject = &descriptor{MediaType: typeImage, Digest: digest, Size: len(subject)}
	referrer := s.put(t, repo, "", m.text(t))
	s.want(t, "BatchDeleteImage", ids(repo, byTag("subject")), removed(array{imageID(digest, "subject")}, nil))
	s.tags(t, repo, byDigest(referrer))
	got := s.succeed(t, "ListImageReferrers", object{"repositoryName": repo, "subjectId": object{"imageDigest": digest}})
	if n := len(got["referrers"].([]any)); n != 1 {
		t.Errorf("the subject is gone, and %d referrers are listed, want 1", n)
	}
}

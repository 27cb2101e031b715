package aws

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

func (s *suite) noImages(repo string, digests ...string) string {
	return "Images with digests '[" + strings.Join(digests, ", ") + "]' required for pushing image into repository with name '" + repo +
		"' in the registry with id '" + s.Account + "' do not exist"
}

// wantPut makes a call of PutImage that has to work, in every member.
func (s *suite) wantPut(t *testing.T, in object, tag, mediaType string) string {
	t.Helper()
	manifest := in["imageManifest"].(string)
	s.want(t, "PutImage", in, object{"image": s.imageAnswer(in["repositoryName"].(string), tag, manifest, mediaType)})
	return sha256Digest(manifest)
}

// tags checks which tags point to which images: one entry for each.
func (s *suite) tags(t *testing.T, repo string, want ...any) {
	t.Helper()
	if s.public { // which has no ListImages
		same(t, "the tags of "+repo, anyOrder(want...), s.imageIDs(t, repo))
		return
	}
	s.want(t, "ListImages", object{"repositoryName": repo}, object{"imageIds": anyOrder(want...)})
}

func (s *suite) putImage(t *testing.T) {
	repo := s.repo(t, "put")
	k := s.kit(t, repo)
	one, two := k.image(t), k.image(t)
	a := s.wantPut(t, putInput(repo, "v1", one), "v1", typeImage)
	b := s.wantPut(t, putInput(repo, "", two), "", typeImage)
	all := putInput(repo, "v2", two)
	all["registryId"], all["imageDigest"], all["imageManifestMediaType"] = s.Account, b, typeImage
	s.wantPut(t, all, "v2", typeImage)
	s.tags(t, repo, imageID(a, "v1"), imageID(b, "v2"))
	for _, name := range []string{"v", "_-.", "-", ".", strings.Repeat("t", 300), "UPPER.lower-1_2"} {
		s.wantPut(t, putInput(repo, name, one), name, typeImage)
		s.want(t, "BatchGetImage", ids(repo, byTag(name)), object{"failures": array{}, "images": array{s.imageAnswer(repo, name, one, typeImage)}})
	}
}

// putImageAgain: what changes nothing is an exception.
func (s *suite) putImageAgain(t *testing.T) {
	repo := s.repo(t, "again")
	k := s.kit(t, repo)
	image := k.image(t)
	digest := s.put(t, repo, "v1", image)
	again := func(tag, named string) {
		t.Helper()
		s.refused(t, "PutImage", putInput(repo, tag, image), "ImageAlreadyExistsException", s.imageExists(repo, digest, named))
	}
	again("v1", "v1")
	again("", "null")
	s.put(t, repo, "v2", image)
	again("v2", "v2")
	again("v1", "v1")
	again("", "null")
	loose := k.image(t)
	digest2 := s.put(t, repo, "", loose)
	s.refused(t, "PutImage", putInput(repo, "", loose), "ImageAlreadyExistsException", s.imageExists(repo, digest2, "null"))
	s.put(t, repo, "v3", loose)
	s.tags(t, repo, imageID(digest, "v1"), imageID(digest, "v2"), imageID(digest2, "v3"))
}

// putImageMovesTags: the image that loses its tag stays without one.
func (s *suite) putImageMovesTags(t *testing.T) {
	repo := s.repo(t, "move")
	k := s.kit(t, repo)
	one, two := k.image(t), k.image(t)
	a := s.put(t, repo, "latest", one)
	s.put(t, repo, "v1", one)
	b := s.put(t, repo, "latest", two)
	s.tags(t, repo, imageID(a, "v1"), imageID(b, "latest"))
	s.put(t, repo, "v1", two)
	s.tags(t, repo, byDigest(a), imageID(b, "latest"), imageID(b, "v1"))
	s.want(t, "BatchGetImage", ids(repo, byDigest(a)), object{"failures": array{}, "images": array{s.imageAnswer(repo, "", one, typeImage)}})
	s.put(t, repo, "latest", one) // and back
	s.tags(t, repo, imageID(a, "latest"), imageID(b, "v1"))
}

// putImageKinds: every kind of manifest, and where its media type stands.
func (s *suite) putImageKinds(t *testing.T) {
	repo := s.repo(t, "kinds")
	k := s.kit(t, repo)
	bare := k.manifest()
	bare.MediaType = ""
	text := bare.text(t)
	s.refused(t, "PutImage", putInput(repo, "bare", text), "InvalidParameterException", "image manifest mediatype not provided in manifest or parameter")
	in := putInput(repo, "bare", text)
	in["imageManifestMediaType"] = typeImage
	s.wantPut(t, in, "bare", typeImage)

	docker := k.manifest()
	docker.MediaType, docker.Annotations = typeDockerImage, nil
	docker.Config = &descriptor{MediaType: typeDockerConfig, Digest: k.config.Digest, Size: k.config.Size}
	docker.Layers[0].MediaType = typeDockerLayer
	child := s.wantPut(t, putInput(repo, "docker", docker.text(t)), "docker", typeDockerImage)
	list := manifest{SchemaVersion: 2, MediaType: typeDockerList, Manifests: []descriptor{{MediaType: typeDockerImage, Digest: child, Size: len(docker.text(t))}}}
	s.wantPut(t, putInput(repo, "list", list.text(t)), "list", typeDockerList)
	image := k.image(t)
	s.put(t, repo, "", image)
	index := indexOf(t, image)
	s.wantPut(t, putInput(repo, "index", index), "index", typeIndex)
	s.wantPut(t, putInput(repo, "empty", indexOf(t)), "empty", typeIndex)
	nested := manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{{MediaType: typeIndex, Digest: sha256Digest(index), Size: len(index)}}}
	s.wantPut(t, putInput(repo, "nested", nested.text(t)), "nested", typeIndex)
	artifact := k.manifest()
	artifact.ArtifactType = "application/vnd.example.sbom"
	s.wantPut(t, putInput(repo, "artifact", artifact.text(t)), "artifact", typeImage)

	wrong := putInput(repo, "wrong", image)
	wrong["imageManifestMediaType"] = typeDockerImage
	s.refused(t, "PutImage", wrong, "InvalidParameterException",
		parameterText("ImageManifest", `the manifest says that its media type is "`+typeImage+`", and it was sent as "`+typeDockerImage+`"`))
}

// putImageDigests: the digest that comes along is checked.
func (s *suite) putImageDigests(t *testing.T) {
	repo := s.repo(t, "digest")
	k := s.kit(t, repo)
	image := k.image(t)
	right, other := sha256Digest(image), someDigest()
	with := func(digest string) object {
		in := putInput(repo, "v1", image)
		in["imageDigest"] = digest
		return in
	}
	s.refused(t, "PutImage", with(other), "ImageDigestDoesNotMatchException", "The image digest '"+other+"' does not match the calculated digest '"+right+"'")
	upper := "sha256:" + strings.ToUpper(right[7:])
	s.refused(t, "PutImage", with(upper), "ImageDigestDoesNotMatchException", "The image digest '"+upper+"' does not match the calculated digest '"+right+"'")
	s.invalid(t, "PutImage", with("md5:00ff"), "imageDigest", "The digest algorithm is not supported; use sha256 or sha512")
	s.tags(t, repo)
	s.wantPut(t, with(right), "v1", typeImage)

	// The algorithm of the digest that comes along is the image's.
	long := sha512Digest(image)
	in := with(long)
	in["imageTag"] = "long"
	want := s.imageAnswer(repo, "long", image, typeImage)
	want["imageId"] = imageID(long, "long")
	s.want(t, "PutImage", in, object{"image": want})
	s.tags(t, repo, imageID(right, "v1"), imageID(long, "long"))
}

// putImageReferences: what a manifest names has to be in the repository.
func (s *suite) putImageReferences(t *testing.T) {
	repo, other := s.repo(t, "references"), s.repo(t, "references")
	k := s.kit(t, repo)
	theirs := s.kit(t, other)
	m := theirs.manifest()
	m.Layers = append(m.Layers, k.layer, theirs.layer)
	s.refused(t, "PutImage", putInput(repo, "v1", m.text(t)), "LayersNotFoundException", s.noLayers(repo, theirs.config.Digest, theirs.layer.Digest))
	m = k.manifest()
	lost := someDigest()
	m.Layers = append(m.Layers, descriptor{MediaType: typeLayer, Digest: lost, Size: 5})
	s.refused(t, "PutImage", putInput(repo, "v1", m.text(t)), "LayersNotFoundException", s.noLayers(repo, lost))

	foreign := k.manifest() // clients fetch such a layer elsewhere
	foreign.Layers = append(foreign.Layers, descriptor{MediaType: typeForeign, Digest: someDigest(), Size: 5, URLs: []string{"https://layers.example/1"}})
	s.wantPut(t, putInput(repo, "foreign", foreign.text(t)), "foreign", typeImage)

	image, elsewhere := k.image(t), theirs.image(t)
	s.put(t, repo, "", image)
	s.put(t, other, "", elsewhere)
	absent := k.image(t)
	s.refused(t, "PutImage", putInput(repo, "index", indexOf(t, absent, image, elsewhere)), "ReferencedImagesNotFoundException",
		s.noImages(repo, sha256Digest(absent), sha256Digest(elsewhere)))
	s.wantPut(t, putInput(repo, "index", indexOf(t, image)), "index", typeIndex)

	referrer := k.manifest() // a subject may come later
	referrer.Subject = &descriptor{MediaType: typeImage, Digest: sha256Digest(absent), Size: len(absent)}
	s.wantPut(t, putInput(repo, "referrer", referrer.text(t)), "referrer", typeImage)
	s.tags(t, repo, byDigest(sha256Digest(image)), imageID(sha256Digest(foreign.text(t)), "foreign"),
		anyID("index"), imageID(sha256Digest(referrer.text(t)), "referrer"))
}

// anyID is an image identifier with the tag, whatever the digest.
func anyID(tag string) object {
	return object{"imageTag": tag, "imageDigest": matching(`^sha256:[0-9a-f]{64}$`)}
}

// manifestBytes: every byte stays, up to the largest manifest.
func (s *suite) manifestBytes(t *testing.T) {
	repo := s.repo(t, "bytes")
	k := s.kit(t, repo)
	back := func(tag, manifest string) {
		t.Helper()
		s.wantPut(t, putInput(repo, tag, manifest), tag, typeImage)
		for _, id := range []object{byTag(tag), byDigest(sha256Digest(manifest))} {
			got := s.succeed(t, "BatchGetImage", ids(repo, id))
			images, ok := got["images"].([]any)
			if !ok || len(images) != 1 || images[0].(object)["imageManifest"] != manifest {
				t.Errorf("the manifest %s does not come back as it was", tag)
			}
		}
	}
	m := k.manifest()
	m.Annotations["text"] = "quotes \" and \\ and / and <&> and \u2028 and é and 日本 and \U0001F6A2 and \t"
	back("odd", " \r\n\t"+strings.Replace(m.text(t), `"schemaVersion": 2`, `"schemaVersion" :2 , "unknown":[1e3,null,{}]`, 1)+"\n\n")

	largest := func(n int) string {
		m := k.manifest()
		m.Annotations["pad"] = "x"
		short := m.text(t)
		return strings.Replace(short, `"pad": "x"`, `"pad": "`+strings.Repeat("x", n-len(short)+1)+`"`, 1)
	}
	back("largest", largest(4<<20))
	s.invalid(t, "PutImage", putInput(repo, "larger", largest(4<<20+1)), "imageManifest", "Member must have length less than or equal to 4194304")
}

// retag is the way of the ECR user guide to give an image another tag without
// pulling it.
func (s *suite) retag(t *testing.T) {
	repo := s.repo(t, "retag")
	k := s.kit(t, repo)
	digest := s.put(t, repo, "v1", k.image(t))
	before := s.succeed(t, "DescribeImages", ids(repo, byTag("v1")))["imageDetails"].([]any)[0].(object)
	got := s.succeed(t, "BatchGetImage", ids(repo, byTag("v1")))["images"].([]any)[0].(object)
	in := putInput(repo, "release", text(t, got, "imageManifest"))
	in["imageManifestMediaType"] = got["imageManifestMediaType"]
	s.wantPut(t, in, "release", typeImage)
	s.tags(t, repo, imageID(digest, "v1"), imageID(digest, "release"))
	before["imageTags"] = anyOrder("v1", "release")
	s.want(t, "DescribeImages", ids(repo, byDigest(digest)), object{"imageDetails": array{before}}) // nothing else has changed
	s.refused(t, "PutImage", in, "ImageAlreadyExistsException", s.imageExists(repo, digest, "release"))
}

// immutableTags is the table of section 17 of the reference.
func (s *suite) immutableTags(t *testing.T) {
	for _, c := range []struct {
		setting     string
		filters     array
		fixed, free []string
	}{
		{"MUTABLE", nil, nil, []string{"v1", "latest"}},
		{"IMMUTABLE", nil, []string{"v1", "latest"}, nil},
		{"IMMUTABLE_WITH_EXCLUSION", wildcards("dev-*", "latest", "*-rc*"), []string{"v1", "dev", "latest2", "xlatest", "Latest", "xdev-1"}, []string{"dev-", "dev-1", "latest", "1-rc", "1-rc2"}},
		{"MUTABLE_WITH_EXCLUSION", wildcards("v*.*", "release"), []string{"v1.2", "v.", "release"}, []string{"v1", "release2", "latest", "xv1.2"}},
		{"IMMUTABLE_WITH_EXCLUSION", wildcards("*"), nil, []string{"v1"}},
		{"MUTABLE_WITH_EXCLUSION", wildcards("*"), []string{"v1"}, nil},
	} {
		repo := unique("mutability")
		in := object{"repositoryName": repo, "imageTagMutability": c.setting}
		if c.filters != nil {
			in["imageTagMutabilityExclusionFilters"] = c.filters
		}
		s.succeed(t, "CreateRepository", in)
		k := s.kit(t, repo)
		one, two := k.image(t), k.image(t)
		for _, tag := range slices.Concat(c.fixed, c.free) {
			s.put(t, repo, tag, one)
			s.refused(t, "PutImage", putInput(repo, tag, one), "ImageAlreadyExistsException", s.imageExists(repo, sha256Digest(one), tag))
		}
		if c.free == nil {
			s.put(t, repo, "", two)
		}
		for _, tag := range c.free {
			s.put(t, repo, tag, two)
			s.put(t, repo, tag, one)
		}
		for _, tag := range c.fixed {
			for range 2 {
				s.refused(t, "PutImage", putInput(repo, tag, two), "ImageTagAlreadyExistsException", fixedTag(repo, tag))
			}
			if i := s.succeed(t, "BatchDeleteImage", ids(repo, byTag(tag))); len(i["failures"].([]any)) != 0 {
				t.Errorf("%s: the tag %s cannot be deleted: %s", c.setting, tag, shown(i))
			}
			s.put(t, repo, tag, two) // a deleted tag is free
		}
	}
	// A setting that changes later holds for the tags that are there.
	repo := s.repo(t, "mutability")
	k := s.kit(t, repo)
	s.put(t, repo, "v1", k.image(t))
	s.succeed(t, "PutImageTagMutability", object{"repositoryName": repo, "imageTagMutability": "IMMUTABLE"})
	s.refused(t, "PutImage", putInput(repo, "v1", k.image(t)), "ImageTagAlreadyExistsException", fixedTag(repo, "v1"))
	s.succeed(t, "PutImageTagMutability", object{"repositoryName": repo, "imageTagMutability": "MUTABLE"})
	s.put(t, repo, "v1", k.image(t))
}

func fixedTag(repo, tag string) string {
	return "The image tag '" + tag + "' already exists in the '" + repo + "' repository and cannot be overwritten because the tag is immutable."
}

// imagesAtOnce: of many pushes exactly one is the first.
func (s *suite) imagesAtOnce(t *testing.T) {
	repo := s.repo(t, "race")
	k := s.kit(t, repo)
	image := k.image(t)
	n := s.atOnce(t, 12, func(int) call { return call{op: "PutImage", in: putInput(repo, "v1", image)} },
		"ImageAlreadyExistsException", s.imageExists(repo, sha256Digest(image), "v1"))
	if n != 1 {
		t.Errorf("%d calls pushed the one image", n)
	}
	// Many images for one tag: all come in, and one of them has it.
	images := make([]string, 12)
	for i := range images {
		images[i] = k.image(t)
	}
	n = s.atOnce(t, len(images), func(i int) call { return call{op: "PutImage", in: putInput(repo, "v2", images[i])} }, "", "")
	if n != len(images) {
		t.Errorf("%d of %d images came in", n, len(images))
	}
	tagged := s.succeed(t, "ListImages", object{"repositoryName": repo, "filter": object{"tagStatus": "TAGGED"}})["imageIds"].([]any)
	if len(tagged) != 2 {
		t.Errorf("the tags are %s", shown(tagged))
	}
	s.succeed(t, "PutImageTagMutability", object{"repositoryName": repo, "imageTagMutability": "IMMUTABLE"})
	n = s.atOnce(t, len(images), func(i int) call { return call{op: "PutImage", in: putInput(repo, "v3", images[i])} },
		"ImageTagAlreadyExistsException", fixedTag(repo, "v3"))
	if n != 1 {
		t.Errorf("%d images got the immutable tag", n)
	}

	// An index comes while its child goes: it has the child, or is refused.
	for range 6 {
		child := k.image(t)
		s.put(t, repo, "", child)
		index := indexOf(t, child)
		push := s.request(t, call{op: "PutImage", in: putInput(repo, "", index)})
		remove := s.request(t, call{op: "BatchDeleteImage", in: ids(repo, byDigest(sha256Digest(child)))})
		var pushed, removed answer
		var pushErr, removeErr error
		var both sync.WaitGroup
		both.Go(func() { pushed, pushErr = s.try(push) })
		both.Go(func() { removed, removeErr = s.try(remove) })
		both.Wait()
		if pushErr != nil || removeErr != nil {
			t.Fatal(pushErr, removeErr)
		}
		gone := s.succeeded(t, "BatchDeleteImage", removed)
		if len(gone["imageIds"].([]any)) == 1 {
			s.refusal(t, "PutImage", pushed, "ReferencedImagesNotFoundException", s.noImages(repo, sha256Digest(child)))
			continue
		}
		s.succeeded(t, "PutImage", pushed)
		same(t, "BatchDeleteImage", array{failure(byDigest(sha256Digest(child)), "ImageReferencedByManifestList", referencedBy(index))}, gone["failures"])
	}
	s.detailsAreWhole(t, repo)
}

// detailsAreWhole checks that all that is listed can be described and fetched.
func (s *suite) detailsAreWhole(t *testing.T, repo string) {
	t.Helper()
	for _, one := range s.succeed(t, "DescribeImages", object{"repositoryName": repo})["imageDetails"].([]any) {
		digest := text(t, one.(object), "imageDigest")
		got := s.succeed(t, "BatchGetImage", ids(repo, byDigest(digest)))
		if images, ok := got["images"].([]any); !ok || len(images) != 1 || sha256Digest(text(t, images[0].(object), "imageManifest")) != digest {
			t.Errorf("%s cannot be fetched: %s", digest, shown(got))
		}
	}
}

// failure is an entry in the list of failures of a batch.
func failure(id object, code, reason string) object {
	return object{"imageId": id, "failureCode": code, "failureReason": reason}
}

// referencedBy is the reason for an image that indexes name.
func referencedBy(indexes ...string) string {
	digests := make([]string, len(indexes))
	for i, index := range indexes {
		digests[i] = sha256Digest(index)
	}
	return "Requested image referenced by manifest list: [" + strings.Join(digests, ", ") + "]"
}

// Reasons of failures.
const (
	notFound   = "Requested image not found"
	noIDReason = "Invalid request parameters: both tag and digest cannot be null"
	badDigest  = "Invalid request parameters: image digest should satisfy the regex '" + digestPattern + "'"
	badTag     = "Invalid request parameters: image tag should satisfy the regex '[a-zA-Z0-9-_.]+'"
	mismatched = "Requested image tag and digest do not match"
)

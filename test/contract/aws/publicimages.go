package aws

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// publicAliases: where ECR takes an account's id only, a push takes an alias too.
func (s *suite) publicAliases(t *testing.T) {
	alias, repo := s.alias(t), s.repo(t, "alias")
	k := s.kit(t, repo)
	in := func(registry string, more object) object {
		out := object{"registryId": registry, "repositoryName": repo}
		for name, v := range more {
			out[name] = v
		}
		return out
	}
	content := randomBytes(100)
	put := func(registry, tag string) object { return in(registry, putInput(repo, tag, k.image(t))) }
	for _, registry := range []string{alias, s.Account} {
		upload := text(t, s.succeed(t, "InitiateLayerUpload", in(registry, nil)), "uploadId")
		digest := sha256Digest(content)
		s.want(t, "UploadLayerPart", in(registry, part(repo, upload, 0, content)), object{"registryId": s.Account, "repositoryName": repo, "uploadId": upload, "lastByteReceived": 99})
		s.want(t, "CompleteLayerUpload", in(registry, complete(repo, upload, digest)), object{"registryId": s.Account, "repositoryName": repo, "uploadId": upload, "layerDigest": digest})
		s.want(t, "BatchCheckLayerAvailability", in(registry, object{"layerDigests": array{digest}}),
			object{"failures": array{}, "layers": array{object{"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": 100}}})
		given := put(registry, registry)
		s.want(t, "PutImage", given, object{"image": s.imageAnswer(repo, registry, given["imageManifest"].(string), typeImage)})
		s.want(t, "BatchDeleteImage", in(registry, object{"imageIds": array{byTag(registry)}}),
			removed(array{imageID(sha256Digest(given["imageManifest"].(string)), registry)}, nil))
		content = randomBytes(100)
	}
	// What nobody has is told from what has no such repository.
	calls := map[string]object{
		"InitiateLayerUpload": nil, "UploadLayerPart": part(repo, "00000000-0000-4000-8000-000000000000", 0, []byte("x")), "PutImage": putInput(repo, "v1", "{}"),
		"CompleteLayerUpload": complete(repo, "00000000-0000-4000-8000-000000000000", someDigest()), "BatchCheckLayerAvailability": {"layerDigests": array{someDigest()}},
	}
	for op, more := range calls {
		for registry, message := range map[string]string{
			"nobody-has-this": "The registry with alias 'nobody-has-this' does not exist", "Not An Alias": "The registry with alias 'Not An Alias' does not exist",
			"111122223333": "The registry with id '111122223333' does not exist",
		} {
			s.refused(t, op, in(registry, more), "RegistryNotFoundException", message)
		}
		for _, registry := range []string{"x", strings.Repeat("a", 51)} {
			constraint := map[bool]string{true: "Member must have length greater than or equal to 2", false: "Member must have length less than or equal to 50"}[len(registry) < 2]
			s.invalid(t, op, in(registry, more), "registryId", constraint)
		}
		wrong := in(alias, more)
		wrong["repositoryName"] = unique("none")
		s.refused(t, op, wrong, "RepositoryNotFoundException", s.noRepository(wrong["repositoryName"].(string)))
	}
	s.refused(t, "BatchDeleteImage", in("nobody-has-this", object{"imageIds": array{byTag("v1")}}), "RepositoryNotFoundException",
		strings.Replace(s.noRepository(repo), s.Account, "nobody-has-this", 1)) // it has no RegistryNotFoundException
}

func (s *suite) publicDeleteImages(t *testing.T) {
	repo := s.repo(t, "delete")
	k := s.kit(t, repo)
	one, two := k.image(t), k.image(t)
	for _, tag := range []string{"a", "b"} {
		s.put(t, repo, tag, one)
	}
	a, b := sha256Digest(one), s.put(t, repo, "c", two)
	s.want(t, "BatchDeleteImage", ids(repo, byTag("a")), removed(array{imageID(a, "a")}, nil))
	s.tags(t, repo, imageID(a, "b"), imageID(b, "c"))
	s.want(t, "BatchDeleteImage", ids(repo, byTag("b")), removed(array{imageID(a, "b")}, nil)) // the last one
	s.tags(t, repo, imageID(b, "c"))
	for _, tag := range []string{"d", "e"} {
		s.put(t, repo, tag, two)
	}
	got := s.succeed(t, "BatchDeleteImage", ids(repo, byDigest(b)))
	same(t, "BatchDeleteImage", object{"imageIds": anyOrder(imageID(b, "c"), imageID(b, "d"), imageID(b, "e")), "failures": array{}}, got)
	s.want(t, "BatchDeleteImage", ids(repo, byDigest(b)), removed(nil, array{failure(byDigest(b), "ImageNotFound", notFound)}))
	s.tags(t, repo)
}

// publicDetail is an image of the kit as the two listings have it.
func (s *suite) publicDetail(repo, digest string, size int, before time.Time, tags ...any) object {
	want := s.detail(repo, digest, size, before, tags...)
	delete(want, "imageStatus")
	return want
}

func (s *suite) publicDescribeImages(t *testing.T) {
	before := time.Now()
	repo := s.repo(t, "describe")
	in := object{"repositoryName": repo}
	s.want(t, "DescribeImages", in, object{"imageDetails": array{}})
	k := s.kit(t, repo)
	one, two := k.image(t), k.manifest()
	a := s.put(t, repo, "v2", one)
	s.put(t, repo, "v1", one)
	two.ArtifactType, two.Subject = "application/vnd.cncf.helm.config.v1+json", &descriptor{MediaType: typeImage, Digest: a, Size: len(one)}
	b := s.put(t, repo, "", two.text(t))
	index := indexOf(t, one)
	c := s.put(t, repo, "index", index)
	first, second, third := s.publicDetail(repo, a, k.size(), before, "v1", "v2"), s.publicDetail(repo, b, k.size(), before), s.publicDetail(repo, c, k.size(), before, "index")
	second["artifactMediaType"] = "application/vnd.cncf.helm.config.v1+json"
	third["imageManifestMediaType"], third["artifactMediaType"] = typeIndex, nil
	s.want(t, "DescribeImages", in, object{"imageDetails": anyOrder(first, second, third)})
	s.want(t, "DescribeImages", object{"repositoryName": repo, "filter": object{"tagStatus": "TAGGED"}}, object{"imageDetails": anyOrder(first, second, third)}) // has no such member
	s.want(t, "DescribeImages", object{"repositoryName": repo, "imageIds": array{byTag("v1"), byDigest(b), byTag("v2")}, "registryId": s.Account}, object{"imageDetails": array{first, second}})
	s.refused(t, "DescribeImages", object{"repositoryName": repo, "imageIds": array{byTag("v1"), byTag("none")}}, "ImageNotFoundException", s.noImage(repo, "null", "none"))
	whole := s.walk(t, "DescribeImages", "imageDetails", in, 1000, func([]string) {})
	for size := 1; size <= 4; size++ {
		sameEntries(t, fmt.Sprintf("pages of %d", size), whole, s.walk(t, "DescribeImages", "imageDetails", in, size, func([]string) {}))
	}
}

func (s *suite) describeImageTags(t *testing.T) {
	before := time.Now()
	repo := s.repo(t, "tags")
	in := object{"repositoryName": repo}
	s.want(t, "DescribeImageTags", in, object{"imageTagDetails": array{}})
	k := s.kit(t, repo)
	one, two, three := k.image(t), k.image(t), k.image(t)
	s.put(t, repo, "b", one)
	s.put(t, repo, "a", one)
	s.put(t, repo, "", two)
	index := indexOf(t, one, three)
	s.refused(t, "PutImage", putInput(repo, "i", index), "ReferencedImagesNotFoundException", s.noImages(repo, sha256Digest(three)))
	s.put(t, repo, "", three)
	s.put(t, repo, "i", index)
	entry := func(tag, digest string) object {
		d := s.publicDetail(repo, digest, k.size(), before)
		delete(d, "registryId")
		delete(d, "repositoryName")
		return object{"imageTag": tag, "createdAt": during(before), "imageDetail": d}
	}
	list := entry("i", sha256Digest(index))
	list["imageDetail"].(object)["imageManifestMediaType"], list["imageDetail"].(object)["artifactMediaType"] = typeIndex, nil
	s.want(t, "DescribeImageTags", in, object{"imageTagDetails": anyOrder(entry("a", sha256Digest(one)), entry("b", sha256Digest(one)), list)})
	s.put(t, repo, "b", two) // moves
	s.want(t, "DescribeImageTags", object{"repositoryName": repo, "registryId": s.Account},
		object{"imageTagDetails": anyOrder(entry("a", sha256Digest(one)), entry("b", sha256Digest(two)), list)})

	// A hundred where nothing is said, a thousand at most.
	for i := range 99 {
		s.put(t, repo, fmt.Sprintf("t%02d", i), two)
	}
	first := s.succeed(t, "DescribeImageTags", in)
	if n := len(first["imageTagDetails"].([]any)); n != 100 {
		t.Errorf("a page of %d, want 100", n)
	}
	rest := s.succeed(t, "DescribeImageTags", object{"repositoryName": repo, "nextToken": text(t, first, "nextToken")})
	if n := len(rest["imageTagDetails"].([]any)); n != 2 || rest["nextToken"] != nil {
		t.Errorf("the second page has %d entries and the token %v", n, rest["nextToken"])
	}
	s.invalid(t, "DescribeImages", object{"repositoryName": repo, "nextToken": text(t, first, "nextToken")}, "nextToken", badToken)
	whole := s.walk(t, "DescribeImageTags", "imageTagDetails", in, 1000, func([]string) {})
	if n := len(slices.Compact(slices.Sorted(slices.Values(whole)))); n != 102 || len(whole) != n {
		t.Errorf("%d entries, of which %d are different", len(whole), n)
	}
	for _, size := range []int{1, 10, 101, 102} {
		sameEntries(t, fmt.Sprintf("pages of %d", size), whole, s.walk(t, "DescribeImageTags", "imageTagDetails", in, size, func([]string) {}))
	}
}

// publicPagesUnderChange: tags that are there all the time come once, whatever images they
// move to and whatever comes and goes beside them.
func (s *suite) publicPagesUnderChange(t *testing.T) {
	repo := s.repo(t, "change")
	k := s.kit(t, repo)
	images := []string{k.image(t), k.image(t)}
	stays := map[string]int{}
	for i := range 20 {
		tag := fmt.Sprintf("stays-%02d", i)
		stays[tag] = 0
		s.put(t, repo, tag, images[0])
		s.put(t, repo, fmt.Sprintf("stays-%02d-goes", i), images[1])
	}
	turn := 0
	for _, e := range s.walk(t, "DescribeImageTags", "imageTagDetails", object{"repositoryName": repo}, 3, func([]string) {
		if turn < 20 {
			s.succeed(t, "BatchDeleteImage", ids(repo, byTag(fmt.Sprintf("stays-%02d-goes", turn))))
			s.put(t, repo, fmt.Sprintf("stays-%02d", turn*7%20), k.image(t))
		}
		turn++
	}) {
		for tag := range stays {
			if strings.Contains(e, `"`+tag+`"`) {
				stays[tag]++
			}
		}
	}
	for tag, n := range stays {
		if n != 1 {
			t.Errorf("%s comes %d times", tag, n)
		}
	}
}

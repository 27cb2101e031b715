package aws

import (
	"fmt"
	"strings"
	"testing"
)

// limitRepositories needs a registry without a repository.
func (s *suite) limitRepositories(t *testing.T) {
	n := s.Limits.RepositoriesPerRegistry
	var all []string
	for range n {
		all = append(all, s.repo(t, "limit"))
	}
	in := object{"repositoryName": unique("limit")}
	s.refused(t, "CreateRepository", in, "LimitExceededException",
		fmt.Sprintf("The registry with id '%s' already has the maximum allowed number of repositories which is '%d'", s.Account, n))
	s.refused(t, "DeleteRepository", in, "RepositoryNotFoundException", s.noRepository(in["repositoryName"].(string)))
	s.succeed(t, "DeleteRepository", object{"repositoryName": all[0]})
	s.succeed(t, "CreateRepository", in) // one may come for one that went
	for _, repo := range append(all[1:], in["repositoryName"].(string)) {
		s.succeed(t, "DeleteRepository", object{"repositoryName": repo})
	}
}

// limited makes a repository that goes with the check: there may be few.
func (s *suite) limited(t *testing.T) (repo string, k kit, done func()) {
	t.Helper()
	repo = s.repo(t, "limit")
	return repo, s.kit(t, repo), func() { s.succeed(t, "DeleteRepository", object{"repositoryName": repo, "force": true}) }
}

func (s *suite) limitImages(t *testing.T) {
	repo, k, done := s.limited(t)
	defer done()
	n := s.Limits.ImagesPerRepository
	last := ""
	for i := range n {
		last = k.image(t)
		s.put(t, repo, fmt.Sprintf("t%d", i), last)
	}
	more := k.image(t)
	full := fmt.Sprintf("The repository with name '%s' in registry with id '%s' already has the maximum allowed number of images which is '%d'", repo, s.Account, n)
	s.refused(t, "PutImage", putInput(repo, "more", more), "LimitExceededException", full)
	s.refused(t, "PutImage", putInput(repo, "t0", more), "LimitExceededException", full) // the old one would stay
	s.put(t, repo, "again", last)                                                        // is no image more
	s.succeed(t, "BatchDeleteImage", ids(repo, byDigest(sha256Digest(last))))
	s.put(t, repo, "more", more)
}

func (s *suite) limitTags(t *testing.T) {
	repo, k, done := s.limited(t)
	defer done()
	n := s.Limits.TagsPerImage
	one, two := k.image(t), k.image(t)
	for i := range n {
		s.put(t, repo, fmt.Sprintf("t%d", i), one)
	}
	full := fmt.Sprintf("The image with digest '%s' in the repository with name '%s' in registry with id '%s' already has the maximum allowed number of tags which is '%d'",
		sha256Digest(one), repo, s.Account, n)
	s.refused(t, "PutImage", putInput(repo, "more", one), "LimitExceededException", full)
	s.put(t, repo, "t0", two) // takes one away
	s.put(t, repo, "more", one)
	s.refused(t, "PutImage", putInput(repo, "t0", one), "LimitExceededException", full)
}

func (s *suite) limitManifest(t *testing.T) {
	repo, k, done := s.limited(t)
	defer done()
	m := k.manifest()
	m.Layers = nil
	for range s.Limits.LayersPerImage {
		m.Layers = append(m.Layers, k.layer)
	}
	s.put(t, repo, "most", m.text(t))
	m.Layers = append(m.Layers, k.layer)
	s.invalid(t, "PutImage", putInput(repo, "more", m.text(t)), "ImageManifest", "Limit on number of layers per image exceeded")

	m = k.manifest()
	m.Annotations["pad"] = "x"
	n := s.Limits.ManifestBytes - len(m.text(t)) + 1
	m.Annotations["pad"] = strings.Repeat("x", n)
	s.put(t, repo, "largest", m.text(t))
	m.Annotations["pad"] += "x"
	s.invalid(t, "PutImage", putInput(repo, "larger", m.text(t)), "ImageManifest", fmt.Sprintf("Member must have length less than or equal to %d", s.Limits.ManifestBytes))
}

func (s *suite) limitLayers(t *testing.T) {
	repo, _, done := s.limited(t)
	defer done()
	l := s.Limits
	s.want(t, "InitiateLayerUpload", object{"repositoryName": repo}, object{"uploadId": matching(uuidPattern.String()), "partSize": l.PartSize})

	upload := s.begin(t, repo)
	for i := range l.MaxLayerParts {
		s.sendPart(t, repo, upload, i*l.MinPartBytes, randomBytes(l.MinPartBytes))
	}
	s.refused(t, "UploadLayerPart", part(repo, upload, l.MaxLayerParts*l.MinPartBytes, []byte("x")), "LimitExceededException",
		fmt.Sprintf("The upload with id '%s' already has the maximum allowed number of layer parts which is '%d'", upload, l.MaxLayerParts))

	upload = s.begin(t, repo)
	s.partRefused(t, part(repo, upload, 0, randomBytes(l.MaxPartBytes+1)), 0, fmt.Sprintf("a layer part has at most %d bytes", l.MaxPartBytes))
	s.sendPart(t, repo, upload, 0, randomBytes(l.MaxPartBytes))
	s.refused(t, "UploadLayerPart", part(repo, upload, l.MaxPartBytes, randomBytes(l.MaxLayerBytes-l.MaxPartBytes+1)), "LimitExceededException",
		fmt.Sprintf("The layer of the upload with id '%s' is larger than the maximum allowed size which is '%d' bytes", upload, l.MaxLayerBytes))

	upload = s.begin(t, repo)
	content := randomBytes(l.MaxLayerBytes)
	s.sendPart(t, repo, upload, 0, content[:l.MaxPartBytes])
	s.sendPart(t, repo, upload, l.MaxPartBytes, content[l.MaxPartBytes:])
	s.finish(t, repo, upload, sha256Digest(content))
}

func (s *suite) limitResourceTags(t *testing.T) {
	repo, _, done := s.limited(t)
	defer done()
	var most array
	for range s.Limits.ResourceTags {
		most = append(most, tag(unique("k"), "v"))
	}
	in := object{"resourceArn": s.arn(s.Account, repo), "tags": most}
	s.succeed(t, "TagResource", in)
	in["tags"] = array{tag("more", "v")}
	s.refused(t, "TagResource", in, "TooManyTagsException", fmt.Sprintf(tooManyTags, s.Limits.ResourceTags))
}

package aws

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

const mebibyte = 1 << 20

// Messages about layers.
const (
	textSmallParts = "All layer parts except the last part should be at least 5MB"
	textNoDigest   = "None of the provided layer digests match the calculated layer digest"
)

func (s *suite) noUpload(repo, upload string) string {
	return "The upload with id '" + upload + "' does not exist in the repository with name '" + repo + "' in the registry with id '" + s.Account + "'"
}

func (s *suite) emptyUpload(repo, upload string) string {
	return "The upload with id '" + upload + "' in the repository with name '" + repo + "' in registry with id '" + s.Account +
		"' cannot be completed because it does not have any parts"
}

func (s *suite) layerExists(repo, digest string) string {
	return "The layer with digest '" + digest + "' already exists in the repository with name '" + repo + "' in registry with id '" + s.Account + "'"
}

func (s *suite) noLayers(repo string, digests ...string) string {
	return "Layers with digests '[" + strings.Join(digests, ", ") + "]' required for pushing image into repository with name '" + repo +
		"' in the registry with id '" + s.Account + "' do not exist"
}

// partRefused makes a call of UploadLayerPart that does not fit what has come
// of the upload: last is the last byte that it has.
func (s *suite) partRefused(t *testing.T, in object, last int, reason string) {
	t.Helper()
	message := fmt.Sprintf("Invalid layer part with first byte '%v' and last byte '%v' for the upload with id '%s' in the repository with name '%s' in registry with id '%s': %s",
		in["partFirstByte"], in["partLastByte"], in["uploadId"], in["repositoryName"], s.Account, reason)
	s.refused(t, "UploadLayerPart", in, "InvalidLayerPartException", message, object{
		"registryId": s.Account, "repositoryName": in["repositoryName"], "uploadId": in["uploadId"], "lastValidByteReceived": last,
	})
}

// sendPart makes a call of UploadLayerPart that has to work.
func (s *suite) sendPart(t *testing.T, repo, upload string, first int, b []byte) {
	t.Helper()
	s.want(t, "UploadLayerPart", part(repo, upload, first, b),
		object{"registryId": s.Account, "repositoryName": repo, "uploadId": upload, "lastByteReceived": first + len(b) - 1})
}

// finish makes a call of CompleteLayerUpload that has to work.
func (s *suite) finish(t *testing.T, repo, upload, digest string) {
	t.Helper()
	s.want(t, "CompleteLayerUpload", complete(repo, upload, digest),
		object{"registryId": s.Account, "repositoryName": repo, "uploadId": upload, "layerDigest": digest})
}

// available says that the repository has the layer, and how large it is.
func (s *suite) available(t *testing.T, repo, digest string, size int) {
	t.Helper()
	s.want(t, "BatchCheckLayerAvailability", object{"repositoryName": repo, "layerDigests": array{digest}},
		object{"failures": array{}, "layers": array{object{"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": size}}})
}

// layerUpload sends a layer in parts of the least and the largest size, and a
// small last one.
func (s *suite) layerUpload(t *testing.T) {
	repo := s.repo(t, "layers")
	upload := text(t, s.want(t, "InitiateLayerUpload", object{"repositoryName": repo},
		object{"uploadId": matching(uuidPattern.String()), "partSize": 10 * mebibyte}), "uploadId")
	if again := s.begin(t, repo); again == upload {
		t.Error("two uploads have one id")
	}
	content := randomBytes(5*mebibyte + 20*mebibyte + 3)
	first := 0
	for _, n := range []int{5 * mebibyte, 20 * mebibyte, 3} {
		s.sendPart(t, repo, upload, first, content[first:first+n])
		first += n
	}
	digest := sha256Digest(content)
	s.finish(t, repo, upload, digest)
	s.available(t, repo, digest, len(content))
	for _, c := range []struct {
		op string
		in object
	}{{"CompleteLayerUpload", complete(repo, upload, digest)}, {"UploadLayerPart", part(repo, upload, first, []byte("x"))}} {
		s.refused(t, c.op, c.in, "UploadNotFoundException", s.noUpload(repo, upload))
	}
	m := s.kit(t, repo).manifest()
	m.Layers = append(m.Layers, descriptor{MediaType: typeLayer, Digest: digest, Size: len(content)})
	s.put(t, repo, "v1", m.text(t))
	url := text(t, s.succeed(t, "GetDownloadUrlForLayer", object{"repositoryName": repo, "layerDigest": digest}), "downloadUrl")
	if a := s.send(t, s.plain(t, http.MethodGet, url, nil)); a.status != http.StatusOK || !bytes.Equal(a.body, content) {
		t.Errorf("the layer comes back with status %d and %d bytes", a.status, len(a.body))
	}
}

// partsOutOfPlace: what does not follow on is refused, and changes nothing.
func (s *suite) partsOutOfPlace(t *testing.T) {
	repo := s.repo(t, "parts")
	upload := s.begin(t, repo)
	content := randomBytes(5*mebibyte + 100)
	s.partRefused(t, part(repo, upload, 1, content[1:9]), 0, "the next byte is 0")
	s.sendPart(t, repo, upload, 0, content[:5*mebibyte])
	end := 5 * mebibyte
	for _, first := range []int{0, 1, end - 1, end + 1, 50 * mebibyte} { // again, overlaps, gaps
		s.partRefused(t, part(repo, upload, first, content[:50]), end-1, fmt.Sprintf("the next byte is %d", end))
	}
	s.partRefused(t, part(repo, upload, 0, content[:5*mebibyte]), end-1, fmt.Sprintf("the next byte is %d", end))
	for announced, reason := range map[int]string{10: "more bytes were sent", 500: "100 bytes were sent"} {
		in := part(repo, upload, end, content[end:])
		in["partLastByte"] = end + announced - 1
		s.partRefused(t, in, end-1, reason)
	}
	in := part(repo, upload, end, nil)
	in["partLastByte"] = end
	s.partRefused(t, in, end-1, "0 bytes were sent")
	s.invalid(t, "UploadLayerPart", part(repo, upload, end, nil), "partLastByte", "partLastByte must not be less than partFirstByte")
	s.sendPart(t, repo, upload, end, content[end:])
	s.finish(t, repo, upload, sha256Digest(content))
	s.available(t, repo, sha256Digest(content), len(content))
}

// partSizes: from 5 to 20 MiB, but for the last one.
func (s *suite) partSizes(t *testing.T) {
	repo := s.repo(t, "sizes")
	upload, content := s.begin(t, repo), randomBytes(5*mebibyte)
	s.sendPart(t, repo, upload, 0, content[1:]) // one byte less
	s.sendPart(t, repo, upload, 5*mebibyte-1, content[:1])
	digest := sha256Digest(append(bytes.Clone(content[1:]), content[0]))
	for range 2 {
		s.refused(t, "CompleteLayerUpload", complete(repo, upload, digest), "LayerPartTooSmallException", textSmallParts)
	}
	large := part(repo, s.begin(t, repo), 0, make([]byte, 20*mebibyte+1))
	s.invalid(t, "UploadLayerPart", large, "layerPartBlob", "Member must have length less than or equal to 20971520")

	empty := s.begin(t, repo)
	s.refused(t, "CompleteLayerUpload", complete(repo, empty, sha256Digest("")), "EmptyUploadException", s.emptyUpload(repo, empty))
	s.sendPart(t, repo, empty, 0, []byte("x")) // and goes on
	s.finish(t, repo, empty, sha256Digest("x"))
}

// layerDigests: one of those that are given has to be the layer's.
func (s *suite) layerDigests(t *testing.T) {
	repo := s.repo(t, "digests")
	send := func(content []byte) string {
		t.Helper()
		upload := s.begin(t, repo)
		s.sendPart(t, repo, upload, 0, content)
		return upload
	}
	done := func(repo, upload, digest string) object {
		return object{"registryId": s.Account, "repositoryName": repo, "uploadId": upload, "layerDigest": digest}
	}
	content := randomBytes(100)
	right := sha256Digest(content)
	upload := send(content)
	s.want(t, "CompleteLayerUpload", complete(repo, upload, someDigest(), "md5:00ff", sha512Digest(content), right, someDigest()), done(repo, upload, right))
	s.available(t, repo, right, len(content))

	// sha512 counts where no sha256 does, and is what the layer is called then.
	content = randomBytes(100)
	long := sha512Digest(content)
	upload = send(content)
	s.want(t, "CompleteLayerUpload", complete(repo, upload, someDigest(), long), done(repo, upload, long))
	s.available(t, repo, long, len(content))

	for _, wrong := range [][]string{{someDigest()}, {"md5:00ff"}, {sha512Digest("other")}, {strings.ToUpper(right[7:]) + ":00"}, {someDigest(), someDigest()}, {"sha256:00"}} {
		content := randomBytes(50)
		s.refused(t, "CompleteLayerUpload", complete(repo, send(content), wrong...), "InvalidLayerException", textNoDigest)
		s.want(t, "BatchCheckLayerAvailability", object{"repositoryName": repo, "layerDigests": array{sha256Digest(content)}},
			object{"failures": array{}, "layers": array{object{"layerDigest": sha256Digest(content), "layerAvailability": "UNAVAILABLE"}}})
	}
}

// existingLayers: a layer comes into a repository once, and into every
// repository for itself.
func (s *suite) existingLayers(t *testing.T) {
	repo, other := s.repo(t, "existing"), s.repo(t, "existing")
	content := randomBytes(1000)
	digest := s.layer(t, repo, content)
	upload := s.begin(t, repo)
	s.sendPart(t, repo, upload, 0, content)
	s.refused(t, "CompleteLayerUpload", complete(repo, upload, digest), "LayerAlreadyExistsException", s.layerExists(repo, digest))
	s.refused(t, "CompleteLayerUpload", complete(repo, upload, digest), "UploadNotFoundException", s.noUpload(repo, upload))
	s.available(t, repo, digest, 1000)
	s.want(t, "BatchCheckLayerAvailability", object{"repositoryName": other, "layerDigests": array{digest}},
		object{"failures": array{}, "layers": array{object{"layerDigest": digest, "layerAvailability": "UNAVAILABLE"}}})
	s.refused(t, "GetDownloadUrlForLayer", object{"repositoryName": other, "layerDigest": digest}, "LayersNotFoundException", s.noLayer(other, digest))
	s.layer(t, other, content)
	s.available(t, other, digest, 1000)
}

func (s *suite) uploadIDs(t *testing.T) {
	repo, other := s.repo(t, "uploads"), s.repo(t, "uploads")
	theirs := s.begin(t, other)
	for _, upload := range []string{"00000000-0000-4000-8000-000000000000", theirs} {
		s.refused(t, "UploadLayerPart", part(repo, upload, 0, []byte("x")), "UploadNotFoundException", s.noUpload(repo, upload))
		s.refused(t, "CompleteLayerUpload", complete(repo, upload, someDigest()), "UploadNotFoundException", s.noUpload(repo, upload))
	}
	s.sendPart(t, other, theirs, 0, []byte("its own"))
	s.refused(t, "CompleteLayerUpload", complete(repo, theirs, sha256Digest("its own")), "UploadNotFoundException", s.noUpload(repo, theirs))
	s.finish(t, other, theirs, sha256Digest("its own"))
}

// layersAtOnce: calls that get in each other's way do no harm.
func (s *suite) layersAtOnce(t *testing.T) {
	repo := s.repo(t, "race")
	content := randomBytes(10_000)
	digest := sha256Digest(content)
	uploads := make([]string, 8)
	for i := range uploads {
		uploads[i] = s.begin(t, repo)
		s.sendPart(t, repo, uploads[i], 0, content)
	}
	n := s.atOnce(t, len(uploads), func(i int) call { return call{op: "CompleteLayerUpload", in: complete(repo, uploads[i], digest)} },
		"LayerAlreadyExistsException", s.layerExists(repo, digest))
	if n != 1 {
		t.Errorf("%d uploads brought the one layer", n)
	}
	s.available(t, repo, digest, len(content))

	// One upload completed many times.
	content = randomBytes(10_000)
	digest = sha256Digest(content)
	upload := s.begin(t, repo)
	s.sendPart(t, repo, upload, 0, content)
	n = 0
	for _, a := range s.allAtOnce(t, 8, func(int) call { return call{op: "CompleteLayerUpload", in: complete(repo, upload, digest)} }) {
		switch {
		case a.status == http.StatusOK:
			n++
		case strings.Contains(string(a.body), "UploadNotFoundException"):
			s.refusal(t, "too late", a, "UploadNotFoundException", s.noUpload(repo, upload))
		default: // the last to come may take the upload over
			s.refusal(t, "in between", a, invalidParameter, "Another request has taken over the upload with id '"+upload+"'. Ask for the upload's status and go on from there.")
		}
	}
	if n != 1 {
		t.Errorf("%d calls completed the one upload", n)
	}
	s.available(t, repo, digest, len(content))
}

func (s *suite) layerAvailability(t *testing.T) {
	repo := s.repo(t, "availability")
	check := func(digests array, layers, failures array) {
		t.Helper()
		s.want(t, "BatchCheckLayerAvailability", object{"repositoryName": repo, "layerDigests": digests}, object{"layers": layers, "failures": failures})
	}
	bad := func(digest string) object {
		return object{
			"layerDigest": digest, "failureCode": "InvalidLayerDigest",
			"failureReason": "Invalid request parameters: layer digest should satisfy the regex '" + digestPattern + "'",
		}
	}
	missing := func(digest string) object {
		return object{"layerDigest": digest, "layerAvailability": "UNAVAILABLE"}
	}
	there := func(d descriptor) object {
		return object{"layerDigest": d.Digest, "layerAvailability": "AVAILABLE", "layerSize": d.Size}
	}
	k := s.kit(t, repo)
	none := someDigest()
	// In the order of the request, each into one of the two lists.
	check(array{none, k.layer.Digest, "nonsense", k.config.Digest, "", "sha256:xyz", none},
		array{missing(none), there(k.layer), there(k.config), missing(none)}, array{bad("nonsense"), bad(""), bad("sha256:xyz")})
	check(array{"md5:00ff", "sha256:00ff", strings.ToUpper(k.layer.Digest)},
		array{missing("md5:00ff"), missing("sha256:00ff"), missing(strings.ToUpper(k.layer.Digest))}, array{})

	check(array{"x"}, array{}, array{bad("x")})

	// Once an image names them they are called something.
	s.put(t, repo, "v1", k.image(t))
	layer, config := there(k.layer), there(k.config)
	layer["mediaType"], config["mediaType"] = typeLayer, typeConfig
	check(array{k.config.Digest, k.layer.Digest}, array{config, layer}, array{})
	var hundred array
	for range 100 {
		hundred = append(hundred, none)
	}
	s.succeed(t, "BatchCheckLayerAvailability", object{"repositoryName": repo, "layerDigests": hundred})
}

func (s *suite) noLayer(repo, digest string) string {
	return "The layer with digest '" + digest + "' does not exist within the repository with name '" + repo + "' in the registry with id '" + s.Account + "'"
}

func (s *suite) layerDownload(t *testing.T) {
	repo := s.repo(t, "download")
	k := s.kit(t, repo)
	in := object{"repositoryName": repo, "layerDigest": k.layer.Digest}
	s.refused(t, "GetDownloadUrlForLayer", in, "LayerInaccessibleException", "The layer with digest '"+k.layer.Digest+"' in the repository with name '"+repo+
		"' in the registry with id '"+s.Account+"' is not referenced by an image and cannot be downloaded")
	none := someDigest()
	s.refused(t, "GetDownloadUrlForLayer", object{"repositoryName": repo, "layerDigest": none}, "LayersNotFoundException", s.noLayer(repo, none))
	s.put(t, repo, "", k.image(t))
	url := text(t, s.want(t, "GetDownloadUrlForLayer", in, object{"layerDigest": k.layer.Digest, "downloadUrl": matching(`^https?://.+$`)}), "downloadUrl")
	config := text(t, s.succeed(t, "GetDownloadUrlForLayer", object{"repositoryName": repo, "layerDigest": k.config.Digest}), "downloadUrl")
	if config == url {
		t.Error("two layers have one address")
	}

	get := func(method, url string, header map[string]string) answer {
		t.Helper()
		r := s.plain(t, method, url, nil)
		replace(r, header)
		return s.send(t, r)
	}
	a := get(http.MethodGet, url, nil)
	if a.status != http.StatusOK || !bytes.Equal(a.body, k.content) || a.header.Get("Content-Length") != strconv.Itoa(len(k.content)) {
		t.Errorf("the download: status %d, %d bytes, %v", a.status, len(a.body), a.header)
	}
	if h := get(http.MethodHead, url, nil); h.status != http.StatusOK || len(h.body) != 0 || h.header.Get("Content-Length") != a.header.Get("Content-Length") {
		t.Errorf("HEAD: status %d, %v", h.status, h.header)
	}
	a = get(http.MethodGet, url, map[string]string{"Range": "bytes=100-199"})
	if a.status != http.StatusPartialContent || !bytes.Equal(a.body, k.content[100:200]) || a.header.Get("Content-Range") != "bytes 100-199/700" {
		t.Errorf("a range: status %d, %d bytes, %v", a.status, len(a.body), a.header)
	}
	if a = get(http.MethodGet, url, map[string]string{"Range": "bytes=700-"}); a.status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range beyond the end: status %d", a.status)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		if a = get(method, url, nil); a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d", method, a.status)
		}
	}
	path, query, _ := strings.Cut(url, "?")
	for what, altered := range map[string]string{
		"without a query": path, "of another layer": strings.Replace(path, k.layer.Digest, k.config.Digest, 1) + "?" + query,
		"of another repository":  strings.Replace(path, repo, "another", 1) + "?" + query,
		"that lives longer":      path + "?" + strings.Replace(query, "Expires=1", "Expires=9", 1),
		"with another signature": url[:len(url)-1] + string("0123456789abcdef"[(strings.IndexByte("0123456789abcdef", url[len(url)-1])+1)%16]),
	} {
		if a := get(http.MethodGet, altered, nil); a.status != http.StatusForbidden || bytes.Contains(a.body, k.content[:16]) {
			t.Errorf("an address %s: status %d", what, a.status)
		}
	}
}

func (s *suite) expiredDownload(t *testing.T) {
	if a := s.send(t, s.plain(t, http.MethodGet, s.ExpiredDownload, nil)); a.status != http.StatusForbidden || !strings.Contains(string(a.body), "expired") {
		t.Errorf("status %d: %s", a.status, a.body)
	}
}

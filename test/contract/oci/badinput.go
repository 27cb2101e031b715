package oci

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// badCase is a wrong request with its answer: a row of README.md.
type badCase struct {
	group, what string
	status      int
	code        string
	// make prepares what the request needs and returns it.
	make func(*testing.T, *suite) request
}

func badCases() []badCase {
	var all []badCase
	for _, group := range [][]badCase{badNames(), badReferences(), badBlobs(), badUploads(), badManifests(), badLists(), badPaths()} {
		all = append(all, group...)
	}
	return all
}

func badInput(t *testing.T, s *suite) {
	for _, c := range badCases() {
		if s.Alias != "" && strings.HasSuffix(c.what, catalogCase) {
			continue // public registries list nothing
		}
		t.Run(c.group+"/"+strings.ReplaceAll(c.what, "/", "|"), func(t *testing.T) {
			s.refused(t, c.status, c.code, c.make(t, s))
		})
	}
}

// catalogCase ends the name of a case of _catalog.
const catalogCase = ", of repositories"

// Table is the list of bad input with its answers, as README.md has it.
func Table() string {
	var b strings.Builder
	b.WriteString("| | what | status | code |\n|---|---|---|---|\n")
	for _, c := range badCases() {
		code := c.code
		if code != "" {
			code = "`" + code + "`"
		}
		b.WriteString("| " + c.group + " | " + c.what + " | " + strconv.Itoa(c.status) + " | " + code + " |\n")
	}
	return b.String()
}

func badNames() []badCase {
	var cases []badCase
	for what, escaped := range orderedPairs(
		"upper case", "Team/App",
		"one character", "a",
		"longer than 256 characters", strings.Repeat("a", 257),
		"a separator at the front", "-app",
		"a separator at the end", "app_",
		"two dots in a row", "a..b",
		"an empty segment", "team//app",
		"a space", "team%20app",
		"an encoded slash", "team%2Fapp",
		"an encoded dot segment", "team/%2e%2e/app",
		"a dot segment", "team/../app",
		"an encoded null byte", "team%00app",
		"bytes that are no UTF-8", "team%ff",
	) {
		cases = append(cases,
			badCase{"repository name", what + " (GET)", 400, "NAME_INVALID", func(_ *testing.T, s *suite) request {
				return get("/v2/" + s.called(escaped) + "/tags/list")
			}},
			badCase{"repository name", what + " (POST)", 400, "NAME_INVALID", func(_ *testing.T, s *suite) request {
				return post("/v2/"+s.called(escaped)+"/blobs/uploads/", nil)
			}})
	}
	return cases
}

// orderedPairs walks pairs in the order in which they are written, which the
// table keeps.
func orderedPairs(pairs ...string) func(yield func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield(pairs[i], pairs[i+1]) {
				return
			}
		}
	}
}

func badReferences() []badCase {
	var cases []badCase
	for what, tag := range orderedPairs(
		"a dot at the front", ".hidden",
		"a hyphen at the front", "-tag",
		"longer than 128 characters", strings.Repeat("t", 129),
		"a space", "a%20b",
		"an encoded slash", "a%2Fb",
		"a plus sign", "v1+2",
	) {
		cases = append(cases,
			badCase{"tag", what + ", pushed", 400, "TAG_INVALID", func(t *testing.T, s *suite) request {
				return put(s.manifestPath(s.Repo1, tag), s.image(t, s.Repo1).bytes(t)).with("Content-Type", typeImage)
			}},
			badCase{"tag", what + ", pulled", 404, "MANIFEST_UNKNOWN", func(_ *testing.T, s *suite) request {
				return get(s.manifestPath(s.Repo1, tag))
			}},
			badCase{"tag", what + ", deleted", 404, "MANIFEST_UNKNOWN", func(_ *testing.T, s *suite) request {
				return remove(s.manifestPath(s.Repo1, tag))
			}})
	}
	for what, d := range orderedPairs(
		"not hexadecimal", "sha256:baddigeststring",
		"too short", "sha256:"+strings.Repeat("a", 63),
		"too long", "sha256:"+strings.Repeat("a", 65),
		"upper case", "sha256:"+strings.Repeat("A", 64),
		"sha512 too short", "sha512:"+strings.Repeat("a", 64),
		"no algorithm", ":"+strings.Repeat("a", 64),
		"an algorithm that is not supported", "md5:"+strings.Repeat("a", 32),
	) {
		cases = append(cases,
			badCase{"digest", what + ", of a manifest pulled", 400, "DIGEST_INVALID", func(_ *testing.T, s *suite) request { return get(s.manifestPath(s.Repo1, d)) }},
			badCase{"digest", what + ", of a manifest pushed", 400, "DIGEST_INVALID", func(t *testing.T, s *suite) request {
				return put(s.manifestPath(s.Repo1, d), s.image(t, s.Repo1).bytes(t)).with("Content-Type", typeImage)
			}},
			badCase{"digest", what + ", of a blob pulled", 400, "DIGEST_INVALID", func(_ *testing.T, s *suite) request { return get(s.blobPath(s.Repo1, d)) }},
			badCase{"digest", what + ", of an upload's end", 400, "DIGEST_INVALID", func(t *testing.T, s *suite) request {
				return put(withQuery(t, s.start(t, s.Repo1), "digest", d), []byte("x"))
			}},
			badCase{"digest", what + ", of referrers", 400, "DIGEST_INVALID", func(_ *testing.T, s *suite) request { return get(s.referrersPath(d)) }},
			badCase{"digest", what + ", of a mount", 400, "DIGEST_INVALID", func(_ *testing.T, s *suite) request {
				return post("/v2/"+s.Repo1+"/blobs/uploads/?mount="+d+"&from="+s.Repo2, nil)
			}})
	}
	return cases
}

func badBlobs() []badCase {
	return []badCase{
		{"blob", "unknown, pulled", 404, "BLOB_UNKNOWN", func(_ *testing.T, s *suite) request { return get(s.blobPath(s.Repo1, sha(random(9)))) }},
		{"blob", "unknown, deleted", 404, "BLOB_UNKNOWN", func(_ *testing.T, s *suite) request { return remove(s.blobPath(s.Repo1, sha(random(9)))) }},
		{"blob", "of another repository", 404, "BLOB_UNKNOWN", func(t *testing.T, s *suite) request {
			return get(s.blobPath(s.Repo1, s.push(t, s.Repo2, random(9))))
		}},
		{"blob", "an image needs it, deleted", 405, "UNSUPPORTED", func(t *testing.T, s *suite) request {
			m := s.image(t, s.Repo1)
			s.putManifest(t, s.Repo1, unique("t"), m)
			return remove(s.blobPath(s.Repo1, m.Layers[0].Digest))
		}},
		{"blob", "Range beyond the end", 416, "SIZE_INVALID", func(t *testing.T, s *suite) request {
			return get(s.blobPath(s.Repo1, s.push(t, s.Repo1, random(9)))).with("Range", "bytes=9-")
		}},
		{"blob", "Range with the last byte before the first", 416, "SIZE_INVALID", func(t *testing.T, s *suite) request {
			return get(s.blobPath(s.Repo1, s.push(t, s.Repo1, random(9)))).with("Range", "bytes=5-2")
		}},
	}
}

func badUploads() []badCase {
	const unknown = "/blobs/uploads/11111111-2222-4333-8444-555555555555"
	cases := []badCase{}
	add := func(what string, status int, code string, make func(*testing.T, *suite) request) {
		cases = append(cases, badCase{"upload", what, status, code, make})
	}
	add("unknown id, asked for", 404, "BLOB_UPLOAD_UNKNOWN", func(_ *testing.T, s *suite) request { return get("/v2/" + s.Repo1 + unknown) })
	add("unknown id, a chunk", 404, "BLOB_UPLOAD_UNKNOWN", func(_ *testing.T, s *suite) request { return patch("/v2/"+s.Repo1+unknown, []byte("x")) })
	add("unknown id, the end", 404, "BLOB_UPLOAD_UNKNOWN", func(_ *testing.T, s *suite) request {
		return put("/v2/"+s.Repo1+unknown+"?digest="+sha([]byte("x")), []byte("x"))
	})
	add("unknown id, cancelled", 404, "BLOB_UPLOAD_UNKNOWN", func(_ *testing.T, s *suite) request { return remove("/v2/" + s.Repo1 + unknown) })
	add("an id that is no UUID", 404, "BLOB_UPLOAD_UNKNOWN", func(_ *testing.T, s *suite) request { return get("/v2/" + s.Repo1 + "/blobs/uploads/%27%20OR%201=1") })
	elsewhere := func(method string) func(*testing.T, *suite) request {
		return func(t *testing.T, s *suite) request {
			at := strings.Replace(s.start(t, s.Repo2), "/v2/"+s.Repo2+"/", "/v2/"+s.Repo1+"/", 1)
			if method == http.MethodPut {
				at = withQuery(t, at, "digest", sha([]byte("x")))
			}
			r := request{method: method, path: at}
			if method == http.MethodPut || method == http.MethodPatch {
				r.body = bytes.NewReader([]byte("x"))
			}
			return r
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodPut, http.MethodDelete} {
		add("of another repository ("+method+")", 404, "BLOB_UPLOAD_UNKNOWN", elsewhere(method))
	}
	add("finished already", 404, "BLOB_UPLOAD_UNKNOWN", func(t *testing.T, s *suite) request {
		at := s.start(t, s.Repo1)
		content := random(9)
		s.want(t, http.StatusCreated, put(withQuery(t, at, "digest", sha(content)), content))
		return patch(at, content)
	})
	add("the end without a digest", 400, "DIGEST_INVALID", func(t *testing.T, s *suite) request { return put(s.start(t, s.Repo1), []byte("x")) })
	add("the digest of other content", 400, "DIGEST_INVALID", func(t *testing.T, s *suite) request {
		return put(withQuery(t, s.start(t, s.Repo1), "digest", sha(random(9))), []byte("x"))
	})
	add("the sha512 digest of other content", 400, "DIGEST_INVALID", func(t *testing.T, s *suite) request {
		return put(withQuery(t, s.start(t, s.Repo1), "digest", digestOf("sha512", random(9))), []byte("x"))
	})
	add("a digest-algorithm that is not supported", 400, "DIGEST_INVALID", func(_ *testing.T, s *suite) request {
		return post("/v2/"+s.Repo1+"/blobs/uploads/?digest-algorithm=md5", nil)
	})
	ranged := func(value string) func(*testing.T, *suite) request {
		return func(t *testing.T, s *suite) request {
			at := location(t, s.want(t, http.StatusAccepted, patch(s.start(t, s.Repo1), random(10))))
			return patch(at, random(10)).with("Content-Range", value)
		}
	}
	add("a chunk behind a gap", 416, "BLOB_UPLOAD_INVALID", ranged("11-20"))
	add("a chunk that is there already", 416, "BLOB_UPLOAD_INVALID", ranged("0-9"))
	add("a chunk that overlaps", 416, "BLOB_UPLOAD_INVALID", ranged("5-14"))
	add("a Content-Range that is none", 416, "BLOB_UPLOAD_INVALID", ranged("ten to nineteen"))
	add("a Content-Range with the last byte before the first", 416, "BLOB_UPLOAD_INVALID", ranged("19-10"))
	add("a Content-Range longer than the body", 400, "SIZE_INVALID", ranged("10-20"))
	add("a Content-Range shorter than the body", 400, "SIZE_INVALID", ranged("10-18"))
	add("a last chunk behind a gap", 416, "BLOB_UPLOAD_INVALID", func(t *testing.T, s *suite) request {
		return put(withQuery(t, s.start(t, s.Repo1), "digest", sha([]byte("x"))), []byte("x")).with("Content-Range", "1-1")
	})
	return cases
}

func badManifests() []badCase {
	cases := []badCase{}
	add := func(what string, status int, code string, body func(*testing.T, *suite) []byte) {
		cases = append(cases, badCase{"manifest", what, status, code, func(t *testing.T, s *suite) request {
			return put(s.manifestPath(s.Repo1, unique("bad")), body(t, s)).with("Content-Type", typeImage)
		}})
	}
	text := func(s string) func(*testing.T, *suite) []byte {
		return func(*testing.T, *suite) []byte { return []byte(s) }
	}
	changed := func(change func(*manifest)) func(*testing.T, *suite) []byte {
		return func(t *testing.T, s *suite) []byte {
			m := s.image(t, s.Repo1)
			change(&m)
			return m.bytes(t)
		}
	}
	add("empty", 400, "MANIFEST_INVALID", text(""))
	add("not JSON", 400, "MANIFEST_INVALID", text("{ not json"))
	add("JSON that is no object", 400, "MANIFEST_INVALID", text("[]"))
	add("an object and more", 400, "MANIFEST_INVALID", func(t *testing.T, s *suite) []byte { return append(s.image(t, s.Repo1).bytes(t), "{}"...) })
	add("nothing in it", 400, "MANIFEST_INVALID", text("{}"))
	add("another media type inside than announced", 400, "MANIFEST_INVALID", func(t *testing.T, s *suite) []byte {
		m := s.image(t, s.Repo1)
		m.MediaType = typeIndex
		return m.bytes(t)
	})
	add("no configuration", 400, "MANIFEST_INVALID", changed(func(m *manifest) { m.Config = nil }))
	add("a digest inside that is none", 400, "MANIFEST_INVALID", changed(func(m *manifest) { m.Layers[0].Digest = "sha256:none" }))
	add("a negative size inside", 400, "MANIFEST_INVALID", changed(func(m *manifest) { m.Layers[0].Size = -1 }))
	add("a subject's digest that is none", 400, "MANIFEST_INVALID", changed(func(m *manifest) {
		m.Subject = &descriptor{MediaType: typeImage, Digest: "nothing", Size: 1}
	}))
	add("more than 4 MiB", 413, "MANIFEST_INVALID", changed(func(m *manifest) {
		m.Annotations = map[string]string{"x": strings.Repeat("x", 4<<20)}
	}))
	add("a layer that is not there", 404, "MANIFEST_BLOB_UNKNOWN", changed(func(m *manifest) { m.Layers[0].Digest = sha(random(9)) }))
	add("a configuration that is not there", 404, "MANIFEST_BLOB_UNKNOWN", changed(func(m *manifest) { m.Config.Digest = sha(random(9)) }))
	add("a layer that only another repository has", 404, "MANIFEST_BLOB_UNKNOWN", func(t *testing.T, s *suite) []byte {
		m := s.image(t, s.Repo1)
		layer := random(9)
		m.Layers[0].Digest, m.Layers[0].Size = s.push(t, s.Repo2, layer), 9
		return m.bytes(t)
	})
	cases = append(cases,
		badCase{"manifest", "an index with a child that is not there", 404, "MANIFEST_BLOB_UNKNOWN", func(t *testing.T, s *suite) request {
			m := manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{{MediaType: typeImage, Digest: sha(random(9)), Size: 9}}}
			return put(s.manifestPath(s.Repo1, unique("bad")), m.bytes(t)).with("Content-Type", typeIndex)
		}},
		badCase{"manifest", "a media type that is no manifest's", 400, "MANIFEST_INVALID", func(t *testing.T, s *suite) request {
			m := s.image(t, s.Repo1)
			m.MediaType = ""
			return put(s.manifestPath(s.Repo1, unique("bad")), m.bytes(t)).with("Content-Type", "text/html")
		}},
		badCase{"manifest", "more than 4 MiB, length not announced", 413, "MANIFEST_INVALID", func(_ *testing.T, s *suite) request {
			return put(s.manifestPath(s.Repo1, unique("bad")), bytes.Repeat([]byte(" "), 4<<20+1)).with("Content-Type", typeImage).streamed()
		}},
		badCase{"manifest", "the digest of other content", 400, "DIGEST_INVALID", func(t *testing.T, s *suite) request {
			return put(s.manifestPath(s.Repo1, sha(random(9))), s.image(t, s.Repo1).bytes(t)).with("Content-Type", typeImage)
		}},
		badCase{"manifest", "an index needs it, deleted", 405, "UNSUPPORTED", func(t *testing.T, s *suite) request {
			_, child := s.pushImage(t, s.Repo1)
			s.putManifest(t, s.Repo1, unique("index"), manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{child}})
			return remove(s.manifestPath(s.Repo1, child.Digest))
		}},
		badCase{"manifest", "a form that the client does not take", 404, "MANIFEST_UNKNOWN", func(t *testing.T, s *suite) request {
			tag, _ := s.pushImage(t, s.Repo1)
			return get(s.manifestPath(s.Repo1, tag)).with("Accept", typeIndex)
		}},
		badCase{"manifest", "a 51st tag parameter", 414, "UNSUPPORTED", func(t *testing.T, s *suite) request {
			body := s.image(t, s.Repo1).bytes(t)
			return put(s.manifestPath(s.Repo1, sha(body))+"?tag=t"+strings.Repeat("&tag=t", 50), body).with("Content-Type", typeImage)
		}},
		badCase{"manifest", "a tag parameter that is no tag", 400, "TAG_INVALID", func(t *testing.T, s *suite) request {
			body := s.image(t, s.Repo1).bytes(t)
			return put(s.manifestPath(s.Repo1, sha(body))+"?tag=.x", body).with("Content-Type", typeImage)
		}},
		badCase{"manifest", "Range beyond the end", 416, "SIZE_INVALID", func(t *testing.T, s *suite) request {
			tag, _ := s.pushImage(t, s.Repo1)
			return get(s.manifestPath(s.Repo1, tag)).with("Range", "bytes=100000-")
		}},
	)
	return cases
}

func badLists() []badCase {
	var cases []badCase
	for what, n := range orderedPairs("a word", "ten", "negative", "-1", "a fraction", "1.5", "beyond 64 bits", "99999999999999999999") {
		cases = append(cases,
			badCase{"n", what + ", of tags", 400, "UNSUPPORTED", func(_ *testing.T, s *suite) request { return get(s.tagsPath(s.Repo1) + "?n=" + n) }},
			badCase{"n", what + catalogCase, 400, "UNSUPPORTED", func(*testing.T, *suite) request { return get("/v2/_catalog?n=" + n) }})
	}
	return cases
}

func badPaths() []badCase {
	var cases []badCase
	for what, path := range orderedPairs(
		"no such path", "/v2/nothing",
		"no repository", "/v2/tags/list",
		"no reference", "/v2/team/app/manifests/",
		"no such list", "/v2/team/app/tags/all",
		"an encoded slash in front of the route", "/v2/team/app%2Ftags/list",
	) {
		cases = append(cases, badCase{"path", what, 404, "UNSUPPORTED", func(*testing.T, *suite) request { return get(path) }})
	}
	return append(cases,
		badCase{"path", "a method that the path does not take", 405, "UNSUPPORTED", func(_ *testing.T, s *suite) request { return post(s.tagsPath(s.Repo1), nil) }},
		badCase{"path", "a method that nothing takes", 405, "UNSUPPORTED", func(_ *testing.T, s *suite) request {
			return request{method: http.MethodTrace, path: s.tagsPath(s.Repo1)}
		}})
}

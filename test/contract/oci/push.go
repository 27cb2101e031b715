package oci

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// created checks the answer to a finished upload and that the blob is there.
func (s *suite) created(t *testing.T, a answer, repo, digest string, content []byte) {
	t.Helper()
	if got := a.header.Get("Docker-Content-Digest"); got != digest {
		t.Errorf("Docker-Content-Digest is %q, want %q", got, digest)
	}
	if got := s.want(t, http.StatusOK, get(location(t, a))); !bytes.Equal(got.body, content) {
		t.Errorf("the Location of the new blob gives %d other bytes", len(got.body))
	}
	s.holds(t, repo, digest, content)
}

func pushMonolithic(t *testing.T, s *suite) {
	for _, algorithm := range algorithms() {
		for _, size := range []int{1, 512, 1 << 20} {
			content := random(size)
			d := digestOf(algorithm, content)
			a := s.want(t, http.StatusCreated, put(withQuery(t, s.start(t, s.Repo1), "digest", d), content))
			s.created(t, a, s.Repo1, d, content)
		}
	}
}

func pushInOnePost(t *testing.T, s *suite) {
	for _, algorithm := range algorithms() {
		content := random(3000)
		d := digestOf(algorithm, content)
		a := s.want(t, http.StatusCreated, post(withQuery(t, "/v2/"+s.Repo1+"/blobs/uploads/", "digest", d), content))
		s.created(t, a, s.Repo1, d, content)
	}
}

func pushStreamed(t *testing.T, s *suite) {
	for _, algorithm := range algorithms() {
		content := random(1<<20 + 17)
		d := digestOf(algorithm, content)
		path := withQuery(t, "/v2/"+s.Repo1+"/blobs/uploads/", "digest-algorithm", algorithm)
		at := location(t, s.want(t, http.StatusAccepted, post(path, nil)))
		a := s.want(t, http.StatusAccepted, patch(at, content).streamed())
		wantRange(t, a, len(content))
		a = s.want(t, http.StatusCreated, put(withQuery(t, location(t, a), "digest", d), nil))
		s.created(t, a, s.Repo1, d, content)

		content = random(1<<20 + 18)
		d = digestOf(algorithm, content)
		a = s.want(t, http.StatusCreated, put(withQuery(t, s.start(t, s.Repo1), "digest", d), content).streamed())
		s.created(t, a, s.Repo1, d, content)
	}
}

// chunk sends content[first:end] with its Content-Range.
func chunk(at string, content []byte, first, end int) request {
	return patch(at, content[first:end]).with("Content-Range", fmt.Sprintf("%d-%d", first, end-1))
}

// wantRange checks the Range of an upload that has so many bytes.
func wantRange(t *testing.T, a answer, received int) {
	t.Helper()
	if got, want := a.header.Get("Range"), "0-"+strconv.Itoa(max(received-1, 0)); got != want {
		t.Errorf("the upload's Range is %q, want %q", got, want)
	}
}

func pushChunked(t *testing.T, s *suite) {
	for _, algorithm := range algorithms() {
		content := random(3*4096 - 5)
		d := digestOf(algorithm, content)
		at := s.start(t, s.Repo1)
		for first := 0; first < len(content); first += 4096 {
			end := min(first+4096, len(content))
			a := s.want(t, http.StatusAccepted, chunk(at, content, first, end))
			wantRange(t, a, end)
			at = location(t, a)
			status := s.want(t, http.StatusNoContent, get(at))
			wantRange(t, status, end)
			at = location(t, status)
		}
		a := s.want(t, http.StatusCreated, put(withQuery(t, at, "digest", d), nil))
		s.created(t, a, s.Repo1, d, content)
	}
}

func pushLastChunkInPut(t *testing.T, s *suite) {
	for _, algorithm := range algorithms() {
		content := random(10_000)
		d := digestOf(algorithm, content)
		a := s.want(t, http.StatusAccepted, chunk(s.start(t, s.Repo1), content, 0, 6000))
		last := put(withQuery(t, location(t, a), "digest", d), content[6000:]).with("Content-Range", "6000-9999")
		s.created(t, s.want(t, http.StatusCreated, last), s.Repo1, d, content)
	}
}

func chunksOutOfOrder(t *testing.T, s *suite) {
	content := random(9000)
	at := s.start(t, s.Repo1)
	s.want(t, http.StatusRequestedRangeNotSatisfiable, chunk(at, content, 3000, 6000)) // a gap
	at = location(t, s.want(t, http.StatusNoContent, get(at)))
	at = location(t, s.want(t, http.StatusAccepted, chunk(at, content, 0, 3000)))
	for _, wrong := range [][2]int{{0, 3000}, {1000, 4000}, {3001, 6000}, {2999, 6000}} {
		a := s.want(t, http.StatusRequestedRangeNotSatisfiable, chunk(at, content, wrong[0], wrong[1]))
		wantRange(t, a, 3000)
		a = s.want(t, http.StatusNoContent, get(at))
		wantRange(t, a, 3000)
		at = location(t, a)
	}
	d := sha(content)
	s.want(t, http.StatusRequestedRangeNotSatisfiable,
		put(withQuery(t, at, "digest", d), content[6000:]).with("Content-Range", "6000-8999"))
	at = location(t, s.want(t, http.StatusAccepted, chunk(at, content, 3000, 9000)))
	s.created(t, s.want(t, http.StatusCreated, put(withQuery(t, at, "digest", d), nil)), s.Repo1, d, content)
}

func appendWithoutRange(t *testing.T, s *suite) {
	content := random(9000)
	d := sha(content)
	at := s.start(t, s.Repo1)
	for first := 0; first < 9000; first += 3000 {
		a := s.want(t, http.StatusAccepted, patch(at, content[first:first+3000]))
		wantRange(t, a, first+3000)
		at = location(t, a)
	}
	s.created(t, s.want(t, http.StatusCreated, put(withQuery(t, at, "digest", d), nil)), s.Repo1, d, content)
}

// uploadStateInPath: some clients keep only the path of a Location.
func uploadStateInPath(t *testing.T, s *suite) {
	path := func(l string) string {
		u, err := url.Parse(l)
		if err != nil {
			t.Fatal(err)
		}
		return u.EscapedPath()
	}
	content := random(2000)
	d := sha(content)
	at := path(s.start(t, s.Repo1))
	at = path(location(t, s.want(t, http.StatusAccepted, chunk(at, content, 0, 1000))))
	at = path(location(t, s.want(t, http.StatusAccepted, chunk(at, content, 1000, 2000))))
	s.created(t, s.want(t, http.StatusCreated, put(at+"?digest="+d, nil)), s.Repo1, d, content)
}

func cancelUpload(t *testing.T, s *suite) {
	content := random(1000)
	at := location(t, s.want(t, http.StatusAccepted, patch(s.start(t, s.Repo1), content)))
	s.want(t, http.StatusNoContent, remove(at))
	s.refused(t, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", get(at))
	s.refused(t, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", remove(at))
	s.refused(t, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", patch(at, content))
	s.refused(t, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", put(withQuery(t, at, "digest", sha(content)), nil))
	s.lacks(t, s.Repo1, sha(content))
}

// wrongDigests: a digest that is not the content's leaves no blob behind,
// under neither name, however the content came.
func wrongDigests(t *testing.T, s *suite) {
	for _, algorithm := range algorithms() {
		content := random(9000)
		wrong, right := digestOf(algorithm, random(10)), digestOf(algorithm, content)
		finish := func(at string, body []byte) request { return put(withQuery(t, at, "digest", wrong), body) }
		ways := map[string]func() request{
			"one post": func() request {
				return post(withQuery(t, "/v2/"+s.Repo1+"/blobs/uploads/", "digest", wrong), content)
			},
			"put": func() request { return finish(s.start(t, s.Repo1), content) },
			"stream": func() request {
				return finish(location(t, s.want(t, http.StatusAccepted, patch(s.start(t, s.Repo1), content))), nil)
			},
			"chunks": func() request {
				a := s.want(t, http.StatusAccepted, chunk(s.start(t, s.Repo1), content, 0, 5000))
				return finish(location(t, s.want(t, http.StatusAccepted, chunk(location(t, a), content, 5000, 9000))), nil)
			},
			"last chunk in put": func() request {
				a := s.want(t, http.StatusAccepted, chunk(s.start(t, s.Repo1), content, 0, 5000))
				return finish(location(t, a), content[5000:]).with("Content-Range", "5000-8999")
			},
		}
		for way, last := range ways {
			t.Run(algorithm+" "+way, func(t *testing.T) {
				s.refused(t, http.StatusBadRequest, "DIGEST_INVALID", last())
				s.lacks(t, s.Repo1, wrong)
				s.lacks(t, s.Repo1, right)
			})
		}
	}
}

func wellKnownBlobs(t *testing.T, s *suite) {
	for _, algorithm := range algorithms() {
		for _, content := range [][]byte{{}, []byte("{}")} {
			d := digestOf(algorithm, content)
			a := s.want(t, http.StatusCreated, put(withQuery(t, s.start(t, s.Repo1), "digest", d), content))
			s.created(t, a, s.Repo1, d, content)
			a = s.want(t, http.StatusCreated, post(withQuery(t, "/v2/"+s.Repo1+"/blobs/uploads/", "digest", d), content))
			s.created(t, a, s.Repo1, d, content)
		}
	}
}

func pushAgain(t *testing.T, s *suite) {
	content := random(5000)
	for range 2 {
		s.holds(t, s.Repo1, s.push(t, s.Repo1, content), content)
	}
}

func concurrentUploads(t *testing.T, s *suite) {
	content := random(300_000)
	d := sha(content)
	var all sync.WaitGroup
	for i := range 16 {
		repo := s.Repo1
		if i%2 == 1 {
			repo = s.Repo2
		}
		at := "/v2/" + repo + "/blobs/uploads/"
		if i%4 > 1 {
			at = s.start(t, repo)
		}
		r := put(withQuery(t, at, "digest", d), content)
		if i%4 <= 1 {
			r.method = http.MethodPost
		}
		req := s.request(t, r)
		all.Go(func() {
			resp, err := s.client.Do(req)
			if err != nil {
				t.Errorf("an upload beside others: %v", err)
				return
			}
			_ = resp.Body.Close() // the status says it all
			if resp.StatusCode != http.StatusCreated {
				t.Errorf("an upload beside others: status %d", resp.StatusCode)
			}
		})
	}
	all.Wait()
	s.holds(t, s.Repo1, d, content)
	s.holds(t, s.Repo2, d, content)
}

// cutConnection: a client goes in the middle of a chunk, asks how far it came
// and sends the rest.
func cutConnection(t *testing.T, s *suite) {
	content := random(2 << 20)
	d := sha(content)
	at := s.start(t, s.Repo1)
	ctx, cut := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, s.url(t, at), reader)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(content))
	req.Header.Set("Authorization", s.Authorization)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		resp, err := s.client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			t.Errorf("a request that was cut has the answer %d", resp.StatusCode)
		}
	}()
	if _, err := writer.Write(content[:1<<20]); err != nil {
		t.Fatal(err)
	}
	cut()
	_ = writer.Close() // the transport has closed the other end
	<-gone

	received := s.settled(t, at)
	if received > 1<<20 {
		t.Fatalf("the upload has %d bytes of the %d that were sent", received, 1<<20)
	}
	rest := patch(at, content[received:])
	if received > 0 {
		rest = chunk(at, content, received, len(content))
	}
	at = location(t, s.want(t, http.StatusAccepted, rest))
	s.created(t, s.want(t, http.StatusCreated, put(withQuery(t, at, "digest", d), nil)), s.Repo1, d, content)
}

// settled waits until an upload whose client has gone stands still, and
// returns how many bytes it has.
func (s *suite) settled(t *testing.T, at string) int {
	t.Helper()
	last, same := -1, 0
	for range 100 {
		received := s.received(t, at)
		if received == last && (received > 0 || same > 20) {
			if same++; same >= 3 {
				return received
			}
		} else if received == last {
			same++
		} else {
			last, same = received, 0
		}
		time.Sleep(20 * time.Millisecond)
	}
	return last
}

func (s *suite) received(t *testing.T, at string) int {
	t.Helper()
	r := s.want(t, http.StatusNoContent, get(at)).header.Get("Range")
	end, err := strconv.Atoi(strings.TrimPrefix(r, "0-"))
	if err != nil {
		t.Fatalf("the Range %q of an upload", r)
	}
	if end == 0 {
		return 0
	}
	return end + 1
}

// mount mounts what an image of the other repository refers to. A blob that was
// only uploaded is not mounted, as with ECR; the client sends it again.
func mount(t *testing.T, s *suite) {
	content := random(4000)
	m := s.image(t, s.Repo2)
	d := s.push(t, s.Repo2, content)
	m.Layers = append(m.Layers, descriptor{MediaType: typeLayer, Digest: d, Size: len(content)})
	s.lacks(t, s.Repo1, d)
	try := func(query string) request { return post("/v2/"+s.Repo1+"/blobs/uploads/?"+query, nil) }
	from := "&from=" + url.QueryEscape(s.Repo2)
	s.want(t, http.StatusAccepted, try("mount="+d+from))
	s.lacks(t, s.Repo1, d)

	i := s.putManifest(t, s.Repo2, unique("source"), m)
	a := s.want(t, http.StatusCreated, try("mount="+d+from))
	s.created(t, a, s.Repo1, d, content)
	s.want(t, http.StatusCreated, try("mount="+d+from)) // again
	s.want(t, http.StatusAccepted, remove(s.manifestPath(s.Repo2, i.Digest)))
	s.want(t, http.StatusAccepted, remove(s.blobPath(s.Repo2, d)))
	s.lacks(t, s.Repo2, d)
	s.holds(t, s.Repo1, d, content) // the mounted one has a life of its own

	// What cannot be mounted is an upload, and that works.
	unknown := random(4000)
	u := sha(unknown)
	for _, query := range []string{
		"mount=" + u + from,
		"mount=" + u + "&from=" + unique("no/such/repo"),
		"mount=" + u + "&from=Not%20A%20Name",
		"mount=" + u,
	} {
		a := s.want(t, http.StatusAccepted, try(query))
		wantRange(t, a, 0)
		s.want(t, http.StatusCreated, put(withQuery(t, location(t, a), "digest", u), unknown))
	}
	s.holds(t, s.Repo1, u, unknown)
	s.refused(t, http.StatusBadRequest, "DIGEST_INVALID", try("mount=sha256:nonsense"+from))
}

package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/bench/content"
	"github.com/berth-registry/berth/bench/load"
	"github.com/berth-registry/berth/bench/target"
)

// inMemory is a registry that keeps everything in memory and believes nothing it is told.
type inMemory struct {
	mu        sync.Mutex
	uploads   map[string][]byte
	blobs     map[string][]byte            // by their path
	manifests map[string]map[string][]byte // by repository, and tag or digest
	mounts    int
}

func startInMemory(t *testing.T) (*inMemory, *World) {
	r := &inMemory{uploads: map[string][]byte{}, blobs: map[string][]byte{}, manifests: map[string]map[string][]byte{}}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	w := NewWorld(&target.Server{Name: "in memory", Base: s.URL}, "")
	w.Progress = io.Discard
	return r, w
}

func (m *inMemory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if err := m.answer(w, r, body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (m *inMemory) answer(w http.ResponseWriter, r *http.Request, body []byte) error {
	repository, rest, kind := strings.TrimPrefix(r.URL.Path, "/v2/"), "", ""
	for _, kind = range []string{"/blobs/uploads/", "/blobs/", "/manifests/", "/tags/list"} {
		if before, after, ok := strings.Cut(repository, kind); ok {
			repository, rest = before, after
			break
		}
	}
	switch q := r.URL.Query(); r.Method + kind {
	case "POST/blobs/uploads/":
		if d := q.Get("mount"); d != "" {
			m.mounts++
			m.blobs[blobPath(repository, d)] = m.blobs[blobPath(q.Get("from"), d)]
			w.WriteHeader(http.StatusCreated)
			return nil
		}
		id := fmt.Sprint(len(m.uploads))
		m.uploads[id] = nil
		w.Header().Set("Location", r.URL.Path+id+"?state=0")
		w.WriteHeader(http.StatusAccepted)
	case "PATCH/blobs/uploads/":
		if q.Get("state") != "0" || len(body) == 0 {
			return fmt.Errorf("a PATCH of %d bytes in the state %q", len(body), q.Get("state"))
		}
		m.uploads[rest] = body
		w.Header().Set("Location", "http://"+r.Host+r.URL.Path+"?state=1")
		w.WriteHeader(http.StatusAccepted)
	case "PUT/blobs/uploads/":
		got := append(m.uploads[rest], body...)
		if d := q.Get("digest"); q.Get("state") != "1" || content.Digest(got) != d {
			return fmt.Errorf("%d bytes are %s and not %s, in the state %q", len(got), content.Digest(got), d, q.Get("state"))
		}
		m.blobs[blobPath(repository, q.Get("digest"))] = got
		w.WriteHeader(http.StatusCreated)
	case "GET/blobs/", "HEAD/blobs/":
		send(w, m.blobs[r.URL.Path])
	case "PUT/manifests/":
		return m.putManifest(w, repository, rest, body)
	case "GET/manifests/", "HEAD/manifests/":
		if !strings.Contains(r.Header.Get("Accept"), imageType) {
			return fmt.Errorf("the manifest is not accepted")
		}
		found := m.manifests[repository][rest]
		w.Header().Set("Docker-Content-Digest", content.Digest(found))
		send(w, found)
	case "GET/tags/list":
		tags := slices.DeleteFunc(slices.Sorted(maps.Keys(m.manifests[repository])), func(tag string) bool {
			return strings.Contains(tag, ":") || tag <= q.Get("last")
		})
		n, err := strconv.Atoi(q.Get("n"))
		if err != nil {
			return err
		}
		send(w, encode(map[string]any{"name": repository, "tags": tags[:min(n, len(tags))]}))
	default:
		return fmt.Errorf("%s %s", r.Method, r.URL)
	}
	return nil
}

func send(w http.ResponseWriter, body []byte) {
	if body == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = w.Write(body) // a client that is gone sees for itself
}

// putManifest takes a manifest whose blobs are there with the sizes that it says.
func (m *inMemory) putManifest(w http.ResponseWriter, repository, ref string, body []byte) error {
	var in manifest
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	for _, d := range append(in.Layers, in.Config) {
		if b, ok := m.blobs[blobPath(repository, d.Digest)]; !ok || int64(len(b)) != d.Size {
			return fmt.Errorf("%s has no %s of %d bytes", repository, d.Digest, d.Size)
		}
	}
	if m.manifests[repository] == nil {
		m.manifests[repository] = map[string][]byte{}
	}
	m.manifests[repository][ref], m.manifests[repository][content.Digest(body)] = body, body
	w.WriteHeader(http.StatusCreated)
	return nil
}

// TestOnARegistry does each operation that peers can do a few times, small ones at least.
func TestOnARegistry(t *testing.T) {
	m, w := startInMemory(t)
	done := map[string]bool{}
	for _, s := range All(false) {
		if !s.Runs(w.Server) || s.Measure != nil || strings.Contains(s.Name, "64 MiB") || strings.Contains(s.Name, "GiB") {
			continue
		}
		if s.Prepare != nil {
			if err := s.Prepare(t.Context(), w); err != nil {
				t.Fatalf("preparing %s: %v", s.Name, err)
			}
		}
		c := &load.Worker{N: 1, Rand: rand.New(rand.NewPCG(1, 2)), Conn: load.NewConn(w.Addr)}
		for c.Seq = range 8 {
			n, err := s.Op(t.Context(), w, c)
			if err != nil {
				t.Fatalf("%s, number %d: %v", s.Name, c.Seq, err)
			}
			if (n == 0) != (s.Group == "manifest" || s.Group == "tags") {
				t.Errorf("%s has moved %d bytes", s.Name, n)
			}
		}
		c.Conn.Close()
		done[s.Group] = true
	}
	for _, group := range []string{"pull", "push", "manifest", "mixed", "tags"} {
		if !done[group] {
			t.Errorf("nothing of the group %s was done", group)
		}
	}
	if err := crowd(t.Context(), w, 20); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// 8 images and 2 of the mixture, under tag and digest.
	if got := len(m.manifests[pushed]); got != 2*10 {
		t.Errorf("%d references stand in the repository that is pushed to, want 20", got)
	}
	if len(m.manifests["bench/crowd/r00019"]) != 2 || m.mounts != 2*20 {
		t.Errorf("20 repositories took %d mounts, and the last one has %v", m.mounts, m.manifests["bench/crowd/r00019"])
	}
}

// TestWrongAnswers makes sure that an operation fails where a server does not do its work.
func TestWrongAnswers(t *testing.T) {
	m, w := startInMemory(t)
	s, err := stocked(t.Context(), w, few)
	if err != nil {
		t.Fatal(err)
	}
	c := load.NewConn(w.Addr)
	defer c.Close()
	i := s.images[7]
	if err := pullImage(c, s.repository, i); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(){
		"a layer that is shorter": func() {
			m.blobs[blobPath(s.repository, i.blobs[1].Digest)] = []byte("short")
		},
		"a tag of another image":  func() { m.manifests[s.repository][i.tag] = s.images[8].raw },
		"a manifest that is gone": func() { delete(m.manifests[s.repository], i.digest) },
	} {
		m.mu.Lock()
		blobs, manifests := maps.Clone(m.blobs), maps.Clone(m.manifests[s.repository])
		spoil()
		m.mu.Unlock()
		if err := pullImage(c, s.repository, i); err == nil {
			t.Errorf("%s was pulled", what)
		}
		m.mu.Lock()
		m.blobs, m.manifests[s.repository] = blobs, manifests
		m.mu.Unlock()
	}
	if err := readTags(c, s, nil); err != nil {
		t.Errorf("all tags: %v", err)
	}
	m.mu.Lock()
	for n := range 20 {
		delete(m.manifests[s.repository], stockTag(n))
	}
	m.mu.Unlock()
	if err := readTags(c, s, nil); err == nil {
		t.Error("80 tags were taken for 100")
	}
}

func TestTogether(t *testing.T) {
	_, w := startInMemory(t)
	s, err := stocked(t.Context(), w, few)
	if err != nil {
		t.Fatal(err)
	}
	i := s.images[0]
	got, err := together(t.Context(), w.Addr, 20, func(c *load.Conn) (int64, error) { return i.payload, pullImage(c, s.repository, i) })
	if err != nil || got.Ops != 20 || got.Bytes != 20*i.payload || got.Errors != 0 || got.P50 <= 0 || got.P99 < got.P50 || got.Elapsed < got.P99 {
		t.Errorf("20 clients: %+v, %v", got, err)
	}
	if got, err := together(t.Context(), w.Addr, 3, func(c *load.Conn) (int64, error) { return 0, head(c, s.repository, i.digest, http.StatusOK) }); err == nil || got.Errors != 3 {
		t.Errorf("3 clients that fail: %+v, %v", got, err)
	}
}

func TestFiles(t *testing.T) {
	w := NewWorld(&target.Server{Name: "files", Root: t.TempDir()}, "")
	s := httptest.NewServer(http.FileServer(http.Dir(w.Server.Root)))
	defer s.Close()
	w.Addr.Base, w.Progress = s.URL, io.Discard
	z := sizes()[0]
	if err := z.prepare(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	pool := have[[]*content.Blob](w, z.key())
	text, err := os.ReadFile(filepath.Join(w.Server.Root, "blobs", pool[1].Hex()))
	if err != nil || !bytes.Equal(text, pool[1].Bytes()) {
		t.Errorf("a file has %d bytes, %v", len(text), err)
	}
	c := &load.Worker{Conn: load.NewConn(w.Addr)}
	defer c.Conn.Close()
	if n, err := z.pull(t.Context(), w, c); err != nil || n != z.bytes {
		t.Errorf("%d bytes were pulled, %v", n, err)
	}
}

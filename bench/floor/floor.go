// Package floor is the least that a server can do which seals layers and syncs them before
// it says that it has them: it takes a body, hashes, seals and writes it, syncs the file,
// and for a pull reads, opens and sends it. It has no login, no database and no second
// request to be ready for; what it knows of uploads and layers is in memory. It does one
// thing after the other, by means that Berth uses or has tried: what it costs with many
// clients is about what these steps cost on this machine. It is no proof that nothing is
// faster; with one client, where Berth hashes and stores at once, Berth is.
package floor

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// The form in which Berth keeps layers: segments of 64 KiB, each with a nonce and a tag.
const (
	segment       = 64 << 10
	nonceSize     = 12
	sealedSegment = nonceSize + segment + 16
)

// Server is the handler. Its files stay where they are when it ends, of no use to anybody:
// the keys are gone.
type Server struct {
	dir    string
	runs   sync.Pool // *[runSize]byte
	blocks blocks

	next    atomic.Int64
	uploads sync.Map // its number in digits: *upload
	layers  sync.Map // digest: *upload, finished
}

// upload is a layer, or will be one.
type upload struct {
	path  string
	file  *os.File // while it is written
	hash  hash.Hash
	seal  cipher.AEAD
	size  int64
	entry string // its path in URLs
}

// New makes one that keeps its files in dir, which exists.
func New(dir string) *Server {
	s := &Server{dir: dir}
	s.runs.New = func() any { return new([runSize]byte) }
	return s
}

// Serve listens at an address until the process ends.
func Serve(listen, dir string) error {
	return (&http.Server{Addr: listen, Handler: New(dir)}).ListenAndServe()
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, rest, ok := strings.Cut(r.URL.Path, "/blobs/")
	var err error
	switch {
	case r.URL.Path == "/v2/":
	case !ok:
		err = os.ErrNotExist
	case r.Method == http.MethodPost:
		err = s.begin(w, r)
	case r.Method == http.MethodPatch:
		err = s.take(w, r, strings.TrimPrefix(rest, "uploads/"))
	case r.Method == http.MethodPut:
		err = s.finish(w, r, strings.TrimPrefix(rest, "uploads/"))
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		err = s.send(w, r, rest)
	default:
		err = os.ErrNotExist
	}
	if errors.Is(err, os.ErrNotExist) {
		http.Error(w, "there is no such thing", http.StatusNotFound)
	} else if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) error {
	id := strconv.FormatInt(s.next.Add(1), 10)
	block, err := aes.NewCipher(rand32())
	if err != nil {
		return err
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	u := &upload{path: filepath.Join(s.dir, id), hash: sha256.New(), seal: seal, entry: r.URL.Path + id}
	s.uploads.Store(id, u)
	w.Header().Set("Location", u.entry)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func rand32() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key
}

// upload looks one up.
func (s *Server) upload(id string) (*upload, error) {
	if u, ok := s.uploads.Load(id); ok {
		return u.(*upload), nil
	}
	return nil, os.ErrNotExist
}

// take writes the body, sealed, into the upload's file.
func (s *Server) take(w http.ResponseWriter, r *http.Request, id string) error {
	u, err := s.upload(id)
	if err != nil {
		return err
	}
	if u.file != nil {
		return errors.New("an upload takes one PATCH")
	}
	if u.file, err = os.OpenFile(u.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	b := s.blocks.get()
	defer s.blocks.put(b)
	b.reset(u.file)
	for {
		room := b.room(sealedSegment)
		n, err := io.ReadFull(r.Body, room[nonceSize:nonceSize+segment])
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !last {
			return err
		}
		plain := room[nonceSize:][:n]
		u.size += int64(n)
		_, _ = u.hash.Write(plain) // a hash takes everything
		_, _ = rand.Read(room[:nonceSize])
		u.seal.Seal(plain[:0], room[:nonceSize], plain, nil)
		if err := b.add(nonceSize+n+16, last); err != nil {
			return err
		}
		if last {
			break
		}
	}
	w.Header().Set("Location", u.entry)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// finish makes the layer durable.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, id string) error {
	u, err := s.upload(id)
	if err != nil {
		return err
	}
	digest := "sha256:" + hex.EncodeToString(u.hash.Sum(nil))
	if want := r.URL.Query().Get("digest"); digest != want {
		return fmt.Errorf("what came is %s and not %s", digest, want)
	}
	if err := errors.Join(u.file.Sync(), u.file.Close()); err != nil {
		return err
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return err
	}
	u.file = nil
	s.uploads.Delete(id)
	s.layers.Store(digest, u)
	w.WriteHeader(http.StatusCreated)
	return nil
}

const (
	// segments in a run are read at once and sent at once.
	segments = 4
	// runSize has room for a segment before them, so that each can be opened to where the
	// one before it ends.
	runSize = segment + segments*sealedSegment
)

// send reads, opens and sends a layer.
func (s *Server) send(w http.ResponseWriter, r *http.Request, digest string) error {
	found, ok := s.layers.Load(digest)
	if !ok {
		return os.ErrNotExist
	}
	u := found.(*upload)
	w.Header().Set("Content-Length", strconv.FormatInt(u.size, 10))
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.Method == http.MethodHead {
		return nil
	}
	f, err := os.Open(u.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was read
	run := s.runs.Get().(*[runSize]byte)
	defer s.runs.Put(run)
	for left := u.size; left > 0; {
		n, err := io.ReadFull(f, run[segment:])
		if err != nil && err != io.ErrUnexpectedEOF {
			panic(http.ErrAbortHandler) // too late for a status
		}
		out := 0
		for sealed := run[segment : segment+n]; len(sealed) > 0; {
			one := sealed[:min(sealedSegment, len(sealed))]
			plain, err := u.seal.Open(run[out:out:out+segment], one[:nonceSize], one[nonceSize:], nil)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			out += len(plain)
			sealed = sealed[len(one):]
		}
		if _, err := w.Write(run[:out]); err != nil {
			return nil // the client has gone
		}
		left -= int64(out)
	}
	return nil
}

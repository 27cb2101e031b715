package encrypted_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/fs"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
)

const benchSize = 64 << 20

// slate keeps one object in memory that is allocated once, so that a benchmark
// over it measures the sealing and one copy.
type slate struct {
	bytes []byte
	size  int
}

type slateWriter struct{ *slate }

func (s *slate) Create(context.Context, string, blobstore.Placement) (blobstore.Writer, error) {
	s.size = 0
	return slateWriter{s}, nil
}

func (s *slate) Resume(context.Context, string, blobstore.State) (blobstore.Writer, error) {
	return nil, blobstore.ErrNotFound
}

func (s *slate) Open(_ context.Context, _ blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	return &slateReader{s.bytes[offset : offset+length]}, nil
}

func (s *slate) Delete(context.Context, string) error { return nil }

func (s *slate) List(context.Context, string) iter.Seq2[blobstore.Info, error] {
	return func(func(blobstore.Info, error) bool) {}
}

func (w slateWriter) Write(p []byte) (int, error) {
	n := copy(w.bytes[w.size:], p)
	w.size += n
	return n, nil
}
func (w slateWriter) Offset() int64 { return int64(w.size) }
func (w slateWriter) Close() error  { return nil }
func (w slateWriter) Suspend(context.Context) (blobstore.State, error) {
	return nil, nil
}
func (w slateWriter) Commit(context.Context) (blobstore.Object, error) {
	return blobstore.Object{Key: "slate", Size: int64(w.size)}, nil
}

type slateReader struct{ rest []byte }

func (r *slateReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
func (r *slateReader) Close() error { return nil }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func write(b *testing.B, s blobstore.Store, key string, p []byte, piece int) blobstore.Object {
	b.Helper()
	w, err := s.Create(b.Context(), key, blobstore.Placement{})
	if err != nil {
		b.Fatal(err)
	}
	for len(p) > 0 {
		n := min(piece, len(p))
		if _, err := w.Write(p[:n]); err != nil {
			b.Fatal(err)
		}
		p = p[n:]
	}
	o, err := w.Commit(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return o
}

func read(b *testing.B, s blobstore.Store, o blobstore.Object) {
	b.Helper()
	r, err := s.Open(b.Context(), o, 0, -1)
	if err != nil {
		b.Fatal(err)
	}
	if n, err := r.(io.WriterTo).WriteTo(discard{}); err != nil || n != o.Size {
		b.Fatal(n, err)
	}
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
}

func benchManager(b *testing.B) *keyring.Keyring {
	b.Helper()
	m, err := keyring.Open(b.TempDir()+"/keyring.json", clock.NewFake(time.Unix(1_700_000_000, 0)))
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func BenchmarkSealOpen(b *testing.B) {
	plain := make([]byte, benchSize)
	for _, piece := range []int{32 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("piece=%dKiB", piece>>10), func(b *testing.B) {
			s := encrypted.New(&slate{bytes: make([]byte, benchSize+1<<20)}, benchManager(b))
			var o blobstore.Object
			b.Run("seal", func(b *testing.B) {
				b.SetBytes(benchSize)
				b.ReportAllocs()
				for b.Loop() {
					o = write(b, s, "slate", plain, piece)
				}
			})
			b.Run("open", func(b *testing.B) {
				b.SetBytes(benchSize)
				b.ReportAllocs()
				for b.Loop() {
					read(b, s, o)
				}
			})
			b.Run("both", func(b *testing.B) {
				b.SetBytes(benchSize)
				for b.Loop() {
					read(b, s, write(b, s, "slate", plain, piece))
				}
			})
		})
	}
}

func BenchmarkFiles(b *testing.B) {
	plain := make([]byte, benchSize)
	for _, sealed := range []bool{false, true} {
		b.Run(fmt.Sprintf("sealed=%t", sealed), func(b *testing.B) {
			var s blobstore.Store
			files, err := fs.New(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			s = files
			if sealed {
				s = encrypted.New(files, benchManager(b))
			}
			number := 0
			var o blobstore.Object
			run := func(name string, size int, commit bool) {
				b.Run(name, func(b *testing.B) {
					b.SetBytes(int64(size))
					b.ReportAllocs()
					for b.Loop() {
						number++
						key := fmt.Sprintf("b/%d", number)
						if commit {
							o = write(b, s, key, plain[:size], 256<<10)
						} else {
							writeOnly(b, s, key, plain[:size])
						}
						if err := s.Delete(b.Context(), key); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			run("write64MiB", benchSize, false)
			run("write+commit64MiB", benchSize, true)
			run("write+commit4KiB", 4<<10, true)
			o = write(b, s, "b/read", plain, 256<<10)
			b.Run("read64MiB", func(b *testing.B) {
				b.SetBytes(benchSize)
				b.ReportAllocs()
				for b.Loop() {
					read(b, s, o)
				}
			})
		})
	}
}

// writeOnly leaves out the sync, which measures the disk.
func writeOnly(b *testing.B, s blobstore.Store, key string, p []byte) {
	b.Helper()
	w, err := s.Create(b.Context(), key, blobstore.Placement{})
	if err != nil {
		b.Fatal(err)
	}
	for len(p) > 0 {
		n := min(256<<10, len(p))
		if _, err := w.Write(p[:n]); err != nil {
			b.Fatal(err)
		}
		p = p[n:]
	}
	if _, err := w.Suspend(b.Context()); err != nil {
		b.Fatal(err)
	}
}

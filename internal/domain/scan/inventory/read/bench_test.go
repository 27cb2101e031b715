package read_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/berth-registry/berth/internal/domain/scan/inventory/read"
)

// BenchmarkLayer compares an inventory with decompressing alone, which is what it may cost
// at least. The stream is 48 MiB; the share is the same for a GiB.
func BenchmarkLayer(b *testing.B) {
	plain := debianLike(b, 48<<20)
	zip := gzipped(b, plain)
	zst := zstded(b, plain)
	size := int64(len(plain))
	b.Logf("%d bytes, gzip %d, zstd %d", size, len(zip), len(zst))
	b.Run("gzip/decompress", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			z, err := gzip.NewReader(bytes.NewReader(zip))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, z); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("zstd/decompress", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			z, err := zstd.NewReader(bytes.NewReader(zst), zstd.WithDecoderConcurrency(1))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, z); err != nil {
				b.Fatal(err)
			}
			z.Close()
		}
	})
	for what, in := range map[string][]byte{"gzip": zip, "zstd": zst, "plain": plain} {
		b.Run(what+"/inventory", func(b *testing.B) {
			dir := b.TempDir()
			b.SetBytes(size)
			for b.Loop() {
				if l, err := read.Layer(b.Context(), "", bytes.NewReader(in), dir, read.DefaultLimits()); err != nil || len(l.Files) == 0 {
					b.Fatal(len(l.Files), err)
				}
			}
		})
	}
}

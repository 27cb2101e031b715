package scenario

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/berth-registry/berth/bench/content"
	"github.com/berth-registry/berth/bench/load"
)

// Names of what the machine can do by itself; bars refer to them.
const (
	hashAlone    = "SHA-256 of 64 MiB"
	hashAndWrite = "SHA-256, write and fsync of 64 MiB"
	sealAlone    = "AES-GCM of 64 MiB"
)

const (
	// machineTime is how long each of the machine's limits is measured.
	machineTime = 2 * time.Second
	// pieceSize is how much is hashed, written or opened at once.
	pieceSize = 128 * kib
)

// machine are the limits that no server can pass, measured in this process, by as many
// goroutines as there are clients.
func machine() []Scenario {
	limit := func(name string, op func(w *World, c *load.Worker) error) Scenario {
		return Scenario{
			Name: name, Group: Machine, Rate: "bytes", Clients: []int{1, 16},
			Measure: func(ctx context.Context, w *World, clients int) (load.Sample, error) {
				used, err := ownCPU()
				if err != nil {
					return load.Sample{}, err
				}
				s, err := load.Run(ctx, load.Addr{}, clients, machineTime, 1, func(_ context.Context, c *load.Worker) (int64, error) {
					return 64 * mib, op(w, c)
				})
				if err != nil {
					return s, err
				}
				total, err := ownCPU()
				s.CPU = total - used
				return s, err
			},
		}
	}
	sealing := limit(sealAlone, func(_ *World, _ *load.Worker) error { return sealAll(64 * mib) })
	writing := limit(hashAndWrite, func(w *World, c *load.Worker) error {
		return writeDurably(filepath.Join(w.Dir, fmt.Sprintf("machine-%d-%d", c.N, c.Seq)), 64*mib)
	})
	measure := writing.Measure
	writing.Measure = func(ctx context.Context, w *World, clients int) (load.Sample, error) {
		dir, err := os.MkdirTemp(w.Dir, "machine")
		if err != nil {
			return load.Sample{}, err
		}
		s, err := measure(ctx, &World{Dir: dir}, clients)
		return s, errors.Join(err, os.RemoveAll(dir))
	}
	return []Scenario{
		limit(hashAlone, func(*World, *load.Worker) error {
			_, err := hashAll(io.Discard, 64*mib)
			return err
		}),
		writing, sealing,
	}
}

// hashAll hashes n bytes, piece by piece, and writes each piece.
func hashAll(w io.Writer, n int) ([]byte, error) {
	h, b := sha256.New(), content.Block()
	for at := 0; at < n; at += pieceSize {
		piece := b[at%content.BlockSize:][:pieceSize]
		_, _ = h.Write(piece) // a hash takes everything
		if _, err := w.Write(piece); err != nil {
			return nil, err
		}
	}
	return h.Sum(nil), nil
}

// writeDurably is hashAll into a new file that a power cut does not take.
func writeDurably(path string, n int) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = hashAll(f, n); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// sealAll seals n bytes in segments.
func sealAll(n int) error {
	c, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCM(c)
	if err != nil {
		return err
	}
	nonce, b := make([]byte, gcm.NonceSize()), content.Block()
	out := make([]byte, 0, pieceSize+gcm.Overhead())
	for at := 0; at < n; at += pieceSize {
		nonce[0]++
		out = gcm.Seal(out[:0], nonce, b[at%content.BlockSize:][:pieceSize], nil)
	}
	return nil
}

// ownCPU is the time that this process has used so far.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/berth-registry/berth/internal/infra/clock"
)

// maxFile bounds a certificate or key file, in bytes. A chain of four RSA-4096
// certificates is under 10 KB.
const maxFile = 1 << 20

// files is a certificate and its key as they stand on disk. What is served is
// always a pair that belongs together: one of two files that were replaced one
// after the other is not taken before the other is there.
type files struct {
	certificate, key string
	log              *slog.Logger
	clk              clock.Clock

	current atomic.Pointer[tls.Certificate]

	mu sync.Mutex
	// loaded is the content that current was made of, broken the last one that
	// could not be used; said says that broken has been logged.
	loaded, broken [sha256.Size]byte
	said           bool
}

// load reads the pair for the first time.
func (f *files) load() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.look()
}

// look reads the pair and takes it if it is new and good.
func (f *files) look() error {
	certificate, errC := readFile(f.certificate)
	key, errK := readFile(f.key)
	if err := errors.Join(errC, errK); err != nil {
		f.broke(sha256.Sum256([]byte(err.Error())))
		return fmt.Errorf("the TLS certificate cannot be read: %w", err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\n", len(certificate))
	sum.Write(certificate)
	sum.Write(key)
	content := [sha256.Size]byte(sum.Sum(nil))
	if f.current.Load() != nil && content == f.loaded {
		f.broken, f.said = [sha256.Size]byte{}, false
		return nil
	}
	pair, err := parse(certificate, key)
	if err != nil {
		f.broke(content)
		return fmt.Errorf("the TLS certificate %s with the key %s cannot be used: %w", f.certificate, f.key, err)
	}
	again := f.current.Swap(pair) != nil
	f.loaded, f.broken, f.said = content, [sha256.Size]byte{}, false
	report, what := f.log.Info, "the TLS certificate was read"
	if again {
		what = "the TLS certificate was replaced"
	}
	if pair.Leaf.NotAfter.Before(f.clk.Now()) {
		report, what = f.log.Error, what+", and it has expired"
	}
	report(what, "subject", pair.Leaf.Subject.String(), "names", pair.Leaf.DNSNames, "expires", pair.Leaf.NotAfter)
	return nil
}

// broke notes content that cannot be used.
func (f *files) broke(content [sha256.Size]byte) {
	if content != f.broken {
		f.broken, f.said = content, false
	}
}

// poll takes a new pair. A broken one may be a pair that is being written: it is
// an error when the next poll finds it as it was, and logged once.
func (f *files) poll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.broken
	if err := f.look(); err != nil && f.broken == before {
		f.complain(err)
	}
}

// reload is poll for somebody who has asked, and hears of a broken pair at once.
func (f *files) reload() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.look(); err != nil {
		f.said = false
		f.complain(err)
	}
}

func (f *files) complain(err error) {
	if f.said {
		return
	}
	f.said = true
	f.log.Error("serving with the TLS certificate of before until the files are good", "error", err, "expires", f.current.Load().Leaf.NotAfter)
}

// parse makes a pair, and refuses one that does not belong together or is not
// written to its end.
func parse(certificate, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(certificate, key) // compares the two
	if err != nil {
		return nil, err
	}
	begun, ended := bytes.Count(certificate, []byte("-----BEGIN ")), bytes.Count(certificate, []byte("-----END "))
	if begun != ended || begun < len(pair.Certificate) {
		return nil, errors.New("the certificate file breaks off")
	}
	return &pair, nil
}

func readFile(path string) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return b, err
}

package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
)

// realArgument starts a process with the real reader and matcher.
const realArgument = "real-" + Argument

// TestMain: this binary is its own scanner, whose handlers do what the media type of a layer,
// or the architecture of an image, tells them.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Argument:
			os.Exit(mainWith(handlers{read: testRead, open: testOpen}, os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
		case realArgument:
			os.Exit(Main(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
		}
	}
	goleak.VerifyTestMain(m)
}

func testRead(_ context.Context, mediaType string, r io.Reader, spool string) (inventory.Layer, error) {
	var first [1]byte
	if mediaType != "count" {
		if _, err := io.ReadFull(r, first[:]); err != nil {
			return inventory.Layer{}, err
		}
	}
	switch mediaType {
	case "count":
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 1<<20))
		return inventory.Layer{Version: inventory.Version, Size: n, Entries: int64(os.Getpid())}, err
	case "refuse":
		return inventory.Layer{}, &Refused{"the layer is not to our taste"}
	case "spool":
		return inventory.Layer{Entries: int64(os.Getpid())}, os.WriteFile(filepath.Join(spool, "left"), []byte("x"), 0o600)
	}
	return inventory.Layer{}, misbehave(mediaType, spool)
}

// misbehave does not do what a scanner is for.
func misbehave(how, spool string) error {
	switch how {
	case "fail":
		return errors.New("no luck\n today")
	case "panic":
		panic("at the disco")
	case "exit":
		os.Exit(9)
	case "leave":
		os.Exit(0)
	case "hang":
		for {
			time.Sleep(time.Hour)
		}
	case "spin":
		for n := 0; ; n++ {
			if n < 0 {
				return nil
			}
		}
	case "memory":
		if underRace {
			fmt.Fprintln(os.Stderr, "fatal error: runtime: out of memory")
			os.Exit(2)
		}
		for kept := [][]byte(nil); ; runtime.KeepAlive(kept) {
			kept = append(kept, bytes.Repeat([]byte("x"), 32<<20))
		}
	case "file":
		return os.WriteFile(filepath.Join(spool, "large"), make([]byte, 2<<20), 0o600)
	case "noise":
		_, err := os.Stdout.WriteString("this is a line that some library prints")
		return err
	case "announce":
		_, err := os.Stdout.Write([]byte{byte(kindAnswer), 0xff, 0xff, 0xff, 0xff})
		return err
	case "nonsense":
		if err := writeText(os.Stdout, kindAnswer, "{"); err != nil {
			return err
		}
		time.Sleep(time.Hour)
	case "twice":
		// In one piece: what comes later than the answer is seen, or not, by the next question.
		var both bytes.Buffer
		if err := errors.Join(writeText(&both, kindAnswer, "{}"), writeText(&both, kindAnswer, "{}")); err != nil {
			return err
		}
		if _, err := os.Stdout.Write(both.Bytes()); err != nil {
			return err
		}
		time.Sleep(time.Hour)
	case "objects":
		if err := writeText(os.Stdout, kindAnswer, `{"files":[`+strings.Repeat("{},", maxObjects)+"{}]}"); err != nil {
			return err
		}
		time.Sleep(time.Hour)
	}
	return fmt.Errorf("no role %q", how)
}

// testDB says in its reports which process answers.
type testDB struct{}

func testOpen(dir string) (database, error) {
	b, err := os.ReadFile(filepath.Join(dir, "kind"))
	if err != nil {
		return nil, err
	}
	if string(b) != "good" {
		return nil, misbehave(string(b), dir)
	}
	return testDB{}, nil
}

func (testDB) Metadata() match.Metadata { return match.Metadata{Schema: 2} }

func (testDB) Check(context.Context) error { return errors.New("page 7 is missing") }

func (testDB) Match(_ context.Context, img inventory.Image, o match.Options) (finding.Report, error) {
	if img.Architecture != "echo" {
		return finding.Report{}, misbehave(img.Architecture, "")
	}
	return finding.Report{Supported: o.Languages, EndOfLife: len(img.Packages) > 0, Architecture: fmt.Sprint(os.Getpid())}, nil
}

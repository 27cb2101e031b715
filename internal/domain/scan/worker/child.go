package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/inventory/read"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/infra/confine"
)

// The processes' exit statuses.
const (
	exitDone  = 0
	exitError = 1
	exitUsage = 2
)

// handlers do the work; tests have their own.
type handlers struct {
	// read is read.Layer. It returns *Refused for a layer that cannot be read.
	read func(ctx context.Context, mediaType string, r io.Reader, spool string) (inventory.Layer, error)
	open func(dir string) (database, error)
}

// database is match.Database.
type database interface {
	Metadata() match.Metadata
	Check(ctx context.Context) error
	Match(ctx context.Context, img inventory.Image, o match.Options) (finding.Report, error)
}

func works() handlers {
	return handlers{
		read: func(ctx context.Context, mediaType string, r io.Reader, spool string) (inventory.Layer, error) {
			l, err := read.Layer(ctx, mediaType, r, spool, read.DefaultLimits())
			if bad, ok := errors.AsType[*read.Error](err); ok {
				return l, &Refused{bad.Error()}
			}
			return l, err
		},
		open: func(dir string) (database, error) { return match.Open(dir) },
	}
}

// Main is the process: it confines itself and answers what comes in, until that ends. args
// are "read", or "match" and the directory of a database. It returns the exit status.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	if out == os.Stdout {
		os.Stdout = os.Stderr // so that no library that prints something spoils the answers
	}
	return mainWith(works(), args, in, out, errOut)
}

func mainWith(h handlers, args []string, in io.Reader, out, errOut io.Writer) int {
	c := child{handlers: h, in: bufio.NewReaderSize(in, 64<<10), out: out}
	switch {
	case len(args) == 1 && args[0] == "read":
	case len(args) == 2 && args[0] == "match":
		c.dir = args[1]
	default:
		fmt.Fprintf(errOut, "%s is started by the server to scan images; it is of no use by itself\n", Argument)
		return exitUsage
	}
	if err := c.serve(context.Background()); err != nil {
		fmt.Fprintln(errOut, err)
		return exitError
	}
	return exitDone
}

// child is the process that works.
type child struct {
	handlers
	in    *bufio.Reader
	out   io.Writer
	dir   string // of the database, of a process that matches
	db    database
	spool string
}

func (c *child) serve(ctx context.Context) error {
	if err := c.begin(); err != nil {
		// The reason goes to the server, which logs it and says it.
		return errors.Join(err, c.say(nil, err))
	}
	if err := writeJSON(c.out, kindAnswer, struct{}{}, maxAnswer); err != nil {
		return err
	}
	for {
		f, err := readFrame(c.in, maxQuestion)
		if errors.Is(err, io.EOF) {
			return nil // the database is mapped for reading; there is nothing to close
		}
		if err != nil {
			return fmt.Errorf("reading a question: %w", err)
		}
		if err := c.answer(ctx, f); err != nil {
			return err
		}
	}
}

// begin takes the limits, and opens the database under them.
func (c *child) begin() error {
	f, err := readFrame(c.in, maxQuestion)
	if err != nil {
		return fmt.Errorf("reading the limits: %w", err)
	}
	var h hello
	if err := json.Unmarshal(f.content, &h); err != nil || f.kind != kindHello || h.Protocol != protocol {
		return fmt.Errorf("%w: the limits were expected, in version %d", errGarbage, protocol)
	}
	c.spool = h.Spool
	if err := confine.Enter(h.Limits); err != nil {
		return err
	}
	if c.dir == "" {
		return nil
	}
	if c.db, err = c.open(c.dir); err != nil {
		return &Refused{err.Error()}
	}
	return nil
}

// answer answers one question. It returns an error when the process cannot go on.
func (c *child) answer(ctx context.Context, f frame) error {
	switch {
	case f.kind == kindPing:
		return c.say(struct{}{}, nil)
	case f.kind == kindLayer && c.db == nil:
		var q layerQuestion
		if err := json.Unmarshal(f.content, &q); err != nil {
			return fmt.Errorf("%w: %w", errGarbage, err)
		}
		data := pieces{in: c.in}
		layer, err := c.read(ctx, q.MediaType, &data, c.spool)
		if err := c.say(layer, err); err != nil {
			return err
		}
		return data.drain()
	case f.kind == kindMatch && c.db != nil:
		var q matchQuestion
		if err := json.Unmarshal(f.content, &q); err != nil {
			return fmt.Errorf("%w: %w", errGarbage, err)
		}
		report, err := c.db.Match(ctx, q.Image, q.Options)
		return c.say(report, err)
	case f.kind == kindCheck && c.db != nil:
		err := c.db.Check(ctx)
		if err != nil {
			err = &Refused{err.Error()}
		}
		return c.say(c.db.Metadata(), err)
	}
	return fmt.Errorf("%w: a question of kind %q", errGarbage, f.kind)
}

// say writes an answer, or why there is none.
func (c *child) say(v any, err error) error {
	if err == nil {
		err = writeJSON(c.out, kindAnswer, v, maxAnswer)
		if large, ok := errors.AsType[*tooLarge](err); ok {
			return writeText(c.out, kindRefused, "the result is too large: "+large.Error())
		}
		return err
	}
	if bad, ok := errors.AsType[*Refused](err); ok {
		return writeText(c.out, kindRefused, clean(bad.Reason))
	}
	return writeText(c.out, kindFailed, clean(err.Error()))
}

// errAborted is what a layer ends with whose rest cannot be had. The server knows why.
var errAborted = errors.New("the rest of the layer cannot be had")

// pieces is a layer as it comes in.
type pieces struct {
	in   *bufio.Reader
	left int   // bytes of the present piece
	err  error // at the end
}

// Read reads what there is; io.EOF is the end of the layer.
func (p *pieces) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := p.next(); err != nil {
		return 0, err
	}
	n, err := p.in.Read(b[:min(len(b), p.left)])
	p.left -= n
	if err != nil {
		p.err = unexpected(err)
	}
	return n, p.err
}

// next goes on to a piece that has bytes left.
func (p *pieces) next() error {
	for p.left == 0 && p.err == nil {
		k, n, err := readHeader(p.in)
		switch {
		case err != nil:
			p.err = unexpected(err)
		case k == kindData && n <= chunkSize:
			p.left = n
		case k == kindEnd && n == 0:
			p.err = io.EOF
		case k == kindAbort && n == 0:
			p.err = errAborted
		default:
			p.err = fmt.Errorf("%w: %q of %d bytes in a layer", errGarbage, k, n)
		}
	}
	return p.err
}

// drain goes on to the end of the layer. Its error is one that the process cannot go on after.
func (p *pieces) drain() error {
	for p.next() == nil {
		n, err := p.in.Discard(p.left)
		p.left -= n
		if err != nil {
			p.err = unexpected(err)
		}
	}
	if errors.Is(p.err, io.EOF) || errors.Is(p.err, errAborted) {
		return nil
	}
	return p.err
}

// unexpected keeps the end of the input from being taken for the end of a layer.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

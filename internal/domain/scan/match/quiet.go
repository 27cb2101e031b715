package match

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"

	dblog "github.com/aquasecurity/trivy-db/pkg/log"
	trivylog "github.com/aquasecurity/trivy/pkg/log"
)

// vendor is what the functions begin with whose log records are dropped.
const vendor = "github.com/aquasecurity/"

// quiet drops what Trivy logs: it writes to slog's default, several records for each
// image, and on standard error unless told otherwise.
type quiet struct{ next slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool { return q.next.Enabled(ctx, l) }

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.PC != 0 {
		f, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
		if strings.HasPrefix(f.Function, vendor) {
			return nil
		}
	}
	return q.next.Handle(ctx, r)
}

func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.next.WithAttrs(a)} }
func (q quiet) WithGroup(n string) slog.Handler      { return quiet{q.next.WithGroup(n)} }

// Quiet makes slog's default logger drop what Trivy writes to it, and pass the rest on to
// next. Trivy's log package, wherever it is linked in, makes a handler the default one that keeps every
// record in memory and shows none: a process that logs through slog's default must call
// Quiet, or slog.SetDefault, when it starts. Open calls it where nobody has.
func Quiet(next slog.Handler) {
	dblog.SetLogger(slog.New(slog.DiscardHandler))
	q := quiet{next}
	if d, ok := slog.Default().Handler().(*trivylog.DeferredHandler); ok {
		d.Flush(q)
	}
	slog.SetDefault(slog.New(q))
}

// ensureQuiet sees that Trivy's records are dropped, and leaves all others to who has
// them now.
func ensureQuiet() {
	switch h := slog.Default().Handler().(type) {
	case quiet:
	case *trivylog.DeferredHandler:
		Quiet(slog.NewTextHandler(os.Stderr, nil))
	default:
		if fmt.Sprintf("%T", h) == "*slog.defaultHandler" { // must not be wrapped: it would call itself
			h = slog.NewTextHandler(os.Stderr, nil)
		}
		Quiet(h)
	}
}

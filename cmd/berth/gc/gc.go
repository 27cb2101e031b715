// Package gc is the commands of `berth gc`: how the collection of garbage stands,
// and a run at once.
//
// It does no work itself; the running server does, over its administration socket
// (app/gcadmin).
package gc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/gcadmin"
	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/layer/reconcile"
)

// Command is `berth gc`.
type Command struct {
	Status statusCommand `cmd:"" help:"Show what waits to be deleted, what the last runs did, holds, and how far the comparison of stores and rows is."`
	Run    runCommand    `cmd:"" help:"Collect now, and say what was freed."`
}

// Help explains what the commands are about.
func (Command) Help() string {
	return `Layers that no image refers to are deleted once their grace period is over,
while the server runs; nothing has to be started for that. These commands show it,
and do at once what is due. A run never shortens a grace period.`
}

// common are the flags of all commands.
type common struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// send sends a request to the running server; the caller closes the answer.
func (c common) send(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://berth"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := app.AdminClient(c.Data).Do(r)
	if errors.Is(err, app.ErrNoServer) {
		return nil, fmt.Errorf("no server is running on %s; start one with: berth serve --data %s", c.Data, c.Data)
	}
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return nil, errors.Join(errors.New(strings.TrimSpace(string(text))), err, answer.Body.Close())
	}
	return answer.Body, nil
}

type statusCommand struct{ common }

// Run shows how the collection stands.
func (c statusCommand) Run(ctx context.Context, out io.Writer) error {
	body, err := c.send(ctx, http.MethodGet, "/gc", nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	var st gcadmin.Status
	if err := json.NewDecoder(body).Decode(&st); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, st)
	}
	return printStatus(out, st)
}

func printStatus(out io.Writer, st gcadmin.Status) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(what, format string, args ...any) {
		_, _ = fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...)) // Flush has the error
	}
	due := ""
	if st.Due > 0 {
		due = ", the first since " + console.Minute(st.OldestDue)
	}
	line("Waiting for review", "%s layers; %s of them due%s", count(st.Reviews), count(st.Due), due)
	line("Garbage", "%s objects, about %s", count(st.Garbage), size(st.GarbageBytes))
	if st.Last == nil {
		line("Last run", "none yet")
	} else {
		line("Last run", "%s", runText(*st.Last))
		if st.Last.Error != "" {
			first, _, _ := strings.Cut(st.Last.Error, "\n")
			line("  failed", "%s", first)
		}
		line("Freed in all", "%s in %d objects since %s", size(st.Total.Freed), st.Total.Objects, console.Minute(st.Since))
	}
	for _, h := range st.LiveHolds {
		line("Hold", "by %s, since %s, until %s: no object is deleted", h.Owner, console.Minute(h.Created), console.Minute(h.Expires))
	}
	if len(st.Reconciliation) == 0 {
		line("Comparison", "of stores and rows not begun yet")
	}
	for _, r := range st.Reconciliation {
		line("Comparison", "%s", roundText(r))
	}
	line("Missing objects", "%d", st.Missing)
	for _, m := range st.Findings {
		where := "store"
		if m.Archived {
			where = "archive"
		}
		line("", "%s of account %s: object %s is not in the %s of %s, found %s", m.Digest, m.Account, m.ObjectKey, where, m.Region, console.Minute(m.Found))
	}
	if more := st.Missing - int64(len(st.Findings)); more > 0 {
		line("", "and %d more", more)
	}
	return t.Flush()
}

func runText(r collect.Run) string {
	text := "began " + console.Minute(r.Started)
	if r.Ended.IsZero() {
		text += ", last heard of " + console.Minute(r.Seen)
	} else {
		text += ", took " + r.Ended.Sub(r.Started).Round(time.Millisecond).String()
	}
	return text + ": " + didText(r.Collected)
}

func didText(c collect.Collected) string {
	text := fmt.Sprintf("%d reviews, %d layers taken away, %d blobs given up (%s), %d objects deleted, %s freed",
		c.Reviews, c.Layers, c.Blobs, size(c.Bytes), c.Objects, size(c.Freed))
	if c.Held {
		text += "; a hold kept objects"
	}
	return text
}

func roundText(r reconcile.Round) string {
	text := fmt.Sprintf("%s: %d of %d pages", r.Region, r.Pages, r.AllPages)
	if r.Ended.IsZero() {
		text += " since " + console.Minute(r.Started)
	} else {
		text += ", ended " + console.Minute(r.Ended)
	}
	return text + fmt.Sprintf("; %d objects and %d blobs, %d objects that no row named (%s)", r.Objects, r.Blobs, r.Strays, size(r.StrayBytes))
}

type runCommand struct {
	common
	Reconcile bool `help:"First compare everything in the stores with the rows, which lists all objects."`
	Quiet     bool `short:"q" help:"Show no progress."`
}

// Run collects.
func (c runCommand) Run(ctx context.Context, out io.Writer) error {
	body, err := c.send(ctx, http.MethodPost, "/gc/run", gcadmin.Request{Reconcile: c.Reconcile})
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	for in := json.NewDecoder(body); ; {
		var l gcadmin.Line
		if err := in.Decode(&l); err != nil {
			return fmt.Errorf("the server ended the run early; what was begun is done by the next one: %w", err)
		}
		switch {
		case l.Error != "":
			return fmt.Errorf("the run failed: %s", l.Error)
		case l.Sum != nil && c.JSON:
			return console.JSON(out, l.Sum)
		case l.Sum != nil:
			return printSum(out, *l.Sum)
		case c.Quiet || c.JSON:
		case l.Reconcile != nil:
			fmt.Fprintln(os.Stderr, roundText(*l.Reconcile))
		case l.Collect != nil:
			fmt.Fprintln(os.Stderr, didText(l.Collect.Collected))
		}
	}
}

func printSum(out io.Writer, s gcadmin.Sum) error {
	for _, r := range s.Rounds {
		if _, err := fmt.Fprintln(out, roundText(r)); err != nil {
			return err
		}
	}
	if s.Missing > 0 {
		if _, err := fmt.Fprintf(out, "%d blobs have no object; see berth gc status\n", s.Missing); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, didText(s.Collected))
	return err
}

// count is a number of rows, whose counting stops somewhere.
func count(n int64) string {
	if n >= collect.CountLimit {
		return fmt.Sprintf("%d or more", n)
	}
	return fmt.Sprint(n)
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for f >= 1<<10 && unit < 5 {
		f /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[unit-1])
}

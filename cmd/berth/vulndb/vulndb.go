// Package vulndb is the commands of `berth vulndb`: the vulnerability database that
// images are matched with.
//
// It does no work itself; the running server does, over its administration socket
// (app/vulndbadmin), but for fetching, which needs no server (app/vulndbfetch).
package vulndb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/vulndbadmin"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb/layout"
)

// Command is `berth vulndb`.
type Command struct {
	Status  statusCommand  `cmd:"" help:"Show the database in use, how old it is, and how the automatic refresh goes."`
	Fetch   fetchCommand   `cmd:"" help:"Fetch the database from the internet into a file; needs no server."`
	Import  importCommand  `cmd:"" help:"Put a database into use, from a file."`
	Refresh refreshCommand `cmd:"" help:"Ask the configured sources for a newer database now."`
	Former  formerCommand  `cmd:"" help:"Go back to the database that was in use before."`
}

// Help explains what the commands are about.
func (Command) Help() string {
	return `Images are matched with a database of known vulnerabilities. Without internet:

  on a machine with internet   berth vulndb fetch -o trivy-db.tar
  here, with the file          berth vulndb import trivy-db.tar

It is made anew every six hours; fetch one as often as you want to know of new
vulnerabilities. With internet, configure sources, and the server does it by itself.`
}

// common are the flags of the commands that ask the server.
type common struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// send sends a request to the running server, and reads its answer into out.
func (c common) send(ctx context.Context, method, path string, body io.Reader, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://berth"+path, body)
	if err != nil {
		return err
	}
	answer, err := app.AdminClient(c.Data).Do(r)
	if errors.Is(err, app.ErrNoServer) {
		return fmt.Errorf("no server is running on %s; start one with: berth serve --data %s", c.Data, c.Data)
	}
	var refused *layout.Refused
	if errors.As(err, &refused) {
		return refused // by what reads the directory, in the request's body
	}
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	if answer.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return errors.Join(errors.New(strings.TrimSpace(string(text))), err)
	}
	return json.NewDecoder(answer.Body).Decode(out)
}

type statusCommand struct{ common }

// Run shows how the database stands.
func (c statusCommand) Run(ctx context.Context, out io.Writer) error {
	var st vulndbadmin.Status
	if err := c.send(ctx, http.MethodGet, "/vulndb", nil, &st); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, st)
	}
	return printStatus(out, st)
}

func printStatus(out io.Writer, st vulndbadmin.Status) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(what, format string, args ...any) {
		_, _ = fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...)) // Flush has the error
	}
	if d := st.Current; d != nil {
		old := ""
		if st.Stale {
			old = ", too old"
		}
		line("Database", "%s", d.Digest)
		line("  schema", "%d", d.Schema)
		line("  made", "%s (%s ago%s)", console.Minute(d.Updated), ageText(time.Duration(st.AgeSeconds)*time.Second), old)
		if !d.NextUpdate.IsZero() {
			line("  next expected", "%s", console.Minute(d.NextUpdate))
		}
		line("  imported", "%s from %s", console.Minute(d.Imported), d.Source)
		line("  size", "%s", sizeText(d.Size))
		switch {
		case st.NodeError != "":
			line("  on this node", "no: %s", st.NodeError)
		case st.Unpacked:
			line("  on this node", "yes")
		default:
			line("  on this node", "not unpacked yet")
		}
	} else {
		line("Database", "none")
	}
	if d := st.Former; d != nil {
		line("Former", "%s", d.Digest)
		line("  made", "%s", console.Minute(d.Updated))
		line("  imported", "%s from %s", console.Minute(d.Imported), d.Source)
	}
	if len(st.Sources) == 0 {
		line("Sources", "none; there is no automatic refresh")
	} else {
		line("Sources", "%s", strings.Join(st.Sources, ", "))
		line("  last asked", "%s", askedText(st))
	}
	if err := t.Flush(); err != nil || st.Advice == "" {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.ToUpper(st.Advice[:1])+st.Advice[1:]+".")
	return err
}

func askedText(st vulndbadmin.Status) string {
	switch {
	case st.Asked.IsZero():
		return "never"
	case st.AskedError != "":
		return console.Minute(st.Asked) + ", failed: " + strings.ReplaceAll(st.AskedError, "\n", "; ")
	}
	return console.Minute(st.Asked) + ", " + st.AskedSource + " answered"
}

type importCommand struct {
	common
	File  string `arg:"" help:"What berth vulndb fetch wrote; or db.tar.gz of the trivy-db artifact, or an OCI layout of it: a tar archive or a directory. - is standard input."`
	Older bool   `help:"Take one that is older than the one in use."`
}

// Run imports.
func (c importCommand) Run(ctx context.Context, out io.Writer) error {
	body, source, err := open(c.File)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	query := url.Values{"source": {source}}
	if c.Older {
		query.Set("older", "true")
	}
	var done vulndbadmin.Changed
	if err := c.send(ctx, http.MethodPost, "/vulndb/import?"+query.Encode(), body, &done); err != nil {
		return err
	}
	return c.print(out, done, "It was in use already; its stored copy was replaced.")
}

// open opens what is to be imported, and says what to call it.
func open(file string) (body io.ReadCloser, source string, err error) {
	if file == "-" {
		return io.NopCloser(os.Stdin), "standard input", nil
	}
	source = file
	if whole, err := filepath.Abs(file); err == nil {
		source = whole
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, "", err
	}
	if !info.IsDir() {
		f, err := os.Open(file)
		return f, source, err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(layout.PackDirectory(file, w)) }() // ends when the reader is closed
	return r, source, nil
}

func (c common) print(out io.Writer, done vulndbadmin.Changed, same string) error {
	if c.JSON {
		return console.JSON(out, done)
	}
	d := done.Database
	text := fmt.Sprintf("The vulnerability database %s, made %s, is in use.\n", d.Digest, console.Minute(d.Updated))
	if !done.New {
		text += same + "\n"
	}
	if done.Stale {
		text += "It is old: vulnerabilities that were published since are not found. Fetch a newer one.\n"
	}
	_, err := fmt.Fprint(out, text)
	return err
}

type refreshCommand struct{ common }

// Run asks the sources.
func (c refreshCommand) Run(ctx context.Context, out io.Writer) error {
	var done vulndbadmin.Changed
	if err := c.send(ctx, http.MethodPost, "/vulndb/refresh", nil, &done); err != nil {
		return err
	}
	return c.print(out, done, "The sources have nothing newer.")
}

type formerCommand struct{ common }

// Help says what happens afterwards.
func (formerCommand) Help() string {
	return `The two databases change places; run it again to undo it. The automatic refresh does
not bring the one back that was left, but takes a newer one as soon as there is one.`
}

// Run goes back.
func (c formerCommand) Run(ctx context.Context, out io.Writer) error {
	var done vulndbadmin.Changed
	if err := c.send(ctx, http.MethodPost, "/vulndb/former", nil, &done); err != nil {
		return err
	}
	return c.print(out, done, "")
}

// ageText is a duration for people: hours, from two days on days.
func ageText(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%d min", max(d, 0)/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

func sizeText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// Package replication is the commands of `berth replication`: where images are
// copied to and what waits, and Berth's own options of a destination.
//
// It does no work itself; the running server does, over its administration socket
// (app/replicationadmin).
package replication

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/replicationadmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
)

// Command is `berth replication`.
type Command struct {
	List    listCommand    `cmd:"" help:"List the destinations of all registries, what waits for them, and backfills that run or had failures."`
	Options optionsCommand `cmd:"" help:"Show or change the options of one destination, beyond what ECR's own configuration can say."`
}

// Help explains what the commands are about.
func (Command) Help() string {
	return `Where a registry copies its images to is set with the ECR API, by
PutReplicationConfiguration. These commands show it for all registries of the
server, and set for one destination what that API has nothing for: filters by tag
or by repository, and whether deletions are copied too.`
}

// common are the flags of all commands.
type common struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// send sends a request to the running server and reads its answer.
func (c common) send(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://berth"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := app.AdminClient(c.Data).Do(r)
	if errors.Is(err, app.ErrNoServer) {
		return fmt.Errorf("no server is running on %s; start one with: berth serve --data %s", c.Data, c.Data)
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

type listCommand struct{ common }

// Run lists.
func (c listCommand) Run(ctx context.Context, out io.Writer) error {
	var l replicationadmin.List
	if err := c.send(ctx, http.MethodGet, "/replication", nil, &l); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, l)
	}
	return printList(out, l)
}

func printList(out io.Writer, l replicationadmin.List) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(t, strings.Join(cells, "\t")) } // Flush has the error
	if len(l.Routes) == 0 {
		row("No registry replicates; see PutReplicationConfiguration of the ECR API.")
	} else {
		row("FROM", "TO", "REPOSITORIES", "WAITING", "OLDEST", "OPTIONS")
	}
	waiting := map[replicationadmin.Place]replicationadmin.Waiting{}
	for _, w := range l.Waiting {
		waiting[w.To] = w
	}
	shown := map[replicationadmin.Place]bool{}
	for _, r := range l.Routes {
		repositories := "all"
		if len(r.Filters) > 0 {
			repositories = strings.Join(r.Filters, "*,") + "*"
		}
		w := waiting[r.To]
		row(place(r.From), place(r.To), repositories, count(w.Items), since(w), optionsText(r.Options))
		shown[r.To] = true
	}
	for _, w := range l.Waiting {
		if !shown[w.To] {
			row("-", place(w.To), "not configured any more", count(w.Items), since(w), "-")
		}
	}
	if len(l.Backfills) > 0 {
		row("")
		row("BACKFILL", "FROM", "TO", "STATUS", "STARTED", "PROGRESS", "FAILURES")
	}
	for _, b := range l.Backfills {
		progress := "-"
		if b.Total != nil {
			progress = fmt.Sprintf("%d of %d, %d failed", *b.Completed, *b.Total, *b.Failed)
		}
		failures := b.FailureCodes
		if b.FailureCode != "" {
			failures = append([]string{b.FailureCode}, failures...)
		}
		row(b.ID, place(b.From), place(b.To), string(b.Status), console.Minute(b.StartedAt), progress, orDash(strings.Join(failures, ",")))
	}
	return t.Flush()
}

type optionsCommand struct {
	common
	Account name.AccountID `help:"Account of the registry that sends (default: the server's)."`
	Region  name.Region    `help:"Region of the registry that sends (default: the server's)."`
	To      string         `required:"" placeholder:"REGION[/ACCOUNT]" help:"The destination; without an account it is the sender's."`

	Tags    *string `placeholder:"PATTERN,..." help:"Copy only what is pushed with a tag like one of these, * for any characters; \"\" for all."`
	Only    *string `placeholder:"NAME,..." help:"Copy only these repositories, by their whole names; \"\" for all."`
	Exclude *string `placeholder:"PREFIX,..." help:"Do not copy repositories whose names begin so, or are like it where it has a *; \"\" for none."`
	Deletes *bool   `negatable:"" help:"Copy the deletion of images too, or not."`
	Untags  *bool   `negatable:"" help:"Copy the removal of tags too, or not."`
	Clear   bool    `help:"Take all options away, before those that are given."`
}

// Help explains what is shown and changed.
func (optionsCommand) Help() string {
	return `Without any of --tags, --only, --exclude, --deletes, --untags and --clear the options
are shown. What is not given stays as it is.`
}

// Run shows or changes the options.
func (c optionsCommand) Run(ctx context.Context, out io.Writer) error {
	in := replicationadmin.Request{
		From: replicationadmin.Place{Account: c.Account, Region: c.Region}, Clear: c.Clear,
		Tags: list(c.Tags), Repositories: list(c.Only), Exclude: list(c.Exclude), Deletes: c.Deletes, Untags: c.Untags,
	}
	region, account, _ := strings.Cut(c.To, "/")
	in.To = replicationadmin.Place{Account: name.AccountID(account), Region: name.Region(region)}
	var a replicationadmin.Answer
	if err := c.send(ctx, http.MethodPost, "/replication/options", in, &a); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, a)
	}
	note := ""
	if !a.Configured {
		note = "; they wait until the registry's replication configuration names it"
	}
	_, err := fmt.Fprintf(out, "Options of %s for %s: %s%s\n", place(a.From), place(a.To), optionsText(a.Options), note)
	return err
}

// list reads what stands between commas; nil is not given.
func list(text *string) *[]string {
	if text == nil {
		return nil
	}
	all := []string{}
	for _, one := range strings.Split(*text, ",") {
		if one = strings.TrimSpace(one); one != "" {
			all = append(all, one)
		}
	}
	return &all
}

// optionsText is the options as the command takes them.
func optionsText(o replication.Options) string {
	var all []string
	for _, l := range []struct {
		name string
		list []string
	}{{"--tags", o.Tags}, {"--only", o.Repositories}, {"--exclude", o.Exclude}} {
		if len(l.list) > 0 {
			all = append(all, l.name+" "+strings.Join(l.list, ","))
		}
	}
	if o.Deletes {
		all = append(all, "--deletes")
	}
	if o.Untags {
		all = append(all, "--untags")
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, " ")
}

func place(p replicationadmin.Place) string { return string(p.Region) + "/" + string(p.Account) }

// count is a number of items, whose counting stops somewhere.
func count(n int64) string {
	if n >= replication.MaxBacklog {
		return fmt.Sprintf("%d or more", n)
	}
	return fmt.Sprint(n)
}

func since(w replicationadmin.Waiting) string {
	if w.Items == 0 {
		return "-"
	}
	return console.Minute(w.Oldest)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

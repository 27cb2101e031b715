package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/jobsadmin"
	"github.com/berth-registry/berth/internal/infra/jobs"
)

type jobsCommand struct {
	List    jobsList    `cmd:"" help:"List the jobs that wait, run or are dead."`
	Show    jobsShow    `cmd:"" help:"Show all that is known of a job, its payload and its last error in full."`
	Retry   jobsRetry   `cmd:"" help:"Run jobs at once: dead ones anew, waiting ones before their time."`
	Discard jobsDiscard `cmd:"" help:"Remove dead jobs for good."`
}

// Help explains what the commands are about.
func (jobsCommand) Help() string {
	return `A job is work that outlives the request that asked for it. One that fails is
tried again, with pauses that grow up to an hour; when that does not help, it is
dead, and an operator decides: retry it once the cause is mended, or discard it.
Dead jobs are kept for 30 days. A job that is done is gone.`
}

type jobsList struct {
	dataFlag
	jsonFlag
	State   string `enum:",waiting,running,dead" default:"" placeholder:"STATE" help:"Only jobs that are waiting, running or dead."`
	Kind    string `help:"Only jobs of a kind, such as layer.collect."`
	Summary bool   `help:"Only count the jobs, by kind and state."`
}

// Run lists the jobs.
func (c jobsList) Run(ctx context.Context, out io.Writer) error {
	if c.Summary && c.State != "" {
		return errors.New("--summary counts the jobs of all states: leave out --state")
	}
	if c.Summary {
		return c.summary(ctx, out)
	}
	all := []jobs.Description{}
	query := url.Values{"state": {c.State}, "kind": {c.Kind}}
	for {
		var page jobsadmin.Page
		if err := admin(ctx, c.Data, http.MethodGet, "/jobs?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		all = append(all, page.Jobs...)
		if page.After == 0 {
			break
		}
		query.Set("after", strconv.FormatInt(page.After, 10))
	}
	if c.JSON {
		return console.JSON(out, all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, c.none())
		return err
	}
	return printJobs(out, all)
}

// none says that there is nothing to list.
func (c jobsList) none() string {
	text := "No jobs"
	if c.Kind != "" {
		text += " of the kind " + console.Printable(c.Kind)
	}
	if c.State != "" {
		text += " are " + c.State
	}
	return text + "."
}

func (c jobsList) summary(ctx context.Context, out io.Writer) error {
	var all []jobs.Count
	if err := admin(ctx, c.Data, http.MethodGet, "/jobs/summary", nil, &all); err != nil {
		return err
	}
	chosen := []jobs.Count{}
	for _, n := range all {
		if c.Kind == "" || c.Kind == n.Kind {
			chosen = append(chosen, n)
		}
	}
	if c.JSON {
		return console.JSON(out, chosen)
	}
	if len(chosen) == 0 {
		_, err := fmt.Fprintln(out, c.none())
		return err
	}
	return printCounts(out, chosen)
}

func printCounts(out io.Writer, all []jobs.Count) error {
	t := console.NewTable(out, "KIND", "WAITING", "RUNNING", "DEAD")
	for _, n := range all {
		t.Row(n.Kind, fmt.Sprint(n.Waiting), fmt.Sprint(n.Running), fmt.Sprint(n.Dead))
	}
	return t.Flush()
}

// How much of a text fits into a column, in characters.
const (
	widestKey      = 40
	widestProgress = 40
	widestError    = 60
)

func printJobs(out io.Writer, all []jobs.Description) error {
	t := console.NewTable(out, "ID", "KIND", "KEY", "STATE", "ATTEMPT", "RUNS AT", "PROGRESS", "LAST ERROR")
	for _, d := range all {
		runs := "never"
		switch d.State {
		case jobs.Waiting:
			runs = second(d.RunAt)
		case jobs.Running:
			runs = "now"
		case jobs.Dead:
		}
		progress := ""
		if d.Progress != nil {
			progress = progressText(*d.Progress)
		}
		t.Row(strconv.FormatInt(d.ID, 10), d.Kind, short(d.UniqueKey, widestKey), string(d.State), attempts(d), runs,
			short(progress, widestProgress), short(d.LastError, widestError))
	}
	return t.Flush()
}

func attempts(d jobs.Description) string { return fmt.Sprintf("%d/%d", d.Attempt, d.MaxAttempts) }

func second(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// progressText is "3/10 (30%) reading layers", with what of it is known.
func progressText(p jobs.Progress) string {
	var parts []string
	switch {
	case p.Total > 0:
		parts = append(parts, fmt.Sprintf("%d/%d (%.0f%%)", p.Done, p.Total, 100*float64(p.Done)/float64(p.Total)))
	case p.Done > 0:
		parts = append(parts, strconv.FormatInt(p.Done, 10))
	}
	if p.Text != "" {
		parts = append(parts, p.Text)
	}
	return strings.Join(parts, " ")
}

// short is the first line of a text, cut off after n characters.
func short(s string, n int) string {
	line, _, more := strings.Cut(s, "\n")
	if r := []rune(line); len(r) > n || more {
		return string(r[:min(len(r), n-1)]) + "…"
	}
	return line
}

type jobsShow struct {
	dataFlag
	jsonFlag
	ID int64 `arg:"" help:"Id of the job (see berth jobs list)."`
}

// Run shows a job.
func (c jobsShow) Run(ctx context.Context, out io.Writer) error {
	var d jobs.Description
	if err := admin(ctx, c.Data, http.MethodGet, "/jobs/"+strconv.FormatInt(c.ID, 10), nil, &d); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, d)
	}
	return printJob(out, d)
}

func printJob(out io.Writer, d jobs.Description) error {
	p := &fields{}
	p.add("Job", strconv.FormatInt(d.ID, 10))
	p.add("Kind", d.Kind)
	p.add("Unique key", orNone(d.UniqueKey))
	p.add("State", string(d.State))
	p.add("Attempt", attempts(d))
	p.add("Created", second(d.Created))
	switch d.State {
	case jobs.Waiting:
		p.add("Runs at", second(d.RunAt))
	case jobs.Running:
		p.add("Node", d.Node)
		p.add("Lease until", second(d.Lease))
		if d.Again {
			p.add("Afterwards", "runs once more; it was enqueued again while it ran")
		}
	case jobs.Dead:
		p.add("Died", second(d.Died))
		p.add("Retry with", fmt.Sprintf("berth jobs retry %d", d.ID))
	}
	if d.Progress == nil {
		p.add("Progress", "none reported")
	} else {
		p.add("Progress", progressText(*d.Progress))
		p.add("Reported", second(d.Progress.At))
	}
	if err := p.print(out); err != nil {
		return err
	}
	if err := printLines(out, "Last error", d.LastError); err != nil {
		return err
	}
	var payload bytes.Buffer
	if err := json.Indent(&payload, d.Payload, "", "  "); err != nil {
		return fmt.Errorf("the payload is not JSON: %w", err)
	}
	return printLines(out, "Payload", payload.String())
}

// printLines prints a text of several lines under its name, or nothing.
func printLines(out io.Writer, name, text string) error {
	if text == "" {
		return nil
	}
	fmt.Fprintln(out, name+":")
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if _, err := fmt.Fprintln(out, "  "+console.Printable(strings.ReplaceAll(line, "\t", "    "))); err != nil {
			return err
		}
	}
	return nil
}

type jobsRetry struct {
	dataFlag
	jsonFlag
	IDs     []int64 `arg:"" optional:"" name:"id" help:"Ids of the jobs (see berth jobs list)."`
	AllDead bool    `help:"Retry all dead jobs."`
	Kind    string  `help:"With --all-dead: only jobs of the kind."`
}

// Run has jobs run at once.
func (c jobsRetry) Run(ctx context.Context, out io.Writer) error {
	switch {
	case c.AllDead && len(c.IDs) > 0:
		return errors.New("name jobs or give --all-dead, not both")
	case !c.AllDead && c.Kind != "":
		return errors.New("--kind chooses among all dead jobs: give --all-dead too")
	case !c.AllDead && len(c.IDs) == 0:
		return errors.New("name the jobs by their ids (see berth jobs list), or give --all-dead")
	}
	var did jobsadmin.Changed
	if err := admin(ctx, c.Data, http.MethodPost, "/jobs/retry", jobsadmin.Request{IDs: c.IDs, AllDead: c.AllDead, Kind: c.Kind}, &did); err != nil {
		return err
	}
	if c.AllDead && len(did.Changed)+len(did.Refused) == 0 && !c.JSON {
		_, err := fmt.Fprintln(out, jobsList{State: string(jobs.Dead), Kind: c.Kind}.none())
		return err
	}
	return printChanged(out, c.JSON, did, "runs as soon as a worker is free")
}

type jobsDiscard struct {
	dataFlag
	jsonFlag
	IDs []int64 `arg:"" name:"id" help:"Ids of the jobs (see berth jobs list --state dead)."`
}

// Run removes dead jobs.
func (c jobsDiscard) Run(ctx context.Context, out io.Writer) error {
	var did jobsadmin.Changed
	if err := admin(ctx, c.Data, http.MethodPost, "/jobs/discard", jobsadmin.Request{IDs: c.IDs}, &did); err != nil {
		return err
	}
	return printChanged(out, c.JSON, did, "is discarded")
}

// printChanged says what became of the jobs; those that stay as they are make
// the error.
func printChanged(out io.Writer, asJSON bool, did jobsadmin.Changed, became string) error {
	var refused []error
	for _, r := range did.Refused {
		refused = append(refused, errors.New(console.Printable(r.Reason)))
	}
	if asJSON {
		return errors.Join(console.JSON(out, did), errors.Join(refused...))
	}
	for _, d := range did.Changed {
		if _, err := fmt.Fprintf(out, "Job %d (%s) %s.\n", d.ID, console.Printable(d.Kind), became); err != nil {
			return err
		}
	}
	return errors.Join(refused...)
}

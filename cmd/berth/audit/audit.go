// Package audit is the commands of `berth audit`: who did what, and whether the files of
// trails are as they were written.
//
// It does no work itself; the running server does, over its administration socket
// (app/auditadmin), and domain/audit/trails/verify where there is no server.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/auditadmin"
	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/audit/trails/verify"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/trailstore/dir"
)

// Admin sends one request to the server that runs on a data directory, and reads
// its answer into out.
type Admin func(ctx context.Context, data, method, path string, in, out any) error

// Command is `berth audit`.
type Command struct {
	Lookup lookupCommand `cmd:"" help:"Find recorded calls, the newest first."`
	Verify verifyCommand `cmd:"" help:"Check that the files of trails are as they were written; exit status 1 when not."`
	Keys   keysCommand   `cmd:"" help:"Print the public keys that digests are signed with."`
}

// Help explains what the commands are about.
func (Command) Help() string {
	return `Every call is recorded. Trails, which are made with the CloudTrail API (aws cloudtrail
create-trail), write the records to files in a directory or a bucket of the setting
audit.buckets, and every hour a signed digest of the files.`
}

// common are the flags of all commands.
type common struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// span is a range of time.
type span struct {
	From string `placeholder:"TIME" help:"Not before: 2026-01-31, 2026-01-31T12:00:00Z, or 24h for that long ago."`
	To   string `placeholder:"TIME" help:"Not after, in the same forms."`
}

func (s span) times(now time.Time) (from, to time.Time, err error) {
	if from, err = when(s.From, now); err != nil {
		return from, to, fmt.Errorf("--from: %w", err)
	}
	if to, err = when(s.To, now); err != nil {
		return from, to, fmt.Errorf("--to: %w", err)
	}
	return from, to, nil
}

// when reads a time; the zero time for "".
func when(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time. Write 2026-01-31, 2026-01-31T12:00:00Z, or 24h for that long ago", s)
}

type lookupCommand struct {
	common
	span
	Account   name.AccountID `help:"Whose calls (default: the server's account)."`
	Region    name.Region    `help:"Of one region (default: all)."`
	Attribute string         `arg:"" optional:"" help:"NAME=VALUE, with a name of CloudTrail's: EventId, EventName, ReadOnly, Username, ResourceType, ResourceName, EventSource or AccessKeyId."`
	Limit     int            `default:"50" help:"How many at most (default 50); 0 for all."`
}

// Help gives examples.
func (lookupCommand) Help() string {
	return `For example, who deleted images in the last day:

  berth audit lookup --from 24h EventName=BatchDeleteImage

With --json, each line is a whole record.`
}

// Run finds records.
func (c lookupCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	from, to, err := c.times(time.Now())
	if err != nil {
		return err
	}
	in := auditadmin.LookupRequest{Account: c.Account, Region: c.Region, From: from, To: to}
	if c.Attribute != "" {
		var ok bool
		if in.Attribute, in.Value, ok = strings.Cut(c.Attribute, "="); !ok || in.Value == "" {
			return fmt.Errorf("%q is not of the form NAME=VALUE", c.Attribute)
		}
	}
	table, found := console.NewTable(out, "TIME", "EVENT", "SOURCE", "USER", "READ ONLY", "REGION", "RESOURCE", "ID"), 0
	for {
		if c.Limit > 0 {
			in.Limit = min(c.Limit-found, lookup.MaxLimit)
		}
		var page auditadmin.Page
		if err := call(ctx, c.Data, http.MethodPost, "/audit/lookup", in, &page); err != nil {
			return err
		}
		for _, e := range page.Events {
			if c.JSON {
				if _, err := fmt.Fprintln(out, e.Record); err != nil {
					return err
				}
				continue
			}
			row(table, e)
		}
		found += len(page.Events)
		if in.After = page.After; in.After == "" || c.Limit > 0 && found >= c.Limit {
			break
		}
	}
	if c.JSON {
		return nil
	}
	if found == 0 {
		_, err := fmt.Fprintln(out, "There are no such records.")
		return err
	}
	return table.Flush()
}

func row(table console.Table, e lookup.Event) {
	var resources []string
	for _, r := range e.Resources {
		resources = append(resources, r.Name)
	}
	table.Row(e.Time.UTC().Format(time.DateTime), e.Name, e.Source, e.Username, strconv.FormatBool(e.ReadOnly), string(e.Region), strings.Join(resources, ", "), e.ID)
}

type keysCommand struct{ common }

// Help says what the keys are for.
func (keysCommand) Help() string {
	return `Keep them in another place than the files: with them, berth audit verify --key FILE
checks the files without the server, also when somebody had its database.`
}

// Run prints the keys.
func (c keysCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	var all []auditadmin.Key
	if err := call(ctx, c.Data, http.MethodPost, "/audit/keys", struct{}{}, &all); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "There is no key yet. The first digest makes one, an hour after a trail with log file validation was made.")
		return err
	}
	for _, k := range all {
		if _, err := fmt.Fprintf(out, "Fingerprint %s, made %s\n%s", k.Fingerprint, console.Minute(k.Created), k.PEM); err != nil {
			return err
		}
	}
	return nil
}

type verifyCommand struct {
	common
	span
	Bucket    string         `placeholder:"NAME" help:"A bucket of the setting audit.buckets."`
	Directory string         `placeholder:"DIR" help:"A directory with the files, or a copy of them, in place of the bucket."`
	Account   name.AccountID `help:"Whose files (default: all)."`
	Key       string         `placeholder:"FILE" help:"Public keys, as berth audit keys prints them: check --directory without the server."`
}

// Help explains the check.
func (verifyCommand) Help() string {
	return `Checked are the signature of every digest, the chain of digests, the hash of every log
file, and whether files are missing or too many. With --bucket, every record is also
compared with the database, as long as that has it, so that the record is named which
was altered or removed, in the files or in the database. --directory without --bucket
is checked by the files alone.`
}

// Run checks.
func (c verifyCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	report, err := c.check(ctx, call)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := console.JSON(out, report); err != nil {
			return err
		}
	} else if err := show(out, report); err != nil {
		return err
	}
	if !report.Valid() {
		return fmt.Errorf("the audit files are not intact: %d problems", len(report.Problems))
	}
	return nil
}

func (c verifyCommand) check(ctx context.Context, call Admin) (report verify.Report, err error) {
	from, to, err := c.times(time.Now())
	switch {
	case err != nil:
		return verify.Report{}, err
	case c.Bucket == "" && c.Directory == "":
		return verify.Report{}, errors.New("say what to check: --bucket NAME or --directory DIR")
	case c.Key != "" && (c.Directory == "" || c.Bucket != ""):
		return verify.Report{}, errors.New("--key is for --directory alone: without the server there is neither a bucket nor a database")
	}
	if c.Key == "" {
		in := auditadmin.VerifyRequest{Bucket: c.Bucket, Account: c.Account, From: from, To: to}
		if c.Directory != "" {
			if in.Directory, err = filepath.Abs(c.Directory); err != nil {
				return verify.Report{}, err
			}
		}
		err := call(ctx, c.Data, http.MethodPost, "/audit/verify", in, &report)
		return report, err
	}
	file, err := os.ReadFile(c.Key)
	if err != nil {
		return verify.Report{}, err
	}
	keys, err := auditadmin.ParseKeys(file)
	if err != nil {
		return verify.Report{}, fmt.Errorf("%s: %w", c.Key, err)
	}
	store, err := dir.Open(c.Directory)
	if err != nil {
		return verify.Report{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return verify.Run(ctx, verify.Options{Store: store, Account: c.Account, From: from, To: to, Keys: keys})
}

func show(out io.Writer, r verify.Report) error {
	_, err := fmt.Fprintf(out, "%d of %d digests valid\n%d of %d log files valid\n%d records, %d compared with the database\n", r.DigestsValid, r.Digests, r.FilesValid, r.Files, r.Records, r.Compared)
	if err != nil {
		return err
	}
	if err := findings(out, "Problems", r.Problems); err != nil {
		return err
	}
	return findings(out, "Notes", r.Notes)
}

func findings(out io.Writer, title string, all []verify.Finding) error {
	if len(all) == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(out, "\n%s:\n", title); err != nil {
		return err
	}
	for _, f := range all {
		text := f.Kind + ": " + f.Object
		if f.EventID != "" {
			text += ", " + strings.Join([]string{f.EventID, f.EventName, f.EventTime}, " ")
		}
		if _, err := fmt.Fprintf(out, "  %s: %s\n", console.Plain(text), console.Plain(f.Text)); err != nil {
			return err
		}
	}
	return nil
}

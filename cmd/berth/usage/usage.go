// Package usage is `berth usage`: what was stored and moved, by account, region,
// repository or resource tag.
//
// It does no work itself; the running server does, over its administration socket
// (app/usageadmin).
package usage

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/usageadmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/usage"
)

// Admin sends one request to the server that runs on a data directory, and reads
// its answer into out.
type Admin func(ctx context.Context, data, method, path string, in, out any) error

// Command is `berth usage`.
type Command struct {
	Data    string         `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	GroupBy string         `default:"account" placeholder:"GROUP" help:"account, region, repository, or tag:KEY for the values of a resource tag of repositories (default account)."`
	From    string         `placeholder:"DAY" help:"First day, such as 2026-01-01 (default: the first of the last day's month)."`
	To      string         `placeholder:"DAY" help:"Last day (default: today)."`
	ByDay   bool           `xor:"by" help:"A row for each day."`
	ByMonth bool           `xor:"by" help:"A row for each month."`
	Account name.AccountID `help:"One account only (default: all)."`
	Format  string         `enum:"table,csv,json" default:"table" help:"table, csv or json (default table)."`
}

// Help explains what is counted.
func (Command) Help() string {
	return `Days are those of UTC, and are kept for thirteen months. What is stored is the average of
hourly samples. By repository and by tag a layer counts in each repository that holds it; by
account and by region it counts once in its registry. A repository's tags are those that it
had last on each day.

  berth usage --group-by tag:team --from 2026-01-01 --to 2026-01-31 --format csv`
}

// Run prints a report.
func (c Command) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := usageadmin.Request{GroupBy: c.GroupBy, From: c.From, To: c.To, Account: c.Account}
	switch {
	case c.ByDay:
		in.By = usage.ByDay
	case c.ByMonth:
		in.By = usage.ByMonth
	}
	var report usage.Report
	if err := call(ctx, c.Data, http.MethodPost, "/usage/report", in, &report); err != nil {
		return err
	}
	switch c.Format {
	case "json":
		return console.JSON(out, report)
	case "csv":
		return writeCSV(out, report)
	}
	return writeTable(out, report)
}

// decimal writes a number without an exponent, and without a fraction where it has none.
func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// writeCSV writes all columns, whatever the report is by, in bytes.
func writeCSV(out io.Writer, report usage.Report) error {
	w := csv.NewWriter(out)
	rows := [][]string{{
		"period", "account", "region", "repository", "tag", "stored_bytes", "byte_hours", "archived_bytes", "archived_byte_hours", "samples",
		"sent_bytes", "received_bytes", "pulls", "pushes",
	}}
	for _, r := range report.Rows {
		period := r.Period
		if period == "" {
			period = report.From + "/" + report.To
		}
		rows = append(rows, []string{
			period, string(r.Account), string(r.Region), string(r.Repository), r.Tag,
			decimal(r.StoredBytes), decimal(r.ByteHours), decimal(r.ArchivedBytes), decimal(r.ArchivedByteHours), strconv.FormatInt(r.Samples, 10),
			strconv.FormatInt(r.SentBytes, 10), strconv.FormatInt(r.ReceivedBytes, 10), strconv.FormatInt(r.Pulls, 10), strconv.FormatInt(r.Pushes, 10),
		})
	}
	return w.WriteAll(rows)
}

// writeTable writes what the report is by, and sizes as people read them.
func writeTable(out io.Writer, report usage.Report) error {
	if _, err := fmt.Fprintf(out, "From %s to %s, UTC\n\n", report.From, report.To); err != nil {
		return err
	}
	if len(report.Rows) == 0 {
		_, err := fmt.Fprintln(out, "Nothing was stored or moved.")
		return err
	}
	var head []string
	var cells func(usage.Row) []string
	switch key, tagged := strings.CutPrefix(report.GroupBy, "tag:"); {
	case tagged:
		head = []string{"TAG " + key}
		cells = func(r usage.Row) []string {
			if r.Untagged {
				return []string{"(no such tag)"}
			}
			return []string{r.Tag}
		}
	case report.GroupBy == "repository":
		head = []string{"ACCOUNT", "REGION", "REPOSITORY"}
		cells = func(r usage.Row) []string {
			return []string{string(r.Account), string(r.Region), string(r.Repository)}
		}
	case report.GroupBy == "region":
		head = []string{"REGION"}
		cells = func(r usage.Row) []string { return []string{string(r.Region)} }
	default:
		head = []string{"ACCOUNT"}
		cells = func(r usage.Row) []string { return []string{string(r.Account)} }
	}
	if report.By != usage.ByNone {
		head = append([]string{strings.ToUpper(string(report.By))}, head...)
	}
	t := console.NewTable(out, append(head, "STORED", "ARCHIVED", "SENT", "RECEIVED", "PULLS", "PUSHES")...)
	for _, r := range report.Rows {
		row := cells(r)
		if report.By != usage.ByNone {
			row = append([]string{r.Period}, row...)
		}
		t.Row(append(row, size(r.StoredBytes), size(r.ArchivedBytes), size(float64(r.SentBytes)), size(float64(r.ReceivedBytes)),
			strconv.FormatInt(r.Pulls, 10), strconv.FormatInt(r.Pushes, 10))...)
	}
	return t.Flush()
}

// size is a number of bytes as people read it, in powers of 1,024.
func size(n float64) string {
	unit := 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for n >= 1024 && unit < len(units)-1 {
		n /= 1024
		unit++
	}
	if unit == 0 {
		return strconv.FormatFloat(n, 'f', 0, 64) + " B"
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + " " + units[unit]
}

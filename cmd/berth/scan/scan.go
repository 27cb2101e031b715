// Package scan is the commands of `berth scan` and `berth sbom`: how the scans of images
// stand, the pull gate with its exceptions, the rules by tag, and bills of materials.
//
// It does no work itself; the running server does, over its administration socket
// (app/scanadmin).
package scan

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/scanadmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/sbom"
)

// Admin sends one request to the server that runs on a data directory, and reads
// its answer into out.
type Admin func(ctx context.Context, data, method, path string, in, out any) error

// Command is `berth scan`.
type Command struct {
	Status statusCommand `cmd:"" help:"Show how the scans of images stand."`
	Gate   gateCommand   `cmd:"" help:"Hold images back from pulls by what their scans have found."`
	Tags   tagsCommand   `cmd:"" help:"Have pushes scanned by their tags."`
}

// Help explains what the commands are about.
func (Command) Help() string {
	return `Which repositories are scanned, and when, is set with the ECR API, by
PutRegistryScanningConfiguration, and findings are read with
DescribeImageScanFindings. These commands are for what that API has nothing for.`
}

// place says which server and which registry is meant.
type place struct {
	Data    string         `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	Account name.AccountID `help:"Account of the registry (default: the server's)."`
	Region  name.Region    `help:"Region of the registry (default: the server's)."`
}

func (p place) target() scanadmin.Target {
	return scanadmin.Target{Account: p.Account, Region: p.Region}
}

// common are the flags of the commands that print tables.
type common struct {
	place
	JSON bool `name:"json" help:"Print JSON."`
}

// ask asks the server, and has its answer printed: as JSON, or by show.
func ask[Out any](ctx context.Context, c common, out io.Writer, call Admin, path string, in any, show func(io.Writer, Out) error) error {
	var answer Out
	if err := call(ctx, c.Data, http.MethodPost, path, in, &answer); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, answer)
	}
	return show(out, answer)
}

type statusCommand struct {
	common
	Reference string `arg:"" optional:"" name:"image" help:"REPOSITORY for all of its images, REPOSITORY:TAG or REPOSITORY@DIGEST for one (default: how many wait)."`
}

// Run prints how scans stand.
func (c statusCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	all := scanadmin.Status{}
	for in := (scanadmin.StatusRequest{Target: c.target(), Reference: c.Reference}); ; {
		var page scanadmin.Status
		if err := call(ctx, c.Data, http.MethodPost, "/scan/status", in, &page); err != nil {
			return err
		}
		all.Backlog, all.Images = page.Backlog, append(all.Images, page.Images...)
		if in.After = page.After; in.After == "" {
			break
		}
	}
	if c.JSON {
		return console.JSON(out, all)
	}
	if b := all.Backlog; b != nil {
		text := "No image waits for a scan.\n"
		if b.Waiting > 0 {
			text = fmt.Sprintf("Images that wait for a scan or are being scanned: %d, the first since %s.\n", b.Waiting, console.Minute(b.Oldest))
		}
		_, err := fmt.Fprint(out, text)
		return err
	}
	rows := [][]string{{"DIGEST", "TAGS", "STATUS", "COMPLETED", "FINDINGS"}}
	for _, i := range all.Images {
		status, completed := string(i.Status), "-"
		if status == "" {
			status = "not scanned"
		}
		if !i.Completed.IsZero() {
			completed = console.Minute(i.Completed)
		}
		rows = append(rows, []string{string(i.Digest), list(i.Tags, "-"), status, completed, counts(i)})
	}
	if err := table(out, rows, "The repository has no images."); err != nil {
		return err
	}
	if len(all.Images) == 1 && all.Images[0].Description != "" {
		_, err := fmt.Fprintln(out, "\n"+console.Plain(all.Images[0].Description))
		return err
	}
	return nil
}

// counts are what a scan counted, the worst first.
func counts(i scanadmin.ImageStatus) string {
	if i.Completed.IsZero() {
		return "-"
	}
	var all []string
	for _, severity := range []string{"CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNDEFINED", "UNTRIAGED"} {
		if n := i.Counts[severity]; n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, severity))
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

type tagsCommand struct {
	List   tagsList   `cmd:"" help:"List the rules."`
	Set    tagsSet    `cmd:"" help:"Make or change the rule of some repositories."`
	Delete tagsDelete `cmd:"" help:"Delete the rule of some repositories."`
}

// Help explains the rules.
func (tagsCommand) Help() string {
	return `Where the scanning configuration has the images of a repository scanned on push, a
rule here has only those pushes scanned that set one of its tags:

  berth scan tags set 'team/*' 'v*' latest

A push by digest alone is not scanned then. Other images can be scanned by hand
(aws ecr start-image-scan). A star stands for any run of characters. Where several
rules are for a repository, the tags of all of them count.`
}

type tagsList struct{ common }

// Run lists.
func (c tagsList) Run(ctx context.Context, out io.Writer, call Admin) error {
	return ask(ctx, c.common, out, call, "/scan/tags/list", c.target(), func(out io.Writer, all scanadmin.TagRules) error {
		rows := [][]string{{"REPOSITORIES", "TAGS"}}
		for _, r := range all.Rules {
			rows = append(rows, []string{r.Repository, list(r.Tags, "-")})
		}
		return table(out, rows, "There are no rules: tags make no difference.")
	})
}

type tagsSet struct {
	common
	Repository string   `arg:"" help:"Name of the repositories, with * for any run of characters."`
	Tags       []string `arg:"" help:"The tags, with * for any run of characters; all that the rule is to have."`
}

// Run sets a rule.
func (c tagsSet) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := scanadmin.SetTagRuleRequest{Target: c.target(), Repository: c.Repository, Tags: c.Tags}
	return ask(ctx, c.common, out, call, "/scan/tags/set", in, func(out io.Writer, r scanadmin.TagRule) error {
		_, err := fmt.Fprintf(out, "Pushes into %s are scanned from now on when they set one of: %s.\n", r.Repository, list(r.Tags, ""))
		return err
	})
}

type tagsDelete struct {
	common
	Repository string `arg:"" help:"The repositories, as the rule has them."`
}

// Run deletes a rule.
func (c tagsDelete) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := scanadmin.DeleteTagRuleRequest{Target: c.target(), Repository: c.Repository}
	return ask(ctx, c.common, out, call, "/scan/tags/delete", in, func(out io.Writer, gone scanadmin.DeleteTagRuleRequest) error {
		_, err := fmt.Fprintf(out, "Deleted the rule of %s.\n", gone.Repository)
		return err
	})
}

// SBOM is `berth sbom`.
type SBOM struct {
	place
	Reference string `arg:"" name:"image" help:"REPOSITORY:TAG or REPOSITORY@DIGEST; REPOSITORY alone means its tag latest."`
	Format    string `enum:"cyclonedx,spdx" default:"cyclonedx" help:"cyclonedx (1.6) or spdx (2.3), both as JSON (default cyclonedx)."`
	Output    string `short:"o" type:"path" placeholder:"FILE" help:"Write to the file (default: standard output)."`
}

// Help explains the command.
func (SBOM) Help() string {
	return `The bill of materials lists the packages of the distribution and of programming
languages that the image holds. The image need not have been scanned. Of an index,
name one of the images.`
}

// Run writes the document.
func (c SBOM) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := scanadmin.SBOMRequest{Target: c.target(), Reference: c.Reference, Format: sbom.Format(c.Format)}
	var made scanadmin.SBOM
	if err := call(ctx, c.Data, http.MethodPost, "/scan/sbom", in, &made); err != nil {
		return err
	}
	if c.Output == "" {
		_, err := out.Write(made.Document)
		return err
	}
	if err := os.WriteFile(c.Output, made.Document, 0o644); err != nil {
		return fmt.Errorf("the bill of materials cannot be written: %w", err)
	}
	_, err := fmt.Fprintf(out, "Wrote the bill of materials of %s (%s) to %s.\n", made.Digest, made.MediaType, c.Output)
	return err
}

// list joins texts, or says that there are none.
func list[T ~string](all []T, none string) string {
	if len(all) == 0 {
		return none
	}
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = string(one)
	}
	return strings.Join(out, ", ")
}

// table prints rows, the first of which has the titles, or says that there are none.
func table(out io.Writer, rows [][]string, none string) error {
	if len(rows) == 1 {
		_, err := fmt.Fprintln(out, none)
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = console.Plain(cell)
		}
		fmt.Fprintln(t, strings.Join(row, "\t")) // its errors come from Flush
	}
	return t.Flush()
}

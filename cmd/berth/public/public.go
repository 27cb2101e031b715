// Package public is the commands of `berth public`: the aliases of public registries, and
// the badge of the verified.
//
// It does no work itself; the running server does, over its administration socket
// (app/publicadmin).
package public

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/publicadmin"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Admin sends one request to the server that runs on a data directory, and reads
// its answer into out.
type Admin func(ctx context.Context, data, method, path string, in, out any) error

// Command is `berth public`.
type Command struct {
	Registry registryCommand `cmd:"" help:"Show the public registry of an account."`
	Alias    aliasCommand    `cmd:"" help:"List the aliases of public registries, and decide about them."`
	Verify   verifyCommand   `cmd:"" help:"Give an account the badge of the verified, or take it back."`
}

// Help explains what the commands are about.
func (Command) Help() string {
	return `An account's public registry begins with its first public repository (aws ecr-public
create-repository). Display names, descriptions and logos are set with the ECR Public
API. These commands are for what AWS decides by hand.`
}

// common are the flags of all commands.
type common struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	JSON bool   `name:"json" help:"Print JSON."`
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

type registryCommand struct {
	common
	Account name.AccountID `arg:"" optional:"" help:"The account (default: the server's)."`
}

// Run shows a registry.
func (c registryCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	return ask(ctx, c.common, out, call, "/public/registry", publicadmin.Target{Account: c.Account}, showRegistry)
}

func showRegistry(out io.Writer, r publicadmin.Registry) error {
	verified := "no"
	if r.Verified {
		verified = "yes"
	}
	if err := table(out, [][]string{{"Account", string(r.Account)}, {"Display name", r.DisplayName}, {"Verified", verified}, {"Address shows", string(r.Primary)}}); err != nil {
		return err
	}
	if len(r.Aliases) == 0 {
		_, err := fmt.Fprintln(out, "\nIt has no alias yet. The first public repository brings one.")
		return err
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return showAliases(out, r.Aliases)
}

type verifyCommand struct {
	common
	Account name.AccountID `arg:"" help:"The account."`
	Off     bool           `help:"Take the badge back."`
}

// Help explains the badge.
func (verifyCommand) Help() string {
	return `The gallery shows the badge, the display name and the logos of a verified account only,
so make sure first that the account is who it says it is.`
}

// Run gives the badge.
func (c verifyCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := publicadmin.VerifyRequest{Target: publicadmin.Target{Account: c.Account}, Off: c.Off}
	return ask(ctx, c.common, out, call, "/public/verify", in, func(out io.Writer, r publicadmin.Registry) error {
		text := "The account %s is not verified any more.\n"
		if r.Verified {
			text = "The account %s is verified.\n"
		}
		_, err := fmt.Fprintf(out, text, r.Account)
		return err
	})
}

type aliasCommand struct {
	List    aliasList    `cmd:"" help:"List the aliases of all accounts."`
	Request aliasRequest `cmd:"" help:"Ask for a custom alias, for an account."`
	Approve aliasApprove `cmd:"" help:"Make an alias active that was asked for."`
	Reject  aliasReject  `cmd:"" help:"Decline an alias that was asked for."`
	Primary aliasPrimary `cmd:"" help:"Choose which active alias the addresses of a registry show."`
	Remove  aliasRemove  `cmd:"" help:"Take a custom alias from its account."`
}

// Help explains aliases.
func (aliasCommand) Help() string {
	return `Images of public repositories are pulled by an alias of their registry:

  docker pull public.ecr.aws/ALIAS/REPOSITORY

Each registry has a default alias, which the program makes up. It can have one custom
alias beside it, which is asked for and approved; both can be pulled by then, and
addresses show the custom one unless primary says otherwise.`
}

type aliasList struct {
	common
	Status string `enum:"pending,active,rejected,all" default:"all" help:"pending, active, rejected or all (default all)."`
}

// Run lists.
func (c aliasList) Run(ctx context.Context, out io.Writer, call Admin) error {
	in, all := publicadmin.ListRequest{Status: c.Status}, []publicadmin.Alias{}
	if c.Status == "all" {
		in.Status = ""
	}
	for {
		var page publicadmin.Page
		if err := call(ctx, c.Data, http.MethodPost, "/public/aliases/list", in, &page); err != nil {
			return err
		}
		all = append(all, page.Aliases...)
		if in.After = page.After; in.After == "" {
			break
		}
	}
	if c.JSON {
		return console.JSON(out, all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "There are no such aliases.")
		return err
	}
	return showAliases(out, all)
}

func showAliases(out io.Writer, all []publicadmin.Alias) error {
	rows := [][]string{{"ALIAS", "ACCOUNT", "STATUS", "KIND", "REQUESTED", "DECIDED", "NOTE"}}
	for _, a := range all {
		kind, decided, note := "custom", "", a.Reason
		if a.Default {
			kind = "default"
		}
		if a.Primary {
			kind += ", primary"
		}
		if !a.Decided.IsZero() {
			decided = console.Minute(a.Decided)
		}
		if a.Beware != "" {
			note = "to be avoided: " + a.Beware
		}
		rows = append(rows, []string{string(a.Alias), string(a.Account), string(a.Status), kind, console.Minute(a.Requested), decided, note})
	}
	return table(out, rows)
}

// one are the flags of the commands about one alias.
type one struct {
	common
	Alias string `arg:"" help:"The alias."`
}

func (c one) ask(ctx context.Context, out io.Writer, call Admin, path string, in publicadmin.AliasRequest, show func(io.Writer, publicadmin.Alias) error) error {
	in.Alias = c.Alias
	return ask(ctx, c.common, out, call, path, in, show)
}

type aliasRequest struct {
	one
	Account name.AccountID `help:"The account that is to have it (default: the server's)."`
}

// Help says what can be asked for.
func (aliasRequest) Help() string {
	return `An alias has 2 to 50 lower-case letters and digits, begins with a letter, and may have
single dots, hyphens and underscores inside. The names of the program's own paths are
reserved. One alias of an account can wait at a time. One that was rejected can be
asked for again.`
}

// Run asks for an alias.
func (c aliasRequest) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := publicadmin.AliasRequest{Target: publicadmin.Target{Account: c.Account}}
	return c.ask(ctx, out, call, "/public/aliases/request", in, func(out io.Writer, a publicadmin.Alias) error {
		if a.Beware != "" {
			if _, err := fmt.Fprintf(out, "Beware: the alias %s %s, which is to be avoided.\n", a.Alias, a.Beware); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(out, "The alias %s of the account %s waits to be approved: berth public alias approve %s\n", a.Alias, a.Account, a.Alias)
		return err
	})
}

type aliasApprove struct {
	one
	Force bool `help:"Approve also what the naming rules say is to be avoided."`
}

// Help explains the naming rules.
func (aliasApprove) Help() string {
	return `To be avoided, as on AWS, are aliases that include aws, amazon or the name of an AWS
service, and generic names, such as test, public and marketplace; these need --force.
Whether the account may use the name of a company, and whether a word offends, is for
you to judge.

The alias becomes the primary one. An account has one active custom alias: to change
it, remove the one before. Pulls by that one fail then.`
}

// Run approves.
func (c aliasApprove) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.ask(ctx, out, call, "/public/aliases/approve", publicadmin.AliasRequest{Force: c.Force}, func(out io.Writer, a publicadmin.Alias) error {
		_, err := fmt.Fprintf(out, "The alias %s of the account %s is active, and its primary one.\n", a.Alias, a.Account)
		return err
	})
}

type aliasReject struct {
	one
	Reason string `required:"" help:"Why; it is kept with the alias."`
}

// Run rejects.
func (c aliasReject) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.ask(ctx, out, call, "/public/aliases/reject", publicadmin.AliasRequest{Reason: c.Reason}, func(out io.Writer, a publicadmin.Alias) error {
		_, err := fmt.Fprintf(out, "Rejected the alias %s of the account %s.\n", a.Alias, a.Account)
		return err
	})
}

type aliasPrimary struct{ one }

// Run chooses.
func (c aliasPrimary) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.ask(ctx, out, call, "/public/aliases/primary", publicadmin.AliasRequest{}, func(out io.Writer, a publicadmin.Alias) error {
		_, err := fmt.Fprintf(out, "The addresses of the account %s show the alias %s from now on.\n", a.Account, a.Alias)
		return err
	})
}

type aliasRemove struct{ one }

// Help warns.
func (aliasRemove) Help() string {
	return `Pulls by the alias fail from then on, and another account can be given it: who still
has it in a Dockerfile would pull that account's images. The default alias stays.`
}

// Run removes.
func (c aliasRemove) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.ask(ctx, out, call, "/public/aliases/remove", publicadmin.AliasRequest{}, func(out io.Writer, a publicadmin.Alias) error {
		_, err := fmt.Fprintf(out, "Removed the alias %s of the account %s.\n", a.Alias, a.Account)
		return err
	})
}

// table prints rows in aligned columns, an empty cell as a dash.
func table(out io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if row[i] = console.Plain(cell); cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(row, "\t")) // its errors come from Flush
	}
	return t.Flush()
}

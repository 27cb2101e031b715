package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/identityadmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/organization"
)

type accountCommand struct {
	Create  accountCreate  `cmd:"" help:"Create an account, and print its root user's access key once."`
	List    accountList    `cmd:"" help:"List the accounts."`
	Show    accountShow    `cmd:"" help:"Show an account and what is in it."`
	RootKey accountRootKey `cmd:"" help:"Make another access key for an account's root user, and print it once."`

	TokenLife accountTokenLife `cmd:"" help:"Let an account's authorization tokens, as docker login has them, live shorter than 12 hours."`
}

type jsonFlag struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type accountCreate struct {
	dataFlag
	jsonFlag
	ID      name.AccountID `arg:"" optional:"" help:"Number of the account, 12 digits (default: a random one that is free)."`
	Name    string         `help:"Name of the account, for people (default: its number)."`
	RootKey bool           `negatable:"" default:"true" help:"Make an access key for the root user (on by default); without one nobody can use the account, until berth account root-key."`
}

// Run creates an account.
func (c accountCreate) Run(ctx context.Context, out io.Writer) error {
	var made identityadmin.CreatedAccount
	if err := admin(ctx, c.Data, http.MethodPost, "/accounts", identityadmin.AccountRequest{ID: c.ID, Name: c.Name, NoRootKey: !c.RootKey}, &made); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, made)
	}
	p := &fields{}
	p.add("Account", string(made.ID))
	p.add("Name", made.Name)
	p.add("Root user", made.RootARN)
	if made.RootKey == nil {
		return p.print(out)
	}
	return p.printWithKey(out, *made.RootKey)
}

type accountRootKey struct {
	dataFlag
	jsonFlag
	ID name.AccountID `arg:"" help:"Number of the account."`
}

// Run makes an access key.
func (c accountRootKey) Run(ctx context.Context, out io.Writer) error {
	var key identityadmin.RootKey
	if err := admin(ctx, c.Data, http.MethodPost, "/accounts/"+url.PathEscape(string(c.ID))+"/root-key", nil, &key); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, key)
	}
	p := &fields{}
	p.add("Account", string(c.ID))
	return p.printWithKey(out, key)
}

type accountTokenLife struct {
	dataFlag
	jsonFlag
	ID   name.AccountID `arg:"" help:"Number of the account."`
	Life string         `arg:"" help:"5m to 12h, or default for AWS's 12 hours. Tokens that are issued already keep their time."`
}

// Run sets the time.
func (c accountTokenLife) Run(ctx context.Context, out io.Writer) error {
	var in identityadmin.TokenLifeRequest
	if c.Life != "default" {
		var err error
		if in.Life, err = time.ParseDuration(c.Life); err != nil || in.Life == 0 {
			return fmt.Errorf("%q is no time: write one such as 90m, or default", c.Life)
		}
	}
	var a principal.Account
	if err := admin(ctx, c.Data, http.MethodPost, "/accounts/"+url.PathEscape(string(c.ID))+"/token-life", in, &a); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, a)
	}
	_, err := fmt.Fprintf(out, "Authorization tokens of account %s live %s from now on.\n", a.ID, a.TokenLife)
	return err
}

// printWithKey prints the fields and an access key, which nobody can read again.
func (p *fields) printWithKey(w io.Writer, k identityadmin.RootKey) error {
	p.add("Access key id", k.AccessKeyID)
	p.add("Secret access key", k.SecretAccessKey)
	if err := p.print(w); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "The secret is shown this once: keep it.")
	return err
}

type accountList struct {
	dataFlag
	jsonFlag
}

// Run lists the accounts.
func (c accountList) Run(ctx context.Context, out io.Writer) error {
	var all []principal.Account
	if err := admin(ctx, c.Data, http.MethodGet, "/accounts", nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, all)
	}
	t := console.NewTable(out, "ID", "NAME", "ALIAS", "CREATED")
	for _, a := range all {
		t.Row(string(a.ID), a.Name, a.Alias, console.Minute(a.CreatedAt))
	}
	return t.Flush()
}

type accountShow struct {
	dataFlag
	jsonFlag
	ID name.AccountID `arg:"" help:"Number of the account."`
}

// Run shows an account.
func (c accountShow) Run(ctx context.Context, out io.Writer) error {
	var a identityadmin.AccountDetail
	if err := admin(ctx, c.Data, http.MethodGet, "/accounts/"+url.PathEscape(string(c.ID)), nil, &a); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, a)
	}
	p := &fields{}
	p.add("Account", string(a.ID))
	p.add("Name", a.Name)
	p.add("Alias", orNone(a.Alias))
	p.add("Created", console.Minute(a.CreatedAt))
	p.add("Root user", a.RootARN)
	p.add("Root access keys", fmt.Sprint(a.RootKeys))
	p.add("Users", fmt.Sprint(a.Users))
	p.add("Roles", fmt.Sprint(a.Roles))
	p.add("Repositories", fmt.Sprint(a.Repositories))
	p.add("Token life", a.TokenLife.String())
	p.add("Organization", placeText(a.Organization))
	return p.print(out)
}

func placeText(p *organization.Place) string {
	switch {
	case p == nil:
		return "none"
	case p.Unit == "" && p.Management:
		return p.ID + " (management account)"
	case p.Management:
		return p.ID + ", unit " + p.Unit + " (management account)"
	case p.Unit == "":
		return p.ID + ", at the root"
	}
	return p.ID + ", unit " + p.Unit
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// fields are names and values, printed one a line.
type fields [][2]string

func (p *fields) add(field, value string) { *p = append(*p, [2]string{field + ":", value}) }

func (p *fields) print(w io.Writer) error {
	t := console.NewTable(w)
	for _, f := range *p {
		t.Row(f[0], f[1])
	}
	return t.Flush()
}

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/identityadmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/organization"
)

type organizationCommand struct {
	Create        organizationCreate        `cmd:"" help:"Create an organization."`
	Show          organizationShow          `cmd:"" help:"Show organizations: units, accounts, policies and where they are attached."`
	Delete        organizationDelete        `cmd:"" help:"Delete an organization that holds no account but its management account."`
	AttachAccount organizationAttachAccount `cmd:"" help:"Put an account into an organization, or move it inside."`
	DetachAccount organizationDetachAccount `cmd:"" help:"Take an account out of its organization."`
	CreateUnit    organizationCreateUnit    `cmd:"" help:"Create an organizational unit, and those above it that are missing."`
	DeleteUnit    organizationDeleteUnit    `cmd:"" help:"Delete a unit that holds neither accounts nor units."`
	PutPolicy     organizationPutPolicy     `cmd:"" help:"Create a service control policy, or replace its document wherever it is attached."`
	AttachPolicy  organizationAttachPolicy  `cmd:"" help:"Attach a service control policy to the root, a unit or an account."`
	DetachPolicy  organizationDetachPolicy  `cmd:"" help:"Detach a service control policy; the last one of a target stays."`
	DeletePolicy  organizationDeletePolicy  `cmd:"" help:"Delete a service control policy that is attached nowhere."`
}

// Help explains what the commands are about.
func (organizationCommand) Help() string {
	return `Service control policies limit what anyone in an account can do, its root user
included; they grant nothing. An action has to be allowed on every level: root,
each unit down to the account, and the account itself. Each of these begins with
the policy FullAWSAccess, which allows everything. The management account is
bound by none.`
}

// organizationFlags are what every command on an organization has.
type organizationFlags struct {
	dataFlag
	Organization string `placeholder:"ID" help:"Organization that is meant; needed only where there are several."`
}

// change sends one change and returns the organization as it then is.
func (f organizationFlags) change(ctx context.Context, in identityadmin.OrganizationRequest) (organization.Organization, error) {
	in.Organization = f.Organization
	var o organization.Organization
	err := admin(ctx, f.Data, http.MethodPost, "/organizations", in, &o)
	return o, err
}

// changeAndSay is change, and says what has been done to which organization.
func (f organizationFlags) changeAndSay(ctx context.Context, out io.Writer, in identityadmin.OrganizationRequest, said string, args ...any) error {
	o, err := f.change(ctx, in)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, said+" (organization %s).\n", append(args, o.ID)...)
	return err
}

type organizationCreate struct {
	dataFlag
	jsonFlag
	ManagementAccount name.AccountID `required:"" placeholder:"ID" help:"Account that manages the organization; no service control policy binds it."`
}

// Run creates an organization.
func (c organizationCreate) Run(ctx context.Context, out io.Writer) error {
	o, err := organizationFlags{dataFlag: c.dataFlag}.change(ctx, identityadmin.OrganizationRequest{Do: "create", Account: c.ManagementAccount})
	if err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, o)
	}
	return printOrganization(out, o)
}

type organizationShow struct {
	organizationFlags
	jsonFlag
}

// Run shows one organization or all.
func (c organizationShow) Run(ctx context.Context, out io.Writer) error {
	all := []organization.Organization{}
	if err := admin(ctx, c.Data, http.MethodGet, "/organizations", nil, &all); err != nil {
		return err
	}
	shown := []organization.Organization{}
	for _, o := range all {
		if c.Organization == "" || o.ID == c.Organization {
			shown = append(shown, o)
		}
	}
	if len(shown) == 0 && c.Organization != "" {
		return fmt.Errorf("there is no organization %s", c.Organization)
	}
	if c.JSON {
		return console.JSON(out, shown)
	}
	if len(shown) == 0 {
		_, err := fmt.Fprintln(out, "There is no organization. Make one with: berth organization create --management-account ID")
		return err
	}
	for i, o := range shown {
		if i > 0 {
			if _, err := fmt.Fprintln(out); err != nil {
				return err
			}
		}
		if err := printOrganization(out, o); err != nil {
			return err
		}
	}
	return nil
}

// printOrganization prints what an organization is, who is where in it, and its
// policies.
func printOrganization(w io.Writer, o organization.Organization) error {
	p := &fields{}
	p.add("Organization", o.ID)
	p.add("Root", o.Root)
	p.add("Management account", string(o.ManagementAccount))
	p.add("Created", console.Minute(o.CreatedAt))
	if err := p.print(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	attached := map[string][]string{} // targets by policy
	t := console.NewTable(w, "TARGET", "ID", "POLICIES")
	place := func(target, shown, id string, policies []string) {
		t.Row(shown, id, strings.Join(policies, ", "))
		for _, p := range policies {
			attached[p] = append(attached[p], target)
		}
	}
	accounts := func(unit, indent string) {
		for _, a := range o.Accounts {
			if a.Unit == unit {
				place(string(a.ID), indent+"account", string(a.ID), a.Policies)
			}
		}
	}
	place("root", "root", o.Root, o.RootPolicies)
	accounts("", "  ")
	for _, u := range o.Units {
		indent := strings.Repeat("  ", strings.Count(u.Path, "/")+1)
		place("unit:"+u.Path, indent+"unit:"+u.Path, u.ID, u.Policies)
		accounts(u.Path, indent+"  ")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	t = console.NewTable(w, "POLICY", "ID", "CHARACTERS", "ATTACHED TO")
	for _, p := range o.Policies {
		t.Row(p.Name, p.ID, strconv.Itoa(utf8.RuneCount(p.Document)), strings.Join(attached[p.Name], ", "))
	}
	return t.Flush()
}

type organizationDelete struct{ organizationFlags }

// Run deletes an organization.
func (c organizationDelete) Run(ctx context.Context, out io.Writer) error {
	return c.changeAndSay(ctx, out, identityadmin.OrganizationRequest{Do: "delete"}, "Deleted")
}

type organizationAttachAccount struct {
	organizationFlags
	ID   name.AccountID `arg:"" help:"Number of the account. One that is a member already is moved."`
	Unit string         `placeholder:"PATH" help:"Unit to put it under, such as dev/team (default: the root, also for an account that is in a unit now)."`
}

// Run puts an account into an organization.
func (c organizationAttachAccount) Run(ctx context.Context, out io.Writer) error {
	where := "at the root"
	if c.Unit != "" {
		where = "in unit " + c.Unit
	}
	return c.changeAndSay(ctx, out, identityadmin.OrganizationRequest{Do: "attach-account", Account: c.ID, Unit: c.Unit}, "Account %s is now %s", c.ID, where)
}

type organizationDetachAccount struct {
	dataFlag
	ID name.AccountID `arg:"" help:"Number of the account; not the management account."`
}

// Run takes an account out of its organization.
func (c organizationDetachAccount) Run(ctx context.Context, out io.Writer) error {
	return organizationFlags{dataFlag: c.dataFlag}.changeAndSay(ctx, out, identityadmin.OrganizationRequest{Do: "detach-account", Account: c.ID}, "Account %s has left", c.ID)
}

type organizationCreateUnit struct {
	organizationFlags
	Path string `arg:"" help:"Names of the units from the root down, such as dev/team."`
}

// Run creates a unit.
func (c organizationCreateUnit) Run(ctx context.Context, out io.Writer) error {
	return c.changeAndSay(ctx, out, identityadmin.OrganizationRequest{Do: "create-unit", Unit: c.Path}, "Created unit %s", c.Path)
}

type organizationDeleteUnit struct {
	organizationFlags
	Path string `arg:"" help:"Names of the units from the root down, such as dev/team."`
}

// Run deletes a unit.
func (c organizationDeleteUnit) Run(ctx context.Context, out io.Writer) error {
	return c.changeAndSay(ctx, out, identityadmin.OrganizationRequest{Do: "delete-unit", Unit: c.Path}, "Deleted unit %s", c.Path)
}

type organizationPutPolicy struct {
	organizationFlags
	Name string `arg:"" help:"Name of the policy."`
	File string `arg:"" help:"File with the policy's JSON; - reads standard input."`
}

// Run stores a policy.
func (c organizationPutPolicy) Run(ctx context.Context, out io.Writer) error {
	document, err := readDocument(c.File)
	if err != nil {
		return err
	}
	return c.changeAndSay(ctx, out, identityadmin.OrganizationRequest{Do: "put-policy", Policy: c.Name, Document: document}, "Stored policy %s", c.Name)
}

type organizationAttachPolicy struct {
	organizationFlags
	Name string `arg:"" help:"Name of the policy."`
	To   string `required:"" placeholder:"TARGET" help:"root, unit:PATH, or the number of an account."`
	File string `placeholder:"FILE" help:"Create the policy from this file first, or replace its document; - reads standard input."`
}

// Run attaches a policy.
func (c organizationAttachPolicy) Run(ctx context.Context, out io.Writer) error {
	in := identityadmin.OrganizationRequest{Do: "attach-policy", Policy: c.Name, Target: c.To}
	if c.File != "" {
		var err error
		if in.Document, err = readDocument(c.File); err != nil {
			return err
		}
	}
	return c.changeAndSay(ctx, out, in, "Policy %s is attached to %s", c.Name, c.To)
}

type organizationDetachPolicy struct {
	organizationFlags
	Name string `arg:"" help:"Name of the policy."`
	From string `required:"" placeholder:"TARGET" help:"root, unit:PATH, or the number of an account."`
}

// Run detaches a policy.
func (c organizationDetachPolicy) Run(ctx context.Context, out io.Writer) error {
	return c.changeAndSay(ctx, out, identityadmin.OrganizationRequest{Do: "detach-policy", Policy: c.Name, Target: c.From}, "Policy %s is no longer attached to %s", c.Name, c.From)
}

type organizationDeletePolicy struct {
	organizationFlags
	Name string `arg:"" help:"Name of the policy."`
}

// Run deletes a policy.
func (c organizationDeletePolicy) Run(ctx context.Context, out io.Writer) error {
	return c.changeAndSay(ctx, out, identityadmin.OrganizationRequest{Do: "delete-policy", Policy: c.Name}, "Deleted policy %s", c.Name)
}

// maxDocument bounds a policy's file; what counts is checked by the server.
const maxDocument = 1 << 20

// readDocument reads a policy's file.
func readDocument(path string) (string, error) {
	var from io.Reader = os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("the policy cannot be read: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, maxDocument+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("the policy cannot be read: %w", err)
	case len(b) > maxDocument:
		return "", fmt.Errorf("%s is too long to be a policy", path)
	case strings.TrimSpace(string(b)) == "":
		return "", fmt.Errorf("%s is empty; it has to hold a policy's JSON", path)
	}
	return string(b), nil
}

package scan

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/scanadmin"
	"github.com/berth-registry/berth/internal/domain/scan/gate"
)

type gateCommand struct {
	List   gateList      `cmd:"" help:"List the rules."`
	Set    gateSet       `cmd:"" help:"Make a rule, or change the one of the name."`
	Delete gateDelete    `cmd:"" help:"Delete a rule."`
	Except exceptCommand `cmd:"" help:"Vulnerabilities that the gate does not count, for a time."`
}

// Help explains the gate.
func (gateCommand) Help() string {
	return `A rule holds images of some repositories back: a pull of one is refused, with what was
found and what can be done. Without rules every image can be pulled.

  berth scan gate set prod --repositories 'prod/*' --severity HIGH --fixable --grace 14
  berth scan gate set quarantine --unscanned block --exempt 'arn:aws:iam::*:role/ci-*'

An image passes when no rule for its repository holds it back. A change holds at
once on the node that makes it, and within two seconds on others.`
}

type gateList struct{ common }

// Run lists.
func (c gateList) Run(ctx context.Context, out io.Writer, call Admin) error {
	return ask(ctx, c.common, out, call, "/scan/gate/list", c.target(), func(out io.Writer, all scanadmin.GateRules) error {
		rows := [][]string{{"RULE", "REPOSITORIES", "FINDINGS", "NOT SCANNED", "EXEMPT"}}
		for _, r := range all.Rules {
			rows = append(rows, []string{r.Name, list(r.Repositories, "-"), findingText(r), unscannedText(r), list(r.Exempt, "-")})
		}
		return table(out, rows, "There are no rules: every image can be pulled.")
	})
}

// findingText says which findings hold an image back.
func findingText(r scanadmin.GateRule) string {
	if r.Severity == "" {
		return "-"
	}
	all := []string{string(r.Severity) + " or worse"}
	if r.FixableOnly {
		all = append(all, "with a fix")
	}
	if r.GraceDays > 0 {
		all = append(all, "known for "+strconv.Itoa(r.GraceDays)+" days")
	}
	return strings.Join(all, ", ")
}

// unscannedText says what happens to images without a completed scan.
func unscannedText(r scanadmin.GateRule) string {
	text := string(r.Unscanned)
	if r.Unscanned != gate.Allow && r.WaitSeconds > 0 {
		text += " for " + (time.Duration(r.WaitSeconds) * time.Second).String()
	}
	return text
}

type gateSet struct {
	common
	Name         string   `arg:"" help:"Name of the rule, as you like it: lower-case letters, digits, dots, hyphens and underscores."`
	Repositories []string `default:"*" placeholder:"NAME,..." help:"Names of the repositories, with * for any run of characters (default: all)."`
	Severity     string   `help:"Hold images back with a finding that is at least that bad: CRITICAL, HIGH, MEDIUM, LOW, INFORMATIONAL or UNDEFINED (default: findings hold nothing back)."`
	Fixable      bool     `help:"Count only findings that a version mends."`
	Grace        int      `placeholder:"DAYS" help:"Count a vulnerability when it has been known for that many days (default 0)."`
	Unscanned    string   `enum:"allow,block,strict" default:"allow" help:"What happens to images that no scan was completed of: allow; block, until there is one; strict, also those that cannot be scanned (default allow)."`
	Wait         string   `placeholder:"TIME" help:"Hold an image that waits for its scan back for that long after its push at most: 90m, 2h, 1d (default: as long as it waits)."`
	Exempt       []string `placeholder:"ARN,..." help:"Callers that the rule does not hold up: ARNs, with * for any run of characters; a role means its sessions."`
}

// Help explains how rules are changed.
func (gateSet) Help() string {
	return `The rule is as the flags say and no more: to change one, give all of its flags again.
--exempt the roles that scan, sign or promote images, or they cannot pull either.`
}

// Run sets a rule.
func (c gateSet) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := scanadmin.SetGateRuleRequest{
		Target: c.target(), Name: c.Name, Repositories: c.Repositories, Severity: c.Severity, FixableOnly: c.Fixable, GraceDays: c.Grace,
		Unscanned: c.Unscanned, Wait: c.Wait, Exempt: c.Exempt,
	}
	return ask(ctx, c.common, out, call, "/scan/gate/set", in, func(out io.Writer, r scanadmin.GateRule) error {
		text := fmt.Sprintf("The rule %s is for: %s.\n", r.Name, list(r.Repositories, ""))
		if r.Severity != "" {
			text += "It holds images back with findings that are: " + findingText(r) + ".\n"
		}
		if r.Unscanned != gate.Allow {
			text += "Images without a completed scan: " + unscannedText(r) + ". See that these repositories are scanned on push, or nothing can be pulled from them.\n"
		}
		if len(r.Exempt) > 0 {
			text += "It does not hold up: " + list(r.Exempt, "") + ".\n"
		}
		_, err := fmt.Fprint(out, text)
		return err
	})
}

type gateDelete struct {
	common
	Name string `arg:"" help:"Name of the rule."`
}

// Run deletes a rule.
func (c gateDelete) Run(ctx context.Context, out io.Writer, call Admin) error {
	return ask(ctx, c.common, out, call, "/scan/gate/delete", scanadmin.Named{Target: c.target(), Name: c.Name}, func(out io.Writer, gone scanadmin.Named) error {
		_, err := fmt.Fprintf(out, "Deleted the rule %s. Exceptions stay until they end.\n", gone.Name)
		return err
	})
}

type exceptCommand struct {
	Add    exceptAdd    `cmd:"" help:"Have a vulnerability not counted, for a time."`
	List   exceptList   `cmd:"" help:"List the exceptions, and which have ended."`
	Remove exceptRemove `cmd:"" help:"Have a vulnerability counted again before its time."`
}

type exceptAdd struct {
	common
	Vulnerability string `arg:"" help:"Its id, as findings have it: CVE-2026-1234."`
	Repository    string `placeholder:"NAME" help:"Only in these repositories, with * for any run of characters (default: all)."`
	Package       string `placeholder:"NAME" help:"Only in this package (default: all)."`
	Until         string `required:"" placeholder:"TIME" help:"How long it holds (12h, 30d) or its last day (2026-12-31); a year at most."`
	Reason        string `required:"" placeholder:"TEXT" help:"Why, for those who come later."`
}

// Run adds an exception.
func (c exceptAdd) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := scanadmin.AddExceptionRequest{Target: c.target(), Vulnerability: c.Vulnerability, Repository: c.Repository, Package: c.Package, Until: c.Until, Reason: c.Reason}
	return ask(ctx, c.common, out, call, "/scan/gate/exceptions/add", in, func(out io.Writer, e scanadmin.Exception) error {
		_, err := fmt.Fprintf(out, "The gate does not count %s until %s UTC, %s. The exception has the number %d.\n", e.Vulnerability, console.Minute(e.Until), where(e), e.Number)
		return err
	})
}

// where says what an exception is for.
func where(e scanadmin.Exception) string {
	text := "in all repositories"
	if e.Repository != "" {
		text = "in " + e.Repository
	}
	if e.Package != "" {
		text += ", package " + e.Package
	}
	return text
}

type exceptList struct{ common }

// Run lists.
func (c exceptList) Run(ctx context.Context, out io.Writer, call Admin) error {
	return ask(ctx, c.common, out, call, "/scan/gate/exceptions/list", c.target(), func(out io.Writer, all scanadmin.Exceptions) error {
		rows := [][]string{{"NUMBER", "VULNERABILITY", "WHERE", "UNTIL", "REASON"}}
		for _, e := range all.Exceptions {
			end := console.Minute(e.Until)
			if e.Ended {
				end += " (ended)"
			}
			rows = append(rows, []string{strconv.FormatInt(e.Number, 10), e.Vulnerability, where(e), end, strings.Join(strings.Fields(e.Reason), " ")})
		}
		return table(out, rows, "There are no exceptions.")
	})
}

type exceptRemove struct {
	common
	Number int64 `arg:"" help:"Number of the exception; list shows it."`
}

// Run removes an exception.
func (c exceptRemove) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := scanadmin.Numbered{Target: c.target(), Number: c.Number}
	return ask(ctx, c.common, out, call, "/scan/gate/exceptions/remove", in, func(out io.Writer, e scanadmin.Exception) error {
		_, err := fmt.Fprintf(out, "The gate counts %s again, %s.\n", e.Vulnerability, where(e))
		return err
	})
}

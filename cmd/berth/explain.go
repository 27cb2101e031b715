package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
)

type explainCommand struct {
	dataFlag
	jsonFlag
	Principal string      `required:"" placeholder:"ARN" help:"Who would ask: a user, role, role session or root user, or an account's number for its root user."`
	Action    string      `required:"" placeholder:"SERVICE:ACTION" help:"What for, such as ecr:PutImage."`
	Resource  string      `default:"*" placeholder:"ARN" help:"On what; * for actions without a resource, which is the default."`
	Region    name.Region `help:"Region of the request (default: the resource's, or else the server's)."`
	Context   []string    `sep:"none" placeholder:"KEY=VALUE" help:"Value of a condition key, such as aws:SourceIp=192.0.2.1. Repeat it for more keys, and for more values of one key."`
}

// Help explains the exit status.
func (explainCommand) Help() string {
	return `Asks the running server what it would decide, and prints the statement that
decides, every statement that applies, and what would make a refusal an
allowance. Nothing is changed or recorded.

The exit status is 0 when it is allowed, 3 when it is denied, and something else
when the question cannot be answered.`
}

// exitStatus ends the program with a status of its own: everything has been said.
type exitStatus int

// Error names the status, for whoever prints it all the same.
func (s exitStatus) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// statusDenied is the exit status of a question that is denied.
const statusDenied exitStatus = 3

// Run asks the server and prints its answer.
func (c explainCommand) Run(ctx context.Context, out io.Writer) error {
	keys, err := parseContext(c.Context)
	if err != nil {
		return err
	}
	var e authz.Explanation
	if err := admin(ctx, c.Data, http.MethodPost, "/explain", authz.Question{
		Principal: c.Principal, Action: c.Action, Resource: c.Resource, Region: c.Region, Context: keys,
	}, &e); err != nil {
		return err
	}
	if c.JSON {
		err = console.JSON(out, e)
	} else {
		err = printExplanation(out, e)
	}
	if err == nil && !e.Allowed {
		err = statusDenied
	}
	return err
}

// parseContext reads condition keys given as key=value; one given several times
// has several values.
func parseContext(pairs []string) (map[string][]string, error) {
	keys := map[string][]string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || !strings.Contains(key, ":") {
			return nil, fmt.Errorf("--context %s: want KEY=VALUE, such as aws:SourceIp=192.0.2.1", pair)
		}
		key = strings.ToLower(key)
		keys[key] = append(keys[key], value)
	}
	return keys, nil
}

// printExplanation prints the decision, what made it, and what else applies.
func printExplanation(w io.Writer, e authz.Explanation) error {
	verdict := "DENIED"
	if e.Allowed {
		verdict = "ALLOWED"
	}
	p := &fields{}
	p.add("Decision", verdict)
	p.add("Reason", e.Reason)
	if e.Policy == "" {
		p.add("Decided by", "no statement")
	} else {
		p.add("Decided by", statementText(e.Statement, e.Sid)+" of "+e.Policy)
	}
	if e.Needed != "" {
		p.add("Needed", e.Needed)
	}
	if len(e.MissingContext) > 0 {
		p.add("Missing context", strings.Join(e.MissingContext, ", ")+"  (asked for by statements; give values with --context)")
	}
	if err := p.print(w); err != nil {
		return err
	}
	if len(e.Matched) == 0 {
		_, err := fmt.Fprintln(w, "\nNo statement of any policy applies.")
		return err
	}
	if _, err := fmt.Fprintln(w, "\nStatements that apply:"); err != nil {
		return err
	}
	t := console.NewTable(w, "EFFECT", "KIND", "STATEMENT", "SID", "POLICY")
	for _, m := range e.Matched {
		t.Row(m.Effect, m.Side, statementText(m.Statement, ""), m.Sid, m.Policy)
	}
	return t.Flush()
}

// statementText names a statement as it is found in a document.
func statementText(index int, sid string) string {
	text := "Statement[" + strconv.Itoa(index) + "]"
	if sid != "" {
		text += " (Sid " + sid + ")"
	}
	return text
}

// Package events is the commands of `berth events`: what rules could not deliver yet, or
// not at all (this file), and the destinations.
//
// It does no work itself; the running server does, over its administration socket
// (app/eventadmin).
package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/eventadmin"
	"github.com/berth-registry/berth/internal/domain/event/delivery"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Admin sends one request to the server that runs on a data directory, and reads
// its answer into out.
type Admin func(ctx context.Context, data, method, path string, in, out any) error

// Command is `berth events`.
type Command struct {
	List  listCommand  `cmd:"" help:"List what waits to be delivered, and what is dead."`
	Show  showCommand  `cmd:"" help:"Show a delivery with its event."`
	Retry retryCommand `cmd:"" help:"Send what is dead again, and what waits at once."`
	Drop  dropCommand  `cmd:"" help:"Remove deliveries; they never come then."`

	Destination destinationCommand `cmd:"" help:"Make the destinations that rules send to, and look after them."`
}

// Help explains what the commands are about.
func (Command) Help() string {
	return `Rules (aws events put-rule) say which events go to which targets. An event that a
target does not take is sent again, with growing pauses, for as long as the target's
retry policy says, and is dead then: it stays in this list for a while. Events of one
repository wait for each other; those of others do not.`
}

// common are the flags of all commands.
type common struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// chosen are the flags that choose deliveries.
type chosen struct {
	Account    name.AccountID  `help:"Those of an account."`
	Rule       string          `help:"Those of a rule, by its name."`
	Repository name.Repository `help:"Those of a repository."`
}

// all asks for all deliveries of a state, page after page.
func (c chosen) all(ctx context.Context, data string, call Admin, state delivery.State) ([]eventadmin.Delivery, error) {
	all := []eventadmin.Delivery{}
	in := eventadmin.ListRequest{State: state, Account: c.Account, Rule: c.Rule, Repository: c.Repository}
	for {
		var page eventadmin.Page
		if err := call(ctx, data, http.MethodPost, "/events/list", in, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Deliveries...)
		if in.After = page.After; in.After == "" {
			return all, nil
		}
	}
}

type listCommand struct {
	common
	chosen
	State string `enum:"pending,dead,all" default:"all" help:"pending, dead or all (default all). What was delivered is not kept."`
}

// Run lists.
func (c listCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	state := delivery.State(c.State)
	if c.State == "all" {
		state = ""
	}
	all, err := c.all(ctx, c.Data, call, state)
	if err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, all)
	}
	if len(all) == 0 {
		text := "Nothing waits to be delivered, and nothing is dead."
		if state != "" || c.chosen != (chosen{}) {
			text = "There are no such deliveries."
		}
		_, err := fmt.Fprintln(out, text)
		return err
	}
	table := console.NewTable(out, "ID", "STATE", "OCCURRED", "EVENT", "REPOSITORY", "RULE", "TARGET", "TRIES", "NEXT", "LAST ERROR")
	for _, d := range all {
		table.Row(d.ID, string(d.State), console.Minute(d.Occurred), d.DetailType, short(d.Repository), d.Rule, d.Target, strconv.FormatInt(d.Attempts, 10), next(d), cut(d.LastError))
	}
	return table.Flush()
}

// short is a repository's name, out of its ARN.
func short(arn string) string {
	if _, repo, ok := strings.Cut(arn, ":repository/"); ok {
		return repo
	}
	return arn
}

func next(d eventadmin.Delivery) string {
	switch {
	case d.State == delivery.Dead:
		return ""
	case d.Next.IsZero():
		return "after others"
	default:
		return console.Minute(d.Next)
	}
}

// cut shortens a text for a table; show has it whole.
func cut(s string) string {
	const longest = 80
	if r := []rune(s); len(r) > longest {
		return string(r[:longest]) + "..."
	}
	return s
}

type showCommand struct {
	common
	ID string `arg:"" help:"The delivery's id, from the list."`
}

// Run shows.
func (c showCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	var d eventadmin.Delivery
	if err := call(ctx, c.Data, http.MethodPost, "/events/show", eventadmin.Target{ID: c.ID}, &d); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, d)
	}
	table := console.NewTable(out)
	table.Row("Delivery", d.ID)
	table.Row("State", string(d.State))
	table.Row("Event's id", d.EventID)
	table.Row("Occurred", console.Minute(d.Occurred))
	table.Row("Registry", string(d.Account)+"/"+string(d.Region))
	table.Row("Repository", short(d.Repository))
	table.Row("Rule", d.Rule)
	table.Row("Target", d.Target+" "+d.TargetARN)
	table.Row("Tries", strconv.FormatInt(d.Attempts, 10))
	if !d.Tried.IsZero() {
		table.Row("Last try", console.Minute(d.Tried))
	}
	table.Row("Last error", d.LastError)
	if d.State == delivery.Pending {
		table.Row("Next try", next(d))
	} else {
		table.Row("Dead since", console.Minute(d.Died))
		table.Row("Dead letter", letter(d))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out)
	return errors.Join(err, console.JSON(out, json.RawMessage(console.Plain(string(d.Event)))))
}

// letter says what became of the dead letter.
func letter(d eventadmin.Delivery) string {
	switch {
	case d.DeadLetter == "":
		return ""
	case d.DeadLetterSent:
		return "sent to " + d.DeadLetter
	case d.DeadLetterError != "":
		return "not sent to " + d.DeadLetter + ": " + d.DeadLetterError
	default:
		return "on its way to " + d.DeadLetter
	}
}

type retryCommand struct {
	common
	chosen
	IDs []string `arg:"" optional:"" name:"id" help:"The deliveries' ids, from the list."`
	All bool     `help:"All that are dead, or those of --account, --rule and --repository."`
}

// Help says what happens.
func (retryCommand) Help() string {
	return `A dead delivery is sent again as if it were new, in front of what waits of its
repository. It has the event's id, so that a receiver can tell whether it has had it.`
}

// Run has deliveries sent again.
func (c retryCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	switch {
	case c.All == (len(c.IDs) > 0):
		return errors.New("name the deliveries, or take --all for all that are dead")
	case !c.All && c.chosen != (chosen{}):
		return errors.New("--account, --rule and --repository go with --all")
	case c.All:
		all, err := c.all(ctx, c.Data, call, delivery.Dead)
		if err != nil {
			return err
		}
		for _, d := range all {
			c.IDs = append(c.IDs, d.ID)
		}
	}
	return change(ctx, c.common, out, call, "/events/retry", "Sent again", c.IDs)
}

type dropCommand struct {
	common
	IDs []string `arg:"" name:"id" help:"The deliveries' ids, from the list."`
}

// Run drops deliveries.
func (c dropCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	return change(ctx, c.common, out, call, "/events/drop", "Dropped", c.IDs)
}

// change asks for each delivery, goes on where one is refused, and fails then.
func change(ctx context.Context, c common, out io.Writer, call Admin, path, word string, ids []string) error {
	done, failed := []eventadmin.Done{}, []error(nil)
	for _, id := range ids {
		var one eventadmin.Done
		if err := call(ctx, c.Data, http.MethodPost, path, eventadmin.Target{ID: id}, &one); err != nil {
			failed = append(failed, err)
			continue
		}
		done = append(done, one)
	}
	var err error
	if c.JSON {
		err = console.JSON(out, done)
	} else {
		plural := "deliveries"
		if len(done) == 1 {
			plural = "delivery"
		}
		_, err = fmt.Fprintf(out, "%s: %d %s.\n", word, len(done), plural)
	}
	return errors.Join(append(failed, err)...)
}

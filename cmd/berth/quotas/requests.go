package quotas

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/quotaadmin"
	"github.com/berth-registry/berth/internal/domain/name"
)

type requestsCommand struct {
	common
	Account name.AccountID `help:"Only those of one account."`
	All     bool           `help:"Also those that are decided."`
}

// Run lists requests.
func (c requestsCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	var all []quotaadmin.Asked
	if err := call(ctx, c.Data, http.MethodPost, "/quotas/requests", quotaadmin.Which{Account: c.Account, All: c.All}, &all); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "Nobody asks for more. Accounts ask with: aws service-quotas request-service-quota-increase")
		return err
	}
	t := console.NewTable(out, "REQUEST", "ASKED", "ACCOUNT", "SERVICE", "QUOTA", "VALUE", "WANTED", "STATUS", "BY")
	for _, r := range all {
		t.Row(r.ID, console.Minute(r.Created), string(r.Account), r.Service, r.Quota, number(r.Value), number(r.Desired), string(r.Status), console.Printable(r.Requester))
	}
	return t.Flush()
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

type approveCommand struct {
	common
	Request string `arg:"" help:"The request; see berth quota requests."`
}

// Run approves a request.
func (c approveCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.decide(ctx, out, call, c.Request, true)
}

type denyCommand struct {
	common
	Request string `arg:"" help:"The request; see berth quota requests."`
}

// Run denies a request.
func (c denyCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.decide(ctx, out, call, c.Request, false)
}

// decide sends the decision and prints what holds after it.
func (c common) decide(ctx context.Context, out io.Writer, call Admin, request string, approve bool) error {
	var r quotaadmin.Asked
	if err := call(ctx, c.Data, http.MethodPost, "/quotas/requests/decide", quotaadmin.Decision{ID: request, Approve: approve}, &r); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, r)
	}
	_, err := fmt.Fprintf(out, "%s: %s of account %s is %s.\n", r.Status, r.Quota, r.Account, number(r.Value))
	return err
}

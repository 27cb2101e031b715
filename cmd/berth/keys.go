package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/keys"
)

type keysCommand struct {
	List    keysList    `cmd:"" help:"List the keys."`
	Create  keysCreate  `cmd:"" help:"Create a key that repositories can name in their KMS settings."`
	Rotate  keysRotate  `cmd:"" help:"Give a key a new version; older versions still open what they sealed."`
	Enable  keysEnable  `cmd:"" help:"Allow the use of a key again."`
	Disable keysDisable `cmd:"" help:"Forbid the use of a key: its repositories cannot be read until it is enabled."`
}

type dataFlag struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
}

type keysList struct{ dataFlag }

// Run lists the keys.
func (c keysList) Run(ctx context.Context) error {
	var all []keys.Key
	if err := admin(ctx, c.Data, http.MethodGet, "/keys", nil, &all); err != nil {
		return err
	}
	return printKeys(os.Stdout, all)
}

type keysCreate struct {
	dataFlag
	Alias   string         `arg:"" help:"Name of the key, such as alias/production."`
	Account name.AccountID `help:"Account that owns the key (default: the server's)."`
	Region  name.Region    `help:"Region of the key (default: the server's)."`
}

// Run creates a key.
func (c keysCreate) Run(ctx context.Context) error {
	alias := c.Alias
	if !strings.HasPrefix(alias, "alias/") {
		alias = "alias/" + alias
	}
	return changeKey(ctx, c.Data, app.KeyRequest{Do: "create", Key: alias, Account: c.Account, Region: c.Region})
}

type keyArgument struct {
	dataFlag
	Key     string         `arg:"" optional:"" help:"Id, alias or ARN of the key; none is Berth's default key (rotate only)."`
	Account name.AccountID `help:"Account that owns the key (default: the server's)."`
	Region  name.Region    `help:"Region of the key (default: the server's)."`
}

func (c keyArgument) change(ctx context.Context, do string) error {
	if c.Key == "" && do != "rotate" {
		return errors.New("name the key: an id, an alias or an ARN (see berth keys list)")
	}
	return changeKey(ctx, c.Data, app.KeyRequest{Do: do, Key: c.Key, Account: c.Account, Region: c.Region})
}

type keysRotate struct{ keyArgument }

// Run adds a version to the key.
func (c keysRotate) Run(ctx context.Context) error { return c.change(ctx, "rotate") }

type keysEnable struct{ keyArgument }

// Run allows the use of the key.
func (c keysEnable) Run(ctx context.Context) error { return c.change(ctx, "enable") }

type keysDisable struct{ keyArgument }

// Run forbids the use of the key.
func (c keysDisable) Run(ctx context.Context) error { return c.change(ctx, "disable") }

func changeKey(ctx context.Context, data string, in app.KeyRequest) error {
	var k keys.Key
	if err := admin(ctx, data, http.MethodPost, "/keys", in, &k); err != nil {
		return err
	}
	return printKeys(os.Stdout, []keys.Key{k})
}

func printKeys(w io.Writer, all []keys.Key) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tALIASES\tACCOUNT\tREGION\tVERSIONS\tENABLED\tCREATED")
	for _, k := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%t\t%s\n", k.ID, strings.Join(k.Aliases, ","), k.Account, k.Region, k.Versions, k.Enabled, k.CreatedAt.UTC().Format("2006-01-02 15:04"))
	}
	return t.Flush()
}

// admin sends one command to the running server's socket.
func admin(ctx context.Context, data, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://berth"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := app.AdminClient(data).Do(r)
	if errors.Is(err, app.ErrNoServer) {
		return fmt.Errorf("no server is running on %s; start one with: berth serve --data %s", data, data)
	}
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	if answer.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
		if err != nil {
			return err
		}
		return errors.New(strings.TrimSpace(string(text)))
	}
	return json.NewDecoder(answer.Body).Decode(out)
}

// Package peer is the commands of `berth peer`: other deployments that images are
// exchanged with, and the keys by which both sides know each other.
//
// It does no work itself; the running server does, over its administration socket
// (app/peeradmin).
package peer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/api/peer/client"
	"github.com/berth-registry/berth/internal/app/peeradmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
)

// Admin sends one request to the server that runs on a data directory, and reads
// its answer into out.
type Admin func(ctx context.Context, data, method, path string, in, out any) error

// Command is `berth peer`.
type Command struct {
	Key    keyCommand    `cmd:"" help:"Print this deployment's key, for the other side."`
	Add    addCommand    `cmd:"" help:"Add another deployment, and look whether it answers."`
	List   listCommand   `cmd:"" help:"List the peers, what they may do, and how they stand."`
	Rotate rotateCommand `cmd:"" help:"Make a new key for this deployment, and tell all peers of it."`
	Remove removeCommand `cmd:"" help:"Forget a peer; its requests are refused from then on."`
}

// Help explains what peers are.
func (Command) Help() string {
	return `A peer is another deployment of Berth, whose regions can be destinations of
replication, or which sends images here. Both sides exchange keys once:

  there   berth peer key
  here    berth peer add eu --url https://berth.eu.example --key KEY-FROM-THERE
  here    berth peer key
  there   berth peer add us --url https://berth.us.example --key KEY-FROM-HERE --accounts 111122223333

--accounts are those whose images that peer may send; it may send nothing without.`
}

// common are the flags of all commands.
type common struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	JSON bool   `name:"json" help:"Print JSON."`
}

type keyCommand struct{ common }

// Run prints the key.
func (c keyCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	var key peeradmin.Key
	if err := call(ctx, c.Data, http.MethodGet, "/peers/key", nil, &key); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, key)
	}
	_, err := fmt.Fprintln(out, key.Key)
	return err
}

type addCommand struct {
	common
	Name         string   `arg:"" help:"Name for the peer, as you like it."`
	URL          string   `required:"" name:"url" help:"Base address of the peer: https://berth.eu.example."`
	Key          string   `required:"" help:"What berth peer key prints there."`
	Accounts     []string `placeholder:"ACCOUNT,..." help:"Accounts whose images the peer may send here: numbers of 12 digits, or * for all (default: none)."`
	InsecureHTTP bool     `name:"insecure-http" help:"Allow an address of plain HTTP: images can be read on the way, though not changed."`
	Replace      bool     `help:"Change the peer of the name, if there is one: address, key and accounts are all given anew."`
}

// Run adds.
func (c addCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := peeradmin.AddRequest{Name: c.Name, URL: c.URL, Key: c.Key, Accounts: c.Accounts, InsecureHTTP: c.InsecureHTTP, Replace: c.Replace}
	var added peeradmin.Added
	if err := call(ctx, c.Data, http.MethodPost, "/peers", in, &added); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, added)
	}
	_, err := fmt.Fprint(out, addedText(added))
	return err
}

func addedText(a peeradmin.Added) string {
	p := a.Peer
	text := fmt.Sprintf("Added the peer %s at %s. It may send images here of: %s.\n", p.Name, p.URL, accountText(p.Accounts))
	switch a.Check.State {
	case client.OK:
		text += fmt.Sprintf("It answers, and knows this deployment, which may send images there of: %s.\n", accountText(a.Check.Accounts))
	case client.NotAdded:
		text += "It answers, but does not know this deployment yet. Run there:\n\n  " + a.Command +
			"\n\n--accounts are those whose images this deployment may send there; change the list to what you want.\n"
	case client.OtherKey:
		text += "Something is wrong: " + a.Check.Text + ".\nRun berth peer key there, compare, and give the right one here with berth peer add " + p.Name + " --replace.\n"
	case client.Unsigned:
		text += "Something is wrong: " + a.Check.Text + ".\nCheck the address. If it is right, run berth peer key there, which makes its key.\n"
	case client.Unreachable:
		text += "It cannot be reached: " + a.Check.Text + ".\nIt is asked again every minute; berth peer list shows when it answers.\n"
	case client.Refused:
		text += "It answers, and refuses: " + a.Check.Text + "\nIt is asked again every minute; berth peer list shows when that is over.\n"
	}
	return text
}

func accountText(all []name.AccountID) string {
	switch {
	case len(all) == 0:
		return "no account"
	case len(all) == 1 && all[0] == peer.Everyone:
		return "all accounts"
	}
	return strings.Join(plain(all), ", ")
}

func plain[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = string(one)
	}
	return out
}

type listCommand struct{ common }

// Run lists.
func (c listCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	var all peeradmin.List
	if err := call(ctx, c.Data, http.MethodGet, "/peers", nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, all)
	}
	if _, err := fmt.Fprintf(out, "This deployment's key: %s\n", all.Key.Fingerprint); err != nil || len(all.Peers) == 0 {
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PEER\tURL\tACCOUNTS\tKEYS\tLAST HEARD OF\tSTATE") // its errors come from Flush
	for _, p := range all.Peers {
		seen := "never"
		if !p.Seen.IsZero() {
			seen = console.Minute(p.Seen)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.URL, accountText(p.Accounts), strings.Join(plain(p.Keys), " "), seen, stateText(p))
	}
	return t.Flush()
}

// stateText says how a peer stands.
func stateText(p peeradmin.Peer) string {
	var all []string
	switch {
	case p.Error != "":
		all = append(all, "failed "+console.Minute(p.Failed)+": "+p.Error)
	case p.Seen.IsZero():
		all = append(all, "not heard of yet")
	default:
		all = append(all, "ok")
	}
	if !p.KnowsKey {
		all = append(all, "does not know our new key yet")
	}
	if len(p.Keys) > 1 {
		all = append(all, "changes its key")
	}
	return strings.Join(all, "; ")
}

type rotateCommand struct{ common }

// Help explains the rotation.
func (rotateCommand) Help() string {
	return `A peer that cannot be reached goes on with the old key and is told every minute
until it knows the new one. If the old key has come into wrong hands, rotate, and then
enter the new key at every peer by hand (berth peer add NAME --replace, there): who has
the old one could announce a key of his own with it.`
}

// Run rotates.
func (c rotateCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	var r peeradmin.Rotated
	if err := call(ctx, c.Data, http.MethodPost, "/peers/rotate", nil, &r); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, r)
	}
	if _, err := fmt.Fprintf(out, "The new key: %s\n", r.Key.Key); err != nil {
		return err
	}
	for _, p := range r.Peers {
		text := fmt.Sprintf("The peer %s knows it.\n", p.Peer)
		if p.Error != "" {
			text = fmt.Sprintf("The peer %s does not know it yet, and is told again every minute: %s\n", p.Peer, p.Error)
		}
		if _, err := fmt.Fprint(out, text); err != nil {
			return err
		}
	}
	return nil
}

type removeCommand struct {
	common
	Name string `arg:"" help:"Name of the peer."`
}

// Run removes.
func (c removeCommand) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := peeradmin.RemoveRequest{Name: c.Name}
	if err := call(ctx, c.Data, http.MethodPost, "/peers/remove", in, &in); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, in)
	}
	_, err := fmt.Fprintf(out, "Removed the peer %s. Its requests are refused from now on. It still accepts those of this deployment, until it is removed there as well.\n", in.Name)
	return err
}

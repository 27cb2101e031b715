// Package peeradmin is what the administration socket does with peers: it reads
// requests, looks at the other side, and words what an operator has to do there.
//
// It holds no rules of its own; those are in domain/peer, and api/peer/client asks the
// other side. App gives it its routes.
package peeradmin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/api/peer/client"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
)

// Service does it.
type Service struct {
	Peers  *peer.Service
	Client *client.Client
	// URL is this deployment's own base address as peers reach it, where it is known;
	// "" has the operator fill it in.
	URL string
}

// Key is this deployment's key.
type Key struct {
	Key         string           `json:"key"`
	Fingerprint peer.Fingerprint `json:"fingerprint"`
}

func keyOf(k peer.PublicKey) Key { return Key{Key: k.String(), Fingerprint: k.Fingerprint()} }

// Peer is a peer as operators see it.
type Peer struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Accounts are those that it may speak for; "*" for all.
	Accounts []name.AccountID `json:"accounts"`
	// Keys are those that it may sign with, the newest last: two while it changes them.
	Keys []peer.Fingerprint `json:"keys"`
	// KnowsKey says that it knows this deployment's newest key.
	KnowsKey     bool      `json:"knowsKey"`
	InsecureHTTP bool      `json:"insecureHttp,omitempty"`
	Created      time.Time `json:"created"`
	// Seen is when it was last heard of, by the minute; absent: never.
	Seen time.Time `json:"seen,omitzero"`
	// Error is what failed last, and when; absent after a good contact.
	Error  string    `json:"error,omitempty"`
	Failed time.Time `json:"failed,omitzero"`
}

func describe(p peer.Peer, newest int64) Peer {
	out := Peer{
		Name: p.Name, URL: p.URL, Accounts: append([]name.AccountID{}, p.Accounts...), Keys: []peer.Fingerprint{}, KnowsKey: p.Told >= newest,
		InsecureHTTP: p.Insecure, Created: p.CreatedAt, Seen: p.SeenAt, Error: p.Error, Failed: p.FailedAt,
	}
	for _, k := range p.Keys {
		out.Keys = append(out.Keys, k.Fingerprint())
	}
	return out
}

// List is this deployment's key and its peers.
type List struct {
	Key   Key    `json:"key"`
	Peers []Peer `json:"peers"`
}

// Key is this deployment's key; the first call makes it.
func (s Service) Key(ctx context.Context) (Key, error) {
	k, err := s.Peers.Key(ctx)
	return keyOf(k), err
}

// List lists the peers, by name.
func (s Service) List(ctx context.Context) (out List, err error) {
	if out.Key, err = s.Key(ctx); err != nil {
		return out, err
	}
	signers, err := s.Peers.Signers(ctx)
	if err != nil {
		return out, err
	}
	all, err := s.Peers.List(ctx)
	out.Peers = []Peer{} // "[]" in JSON
	for _, p := range all {
		out.Peers = append(out.Peers, describe(p, signers[len(signers)-1].Generation))
	}
	return out, err
}

// AddRequest asks for a peer to be added.
type AddRequest struct {
	Name     string   `json:"name"`
	URL      string   `json:"url"`
	Key      string   `json:"key"`
	Accounts []string `json:"accounts,omitempty"`
	// InsecureHTTP allows an address of plain HTTP, Replace has the peer of the name
	// replaced.
	InsecureHTTP bool `json:"insecureHttp,omitempty"`
	Replace      bool `json:"replace,omitempty"`
}

// Added is a peer that is stored, and how it stands.
type Added struct {
	Peer  Peer         `json:"peer"`
	Check client.Check `json:"check"`
	// Command is what is to be run at the other side; "" where nothing is missing there.
	Command string `json:"command,omitempty"`
}

// Add stores a peer, looks at it, and says what is missing. What is found does not
// change that it is stored.
func (s Service) Add(ctx context.Context, in AddRequest) (Added, error) {
	key, err := peer.ParseKey(in.Key)
	if err != nil {
		return Added{}, err
	}
	accounts, err := peer.ParseAccounts(in.Accounts)
	if err != nil {
		return Added{}, err
	}
	p, err := s.Peers.Add(ctx, peer.Addition{
		Name: in.Name, URL: in.URL, Key: key, Accounts: accounts, Insecure: in.InsecureHTTP, Replace: in.Replace,
	})
	if err != nil {
		return Added{}, err
	}
	out := Added{}
	if out.Check, err = s.Client.Check(ctx, p); err != nil {
		return Added{}, err
	}
	if out.Check.State == client.NotAdded {
		if out.Command, err = s.command(ctx, p); err != nil {
			return Added{}, err
		}
	}
	all, err := s.List(ctx)
	for _, one := range all.Peers {
		if one.Name == p.Name {
			out.Peer = one
		}
	}
	return out, err
}

// unknownURL stands in a command for the address that only the operator knows.
const unknownURL = "https://ADDRESS-OF-THIS-DEPLOYMENT"

// command is what adds this deployment at the peer.
func (s Service) command(ctx context.Context, p peer.Peer) (string, error) {
	k, err := s.Peers.Key(ctx)
	if err != nil {
		return "", err
	}
	list := make([]string, len(p.Accounts))
	for i, a := range p.Accounts {
		list[i] = string(a)
	}
	text := fmt.Sprintf("berth peer add peer-%s --url %s --key %s", k.Fingerprint()[:8], cmp.Or(s.URL, unknownURL), k)
	if len(list) > 0 {
		text += " --accounts '" + strings.Join(list, ",") + "'"
	}
	if strings.HasPrefix(s.URL, "http:") {
		text += " --insecure-http"
	}
	return text, nil
}

// Rotated is the new key, and which peers know it.
type Rotated struct {
	Key   Key              `json:"key"`
	Peers []client.Telling `json:"peers"`
}

// Rotate makes a new key and tells all peers of it. Those that could not be told go on
// with the old one and are told later.
func (s Service) Rotate(ctx context.Context) (Rotated, error) {
	k, err := s.Peers.Rotate(ctx)
	if err != nil {
		return Rotated{}, err
	}
	told, err := s.Client.Tell(ctx)
	return Rotated{Key: keyOf(k), Peers: append([]client.Telling{}, told...)}, err
}

// RemoveRequest names the peer to remove.
type RemoveRequest struct {
	Name string `json:"name"`
}

// Remove forgets a peer.
func (s Service) Remove(ctx context.Context, in RemoveRequest) (RemoveRequest, error) {
	return in, s.Peers.Remove(ctx, in.Name)
}

// Routes adds the administration of peers.
func (s Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /peers", answer(func(r *http.Request) (any, error) { return s.List(r.Context()) }))
	mux.HandleFunc("GET /peers/key", answer(func(r *http.Request) (any, error) { return s.Key(r.Context()) }))
	mux.HandleFunc("POST /peers", answer(read(s.Add)))
	mux.HandleFunc("POST /peers/rotate", answer(func(r *http.Request) (any, error) { return s.Rotate(r.Context()) }))
	mux.HandleFunc("POST /peers/remove", answer(read(s.Remove)))
}

// read gives do the request's JSON.
func read[In, Out any](do func(context.Context, In) (Out, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, errs.New(errs.InvalidInput, "not the JSON of a request: %v", err)
		}
		return do(r.Context(), in)
	}
}

// answer writes what do returns, or its error as text.
func answer(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := do(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // the client has gone; nobody is left to tell
	}
}

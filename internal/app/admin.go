package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/berth-registry/berth/internal/app/backup"
	"github.com/berth-registry/berth/internal/app/backup/dump"
	"github.com/berth-registry/berth/internal/app/gcadmin"
	"github.com/berth-registry/berth/internal/app/publicadmin"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/keys"
)

// Files of the data directory that a running server writes.
const (
	fileCredentials = "credentials"
	fileServer      = "server.json"
	fileSocket      = "admin.sock"
)

// maxSocketPath is what a Unix socket address can hold, less a little.
const maxSocketPath = 100

// socketAddress gives an address for the socket that fits: a long path is
// reached through an open descriptor of its directory. Call done after use.
func socketAddress(data string) (address string, done func(), err error) {
	path := filepath.Join(data, fileSocket)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(data)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), fileSocket), func() { _ = dir.Close() }, nil
}

// listenAdmin opens the administration socket. A socket file that is there already
// is a dead server's, unless somebody answers on it.
func (a *App) listenAdmin() (net.Listener, error) {
	address, done, err := socketAddress(a.cfg.Data)
	if err != nil {
		return nil, err
	}
	defer done()
	if conn, err := net.Dial("unix", address); err == nil {
		_ = conn.Close() // it was only to see whether somebody is there
		return nil, fmt.Errorf("another berth serves the data directory %s: give each node its own with --data", a.cfg.Data)
	}
	if err := os.Remove(a.path(fileSocket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the administration socket of an earlier server cannot be removed: %w", err)
	}
	listener, err := net.Listen("unix", address)
	if err != nil {
		return nil, fmt.Errorf("the administration socket cannot be opened: %w", err)
	}
	if err := os.Chmod(a.path(fileSocket), 0o600); err != nil {
		_ = listener.Close() // the mode's error is the one to report
		return nil, err
	}
	return listener, nil
}

// AdminClient speaks to the server that runs on a data directory. A request to
// it fails with ErrNoServer when none does.
func AdminClient(data string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		address, done, err := socketAddress(data)
		if err != nil {
			return nil, errors.Join(ErrNoServer, err)
		}
		defer done()
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", address)
		if err != nil {
			return nil, errors.Join(ErrNoServer, err)
		}
		return conn, nil
	}}}
}

// ErrNoServer says that no server runs on the data directory.
var ErrNoServer = errors.New("no berth server is running on this data directory")

// adminHandler serves the administration commands: JSON in, JSON out, one
// object a line for what takes long. Who can open the socket may do everything.
func (a *App) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fsck", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		out := json.NewEncoder(w)
		flush := http.NewResponseController(w)
		// A client that has gone away ends the request's context, which ends the check.
		a.Fsck(r.Context(), func(l FsckLine) { _, _ = out.Encode(l), flush.Flush() })
	})
	mux.HandleFunc("GET /keys", adminJSON(func(r *http.Request) (any, error) { return a.keys.List(r.Context()) }))
	mux.HandleFunc("POST /keys", adminJSON(func(r *http.Request) (any, error) {
		var in KeyRequest
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, err
		}
		return a.ChangeKey(r.Context(), in)
	}))
	a.identityRoutes(mux)
	a.repositoryRoutes(mux)
	a.quotaRoutes(mux)
	a.jobRoutes(mux)
	a.distribution.Routes(mux)
	a.scanning.Routes(mux)
	a.telling.Routes(mux)
	publicadmin.Service{Catalog: a.publishing.Catalog, Default: a.cfg.Account}.Routes(mux)
	gcadmin.Service{Layers: a.layers}.Routes(mux)
	(&backup.Local{
		Backends: a.backends, Clock: a.clk, Log: a.log, Header: dump.Header{Program: a.version, Account: a.cfg.Account, Region: a.cfg.Region},
	}).Routes(mux)
	return mux
}

// KeyRequest asks for one change to the keys.
type KeyRequest struct {
	// Do is create, rotate, enable or disable.
	Do string `json:"do"`
	// Key is an id, alias or ARN; for create the alias to give; "" in rotate
	// is Berth's default key.
	Key     string         `json:"key"`
	Account name.AccountID `json:"account"` // "" is the default account
	Region  name.Region    `json:"region"`  // "" is the default region
}

// ChangeKey carries out one change to the keys and returns the key as it then is.
func (a *App) ChangeKey(ctx context.Context, in KeyRequest) (keys.Key, error) {
	if in.Account == "" {
		in.Account = a.cfg.Account
	}
	if in.Region == "" {
		in.Region = a.cfg.Region
	}
	account, region := string(in.Account), string(in.Region)
	if in.Do == "create" {
		return a.keys.Create(ctx, account, region, in.Key)
	}
	id := ""
	if in.Key != "" || in.Do != "rotate" {
		k, err := a.keys.Resolve(ctx, account, region, in.Key)
		if err != nil {
			return keys.Key{}, err
		}
		id = k.ID
	}
	switch in.Do {
	case "rotate":
		return a.keys.Rotate(ctx, id)
	case "enable", "disable":
		return a.keys.SetEnabled(ctx, id, in.Do == "enable")
	}
	return keys.Key{}, errs.New(errs.InvalidParameter, "unknown change %q: create, rotate, enable or disable", in.Do)
}

// adminJSON writes what do returns, or its error as text.
func adminJSON(do func(*http.Request) (any, error)) http.HandlerFunc {
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

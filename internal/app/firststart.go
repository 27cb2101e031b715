package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// firstStart makes the default account and its root access key. It does nothing
// on later starts, unless the environment names another root key.
func (a *App) firstStart(ctx context.Context) error {
	if err := a.principals.EnsureAccount(ctx, a.cfg.Account); err != nil {
		return fmt.Errorf("the default account cannot be made: %w", err)
	}
	id, secret := a.cfg.RootAccessKeyID, a.cfg.RootSecretAccessKey
	if id == "" {
		has, err := a.principals.HasRootKey(ctx, a.cfg.Account)
		if err != nil || has {
			return err
		}
		id, secret = principal.NewAccessKeyPair(principal.PrefixAccessKey, a.cfg.Account)
	} else if k, found, err := a.principals.AccessKey(ctx, id); err != nil {
		return err
	} else if found && k.Secret == secret && k.Principal.Account == a.cfg.Account && fileExists(a.path(fileCredentials)) {
		return nil
	}
	// The file goes first: a key that stands in the database and in no file
	// would be lost to its owner.
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, secret)
	if err := writeFile(a.path(fileCredentials), []byte(text), 0o600); err != nil {
		return fmt.Errorf("the credentials file cannot be written: %w", err)
	}
	if err := a.principals.PutRootKey(ctx, a.cfg.Account, id, secret); err != nil {
		return fmt.Errorf("the root access key cannot be stored: %w", err)
	}
	return nil
}

// ServerInfo is what `berth env` needs to know of a server; it stands in the
// data directory while and after the server runs.
type ServerInfo struct {
	Endpoint string         `json:"endpoint"`
	Account  name.AccountID `json:"account"`
	Region   name.Region    `json:"region"`
}

// ReadServerInfo reads what the last server on this data directory wrote.
func ReadServerInfo(data string) (ServerInfo, error) {
	var i ServerInfo
	b, err := os.ReadFile(filepath.Join(data, fileServer))
	if err != nil {
		return i, err
	}
	return i, json.Unmarshal(b, &i)
}

// CredentialsFile is where a data directory's first access key stands.
func CredentialsFile(data string) string { return filepath.Join(data, fileCredentials) }

// serverInfo describes the server that listens on addr.
func (a *App) serverInfo(addr net.Addr) ServerInfo {
	scheme := "http"
	if a.cfg.TLS.Enabled() {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		host, port = "localhost", "5000"
	}
	if ip := net.ParseIP(host); ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		host = "localhost"
	}
	return ServerInfo{Endpoint: scheme + "://" + net.JoinHostPort(host, port), Account: a.cfg.Account, Region: a.cfg.Region}
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// writeFile replaces a file at once, so that a crash leaves the old or the new.
func writeFile(path string, b []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when the rename worked
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

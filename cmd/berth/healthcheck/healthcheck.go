// Package healthcheck is `berth healthcheck`: it asks a server whether it takes
// requests, for images that hold neither a shell nor curl.
//
// It starts nothing and changes nothing; what ready means is the server's to say
// (/readyz, internal/app).
package healthcheck

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/app"
)

// Command is `berth healthcheck`.
type Command struct {
	Data    string        `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the server (default ./berth-data)."`
	URL     string        `name:"url" placeholder:"URL" help:"Ask this server instead, such as http://127.0.0.1:5000; with a path, ask for that."`
	Timeout time.Duration `default:"5s" help:"How long the answer may take (default 5s)."`
}

// maxAnswer bounds what is read of an answer; /readyz says one line.
const maxAnswer = 4 << 10

// Run returns nil when the server is ready, which gives exit status 0, and an
// error that says what is wrong otherwise, which gives 1.
func (c Command) Run(ctx context.Context) error {
	address, err := c.address()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	client := &http.Client{
		Transport: &http.Transport{
			// Nothing secret is sent, and a node is asked under another name than the one
			// that its certificate is for: localhost, or a pod's address.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
		},
		// A redirection leads to another server than the one that was asked about.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("the server's answer breaks off: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the server at %s is not ready: %s: %s", address, answer.Status, bytes.TrimSpace(text))
	}
	return nil
}

// address is what to ask.
func (c Command) address() (string, error) {
	base := c.URL
	if base == "" {
		info, err := app.ReadServerInfo(c.Data)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("no server has run on %s yet; name another directory with --data, or a server with --url", c.Data)
		}
		if err != nil {
			return "", fmt.Errorf("what the server wrote about itself cannot be read: %w", err)
		}
		base = info.Endpoint
	}
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("%q is not the address of a server; write http://127.0.0.1:5000", base)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/readyz"
	}
	return u.String(), nil
}

package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/berth-registry/berth/internal/app/serving"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/infra/certs"
)

// openCertificates prepares what HTTPS is served with; nil without.
func (a *App) openCertificates() (*certs.Manager, error) {
	set := a.cfg.TLS
	if !set.Enabled() {
		return nil, nil
	}
	c := certs.Config{Certificate: set.Certificate, Key: set.Key, Log: a.log, Clock: a.clk}
	if len(set.ACME.Hosts) > 0 {
		cache, err := certs.NewCache(certs.NewDatabase(a.durable, a.clk), a.keys)
		if err != nil {
			return nil, err
		}
		c.ACME = &certs.ACME{
			Directory: set.ACME.Directory, DirectoryCA: set.ACME.CA, Email: set.ACME.Email, Hosts: set.ACME.Hosts,
			KeyID: set.ACME.KeyID, HMACKey: set.ACME.HMACKey, Cache: cache,
		}
	}
	m, err := certs.New(c)
	if err != nil {
		return nil, fmt.Errorf("the TLS certificate cannot be used: %w", err)
	}
	return m, nil
}

// served is an address with what answers there.
type served struct {
	listener net.Listener
	server   *http.Server
}

// listen opens the configured addresses: the main one first, then those that
// stand for networks, and beside them the one of public registries, the one for ACME's
// challenges and that of operations.
func (a *App) listen() (all []served, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
			all = nil
		}
	}()
	var secured *tls.Config
	if a.certificates != nil {
		secured = a.certificates.TLSConfig()
	}
	main := serving.New(a.handler, connContext)
	for i, from := range append([]config.Listener{{Listen: a.cfg.Listen}}, a.cfg.Listeners...) {
		setting := "--listen"
		if i > 0 {
			setting = "listeners"
		}
		l, err := listenOn(from.Listen, setting)
		if err != nil {
			return all, err
		}
		if i > 0 {
			l = taggedListener{Listener: l, from: from}
		}
		if secured != nil {
			l = tls.NewListener(l, secured)
		}
		all = append(all, served{l, main})
	}
	l, err := a.listenPublic()
	if err != nil {
		return all, err
	}
	if l != nil {
		handler := a.PublicHandler(l.Addr().String())
		if secured != nil {
			l = tls.NewListener(l, secured)
		}
		all = append(all, served{l, serving.New(handler, connContext)})
	}
	if address := a.cfg.TLS.ACME.HTTPListen; address != "" && a.certificates != nil {
		l, err := listenOn(address, "tls.acme.http_listen")
		if err != nil {
			return all, err
		}
		all = append(all, served{l, serving.New(a.certificates.HTTPHandler(nil), connContext)})
	}
	if a.cfg.AdminListen != "" {
		l, err := listenOn(a.cfg.AdminListen, "--admin-listen")
		if err != nil {
			return all, err
		}
		all = append(all, served{l, serving.New(a.Operations(), connContext)})
	}
	return all, nil
}

// listenPublic opens the address of public registries for clients without their host's
// name; nil for none. One that nobody has asked for is done without where it is taken.
func (a *App) listenPublic() (net.Listener, error) {
	address := a.cfg.PublicAddress()
	if address == "" {
		return nil, nil
	}
	l, err := listenOn(address, "--public-listen")
	switch {
	case err == nil:
		return l, nil
	case a.cfg.PublicListen != "":
		return nil, err
	}
	a.publicAddress.Store(new(""))
	a.log.Warn("public registries and the gallery have no address of their own on this machine, only their host names", "error", err)
	return nil, nil
}

func listenOn(address, setting string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with %s", address, err, setting)
	}
	return l, nil
}

func closeAll(all []served) {
	for _, s := range all {
		_ = s.listener.Close() // the error that ends the start is the one to report
	}
}

// shutDown ends the servers: no new requests, and those under way until drain ends.
func shutDown(all []served, shut func(*http.Server) error) error {
	var failed []error
	done := map[*http.Server]bool{}
	for _, s := range all {
		if !done[s.server] {
			done[s.server] = true
			failed = append(failed, shut(s.server))
		}
	}
	return errors.Join(failed...)
}

// Package nats publishes events to a NATS server, by core NATS or into a stream of
// JetStream, which acknowledges what it has stored and drops what has an id that it
// knows.
//
// It makes no streams. Core NATS gives a message to who listens at the moment; Send
// then only knows that the server has it.
package nats

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/berth-registry/berth/internal/infra/eventsink"
)

const (
	// DefaultSubject is where events go when nothing is said.
	DefaultSubject = "berth.{account}.{region}.{repository}"

	connectTimeout = 10 * time.Second
	sendTimeout    = 30 * time.Second
	reconnectWait  = 500 * time.Millisecond
	pingInterval   = 20 * time.Second
)

// Settings are a subject's.
type Settings struct {
	// URL is one server or several of a cluster, with commas between: nats://host:4222,
	// tls://host:4222, ws://, wss://.
	URL string
	// Subject may hold {account}, {region}, {repository}, {source} and {detail-type};
	// "" for DefaultSubject. What is put in is one token: see Token.
	Subject string
	// JetStream waits until a stream has stored the message.
	JetStream bool
	// User and Password, Token, NKey (a seed) or Creds (the text of a credentials file)
	// are how it signs in; one of them, or none.
	User, Password, Token, NKey, Creds string
	// CA is certificates in PEM to trust in place of the system's, "" for the system's.
	CA string
}

type sink struct {
	Settings
	subject []string // texts and placeholders, in turns
	secure  *tls.Config
	auth    []nats.Option

	// mu guards what is below, and lets core messages out one by one, so that a
	// server's refusal is known to be of the one.
	mu     sync.Mutex
	conn   *nats.Conn
	stream jetstream.JetStream
	closed bool
}

// New checks the settings and returns the sink. It connects to nothing.
func New(s Settings) (eventsink.Sink, error) {
	if s.Subject == "" {
		s.Subject = DefaultSubject
	}
	n := &sink{Settings: s}
	for server := range strings.SplitSeq(s.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		switch {
		case err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
			return nil, errors.New("the URL is none of a NATS server; take one such as nats://nats.example.com:4222")
		case u.User != nil:
			return nil, errors.New("the URL holds a user, a password or a token; give them by themselves")
		}
	}
	var err error
	if n.subject, err = parseSubject(s.Subject); err != nil {
		return nil, err
	}
	if n.auth, err = auth(s); err != nil {
		return nil, err
	}
	n.secure = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CA != "" {
		n.secure.RootCAs = x509.NewCertPool()
		if !n.secure.RootCAs.AppendCertsFromPEM([]byte(s.CA)) {
			return nil, errors.New("the certificates of the CA are none in PEM")
		}
	}
	return n, nil
}

// auth is how to sign in.
func auth(s Settings) ([]nats.Option, error) {
	var ways []nats.Option
	if s.User != "" || s.Password != "" {
		if s.User == "" {
			return nil, errors.New("there is a password and no user; give both")
		}
		ways = append(ways, nats.UserInfo(s.User, s.Password))
	}
	if s.Token != "" {
		ways = append(ways, nats.Token(s.Token))
	}
	if s.NKey != "" {
		pair, err := nkeys.FromSeed([]byte(s.NKey))
		if err != nil {
			return nil, errors.New("the nkey is no seed; it begins with SU")
		}
		public, err := pair.PublicKey()
		if err != nil {
			return nil, errors.New("the nkey has no public key")
		}
		ways = append(ways, nats.Nkey(public, pair.Sign))
	}
	if s.Creds != "" {
		if _, err := nkeys.ParseDecoratedJWT([]byte(s.Creds)); err != nil {
			return nil, errors.New("the credentials are none; give the text of a file that nsc has written")
		}
		if _, err := nkeys.ParseDecoratedUserNKey([]byte(s.Creds)); err != nil {
			return nil, errors.New("the credentials hold no seed of a user; give the text of a file that nsc has written")
		}
		ways = append(ways, nats.UserCredentialBytes([]byte(s.Creds)))
	}
	if len(ways) > 1 {
		return nil, errors.New("there are several ways to sign in; give one of user and password, token, nkey and creds")
	}
	return ways, nil
}

// Send publishes the message's body and waits until the server, or with JetStream a
// stream, has it. Nats-Msg-Id is the event's id.
func (n *sink) Send(ctx context.Context, m eventsink.Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	subject, err := n.subjectOf(m)
	if err != nil {
		return eventsink.Permanent(err)
	}
	msg := &nats.Msg{Subject: subject, Data: m.Body, Header: nats.Header{jetstream.MsgIDHeader: {m.ID}}}
	if n.JetStream {
		return n.failed(n.publishStream(ctx, msg))
	}
	return n.failed(n.publish(ctx, msg))
}

func (n *sink) publishStream(ctx context.Context, msg *nats.Msg) error {
	n.mu.Lock()
	conn, err := n.connected(ctx)
	stream := n.stream
	n.mu.Unlock()
	if err != nil {
		return err
	}
	before := conn.LastError()
	// No repeats: who sends again, and when, is decided above.
	_, err = stream.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if after := conn.LastError(); errors.Is(err, context.DeadlineExceeded) && after != nil && after != before {
		return errors.Join(err, after) // a refusal brings no answer; it may be of this message
	}
	return err
}

func (n *sink) publish(ctx context.Context, msg *nats.Msg) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	conn, err := n.connected(ctx)
	if err != nil {
		return err
	}
	before, reconnects := conn.LastError(), conn.Stats().Reconnects
	if err := conn.PublishMsg(msg); err != nil {
		return err
	}
	// The answer to the flush comes behind whatever the server has to say against the
	// message.
	if err := conn.FlushWithContext(ctx); err != nil {
		return err
	}
	if after := conn.LastError(); after != nil && after != before { // not the one that was there before
		return after
	}
	if conn.Stats().Reconnects != reconnects {
		return errors.New("the connection was lost")
	}
	return nil
}

// connected is the connection, made when there is none. It is for who holds mu.
func (n *sink) connected(ctx context.Context) (*nats.Conn, error) {
	if n.closed {
		return nil, nats.ErrConnectionClosed
	}
	if n.conn != nil && !n.conn.IsClosed() {
		if !n.conn.IsConnected() {
			return nil, nats.ErrDisconnected // it comes back by itself
		}
		return n.conn, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := nats.Connect(n.URL, append([]nats.Option{
		nats.Name("berth"), nats.Timeout(connectTimeout), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.PingInterval(pingInterval),
		nats.ReconnectBufSize(-1), // what was not sent is said to have failed
		n.tls,
		// Failures are those of Send; nothing may be printed.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, n.auth...)...)
	if err != nil {
		return nil, err
	}
	stream, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	n.conn, n.stream = conn, stream
	return conn, nil
}

// tls sets what is trusted. Whether TLS is spoken is the URL's and the server's choice.
func (n *sink) tls(o *nats.Options) error {
	o.TLSConfig = n.secure
	return nil
}

func (n *sink) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return eventsink.Permanent(errors.New("the event is larger than the NATS server takes (max_payload)"))
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return errors.New("the NATS server has no stream of JetStream with this subject; make one")
	}
	return fmt.Errorf("the NATS server: %w", err)
}

// Close ends the connection.
func (n *sink) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.conn != nil {
		n.conn.Close()
	}
	return nil
}

// envelope is what of an event goes into subjects.
type envelope struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	Detail  struct {
		Repository json.RawMessage `json:"repository-name"`
	} `json:"detail"`
}

// Package client asks other deployments: it sends images to a peer as a
// replication.Destination, tells peers of a new key, and looks whether a peer answers.
//
// It owns connections, timeouts, the correction of clocks, and what an answer that
// cannot be trusted means. What is said is in api/peer/wire; who the peers are is
// domain/peer's; when something is sent is domain/replication's.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/api/peer/wire"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Config is what a Client stands on. Times that are 0 have a default.
type Config struct {
	Peers *peer.Service
	Clock clock.Clock
	Log   *slog.Logger
	// Roots are the authorities whose certificates peers may have; nil: the system's.
	Roots *x509.CertPool
	// Connect bounds the making of a connection; 10 s.
	Connect time.Duration
	// Stall is how long a body may stand still; a minute. It has no limit in total.
	Stall time.Duration
	// Answer is how long an answer may take once the request was sent; 5 minutes, since
	// the other side makes a large layer durable before it answers.
	Answer time.Duration
}

// Connections are kept for the next layer. A layer has a connection of its own while
// it is under way, so that several fill a link that is long and slow.
const (
	maxIdle     = 64
	idleTimeout = 90 * time.Second
	writeChunk  = 128 << 10
	// maxHeader bounds the headers of an answer, in bytes.
	maxHeader = 32 << 10
)

// Client speaks to peers. It is safe for concurrent use.
type Client struct {
	Config
	transport *http.Transport

	mu sync.Mutex
	// ahead is by how much each peer's clock is ahead of ours, by the peer's name; only
	// what is worth a correction.
	ahead map[string]time.Duration
}

// New returns a client.
func New(c Config) *Client {
	c.Connect, c.Stall, c.Answer = cmp.Or(c.Connect, 10*time.Second), cmp.Or(c.Stall, time.Minute), cmp.Or(c.Answer, 5*time.Minute)
	var only http.Protocols
	only.SetHTTP1(true)
	dialer := net.Dialer{Timeout: c.Connect, KeepAlive: 15 * time.Second}
	return &Client{Config: c, ahead: map[string]time.Duration{}, transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: c.Connect, Protocols: &only,
		// Records of full size from the first byte on: nobody waits for a first line.
		TLSClientConfig: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true},
		MaxIdleConns:    4 * maxIdle, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTimeout,
		WriteBufferSize: writeChunk, MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
	}}
}

// Close ends the connections that nobody uses.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// call is one thing that is asked of a peer.
type call struct {
	method, path string
	query        url.Values
	source       name.Registry
	body         []byte
	// A layer: its digest, and length bytes of it from stream.
	digest name.Digest
	stream io.Reader
	length int64
}

// failure is why a call came to nothing: a refusal that the peer signed, or something
// that is not an answer of the peer's.
type failure struct {
	// word is the peer's, "" where it gave none that can be trusted.
	word string
	text string
	// signed says that it is the peer's own.
	signed bool
	// otherKey is the fingerprint of a key that is not the peer's, under which whoever
	// answered says he signed.
	otherKey string
	cause    error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }

// exchange says that the failure is about the two deployments rather than about what
// was asked.
func (f *failure) exchange() bool {
	switch f.word {
	case "", wire.RefusedMalformed, wire.RefusedAudience, wire.RefusedKey, wire.RefusedSignature, wire.RefusedClock, wire.RefusedReplay, wire.RefusedContent, wire.RefusedIncomplete:
		return true
	}
	return false
}

// asError gives the failure its code.
func (f *failure) asError(p peer.Peer) error {
	switch {
	case f.exchange() && f.signed:
		return errs.Wrap(f.cause, errs.Unavailable, "The peer %s refused the request: %s", p.Name, f.text)
	case f.exchange():
		return errs.Wrap(f.cause, errs.Unavailable, "The peer %s cannot be used: %s", p.Name, f.text)
	case f.word == wire.RefusedAccount:
		return errs.New(errs.AccessDenied, "%s", f.text)
	}
	return errs.New(wire.Code(f.word), "%s", f.text)
}

// maxAttempts bounds how often one call is sent: after a wrong clock, after a nonce that
// the transport had sent twice, and after keys that have changed meanwhile.
const maxAttempts = 4

// ask does the call at the peer that find gives, and reads the answer into out.
func (c *Client) ask(ctx context.Context, find func(context.Context) (peer.Peer, error), k call, out any) error {
	var body *guard
	if k.stream != nil {
		body = &guard{from: k.stream}
		defer body.release()
	}
	tried := map[string]bool{}
	for attempt := 1; ; attempt++ {
		p, err := find(ctx)
		if err != nil {
			return err
		}
		signer, err := c.Peers.SignerFor(ctx, p)
		if err != nil {
			c.Peers.Failed(ctx, p.Name, err.Error())
			return err
		}
		f := c.once(ctx, p, signer, k, body, out)
		if f == nil {
			c.Peers.Seen(ctx, p.Name)
			return nil
		}
		if err := body.failed(); err != nil {
			return err // ours, not the peer's
		}
		if err := ctx.Err(); err != nil {
			return errs.Wrap(err, errs.Unavailable, "The request to the peer %s was given up.", p.Name)
		}
		if attempt < maxAttempts && !body.begun() && c.again(p, signer, f, tried) {
			continue
		}
		if f.signed && !f.exchange() {
			c.Peers.Seen(ctx, p.Name)
		} else {
			c.Peers.Failed(ctx, p.Name, f.text)
		}
		return f.asError(p)
	}
}

// again says whether the call can end otherwise when it is sent once more: each reason
// counts once.
func (c *Client) again(p peer.Peer, signer peer.Signer, f *failure, tried map[string]bool) bool {
	reason := ""
	switch {
	case f.signed && (f.word == wire.RefusedClock || f.word == wire.RefusedReplay):
		reason = f.word // the clock is corrected, and the nonce is another one
	case f.signed && f.word == wire.RefusedKey, f.otherKey != "":
		c.Peers.Refresh() // another node may have told the peer of a new key, or heard of one
		reason = fmt.Sprint("keys ", signer.Generation, p.Newest())
	default:
		return false
	}
	if tried[reason] {
		return false
	}
	tried[reason] = true
	return true
}

// once sends the call once, signed by the signer. nil: it was done.
func (c *Client) once(ctx context.Context, p peer.Peer, signer peer.Signer, k call, body *guard, out any) *failure {
	if strings.HasPrefix(p.URL, "http:") && !p.Insecure {
		return &failure{text: "its address is plain HTTP, which was not allowed"}
	}
	target := k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	in := wire.Request{
		Method: k.method, Target: target, Source: k.source, From: signer.Key.Fingerprint(), To: p.Newest().Fingerprint(),
		Time: c.Clock.Now().Add(c.offset(p)), Nonce: wire.NewNonce(), Content: wire.BodyDigest(k.body),
	}
	ctx, w := newWatch(ctx, c.Stall, c.Connect+c.Answer)
	defer w.end()
	r, err := http.NewRequestWithContext(ctx, k.method, p.URL+target, nil)
	if err != nil {
		return &failure{text: "the request cannot be made", cause: err}
	}
	if body != nil {
		in.Content = string(k.digest)
		r.ContentLength = k.length
		if r.Body = http.NoBody; k.length > 0 {
			r.Body = w.body(body)
		}
	} else {
		r.ContentLength = int64(len(k.body))
		r.GetBody = func() (io.ReadCloser, error) { return w.body(bytes.NewReader(k.body)), nil }
		r.Body, _ = r.GetBody() // it never fails
		// Everything may be asked twice, so a connection that the other side has closed
		// meanwhile is no failure. The empty list has the transport know, and is not sent.
		r.Header["Idempotency-Key"] = []string{}
	}
	r.Header.Set("User-Agent", "berth-peer/1")
	in.Sign(r.Header, signer)
	answer, err := c.transport.RoundTrip(r)
	if err != nil {
		return &failure{text: reason(ctx, err), cause: err}
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, wire.MaxJSON+1))
	_ = answer.Body.Close() // it was only read
	if err != nil {
		return &failure{text: reason(ctx, err), cause: err}
	}
	return c.read(p, in, answer, text, out)
}

// read verifies an answer and takes it apart.
func (c *Client) read(p peer.Peer, in wire.Request, answer *http.Response, text []byte, out any) *failure {
	at, err := wire.OpenAnswer(answer.Header, answer.StatusCode, text, in, p.Newest())
	if err != nil {
		if with := answer.Header.Get(wire.HeaderKey); with != "" && with != string(in.To) {
			return &failure{otherKey: with[:min(len(with), len(in.To))], text: fmt.Sprintf("the deployment at %s answers with another key than the one known for it", p.URL)}
		}
		return &failure{text: fmt.Sprintf("what answers at %s with status %d has not signed its answer: no Berth that knows of peers, or a proxy before it", p.URL, answer.StatusCode)}
	}
	c.setOffset(p, at)
	if answer.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, out); err != nil {
			return &failure{signed: true, text: "the answer cannot be read", cause: err}
		}
		return nil
	}
	var refused wire.Failure
	if err := json.Unmarshal(text, &refused); err != nil || refused.Word == "" {
		return &failure{signed: true, text: fmt.Sprintf("it answered with status %d", answer.StatusCode)}
	}
	message := strings.ToValidUTF8(refused.Message[:min(len(refused.Message), wire.MaxText)], "")
	return &failure{signed: true, word: refused.Word, text: cmp.Or(message, refused.Word)}
}

// worthCorrecting is how far a peer's clock has to be off before requests to it are
// timed by it: much more than an answer is on the way, much less than what is refused.
const worthCorrecting = 30 * time.Second

// offset is what is added to our time in requests to the peer. Who is told of a time by
// a signed answer takes it for this peer's clock alone.
func (c *Client) offset(p peer.Peer) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead[p.Name]
}

func (c *Client) setOffset(p peer.Peer, theirs time.Time) {
	ahead := theirs.Sub(c.Clock.Now())
	c.mu.Lock()
	before, known := c.ahead[p.Name]
	switch {
	case ahead.Abs() < worthCorrecting:
		delete(c.ahead, p.Name)
	case !known || (ahead-before).Abs() >= worthCorrecting:
		c.ahead[p.Name] = ahead
	default:
		ahead = before
	}
	c.mu.Unlock()
	if ahead.Abs() >= worthCorrecting && ahead != before {
		c.Log.Warn("the clock of a peer, or of this node, is wrong; requests to the peer are timed by the peer's", "peer", p.Name, "peerAhead", ahead.Round(time.Second).String())
	}
}

// unavailable words a peer that is not there to ask.
func unavailable(err error, address string) error {
	if errs.Is(err, errs.EntityNotFound) {
		return errs.Wrap(err, errs.Unavailable, "No peer is added for %s. The operator adds it with berth peer add NAME --url %s --key KEY.", address, address)
	}
	if _, ours := errors.AsType[*errs.Error](err); ours {
		return err
	}
	return errs.Wrap(err, errs.Unavailable, "The peers of this deployment cannot be read now.")
}

// Package peer answers the requests of other deployments: it verifies who asks, that
// he may speak for the account whose images he brings, and that nothing was changed on
// the way, and hands the images to a replication.Destination.
//
// It owns the order of these checks, the bounds on bodies, and that every answer is
// signed. What is said is in its package wire, the asking side in its package client;
// keys and accounts are domain/peer's, and what becomes of the images is
// domain/replication's. docs/peers.md tells it to operators.
package peer

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/berth-registry/berth/internal/api/peer/wire"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Prefix begins the paths that Handler answers.
const Prefix = wire.Prefix

// DefaultStall is how long a body may stand still before it is cut.
const DefaultStall = time.Minute

// Config is what a Handler stands on.
type Config struct {
	Peers *peer.Service
	// Destination receives; it refuses regions that are not served here.
	Destination replication.Destination
	Clock       clock.Clock
	Log         *slog.Logger
	// Stall is how long a body may stand still; 0: DefaultStall.
	Stall time.Duration
}

// Handler answers all under Prefix.
type Handler struct {
	Config
	nonces nonces
}

// New returns the handler.
func New(c Config) *Handler {
	c.Stall = cmp.Or(c.Stall, DefaultStall)
	return &Handler{Config: c}
}

// request is one that is verified, but for its body.
type request struct {
	wire.Request
	peer  peer.Peer
	query url.Values
	// body is what was sent, verified; nil where it is streamed.
	body []byte
	// stream is a layer's body, length its announced length.
	stream io.Reader
	length int64
}

// refusal is a failure that is about the exchange itself.
type refusal struct {
	status int
	wire.Failure
}

func (r *refusal) Error() string { return r.Message }

func refuse(status int, word, message string) *refusal {
	return &refusal{status: status, Failure: wire.Failure{Word: word, Message: message}}
}

func malformed(message string) *refusal {
	return refuse(http.StatusBadRequest, wire.RefusedMalformed, message)
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	signers, err := h.Peers.Signers(r.Context())
	if err != nil {
		h.Log.Error("a peer's request failed: the keys of this deployment cannot be read", "error", err)
		http.Error(w, "this deployment cannot answer now", http.StatusServiceUnavailable)
		return
	}
	if len(signers) == 0 {
		http.NotFound(w, r) // no peer was ever added
		return
	}
	rc := http.NewResponseController(w)
	body := &pacedBody{body: r.Body, rc: rc, stall: h.Stall}
	in, signature, err := wire.ReadRequest(r)
	with := signers[len(signers)-1]
	for _, one := range signers {
		if one.Key.Fingerprint() == in.To {
			with = one
		}
	}
	var out any
	if err != nil {
		err = malformed("The request has not the headers of a signed request between deployments.")
	} else {
		out, err = h.answer(r, in, signature, with, body)
	}
	id := ""
	if err != nil {
		id = requestID()
		if body.broken() {
			err = refuse(http.StatusRequestTimeout, wire.RefusedIncomplete, "The request's body broke off or stood still.")
		}
	}
	status, text := h.encode(out, err, id, in)
	// A refusal is given at once, so that a layer that is not wanted is not sent on.
	early := err != nil && !body.ended() && rc.EnableFullDuplex() == nil
	if err != nil && !early {
		body.drain()
	}
	body.end()
	wire.Answer{
		From: with.Key.Fingerprint(), To: in.From, Nonce: in.Nonce, Status: status, Time: h.Clock.Now(), Content: wire.BodyDigest(text),
	}.Sign(w.Header(), with)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Header().Set("Cache-Control", "no-store")
	_ = rc.SetWriteDeadline(time.Now().Add(h.Stall)) // a connection that has no deadlines is a test's
	w.WriteHeader(status)
	_, _ = w.Write(text) // a peer that has gone asks again
	_ = rc.Flush()       // likewise
	if early {
		body.drain()
		body.end()
	}
	_ = rc.SetWriteDeadline(time.Time{}) // the connection's next answer has its own
}

// encode is the status and the body of an answer.
func (h *Handler) encode(out any, err error, id string, in wire.Request) (int, []byte) {
	status := http.StatusOK
	if err != nil {
		if ours, ok := errors.AsType[*refusal](err); ok {
			status, out = ours.status, ours.Failure
			h.Log.Debug("a peer's request was refused", "requestId", id, "key", string(in.From), "word", ours.Word)
		} else {
			var f wire.Failure
			status, f = wire.Of(err, id)
			f.Message = f.Message[:min(len(f.Message), wire.MaxText)]
			out = f
			if status == http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
				h.Log.Error("a peer's request failed", "requestId", id, "key", string(in.From), "error", err)
			}
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		h.Log.Error("an answer to a peer cannot be written", "requestId", id, "error", err)
		return http.StatusInternalServerError, []byte(`{"word":"internal","message":"The peer failed."}`)
	}
	return status, text
}

// answer checks everything, in the order in which it may be told, and does what is
// asked.
func (h *Handler) answer(r *http.Request, in wire.Request, signature []byte, with peer.Signer, body *pacedBody) (any, error) {
	ctx := r.Context()
	if with.Key.Fingerprint() != in.To {
		return nil, refuse(http.StatusMisdirectedRequest, wire.RefusedAudience, "The request is for another deployment, or for a key that this one no longer has. Compare with what berth peer key prints here.")
	}
	from, key, found, err := h.Peers.ByFingerprint(ctx, in.From)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, refuse(http.StatusUnauthorized, wire.RefusedKey, "This deployment knows no peer with the key. Add it here with berth peer add.")
	case !in.Verify(key, signature):
		return nil, refuse(http.StatusUnauthorized, wire.RefusedSignature, "The signature does not fit the request. A proxy on the way may have changed it.")
	}
	now := h.Clock.Now()
	if d := now.Sub(in.Time); d > wire.MaxSkew || d < -wire.MaxSkew {
		return nil, refuse(http.StatusUnauthorized, wire.RefusedClock, "The request's time is more than five minutes from the time here.")
	}
	switch h.nonces.add(in, now) {
	case nonceFresh:
	case nonceRepeated:
		return nil, refuse(http.StatusUnauthorized, wire.RefusedReplay, "The request was here before.")
	case nonceNoRoom:
		return nil, errs.New(errs.Throttled, "Too many requests of peers in a few minutes. They go on by themselves.")
	}
	if err := h.Peers.Used(ctx, from, key); err != nil {
		return nil, err
	}
	h.Peers.Seen(ctx, from.Name)
	do, ok := routes[r.URL.Path]
	if !ok || do.method != r.Method {
		return nil, refuse(http.StatusNotFound, wire.RefusedMalformed, "This deployment has no such request; it may be an older one than the other side.")
	}
	if do.place && !from.SpeaksFor(in.Source.Account) {
		return nil, refuse(http.StatusForbidden, wire.RefusedAccount, "The peer may not send what belongs to account "+string(in.Source.Account)+". The operator of the destination can allow it with berth peer add --replace --accounts.")
	}
	req := request{Request: in, peer: from}
	if req.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, malformed("The query cannot be read.")
	}
	if do.limit == 0 {
		req.stream, req.length = body, r.ContentLength
	} else if req.body, err = readBody(body, r.ContentLength, do.limit, in.Content); err != nil {
		return nil, err
	}
	return do.do(ctx, h, req)
}

// readBody reads a bounded body and compares it with its digest.
func readBody(body io.Reader, length, limit int64, content string) ([]byte, error) {
	if length > limit {
		return nil, refuse(http.StatusRequestEntityTooLarge, wire.RefusedMalformed, "The body is longer than "+strconv.FormatInt(limit, 10)+" bytes.")
	}
	all, err := io.ReadAll(io.LimitReader(body, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(all)) > limit:
		return nil, refuse(http.StatusRequestEntityTooLarge, wire.RefusedMalformed, "The body is longer than "+strconv.FormatInt(limit, 10)+" bytes.")
	case wire.BodyDigest(all) != content:
		return nil, refuse(http.StatusBadRequest, wire.RefusedContent, "The body is not the one that was signed.")
	}
	return all, nil
}

func requestID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // it never fails: it ends the program instead
	return hex.EncodeToString(b)
}

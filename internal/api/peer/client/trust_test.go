package client_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/peer/wire"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/domain/replication"
)

// spoken is a request as it goes out, for a test to change.
type spoken struct {
	method, target string
	header         http.Header
	body           []byte
}

// speak signs a request of here for there, as the client does.
func speak(here, there *side, change func(*wire.Request)) (spoken, wire.Request) {
	here.t.Helper()
	signers, err := here.peers.Signers(here.t.Context())
	ok(here.t, err)
	body := []byte(`{"digest":"` + string(name.SHA256(nil)) + `","seq":1}`)
	in := wire.Request{
		Method: http.MethodPost, Target: wire.PathRemove + "?account=444455556666&region=eu-west-1&repository=team%2Fapp",
		Source: place().Source, From: here.key().Fingerprint(), To: there.key().Fingerprint(), Time: here.clk.Now(), Nonce: wire.NewNonce(), Content: wire.BodyDigest(body),
	}
	if change != nil {
		change(&in)
	}
	h := http.Header{}
	in.Sign(h, signers[len(signers)-1])
	return spoken{method: in.Method, target: in.Target, header: h, body: body}, in
}

// send sends it, and verifies the answer's signature.
func (s spoken) send(there *side, in wire.Request) (status int, word string) {
	there.t.Helper()
	r := httptest.NewRequest(s.method, s.target, bytes.NewReader(s.body)) // RequestURI is the target
	maps.Copy(r.Header, s.header)
	w := httptest.NewRecorder()
	there.handler.ServeHTTP(w, r)
	signers, err := there.peers.Signers(there.t.Context())
	ok(there.t, err)
	key := signers[len(signers)-1].Key
	at, err := wire.OpenAnswer(w.Header(), w.Code, w.Body.Bytes(), in, key)
	if err != nil || !at.Equal(there.clk.Now().Truncate(time.Microsecond)) {
		there.t.Errorf("an answer with status %d is not signed: %v, %v", w.Code, err, at)
	}
	var f wire.Failure
	if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil {
		there.t.Error(err)
	}
	return w.Code, f.Word
}

// TestEverySignedPart changes one part of a request after it was signed: nothing of it
// gets through, and the refusal is signed.
func TestEverySignedPart(t *testing.T) {
	here, there, _ := pair(t)
	third := newSide(t, newDatabase(t), stall)
	there.knows(third, "third", account)
	good, in := speak(here, there, nil)
	if status, word := good.send(there, in); status != http.StatusOK {
		t.Fatalf("the request as it was signed: %d %s", status, word)
	}
	for what, c := range map[string]struct {
		change func(*spoken, *wire.Request)
		word   string
	}{
		"the method":   {func(s *spoken, _ *wire.Request) { s.method = http.MethodPut }, wire.RefusedSignature},
		"the path":     {func(s *spoken, _ *wire.Request) { s.target = strings.Replace(s.target, "/remove", "/prepare", 1) }, wire.RefusedSignature},
		"the query":    {func(s *spoken, _ *wire.Request) { s.target = strings.Replace(s.target, "app", "web", 1) }, wire.RefusedSignature},
		"its spelling": {func(s *spoken, _ *wire.Request) { s.target = strings.Replace(s.target, "%2F", "/", 1) }, wire.RefusedSignature},
		"the account":  {func(s *spoken, _ *wire.Request) { s.header.Set(wire.HeaderSource, "111122223334/us-east-1") }, wire.RefusedSignature},
		"the region":   {func(s *spoken, _ *wire.Request) { s.header.Set(wire.HeaderSource, "111122223333/us-east-2") }, wire.RefusedSignature},
		"no source":    {func(s *spoken, _ *wire.Request) { s.header.Set(wire.HeaderSource, "-") }, wire.RefusedSignature},
		"the time": {func(s *spoken, r *wire.Request) {
			s.header.Set(wire.HeaderTime, strconv.FormatInt(r.Time.UnixMicro()+1, 10))
		}, wire.RefusedSignature},
		"the nonce":   {func(s *spoken, r *wire.Request) { r.Nonce = wire.NewNonce(); s.header.Set(wire.HeaderNonce, r.Nonce) }, wire.RefusedSignature},
		"the content": {func(s *spoken, _ *wire.Request) { s.header.Set(wire.HeaderContent, wire.BodyDigest([]byte("x"))) }, wire.RefusedSignature},
		"content & body": {func(s *spoken, _ *wire.Request) {
			s.body = []byte("{}")
			s.header.Set(wire.HeaderContent, wire.BodyDigest(s.body))
		}, wire.RefusedSignature},
		"the body":      {func(s *spoken, _ *wire.Request) { s.body[len(s.body)-2] = '2' }, wire.RefusedContent},
		"a longer body": {func(s *spoken, _ *wire.Request) { s.body = append(s.body, ' ') }, wire.RefusedContent},
		"the signature": {func(s *spoken, _ *wire.Request) { s.header.Set(wire.HeaderSignature, strings.Repeat("A", 86)) }, wire.RefusedSignature},
		"a short one":   {func(s *spoken, _ *wire.Request) { s.header.Set(wire.HeaderSignature, "AAAA") }, wire.RefusedSignature},
		"no signature":  {func(s *spoken, r *wire.Request) { s.header.Del(wire.HeaderSignature); *r = wire.Request{} }, wire.RefusedMalformed},
		"another peer": {func(s *spoken, r *wire.Request) {
			r.From = third.key().Fingerprint()
			s.header.Set(wire.HeaderKey, string(r.From))
		}, wire.RefusedSignature},
		"nobody's key": {func(s *spoken, r *wire.Request) {
			r.From = peer.Fingerprint(strings.Repeat("0", 32))
			s.header.Set(wire.HeaderKey, string(r.From))
		}, wire.RefusedKey},
		"the receiver": {func(s *spoken, r *wire.Request) {
			r.To = third.key().Fingerprint()
			s.header.Set(wire.HeaderTo, string(r.To))
		}, wire.RefusedAudience},
	} {
		s, in := speak(here, there, nil)
		c.change(&s, &in)
		calls := there.store.count()
		if status, word := s.send(there, in); status < 400 || word != c.word {
			t.Errorf("%s: %d %q, want %q", what, status, word, c.word)
		}
		if there.store.count() != calls {
			t.Errorf("%s: it got through", what)
		}
	}
	// Signed whole, for another deployment.
	s, in := speak(here, there, func(r *wire.Request) { r.To = third.key().Fingerprint() })
	if status, word := s.send(there, in); status != http.StatusMisdirectedRequest || word != wire.RefusedAudience {
		t.Errorf("a request for another: %d %s", status, word)
	}
	s, in = speak(here, there, func(r *wire.Request) { r.Target = "/peer/v1/later" })
	if status, word := s.send(there, in); status != http.StatusNotFound || word != wire.RefusedMalformed {
		t.Errorf("a request of later times: %d %s", status, word)
	}
	s, in = speak(here, there, func(r *wire.Request) { r.Source = name.Registry{} })
	if status, word := s.send(there, in); status != http.StatusForbidden || word != wire.RefusedAccount {
		t.Errorf("a request for no account: %d %s", status, word)
	}
}

// TestTimeAndReplay: a request holds for five minutes on both sides, and once.
func TestTimeAndReplay(t *testing.T) {
	here, there, _ := pair(t)
	for d, want := range map[time.Duration]string{
		5 * time.Minute: "", -5 * time.Minute: "", 5*time.Minute + time.Microsecond: wire.RefusedClock, -5*time.Minute - time.Microsecond: wire.RefusedClock, 1e5 * time.Hour: wire.RefusedClock,
	} {
		s, in := speak(here, there, func(r *wire.Request) { r.Time = there.clk.Now().Add(d) })
		if _, word := s.send(there, in); word != want {
			t.Errorf("%s off: %q, want %q", d, word, want)
		}
	}
	s, in := speak(here, there, func(r *wire.Request) { r.Time = there.clk.Now().Add(5 * time.Minute) })
	for i, want := range []string{"", wire.RefusedReplay, wire.RefusedReplay, wire.RefusedReplay, wire.RefusedClock} {
		if _, word := s.send(there, in); word != want {
			t.Errorf("time %d: %q, want %q", i+1, word, want)
		}
		if i > 0 {
			there.clk.Advance(4 * time.Minute)
		}
	}
	calls := there.store.count()
	s, in = speak(here, there, func(r *wire.Request) { r.Time = there.clk.Now() })
	s.send(there, in)
	s.send(there, in)
	if got := there.store.count() - calls; got != 1 {
		t.Errorf("it was done %d times", got)
	}
}

// TestWrongClocks: a clock that is hours off, on either side, stops nothing.
func TestWrongClocks(t *testing.T) {
	for _, off := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		here, there, to := pair(t)
		ctx, p := t.Context(), place()
		if off > 0 {
			here.clk.Advance(off)
		} else {
			there.clk.Advance(-off)
		}
		body, b := layer(1, 1000)
		// A layer is not sent twice by itself, so the first one only learns the time ...
		err := to.PutBlob(ctx, p, replication.Part{Blob: b}, bytes.NewReader(body))
		if err != nil {
			want(t, err, errs.Unavailable, "more than five minutes")
			ok(t, to.PutBlob(ctx, p, replication.Part{Blob: b}, bytes.NewReader(body)))
		}
		// ... and everything else is, at once.
		here.restart()
		to = here.client.To(there.server.URL)
		ok(t, to.Prepare(ctx, p))
		conns := there.conns.Load()
		ok(t, to.Prepare(ctx, p))
		there.clk.Advance(4 * time.Hour) // somebody has set it right, or wrong again
		ok(t, to.Prepare(ctx, p))
		if got := there.conns.Load(); got != conns {
			t.Errorf("%d new connections", got-conns)
		}
		if _, err := to.PutImage(ctx, p, replication.Manifest{Digest: name.SHA256(body), Body: body}); err != nil {
			t.Error(err)
		}
	}
}

// TestAnswersAreVerified: an answer that is not the peer's, to this request, as it was
// given, is none.
func TestAnswersAreVerified(t *testing.T) {
	here, there, to := pair(t)
	third := newSide(t, newDatabase(t), stall)
	third.key()
	var before http.Header // of the answer to an earlier request
	for what, change := range map[string]func(w *httptest.ResponseRecorder, r *http.Request) (status int, header http.Header, body string){
		"unsigned": func(w *httptest.ResponseRecorder, _ *http.Request) (int, http.Header, string) {
			return w.Code, http.Header{}, w.Body.String()
		},
		"another body": func(w *httptest.ResponseRecorder, _ *http.Request) (int, http.Header, string) {
			return w.Code, w.Header(), strings.Replace(w.Body.String(), "true", "false", 1)
		},
		"another status": func(w *httptest.ResponseRecorder, _ *http.Request) (int, http.Header, string) {
			return http.StatusForbidden, w.Header(), w.Body.String()
		},
		"another time": func(w *httptest.ResponseRecorder, _ *http.Request) (int, http.Header, string) {
			w.Header().Set(wire.HeaderTime, strconv.FormatInt(there.clk.Now().Add(time.Hour).UnixMicro(), 10))
			return w.Code, w.Header(), w.Body.String()
		},
		"an answer of before": func(w *httptest.ResponseRecorder, _ *http.Request) (int, http.Header, string) {
			return w.Code, before, w.Body.String()
		},
		"another deployment's": func(w *httptest.ResponseRecorder, r *http.Request) (int, http.Header, string) {
			signers, err := third.peers.Signers(t.Context())
			ok(t, err)
			wire.Answer{
				From: signers[0].Key.Fingerprint(), To: peer.Fingerprint(r.Header.Get(wire.HeaderKey)), Nonce: r.Header.Get(wire.HeaderNonce),
				Status: w.Code, Time: there.clk.Now(), Content: wire.BodyDigest(w.Body.Bytes()),
			}.Sign(w.Header(), signers[0])
			return w.Code, w.Header(), w.Body.String()
		},
		"no JSON": func(*httptest.ResponseRecorder, *http.Request) (int, http.Header, string) {
			return http.StatusBadGateway, http.Header{"Content-Type": {"text/html"}}, "<h1>Bad gateway</h1>"
		},
		"endless": func(w *httptest.ResponseRecorder, _ *http.Request) (int, http.Header, string) {
			return w.Code, w.Header(), strings.Repeat(" ", 3<<20)
		},
	} {
		there.wrap(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(w, r)
				before = w.Header().Clone()
			})
		})
		m := replication.Manifest{Digest: name.SHA256([]byte("m")), Body: []byte("m"), Tag: "v1"}
		if tagged, err := to.PutImage(t.Context(), place(), m); err != nil || !tagged {
			t.Fatalf("as it is: %v %v", tagged, err)
		}
		there.wrap(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				recorded := httptest.NewRecorder()
				h.ServeHTTP(recorded, r)
				status, header, body := change(recorded, r)
				header = header.Clone()
				header.Del("Content-Length")
				maps.Copy(w.Header(), header)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
		})
		tagged, err := to.PutImage(t.Context(), place(), m)
		if !errs.Is(err, errs.Unavailable) || tagged {
			t.Errorf("%s: %v %v", what, tagged, err)
		}
		if all, err := here.peers.List(t.Context()); err != nil || all[0].Error == "" {
			t.Errorf("%s is not noted: %v", what, err)
		}
	}
}

// TestAnAnswerIsForOneRequest: what was signed for one request is no answer to another.
func TestAnAnswerIsForOneRequest(t *testing.T) {
	here, there, _ := pair(t)
	signers, err := there.peers.Signers(t.Context())
	ok(t, err)
	_, in := speak(here, there, nil)
	h := http.Header{}
	wire.Answer{From: signers[0].Key.Fingerprint(), To: in.From, Nonce: in.Nonce, Status: 200, Time: there.clk.Now(), Content: wire.BodyDigest([]byte("{}"))}.Sign(h, signers[0])
	if _, err := wire.OpenAnswer(h, 200, []byte("{}"), in, there.key()); err != nil {
		t.Fatal(err)
	}
	other := in
	other.Nonce = wire.NewNonce()
	if _, err := wire.OpenAnswer(h, 200, []byte("{}"), other, there.key()); err == nil {
		t.Error("it answers a request with another nonce")
	}
	other = in
	other.From = there.key().Fingerprint()
	if _, err := wire.OpenAnswer(h, 200, []byte("{}"), other, there.key()); err == nil {
		t.Error("it answers a request of another sender")
	}
	if _, err := wire.OpenAnswer(h, 403, []byte("{}"), in, there.key()); err == nil {
		t.Error("it may have another status")
	}
	h.Set(wire.HeaderTime, strconv.FormatInt(there.clk.Now().UnixMicro()+1, 10))
	if _, err := wire.OpenAnswer(h, 200, []byte("{}"), in, there.key()); err == nil {
		t.Error("it may have another time")
	}
}

// TestStrangersMakeNothing: a deployment that has no key does not get one because
// somebody asks.
func TestStrangersMakeNothing(t *testing.T) {
	_, there, _ := pair(t)
	fresh := newSide(t, newDatabase(t), stall)
	r := httptest.NewRequest(http.MethodPost, wire.PathPing, nil)
	w := httptest.NewRecorder()
	fresh.handler.ServeHTTP(w, r)
	if all, err := fresh.peers.Signers(t.Context()); w.Code != http.StatusNotFound || err != nil || len(all) != 0 {
		t.Errorf("%d %v %v", w.Code, all, err)
	}
	w = httptest.NewRecorder()
	there.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, wire.PathPing, nil))
	if w.Code != http.StatusBadRequest || w.Header().Get(wire.HeaderSignature) == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

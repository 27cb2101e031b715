package wire

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
)

// The headers of requests and answers. Requests have all of them, answers those that
// say so.
const (
	HeaderKey       = "Berth-Peer-Key"       // fingerprint of the key that signed; in answers too
	HeaderTo        = "Berth-Peer-To"        // fingerprint of the receiver's key
	HeaderSource    = "Berth-Peer-Source"    // account/region that images come from, "-" for none
	HeaderTime      = "Berth-Peer-Time"      // Unix microseconds; in answers too
	HeaderNonce     = "Berth-Peer-Nonce"     // 16 random bytes
	HeaderContent   = "Berth-Peer-Content"   // digest of the body; of a layer: its whole digest
	HeaderSignature = "Berth-Peer-Signature" // in answers too
)

// The first lines of what is signed: they keep one kind of text from standing for
// another. A change of the texts changes the number.
const (
	requestVersion = "berth-peer-1 request"
	answerVersion  = "berth-peer-1 answer"
	proofVersion   = "berth-peer-1 key"
)

// ErrMalformed is returned for headers that are not those of a signed message.
var ErrMalformed = errors.New("not a signed message")

const nonceBytes = 16

var (
	fingerprintRE = regexp.MustCompile(`^[0-9a-f]{32}$`)
	nonceRE       = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)
)

// NewNonce makes the random text of one request.
func NewNonce() string {
	b := make([]byte, nonceBytes)
	_, _ = rand.Read(b) // it never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// BodyDigest is the digest of a body, as HeaderContent has it.
func BodyDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Request is everything of a request that is signed.
type Request struct {
	Method string
	// Target is the path with the query, byte by byte as it is sent.
	Target string
	// Source is the registry that images come from; zero for a ping or a key.
	Source name.Registry
	// From and To are the fingerprints of the sender's and the receiver's key: what
	// is signed for one deployment is nothing to another.
	From, To peer.Fingerprint
	Time     time.Time
	Nonce    string
	// Content is the digest of the body, or of the whole layer of which it is a part.
	Content string
}

func (r Request) source() string {
	if r.Source == (name.Registry{}) {
		return "-"
	}
	return r.Source.String()
}

// text is what is signed: no part can hold a line feed.
func (r Request) text() []byte {
	return []byte(strings.Join([]string{
		requestVersion, r.Method, r.Target, r.source(), string(r.From), string(r.To),
		strconv.FormatInt(r.Time.UnixMicro(), 10), r.Nonce, r.Content,
	}, "\n"))
}

// Sign puts the request's headers and its signature into h.
func (r Request) Sign(h http.Header, with peer.Signer) {
	h.Set(HeaderKey, string(r.From))
	h.Set(HeaderTo, string(r.To))
	h.Set(HeaderSource, r.source())
	h.Set(HeaderTime, strconv.FormatInt(r.Time.UnixMicro(), 10))
	h.Set(HeaderNonce, r.Nonce)
	h.Set(HeaderContent, r.Content)
	h.Set(HeaderSignature, base64.RawURLEncoding.EncodeToString(with.Sign(r.text())))
}

// Verify says whether the signature is the key's.
func (r Request) Verify(key peer.PublicKey, signature []byte) bool {
	return key.Verify(r.text(), signature)
}

// ReadRequest reads what a request says is signed, and the signature. Nothing is
// verified. ErrMalformed when a header is missing, there twice, or not well-formed.
func ReadRequest(r *http.Request) (out Request, signature []byte, err error) {
	var key, to, source, at, nonce, content, signed string
	for header, into := range map[string]*string{
		HeaderKey: &key, HeaderTo: &to, HeaderSource: &source, HeaderTime: &at, HeaderNonce: &nonce, HeaderContent: &content, HeaderSignature: &signed,
	} {
		values := r.Header.Values(header)
		if len(values) != 1 {
			return out, nil, ErrMalformed
		}
		*into = values[0]
	}
	out = Request{Method: r.Method, Target: r.RequestURI, From: peer.Fingerprint(key), To: peer.Fingerprint(to), Nonce: nonce, Content: content}
	micro, timeErr := strconv.ParseInt(at, 10, 64)
	signature, signedErr := base64.RawURLEncoding.Strict().DecodeString(signed)
	_, contentErr := name.ParseDigest(content)
	if timeErr != nil || signedErr != nil || contentErr != nil || !fingerprintRE.MatchString(key) || !fingerprintRE.MatchString(to) || !nonceRE.MatchString(nonce) {
		return out, nil, ErrMalformed
	}
	out.Time = time.UnixMicro(micro)
	if source != "-" {
		if out.Source, err = parseRegistry(source); err != nil {
			return out, nil, err
		}
	}
	return out, signature, nil
}

func parseRegistry(text string) (name.Registry, error) {
	account, region, _ := strings.Cut(text, "/")
	a, aErr := name.ParseAccountID(account)
	g, gErr := name.ParseRegion(region)
	if aErr != nil || gErr != nil {
		return name.Registry{}, ErrMalformed
	}
	return name.Registry{Account: a, Region: g}, nil
}

// Answer is everything of an answer that is signed. It is bound to the request by
// its nonce.
type Answer struct {
	// From is the fingerprint of the key that signs it, To that of the request's key.
	From, To peer.Fingerprint
	Nonce    string
	Status   int
	// Time is the answering side's.
	Time time.Time
	// Content is the digest of the body.
	Content string
}

func (a Answer) text() []byte {
	return []byte(strings.Join([]string{
		answerVersion, string(a.From), string(a.To), a.Nonce, strconv.Itoa(a.Status), strconv.FormatInt(a.Time.UnixMicro(), 10), a.Content,
	}, "\n"))
}

// Sign puts the answer's headers and its signature into h.
func (a Answer) Sign(h http.Header, with peer.Signer) {
	h.Set(HeaderKey, string(a.From))
	h.Set(HeaderTime, strconv.FormatInt(a.Time.UnixMicro(), 10))
	h.Set(HeaderSignature, base64.RawURLEncoding.EncodeToString(with.Sign(a.text())))
}

// OpenAnswer verifies an answer to the request by the key that it was sent to, and
// returns the other side's time. ErrMalformed when it is not signed by that key, for
// this request, as it arrived.
func OpenAnswer(h http.Header, status int, body []byte, to Request, key peer.PublicKey) (time.Time, error) {
	micro, timeErr := strconv.ParseInt(h.Get(HeaderTime), 10, 64)
	signature, signedErr := base64.RawURLEncoding.Strict().DecodeString(h.Get(HeaderSignature))
	if timeErr != nil || signedErr != nil {
		return time.Time{}, ErrMalformed
	}
	a := Answer{From: key.Fingerprint(), To: to.From, Nonce: to.Nonce, Status: status, Time: time.UnixMicro(micro), Content: BodyDigest(body)}
	if !key.Verify(a.text(), signature) {
		return time.Time{}, ErrMalformed
	}
	return a.Time, nil
}

// ProofText is what a new key signs when it is announced in a request: by the key of
// the fingerprint from, to the deployment with the key to.
func ProofText(from, to peer.Fingerprint, key peer.PublicKey, generation int64) []byte {
	return []byte(strings.Join([]string{proofVersion, string(from), string(to), key.String(), strconv.FormatInt(generation, 10)}, "\n"))
}

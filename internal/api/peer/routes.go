package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"

	"github.com/berth-registry/berth/internal/api/peer/wire"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/domain/replication"
)

// route is one request that peers can make.
type route struct {
	method string
	// place says that it is about a repository, and so about a source's account that
	// the peer must be allowed to speak for.
	place bool
	// limit bounds the body, in bytes; 0: it is a layer, streamed, of the announced
	// length.
	limit int64
	do    func(context.Context, *Handler, request) (any, error)
}

// routes are all requests, by path.
var routes = map[string]route{
	wire.PathPing:    {http.MethodPost, false, wire.MaxJSON, ping},
	wire.PathKey:     {http.MethodPost, false, wire.MaxJSON, newKey},
	wire.PathPrepare: {http.MethodPost, true, wire.MaxJSON, placed(prepare)},
	wire.PathLacking: {http.MethodPost, true, wire.MaxJSON, placed(lacking)},
	wire.PathBlob:    {http.MethodPut, true, 0, placed(putBlob)},
	wire.PathHeld:    {http.MethodPost, true, wire.MaxJSON, placed(images)},
	wire.PathImage:   {http.MethodPut, true, wire.MaxManifest, placed(putImage)},
	wire.PathFailed:  {http.MethodPost, true, wire.MaxManifest, placed(failed)},
	wire.PathRemove:  {http.MethodPost, true, wire.MaxJSON, placed(remove)},
}

// nothing is the answer to what has none.
type nothing struct{}

func ping(_ context.Context, _ *Handler, r request) (any, error) {
	return wire.Pong{Accounts: append([]name.AccountID{}, r.peer.Accounts...)}, nil
}

func newKey(ctx context.Context, h *Handler, r request) (any, error) {
	var in wire.NewKey
	if err := decode(r.body, &in); err != nil {
		return nil, err
	}
	key, err := peer.ParseKey(in.Key)
	if err != nil {
		return nil, err
	}
	if !key.Verify(wire.ProofText(r.From, r.To, key, in.Generation), in.Proof) {
		return nil, malformed("The new key has not signed for itself.")
	}
	if err := h.Peers.Learn(ctx, r.peer.Name, r.From, key, in.Generation); err != nil {
		return nil, err
	}
	h.Log.Info("a peer has announced its new key", "peer", r.peer.Name, "key", string(key.Fingerprint()))
	return nothing{}, nil
}

// placed reads the repository that a request is about.
func placed(do func(context.Context, replication.Destination, replication.Place, request) (any, error)) func(context.Context, *Handler, request) (any, error) {
	return func(ctx context.Context, h *Handler, r request) (any, error) {
		account, accountErr := name.ParseAccountID(r.query.Get(wire.QueryAccount))
		region, regionErr := name.ParseRegion(r.query.Get(wire.QueryRegion))
		repository, repositoryErr := name.ParseRepository(r.query.Get(wire.QueryRepository))
		if accountErr != nil || regionErr != nil || repositoryErr != nil {
			return nil, malformed("The request names no repository.")
		}
		return do(ctx, h.Destination, replication.Place{
			Source: r.Source, Destination: name.Registry{Account: account, Region: region}, Repository: repository,
		}, r)
	}
}

func prepare(ctx context.Context, to replication.Destination, p replication.Place, _ request) (any, error) {
	return nothing{}, to.Prepare(ctx, p)
}

func lacking(ctx context.Context, to replication.Destination, p replication.Place, r request) (any, error) {
	var in wire.Blobs
	if err := decode(r.body, &in); err != nil {
		return nil, err
	}
	if len(in.Blobs) > wire.MaxList {
		return nil, malformed("The request asks about too many layers at once.")
	}
	blobs := make([]replication.Blob, 0, len(in.Blobs))
	for _, b := range in.Blobs {
		if _, err := name.ParseDigest(string(b.Digest)); err != nil || b.Size < 0 {
			return nil, malformed("The request names what is no layer.")
		}
		blobs = append(blobs, replication.Blob{Digest: b.Digest, Size: b.Size})
	}
	parts, err := to.Lacking(ctx, p, blobs)
	if err != nil {
		return nil, err
	}
	out := wire.Blobs{Blobs: make([]wire.Blob, 0, len(parts))}
	for _, part := range parts {
		out.Blobs = append(out.Blobs, wire.Blob{Digest: part.Digest, Size: part.Size, Offset: part.Offset})
	}
	return out, nil
}

func putBlob(ctx context.Context, to replication.Destination, p replication.Place, r request) (any, error) {
	digest, digestErr := name.ParseDigest(r.query.Get(wire.QueryDigest))
	size, sizeErr := strconv.ParseInt(r.query.Get(wire.QuerySize), 10, 64)
	offset, offsetErr := strconv.ParseInt(r.query.Get(wire.QueryOffset), 10, 64)
	switch {
	case digestErr != nil || sizeErr != nil || offsetErr != nil || offset < 0 || offset > size:
		return nil, malformed("The request names no part of a layer.")
	case r.Content != string(digest):
		return nil, malformed("The request is signed for another layer than it names.")
	case r.length != size-offset:
		return nil, malformed("The body has not the length that the request names.")
	}
	return nothing{}, to.PutBlob(ctx, p, replication.Part{Blob: replication.Blob{Digest: digest, Size: size}, Offset: offset}, r.stream)
}

func images(ctx context.Context, to replication.Destination, p replication.Place, r request) (any, error) {
	var in wire.Digests
	if err := decode(r.body, &in); err != nil {
		return nil, err
	}
	if len(in.Digests) > wire.MaxList {
		return nil, malformed("The request asks about too many images at once.")
	}
	for _, d := range in.Digests {
		if _, err := name.ParseDigest(string(d)); err != nil {
			return nil, malformed("The request names what is no image.")
		}
	}
	held, err := to.Images(ctx, p, in.Digests)
	if err != nil {
		return nil, err
	}
	return wire.Digests{Digests: append([]name.Digest{}, held...)}, nil
}

func putImage(ctx context.Context, to replication.Destination, p replication.Place, r request) (any, error) {
	m, err := manifest(r)
	if err != nil {
		return nil, err
	}
	if got := m.Digest.DigestOf(m.Body); got != m.Digest {
		return nil, malformed("The manifest has not the digest that the request names.")
	}
	tagged, err := to.PutImage(ctx, p, m)
	if err != nil {
		return nil, err
	}
	return wire.Stored{Tagged: tagged}, nil
}

// failureRE are the failure codes of replication, of which later programs may have more.
var failureRE = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func failed(ctx context.Context, to replication.Destination, p replication.Place, r request) (any, error) {
	m, err := manifest(r)
	if err != nil {
		return nil, err
	}
	code := r.query.Get(wire.QueryFailure)
	if !failureRE.MatchString(code) {
		return nil, malformed("The request names no failure.")
	}
	return nothing{}, to.Failed(ctx, p, m, code)
}

// maxMediaType bounds a media type (RFC 6838, two names of 127 characters).
const maxMediaType = 255

// manifest reads the image that a request is about.
func manifest(r request) (replication.Manifest, error) {
	digest, digestErr := name.ParseDigest(r.query.Get(wire.QueryDigest))
	tag, seq, err := tagAndSeq(r.query.Get(wire.QueryTag), r.query.Get(wire.QuerySeq))
	mediaType := r.query.Get(wire.QueryMediaType)
	if digestErr != nil || err != nil || len(mediaType) > maxMediaType {
		return replication.Manifest{}, malformed("The request names no image.")
	}
	return replication.Manifest{Digest: digest, MediaType: mediaType, Body: r.body, Tag: tag, Seq: seq}, nil
}

func tagAndSeq(tag, seq string) (name.Tag, int64, error) {
	n, err := strconv.ParseInt(seq, 10, 64)
	if err != nil || tag == "" {
		return "", n, err
	}
	t, err := name.ParseTag(tag)
	return t, n, err
}

func remove(ctx context.Context, to replication.Destination, p replication.Place, r request) (any, error) {
	var in wire.Removal
	if err := decode(r.body, &in); err != nil {
		return nil, err
	}
	_, digestErr := name.ParseDigest(string(in.Digest))
	_, tagErr := name.ParseTag(string(in.Tag))
	// A tag may go by its name alone.
	if (in.Digest != "" || in.Tag == "") && digestErr != nil || in.Tag != "" && tagErr != nil {
		return nil, malformed("The request names no image.")
	}
	return nothing{}, to.Remove(ctx, p, replication.Removal{Digest: in.Digest, Tag: in.Tag, Seq: in.Seq})
}

// decode reads JSON. Members that this program does not know are a later program's,
// which must do without them.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(into); err != nil || d.More() {
		return malformed("The body is not the JSON of the request.")
	}
	return nil
}

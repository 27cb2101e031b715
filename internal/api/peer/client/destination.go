package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/berth-registry/berth/internal/api/peer/wire"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/peer"
	"github.com/berth-registry/berth/internal/domain/replication"
)

// destination is the registries behind one peer.
type destination struct {
	client *Client
	url    string
}

var _ replication.Destination = destination{}

// To is the registries behind the peer with the base address, whether it is added
// already or not: until it is, everything fails with errs.Unavailable, as it does when
// the peer cannot be reached or gives an answer that is not its own.
func (c *Client) To(url string) replication.Destination { return destination{client: c, url: url} }

func (d destination) find(ctx context.Context) (peer.Peer, error) {
	p, err := d.client.Peers.ByURL(ctx, d.url)
	if err != nil {
		return p, unavailable(err, d.url)
	}
	return p, nil
}

// nothing reads an answer that says no more than that it was done.
type nothing struct{}

func place(p replication.Place) url.Values {
	return url.Values{
		wire.QueryAccount: {string(p.Destination.Account)}, wire.QueryRegion: {string(p.Destination.Region)}, wire.QueryRepository: {string(p.Repository)},
	}
}

// post asks with a body of JSON.
func (d destination) post(ctx context.Context, p replication.Place, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return d.client.ask(ctx, d.find, call{method: http.MethodPost, path: path, query: place(p), source: p.Source, body: body}, out)
}

// Prepare makes the repository where it is missing.
func (d destination) Prepare(ctx context.Context, p replication.Place) error {
	return d.post(ctx, p, wire.PathPrepare, nothing{}, &nothing{})
}

// Lacking says which of the blobs the destination needs still.
func (d destination) Lacking(ctx context.Context, p replication.Place, blobs []replication.Blob) ([]replication.Part, error) {
	var parts []replication.Part
	for some := range slices.Chunk(blobs, wire.MaxList) {
		in := wire.Blobs{Blobs: make([]wire.Blob, 0, len(some))}
		asked := map[wire.Blob]bool{}
		for _, b := range some {
			one := wire.Blob{Digest: b.Digest, Size: b.Size}
			in.Blobs, asked[one] = append(in.Blobs, one), true
		}
		var out wire.Blobs
		if err := d.post(ctx, p, wire.PathLacking, in, &out); err != nil {
			return nil, err
		}
		for _, b := range out.Blobs {
			if !asked[wire.Blob{Digest: b.Digest, Size: b.Size}] || b.Offset < 0 || b.Offset > b.Size {
				return nil, errs.New(errs.Unavailable, "The peer at %s answers about layers that it was not asked about.", d.url)
			}
			parts = append(parts, replication.Part{Blob: replication.Blob{Digest: b.Digest, Size: b.Size}, Offset: b.Offset})
		}
	}
	return parts, nil
}

// PutBlob sends a blob's bytes from part.Offset on. A failure to read body is returned
// as it is.
func (d destination) PutBlob(ctx context.Context, p replication.Place, part replication.Part, body io.Reader) error {
	if part.Offset < 0 || part.Offset > part.Size {
		return fmt.Errorf("a layer of %d bytes has no part from byte %d on", part.Size, part.Offset)
	}
	q := place(p)
	q.Set(wire.QueryDigest, string(part.Digest))
	q.Set(wire.QuerySize, strconv.FormatInt(part.Size, 10))
	q.Set(wire.QueryOffset, strconv.FormatInt(part.Offset, 10))
	return d.client.ask(ctx, d.find, call{
		method: http.MethodPut, path: wire.PathBlob, query: q, source: p.Source, digest: part.Digest, stream: body, length: part.Size - part.Offset,
	}, &nothing{})
}

// Images says which of these images are there and active.
func (d destination) Images(ctx context.Context, p replication.Place, ds []name.Digest) ([]name.Digest, error) {
	var held []name.Digest
	for some := range slices.Chunk(ds, wire.MaxList) {
		var out wire.Digests
		if err := d.post(ctx, p, wire.PathHeld, wire.Digests{Digests: some}, &out); err != nil {
			return nil, err
		}
		for _, one := range out.Digests {
			if !slices.Contains(some, one) {
				return nil, errs.New(errs.Unavailable, "The peer at %s answers about images that it was not asked about.", d.url)
			}
		}
		held = append(held, out.Digests...)
	}
	return held, nil
}

func (d destination) manifest(ctx context.Context, method, path string, p replication.Place, m replication.Manifest, failure string, out any) error {
	if len(m.Body) > wire.MaxManifest {
		return errs.New(errs.ManifestTooLarge, "The manifest is longer than the %d bytes that can be sent to another deployment.", wire.MaxManifest)
	}
	q := place(p)
	q.Set(wire.QueryDigest, string(m.Digest))
	q.Set(wire.QueryMediaType, m.MediaType)
	q.Set(wire.QuerySeq, strconv.FormatInt(m.Seq, 10))
	if m.Tag != "" {
		q.Set(wire.QueryTag, string(m.Tag))
	}
	if failure != "" {
		q.Set(wire.QueryFailure, failure)
	}
	return d.client.ask(ctx, d.find, call{method: method, path: path, query: q, source: p.Source, body: m.Body}, out)
}

// PutImage stores an image whose blobs and children are there.
func (d destination) PutImage(ctx context.Context, p replication.Place, m replication.Manifest) (tagged bool, err error) {
	var out wire.Stored
	err = d.manifest(ctx, http.MethodPut, wire.PathImage, p, m, "", &out)
	return out.Tagged, err
}

// Remove deletes what is there of it.
func (d destination) Remove(ctx context.Context, p replication.Place, r replication.Removal) error {
	return d.post(ctx, p, wire.PathRemove, wire.Removal{Digest: r.Digest, Tag: r.Tag, Seq: r.Seq}, &nothing{})
}

// Failed tells the destination that the source has given up, and why.
func (d destination) Failed(ctx context.Context, p replication.Place, m replication.Manifest, code string) error {
	return d.manifest(ctx, http.MethodPost, wire.PathFailed, p, m, code, &nothing{})
}

package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// step is how many bytes are kept at a time: no more are lost when this process
	// is killed.
	step = 32 << 20
	// claimLife is how long a sender that brings nothing keeps a blob to itself.
	claimLife = 15 * time.Second
	renewal   = claimLife / 3
)

// Lacking implements replication.Destination.
func (r *Receiver) Lacking(ctx context.Context, p replication.Place, blobs []replication.Blob) ([]replication.Part, error) {
	repo, err := r.repository(ctx, p, "", "")
	if err != nil {
		return nil, err
	}
	ds := make([]name.Digest, len(blobs))
	for n, b := range blobs {
		ds[n] = b.Digest
	}
	held := map[name.Digest]bool{}
	there, err := r.c.Layers.Check(ctx, repo, ds)
	if err != nil {
		return nil, err
	}
	ds = ds[:0]
	for _, b := range blobs {
		if _, ok := there[b.Digest]; ok { // one in the archive comes back from there
			held[b.Digest] = true
		} else {
			ds = append(ds, b.Digest)
		}
	}
	if len(ds) > 0 && r.c.Mounts != nil {
		mounts, err := r.c.Mounts(ctx, p.Destination)
		if err != nil {
			return nil, err
		}
		if mounts {
			adopted, err := r.c.Layers.Adopt(ctx, repo, ds)
			if err != nil {
				return nil, err
			}
			for _, d := range adopted {
				held[d] = true
			}
		}
	}
	var parts []replication.Part
	for _, b := range blobs {
		if held[b.Digest] {
			continue
		}
		_, at, err := r.begun(ctx, repo, b.Digest)
		if err != nil {
			return nil, err
		}
		parts = append(parts, replication.Part{Blob: b, Offset: at})
	}
	return parts, nil
}

// begun finds the upload that a blob's bytes have come through so far, and how many
// they are; "" and 0 for none.
func (r *Receiver) begun(ctx context.Context, repo repository.Repository, d name.Digest) (id string, at int64, err error) {
	err = r.c.Volatile.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT upload_id FROM replication_upload WHERE repository_id = $1 AND digest = $2`, repo.ID, string(d)).Scan(&id)
	})
	if errors.Is(err, sqldb.ErrNoRows) || err == nil && id == "" {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	u, err := r.c.Layers.Status(ctx, repo, id)
	if errs.Is(err, errs.UploadNotFound) {
		return "", 0, nil
	}
	return id, u.Received, err
}

// claim is a sender's hold on the upload of a blob.
type claim struct {
	r      *Receiver
	repo   repository.Repository
	digest name.Digest
	sender string
}

// claim gets hold of a blob's upload. errs.UploadBusy while another sender has it.
func (r *Receiver) claim(ctx context.Context, repo repository.Repository, d name.Digest) (*claim, error) {
	c := &claim{r: r, repo: repo, digest: d, sender: uuid.NewString()}
	now := r.c.Clock.Now()
	var n int64
	err := r.c.Volatile.Update(ctx, func(tx *sqldb.Tx) (err error) {
		n, err = tx.Exec(ctx, `INSERT INTO replication_upload (repository_id, digest, upload_id, sender, held_until, used_at) VALUES ($1, $2, '', $3, $4, $5)
			ON CONFLICT (repository_id, digest) DO UPDATE SET sender = excluded.sender, held_until = excluded.held_until, used_at = excluded.used_at
			WHERE replication_upload.held_until <= $5`, repo.ID, string(d), c.sender, now.Add(claimLife).UnixMicro(), now.UnixMicro())
		return err
	})
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, taken(repo, d)
	}
	return c, nil
}

func taken(r repository.Repository, d name.Digest) error {
	return errs.New(errs.UploadBusy, "The layer with digest '%s' is being sent to the repository with name '%s' already. Wait for that to end.", d, r.Name)
}

// change runs a statement on the claim's row, and says whether it is the claim's
// still. $1 to $3 name the row.
func (c *claim) change(ctx context.Context, statement string, args ...any) (bool, error) {
	var n int64
	err := c.r.c.Volatile.Update(ctx, func(tx *sqldb.Tx) (err error) {
		n, err = tx.Exec(ctx, statement+` WHERE repository_id = $1 AND digest = $2 AND sender = $3`, append([]any{c.repo.ID, string(c.digest), c.sender}, args...)...)
		return err
	})
	return n == 1, err
}

func (c *claim) renew(ctx context.Context) error {
	now := c.r.c.Clock.Now()
	ok, err := c.change(ctx, `UPDATE replication_upload SET held_until = $4, used_at = $5`, now.Add(claimLife).UnixMicro(), now.UnixMicro())
	if err == nil && !ok {
		err = errors.New("receive: another sender has taken the layer over")
	}
	return err
}

// release gives the blob free for the next sender, who goes on with the upload,
// or forgets the upload when it is done.
func (c *claim) release(ctx context.Context, done bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimLife)
	defer cancel()
	statement := `UPDATE replication_upload SET held_until = 0`
	if done {
		statement = `DELETE FROM replication_upload`
	}
	if _, err := c.change(ctx, statement); err != nil {
		c.r.c.Log.WarnContext(ctx, "the upload of a replicated layer was not given free; its next sender waits until the claim ends", "digest", c.digest, "error", err)
	}
}

// PutBlob implements replication.Destination.
func (r *Receiver) PutBlob(ctx context.Context, p replication.Place, part replication.Part, body io.Reader) error {
	repo, err := r.repository(ctx, p, "", "")
	if err != nil {
		return err
	}
	if part.Offset < 0 || part.Offset > part.Size {
		return errs.Parameter("offset", "does not lie within the layer")
	}
	c, err := r.claim(ctx, repo, part.Digest)
	if err != nil {
		return err
	}
	err = r.take(ctx, c, part, body)
	c.release(ctx, err == nil)
	return err
}

// take brings the blob's bytes into its upload and makes it a layer.
func (r *Receiver) take(ctx context.Context, c *claim, part replication.Part, body io.Reader) error {
	id, at, err := r.begun(ctx, c.repo, c.digest)
	if err != nil {
		return err
	}
	if at != part.Offset {
		return errs.New(errs.LayerPartInvalid, "The layer with digest '%s' goes on at its byte %d, not %d", c.digest, at, part.Offset)
	}
	if id == "" {
		u, err := r.c.Layers.Start(ctx, c.repo)
		if err != nil {
			return err
		}
		id = u.ID
		if ok, err := c.change(ctx, `UPDATE replication_upload SET upload_id = $4`, id); err != nil || !ok {
			if err == nil {
				err = taken(c.repo, c.digest)
			}
			return errors.Join(err, r.c.Layers.Cancel(ctx, c.repo, id))
		}
	}
	in := c.incoming(ctx, body, part.Size-at)
	for ; part.Size-at > step; at += step {
		if _, err := r.c.Layers.Append(ctx, c.repo, id, layer.Chunk{First: at, Last: at + step - 1}, io.LimitReader(in, step)); err != nil {
			return err
		}
	}
	chunk, last := layer.Unannounced(), io.Reader(nil)
	if rest := part.Size - at; rest > 0 {
		chunk, last = layer.Chunk{First: at, Last: part.Size - 1}, io.LimitReader(in, rest)
	}
	_, err = r.c.Layers.Complete(ctx, c.repo, id, []name.Digest{c.digest}, chunk, last, layer.CompleteOptions{})
	return err
}

// incoming makes a body that has to bring left bytes, and keeps the claim while it
// does.
func (c *claim) incoming(ctx context.Context, body io.Reader, left int64) io.Reader {
	renewed := time.Now()
	return readFunc(func(p []byte) (int, error) {
		if time.Since(renewed) > renewal {
			if err := c.renew(ctx); err != nil {
				return 0, err
			}
			renewed = time.Now()
		}
		n, err := body.Read(p[:min(int64(len(p)), left)])
		left -= int64(n)
		if err == io.EOF && left > 0 {
			err = fmt.Errorf("%d bytes of the layer are missing: %w", left, io.ErrUnexpectedEOF)
		}
		return n, err
	})
}

// readFunc is an io.Reader.
type readFunc func(p []byte) (int, error)

// Read implements io.Reader.
func (f readFunc) Read(p []byte) (int, error) { return f(p) }

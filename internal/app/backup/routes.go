package backup

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/berth-registry/berth/internal/app/backup/dump"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// The administration socket's part of a backup. It only reads, and takes and gives
// back holds; where the copies go, it does not know, so the server needs no right
// to write there.
const (
	pathDump    = "/backup/dump"
	pathKeyring = "/backup/keyring"
	pathObject  = "/backup/object"
	pathHolds   = "/backup/holds"
)

// holdRequest begins or extends a hold.
type holdRequest struct {
	Owner string        `json:"owner,omitempty"`
	Life  time.Duration `json:"life"` // nanoseconds
}

type holdAnswer struct {
	ID string `json:"id"`
}

// Routes adds the routes that Remote speaks to.
func (l *Local) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathDump, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		if err := l.Dump(r.Context(), w); err != nil {
			_ = dump.Fail(w, err) // without it the dump is cut off, which its reader sees as well
		}
	})
	mux.HandleFunc("GET "+pathKeyring, func(w http.ResponseWriter, r *http.Request) {
		text, err := l.Keyring(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text) // the client has gone; nobody is left to tell
	})
	mux.HandleFunc("GET "+pathObject, l.serveObject)
	mux.HandleFunc("POST "+pathHolds, func(w http.ResponseWriter, r *http.Request) {
		l.serveHold(w, r, func(ctx context.Context, in holdRequest) (string, error) { return l.Hold(ctx, in.Owner, in.Life) })
	})
	mux.HandleFunc("POST "+pathHolds+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		l.serveHold(w, r, func(ctx context.Context, in holdRequest) (string, error) { return id, l.Extend(ctx, id, in.Life) })
	})
	mux.HandleFunc("DELETE "+pathHolds+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		l.serveHold(w, r, func(ctx context.Context, _ holdRequest) (string, error) { return id, l.Release(ctx, id) })
	})
}

func (l *Local) serveHold(w http.ResponseWriter, r *http.Request, do func(context.Context, holdRequest) (string, error)) {
	var in holdRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil && !errors.Is(err, io.EOF) {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, err := do(r.Context(), in)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(holdAnswer{ID: id}) // the client has gone; nobody is left to tell
}

func (l *Local) serveObject(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	size, err := strconv.ParseInt(q.Get("size"), 10, 64)
	if err != nil {
		http.Error(w, "size: "+err.Error(), http.StatusBadRequest)
		return
	}
	body, err := l.Object(r.Context(), Ref{Region: name.Region(q.Get("region")), Place: q.Get("place"), Key: q.Get("key"), Size: size})
	switch {
	case errors.Is(err, blobstore.ErrNotFound):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case errors.Is(err, blobstore.ErrCorrupt):
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = body.Close() }() // it was only read
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	// An error here cuts the body below its announced length.
	if _, err := io.Copy(w, body); err != nil && r.Context().Err() == nil {
		l.Log.WarnContext(r.Context(), "an object could not be read to its end for a backup", "object", q.Get("key"), "error", err)
	}
}

// Package vulndbadmin is what the administration socket does with the
// vulnerability database: how it stands, importing one, asking the sources, and
// going back to the former one.
//
// It holds no rules of its own; those are in domain/scan/vulndb. App gives it its
// routes.
package vulndbadmin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
)

// Service does it.
type Service struct{ Databases *vulndb.Service }

// Database is a vulnerability database as operators see it.
type Database struct {
	Digest name.Digest `json:"digest"`
	// Manifest is the digest of the artifact that it came in; absent for a bare archive.
	Manifest   name.Digest `json:"manifest,omitempty"`
	Schema     int         `json:"schema"`
	Updated    time.Time   `json:"updated"`
	NextUpdate time.Time   `json:"nextUpdate,omitzero"`
	Downloaded time.Time   `json:"downloaded,omitzero"`
	Imported   time.Time   `json:"imported"`
	Source     string      `json:"source"`
	Size       int64       `json:"size"` // of the archive, in bytes
}

func describe(d vulndb.Database) Database {
	return Database{
		Digest: d.Digest, Manifest: d.Manifest, Schema: d.Schema, Updated: d.UpdatedAt, NextUpdate: d.NextUpdate, Downloaded: d.DownloadedAt,
		Imported: d.ImportedAt, Source: d.Source, Size: d.Size,
	}
}

// Status is how it stands.
type Status struct {
	// Current and Former are absent where there is none.
	Current *Database `json:"current,omitempty"`
	Former  *Database `json:"former,omitempty"`
	// AgeSeconds is that of the current one, and Stale says that it is too old by the
	// configuration.
	AgeSeconds int64 `json:"ageSeconds,omitempty"`
	Stale      bool  `json:"stale"`
	// Unpacked says that the node that was asked has it; NodeError why not.
	Unpacked  bool   `json:"unpacked"`
	NodeError string `json:"nodeError,omitempty"`
	// Sources are what the automatic refresh asks, every RefreshSeconds; none: there is none.
	Sources        []string `json:"sources"`
	RefreshSeconds int64    `json:"refreshSeconds"`
	// Asked is when they were last asked, AskedSource which one answered, AskedError why none did.
	Asked       time.Time `json:"asked,omitzero"`
	AskedSource string    `json:"askedSource,omitempty"`
	AskedError  string    `json:"askedError,omitempty"`
	// AskNext is when they are asked again at the earliest.
	AskNext time.Time `json:"askNext,omitzero"`
	// Advice is what to do; absent: nothing.
	Advice string `json:"advice,omitempty"`
}

// Status reads it.
func (s Service) Status(ctx context.Context) (Status, error) {
	st, err := s.Databases.Status(ctx)
	if err != nil {
		return Status{}, err
	}
	out := Status{
		AgeSeconds: int64(st.Age / time.Second), Stale: st.Stale, Unpacked: st.Unpacked, NodeError: st.NodeError,
		Sources: append([]string{}, st.Sources...), RefreshSeconds: int64(st.Refresh / time.Second), // "[]" in JSON
		Asked: st.Asked.At, AskedSource: st.Asked.Source, AskedError: st.Asked.Error, AskNext: st.Asked.Next, Advice: st.Advice,
	}
	if st.Current != nil {
		d := describe(*st.Current)
		out.Current = &d
	}
	if st.Former != nil {
		d := describe(*st.Former)
		out.Former = &d
	}
	return out, nil
}

// Changed is the database that is in use after a change.
type Changed struct {
	Database Database `json:"database"`
	// Stale says that it is too old by the configuration, New that it was another one before.
	Stale bool `json:"stale"`
	New   bool `json:"new"`
}

func (s Service) changed(db vulndb.Database, isNew bool) Changed {
	return Changed{Database: describe(db), Stale: s.Databases.Stale(db), New: isNew}
}

// importing imports the file in the request's body.
func (s Service) importing(r *http.Request) (any, error) {
	before, err := s.Databases.Status(r.Context())
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	db, err := s.Databases.ImportReader(r.Context(), r.Body, query.Get("source"), vulndb.ImportOptions{Older: query.Get("older") == "true"})
	return s.changed(db, before.Current == nil || before.Current.Digest != db.Digest), err
}

// Refresh asks the sources now.
func (s Service) Refresh(ctx context.Context) (Changed, error) {
	db, isNew, err := s.Databases.Refresh(ctx)
	return s.changed(db, isNew), err
}

// UseFormer goes back to the former database.
func (s Service) UseFormer(ctx context.Context) (Changed, error) {
	db, err := s.Databases.UseFormer(ctx)
	return s.changed(db, true), err
}

// Routes adds the administration of the database.
func (s Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /vulndb", answer(func(r *http.Request) (any, error) { return s.Status(r.Context()) }))
	// The body is the file, the query has "source", for people, and "older=true".
	mux.HandleFunc("POST /vulndb/import", answer(s.importing))
	mux.HandleFunc("POST /vulndb/refresh", answer(func(r *http.Request) (any, error) { return s.Refresh(r.Context()) }))
	mux.HandleFunc("POST /vulndb/former", answer(func(r *http.Request) (any, error) { return s.UseFormer(r.Context()) }))
}

// answer writes what do returns, or its error as text.
func answer(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := do(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // the client has gone; nobody is left to tell
	}
}

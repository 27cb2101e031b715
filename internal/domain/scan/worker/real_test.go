package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
)

// TestReal has a Debian layer read and matched by processes as the server has them.
func TestReal(t *testing.T) {
	l := DefaultLimits()
	if underRace {
		l.Memory = 0
	}
	p := newPool(t, Config{Command: []string{os.Args[0], realArgument}, Limits: l})
	db := t.TempDir()
	data, err := matchtest.PerlDB()
	if err == nil {
		err = matchtest.Write(db, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Check(t.Context(), db)
	if want, err2 := match.ReadMetadata(db); err != nil || err2 != nil || m != want {
		t.Fatalf("the database is %+v, not %+v; %v, %v", m, want, err, err2)
	}
	digest, blob := perlLayer(t)
	layer, err := p.ReadLayer(t.Context(), "application/vnd.oci.image.layer.v1.tar+gzip", int64(len(blob)), bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	img := inventory.Merge([]inventory.Layer{layer}, []name.Digest{digest})
	r, err := p.Match(t.Context(), db, img, match.Options{Languages: true, Now: time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Matches) != 13 || !r.Supported {
		t.Errorf("%d vulnerabilities were found, want 13", len(r.Matches))
	}
	_, err = p.ReadLayer(t.Context(), "", 0, strings.NewReader("this is no archive"))
	if refused, ok := errors.AsType[*Refused](err); !ok || !strings.HasPrefix(refused.Reason, "the layer ") {
		t.Errorf("the error is %v", err)
	}
	if err := os.WriteFile(filepath.Join(db, match.DatabaseFile), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = p.Check(t.Context(), db)
	if _, ok := errors.AsType[*Refused](err); !ok {
		t.Errorf("the error is %v", err)
	}
}

// perlLayer is the only layer of the fixture.
func perlLayer(t *testing.T) (name.Digest, []byte) {
	t.Helper()
	layout, err := matchtest.PerlImage()
	if err != nil {
		t.Fatal(err)
	}
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
	}
	var m struct{ Manifests, Layers []descriptor }
	blob := "index.json"
	for {
		b, err := fs.ReadFile(layout, blob)
		if err != nil {
			t.Fatal(err)
		}
		m.Manifests, m.Layers = nil, nil
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		next := append(m.Manifests, m.Layers...)[0].Digest
		blob = "blobs/" + strings.Replace(next, ":", "/", 1)
		if len(m.Layers) > 0 {
			b, err := fs.ReadFile(layout, blob)
			if err != nil {
				t.Fatal(err)
			}
			return name.Digest(next), b
		}
	}
}

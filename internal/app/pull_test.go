package app_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
)

// Only Run starts what writes in the background, and the test does not call it:
// whatever grows a log of a database here was written by the request itself.
func TestPullsWriteNothing(t *testing.T) {
	var data string
	s := apptest.Start(t, apptest.Options{Config: func(c *config.Config) { data = c.Data }})
	logs := func() (sizes [2]int64) {
		t.Helper()
		for i, db := range []string{"berth.db-wal", "uploads.db-wal"} {
			info, err := os.Stat(filepath.Join(data, db))
			if err != nil {
				t.Fatal(err)
			}
			sizes[i] = info.Size()
		}
		return sizes
	}
	empty := logs()
	s.CreateRepository(t, "ab")
	token, layer := s.Authorization(t), bytes.Repeat([]byte("a layer that is a file "), 1000)
	image := apptest.PushImage(t, s.URL, token, "ab", "v1", nil, layer)
	before := logs()
	if before[0] <= empty[0] || before[1] <= empty[1] {
		t.Fatalf("a push did not show in the logs: %v, then %v", empty, before)
	}
	for range 3 {
		for _, path := range []string{"/v2/", "/v2/ab/manifests/v1", "/v2/ab/manifests/" + image.String(), "/v2/ab/blobs/" + digestOf(layer), "/v2/ab/tags/list", "/v2/ab/referrers/" + image.String()} {
			for _, method := range []string{http.MethodHead, http.MethodGet} {
				if method == http.MethodHead && (path == "/v2/ab/tags/list" || path == "/v2/ab/referrers/"+image.String()) {
					continue // these have no HEAD
				}
				if answer, body := apptest.Do(t, method, s.URL+path, token, nil, map[string]string{"Accept": "*/*"}); answer.StatusCode != http.StatusOK {
					t.Errorf("%s %s: %s %s", method, path, answer.Status, body)
				}
			}
		}
	}
	if after := logs(); after != before {
		t.Errorf("pulls wrote to the databases: their logs had %v bytes, now %v", before, after)
	}
}

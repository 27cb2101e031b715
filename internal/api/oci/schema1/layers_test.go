package schema1_test

import (
	"net/http"
	"testing"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
)

func TestTheEmptyLayerIsServed(t *testing.T) {
	s := apptest.Start(t, apptest.Options{})
	s.CreateRepository(t, "ab")
	token, url := s.Authorization(t), s.URL+"/v2/ab/blobs/"+string(manifest.EmptyLayerDigest)
	for _, held := range []bool{false, true} {
		answer, body := apptest.Do(t, http.MethodGet, url, token, nil, nil)
		if answer.StatusCode != http.StatusOK || name.SHA256(body) != manifest.EmptyLayerDigest {
			t.Errorf("%s, %d bytes", answer.Status, len(body))
		}
		// Who asks is about to push it, and is not to be kept from it.
		if answer, _ := apptest.Do(t, http.MethodHead, url, token, nil, nil); (answer.StatusCode == http.StatusOK) != held {
			t.Errorf("HEAD: %s, held %v", answer.Status, held)
		}
		apptest.PushBlob(t, s.URL, token, "ab", manifest.EmptyLayer(), nil)
	}
	if answer, _ := apptest.Do(t, http.MethodGet, s.URL+"/v2/other/blobs/"+string(manifest.EmptyLayerDigest), token, nil, nil); answer.StatusCode != http.StatusNotFound {
		t.Errorf("in a repository that is not there: %s", answer.Status)
	}
}

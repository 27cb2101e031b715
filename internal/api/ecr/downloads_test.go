package ecr_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/infra/clock"
)

func TestDownloadAddresses(t *testing.T) {
	clk := clock.NewFake(time.Now())
	s := apptest.Start(t, apptest.Options{Clock: clk})
	s.CreateRepository(t, "team/app")
	token := s.Authorization(t)
	layer := bytes.Repeat([]byte("0123456789"), 20_000)
	d := apptest.PushBlob(t, s.URL, token, "team/app", layer, nil).String()
	ask := func() (string, error) {
		out, err := s.ECR.GetDownloadUrlForLayer(t.Context(), &ecr.GetDownloadUrlForLayerInput{RepositoryName: aws.String("team/app"), LayerDigest: &d})
		if err != nil {
			return "", err
		}
		return *out.DownloadUrl, nil
	}
	if _, err := ask(); err == nil || !strings.Contains(err.Error(), "LayerInaccessibleException") {
		t.Errorf("a layer that no image refers to: %v", err)
	}
	apptest.PushImage(t, s.URL, token, "team/app", "v1", nil, layer)
	url, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	get := func(url string, header map[string]string) (int, []byte) {
		answer, body := apptest.Do(t, http.MethodGet, url, "", nil, header)
		return answer.StatusCode, body
	}
	if status, body := get(url, nil); status != 200 || !bytes.Equal(body, layer) {
		t.Errorf("%d, %d bytes", status, len(body))
	}
	if status, body := get(url, map[string]string{"Range": "bytes=100000-100009"}); status != 206 || string(body) != "0123456789" {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := get(url, map[string]string{"Range": "bytes=200000-"}); status != 416 {
		t.Errorf("a range past the end: %d", status)
	}
	if answer, body := apptest.Do(t, http.MethodHead, url, "", nil, nil); answer.StatusCode != 200 || answer.ContentLength != int64(len(layer)) || len(body) != 0 {
		t.Errorf("HEAD: %s %d", answer.Status, answer.ContentLength)
	}
	if answer, _ := apptest.Do(t, http.MethodPut, url, "", nil, nil); answer.StatusCode != 405 {
		t.Errorf("PUT: %s", answer.Status)
	}
	for what, bad := range map[string]string{
		"another layer":      strings.Replace(url, "sha256:", "sha256:00", 1),
		"another repository": strings.Replace(url, "team/app", "team/abb", 1),
		"a longer life":      strings.Replace(url, "Expires=", "Expires=9", 1),
		"no signature":       url[:strings.Index(url, "&Signature")],
	} {
		if status, _ := get(bad, nil); status != 403 {
			t.Errorf("%s: %d", what, status)
		}
	}
	clk.Advance(time.Hour)
	if status, body := get(url, nil); status != 403 || !strings.Contains(string(body), "expired") {
		t.Errorf("after an hour: %d %s", status, body)
	}
}

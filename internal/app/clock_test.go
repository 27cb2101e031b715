package app_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// clockSigner signs with the time of the server's clock, as clients do whose
// clocks are right.
type clockSigner struct {
	clk   clock.Clock
	inner *v4.Signer
}

func (s clockSigner) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, _ time.Time, o ...func(*v4.SignerOptions)) error {
	return s.inner.SignHTTP(ctx, c, r, hash, service, region, s.clk.Now(), o...)
}

// jumper is a server whose clock jumps under its clients.
type jumper struct {
	*testing.T
	clk    *clock.Fake
	server *apptest.Server
	client *ecr.Client
}

// TestClockJumps lets the machine's clock jump in the midst of uploads, of jobs and
// of a token's life: tokens end by the clock, uploads go on or are refused in a way
// that clients understand, and nothing that is in use goes.
func TestClockJumps(t *testing.T) {
	j := &jumper{T: t, clk: clock.NewFake(time.Now())}
	j.server = apptest.Start(t, apptest.Options{Clock: j.clk, Work: true})
	o := j.server.ECR.Options()
	o.HTTPSignerV4, o.AuthSchemes = clockSigner{j.clk, v4.NewSigner()}, nil
	j.client = ecr.New(o)
	j.server.ECR = j.client
	j.server.CreateRepository(t, "jumps")
	first := j.server.Authorization(t)
	kept := bytes.Repeat([]byte("kept"), 100_000)
	apptest.PushImage(t, j.server.URL, first, "jumps", "kept", nil, kept)
	j.pulls(first, kept)

	t.Log("an hour forward and an hour back between two chunks and in the midst of one")
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		j.uploads(first, jump)
		j.previews()
	}

	t.Log("a day forward: tokens have ended, and uploads that rested so long")
	spared := j.begin(first, []byte("half of it"))
	j.clk.Advance(23 * time.Hour)
	if status := j.status(first, "/v2/jumps/manifests/kept"); status != http.StatusForbidden { // as ECR says of an old token
		t.Errorf("the token of a day ago: %d", status)
	}
	second := j.server.Authorization(t)
	j.finish(second, spared, []byte("half of it"), []byte(", the rest"), http.StatusCreated)
	j.pulls(second, kept)
	expired := j.begin(second, []byte("half of it"))
	j.clk.Advance(25 * time.Hour)
	third := j.server.Authorization(t)
	j.finish(third, expired, []byte("half of it"), []byte(", more"), http.StatusNotFound)
	j.pulls(third, kept)
	j.previews()

	t.Log("an hour back: what is younger than the clock stays and works")
	loose := []byte("a layer that no image names yet")
	apptest.PushBlob(t, j.server.URL, third, "jumps", loose, nil)
	open := j.begin(third, []byte("half of it"))
	j.clk.Advance(-time.Hour)
	j.pulls(third, kept)
	j.pulls(j.server.Authorization(t), kept)
	j.finish(third, open, []byte("half of it"), []byte(" once more"), http.StatusCreated)
	if status := j.status(third, "/v2/jumps/blobs/"+digestOf(loose)); status != http.StatusOK {
		t.Errorf("the layer from the future: %d", status)
	}
	apptest.PushImage(t, j.server.URL, third, "jumps", "after", nil, loose)
	j.pulls(third, kept)
	j.previews()
}

func (j *jumper) status(authorization, path string) int {
	j.Helper()
	answer, _ := apptest.Do(j, http.MethodGet, j.server.URL+path, authorization, nil, map[string]string{"Accept": "*/*"})
	return answer.StatusCode
}

// pulls fetches the image that is in use, whatever the clock says.
func (j *jumper) pulls(authorization string, layer []byte) {
	j.Helper()
	manifest := j.status(authorization, "/v2/jumps/manifests/kept")
	answer, content := apptest.Do(j, http.MethodGet, j.server.URL+"/v2/jumps/blobs/"+digestOf(layer), authorization, nil, nil)
	if manifest != http.StatusOK || answer.StatusCode != http.StatusOK || !bytes.Equal(content, layer) {
		j.Errorf("the image that is in use: %d, its layer %d", manifest, answer.StatusCode)
	}
}

// begin starts an upload and sends its first chunk.
func (j *jumper) begin(authorization string, chunk []byte) (location string) {
	j.Helper()
	started, text := apptest.Do(j, http.MethodPost, j.server.URL+"/v2/jumps/blobs/uploads/", authorization, nil, nil)
	if started.StatusCode != http.StatusAccepted {
		j.Fatalf("starting an upload: %s %s", started.Status, text)
	}
	location = started.Header.Get("Location")
	if i := strings.Index(location, "/v2/"); i > 0 {
		location = location[i:]
	}
	sent, text := apptest.Do(j, http.MethodPatch, j.server.URL+location, authorization, chunk, nil)
	if sent.StatusCode != http.StatusAccepted {
		j.Fatalf("a chunk: %s %s", sent.Status, text)
	}
	return location
}

// finish sends the last chunk, and compares what is there then.
func (j *jumper) finish(authorization, location string, had, last []byte, want int) {
	j.Helper()
	all := append(bytes.Clone(had), last...)
	put, text := apptest.Do(j, http.MethodPut, j.server.URL+location+"?digest="+digestOf(all), authorization, last, nil)
	if put.StatusCode != want {
		j.Errorf("finishing an upload: %s %s, want %d", put.Status, text, want)
	}
	if want != http.StatusCreated {
		return
	}
	if _, content := apptest.Do(j, http.MethodGet, j.server.URL+"/v2/jumps/blobs/"+digestOf(all), authorization, nil, nil); !bytes.Equal(content, all) {
		j.Errorf("the layer has %d bytes, want %d", len(content), len(all))
	}
}

// uploads lets the clock jump while a request of an upload is under way: it is
// taken, or refused as one that may be sent again, and the upload goes on.
func (j *jumper) uploads(authorization string, jump time.Duration) {
	j.Helper()
	had := []byte("before " + jump.String())
	location := j.begin(authorization, had)
	more := bytes.Repeat([]byte(jump.String()), 3<<20) // half of it is more than connections hold
	read, write := io.Pipe()
	go func() {
		_, _ = write.Write(more[:len(more)/2]) // a refusal ends it
		j.clk.Advance(jump)
		_, _ = write.Write(more[len(more)/2:])
		_ = write.Close() // never fails
	}()
	r, err := http.NewRequestWithContext(j.Context(), http.MethodPatch, j.server.URL+location, read)
	if err != nil {
		j.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	answer, err := http.DefaultClient.Do(r)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		// Refused, and the connection ended before the rest of the chunk was written.
		_ = read.Close() // for the writer
		j.finish(authorization, location, had, []byte("the end"), http.StatusCreated)
		return
	}
	if err != nil {
		j.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close() // it was read to its end
	_ = read.Close()        // for the writer, if the answer came before its end
	switch {
	case err != nil:
		j.Fatal(err)
	case answer.StatusCode == http.StatusAccepted:
		had = append(had, more...)
	case answer.StatusCode != http.StatusServiceUnavailable:
		j.Errorf("a chunk in whose midst the clock jumps by %s: %s %s", jump, answer.Status, text)
	}
	j.Logf("the chunk in whose midst the clock jumps by %s: %s", jump, answer.Status)
	j.finish(authorization, location, had, []byte("the end"), http.StatusCreated)
}

// previews has a job run to its end.
func (j *jumper) previews() {
	j.Helper()
	policy := `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`
	if _, err := j.client.StartLifecyclePolicyPreview(j.Context(), &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: aws.String("jumps"), LifecyclePolicyText: &policy}); err != nil {
		j.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		out, err := j.client.GetLifecyclePolicyPreview(j.Context(), &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: aws.String("jumps")})
		if err != nil {
			j.Fatal(err)
		}
		if out.Status == types.LifecyclePolicyPreviewStatusComplete {
			return
		}
		if time.Since(began) > time.Minute {
			j.Fatalf("the preview is %s", out.Status)
		}
	}
}

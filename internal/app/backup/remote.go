package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// Remote is the deployment of a running server, over its administration socket.
type Remote struct {
	HTTP *http.Client // of app.AdminClient
}

// open sends a request; the caller closes the answer, whose status is 200.
func (s *Remote) open(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://berth"+path, body)
	if err != nil {
		return nil, err
	}
	answer, err := s.HTTP.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the server cannot be asked: %w", err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	err = errors.Join(errors.New(strings.TrimSpace(string(text))), err, answer.Body.Close())
	switch {
	case strings.HasPrefix(path, pathObject) && answer.StatusCode == http.StatusNotFound:
		err = fmt.Errorf("%w: %w", blobstore.ErrNotFound, err)
	case answer.StatusCode == http.StatusUnprocessableEntity:
		err = fmt.Errorf("%w: %w", blobstore.ErrCorrupt, err)
	case answer.StatusCode == http.StatusNotFound:
		err = errors.New("the running server is of a version that has no backups: start it anew with this program's version")
	}
	return nil, err
}

// Dump implements Source.
func (s *Remote) Dump(ctx context.Context, w io.Writer) error {
	answer, err := s.open(ctx, http.MethodGet, pathDump, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, answer.Body)
	return errors.Join(err, answer.Body.Close())
}

// Keyring implements Source.
func (s *Remote) Keyring(ctx context.Context) ([]byte, error) {
	answer, err := s.open(ctx, http.MethodGet, pathKeyring, nil)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(answer.Body)
	return text, errors.Join(err, answer.Body.Close())
}

// Object implements Source.
func (s *Remote) Object(ctx context.Context, r Ref) (io.ReadCloser, error) {
	q := url.Values{"region": {string(r.Region)}, "place": {r.Place}, "key": {r.Key}, "size": {strconv.FormatInt(r.Size, 10)}}
	answer, err := s.open(ctx, http.MethodGet, pathObject+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// Hold implements Source.
func (s *Remote) Hold(ctx context.Context, owner string, life time.Duration) (string, error) {
	return s.hold(ctx, http.MethodPost, pathHolds, holdRequest{Owner: owner, Life: life})
}

// Extend implements Source.
func (s *Remote) Extend(ctx context.Context, id string, life time.Duration) error {
	_, err := s.hold(ctx, http.MethodPost, pathHolds+"/"+url.PathEscape(id), holdRequest{Life: life})
	return err
}

// Release implements Source.
func (s *Remote) Release(ctx context.Context, id string) error {
	_, err := s.hold(ctx, http.MethodDelete, pathHolds+"/"+url.PathEscape(id), nil)
	return err
}

func (s *Remote) hold(ctx context.Context, method, path string, in any) (string, error) {
	answer, err := s.open(ctx, method, path, in)
	if err != nil {
		return "", err
	}
	var h holdAnswer
	err = json.NewDecoder(answer.Body).Decode(&h)
	return h.ID, errors.Join(err, answer.Body.Close())
}

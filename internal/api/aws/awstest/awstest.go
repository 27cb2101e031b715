// Package awstest helps tests that call with Amazon's SDK.
package awstest

import (
	"bytes"
	"io"
	"net/http"
)

// Client sends the SDK's requests with a body of its own: the SDK closes the body once
// the answer's header is there, which net/http takes for a failed write when the server
// was quick, and closes the connection under the answer.
type Client struct{ *http.Client }

// Do sends a request.
func (c Client) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(content))
	}
	return c.Client.Do(r)
}

// Package awstest helps tests that call with Amazon's SDK.
package awstest

import (
	"bytes"
	"io"
	"net/http"
)

// Client sends the SDK's requests with a body of its own. The SDK closes the body as soon
// as the answer's header is there; where the server is that quick, net/http has not yet
// looked for the body's end, takes the closed body for a failed write and closes the
// connection under the answer. The SDK would send the request again, which most tests
// forbid: they want to see every answer.
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

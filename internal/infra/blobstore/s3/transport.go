package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	// slowest is the rate, in bytes a second, that a request's body is given
	// time for.
	slowest = 256 << 10
	// idlePerHost connections stay open between requests.
	idlePerHost = 64
)

// newTransport returns the transport of a store. It trusts the certificates that
// the configuration of AWS tools names (AWS_CA_BUNDLE), and goes through the
// proxy that the environment names.
func newTransport(configured aws.HTTPClient) *http.Transport {
	client, ok := configured.(*awshttp.BuildableClient)
	if !ok {
		client = awshttp.NewBuildableClient()
	}
	t := client.GetTransport()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = idlePerHost, idlePerHost
	t.DisableCompression = true // bytes are stored as they are
	t.ForceAttemptHTTP2 = false // one connection for each transfer: S3 scales by connections
	return t
}

// timeoutError is how a request ends that took too long. It is no
// context.DeadlineExceeded: the caller's context still stands, and the SDK may
// try again.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string {
	return fmt.Sprintf("the object store did not answer within %s", e.limit)
}
func (*timeoutError) Timeout() bool   { return true }
func (*timeoutError) Temporary() bool { return true }

// bounded ends requests that hang: those whose answer does not begin in time, and
// answers that stop in the middle.
type bounded struct {
	inner   http.RoundTripper
	timeout time.Duration
	rate    int64 // bytes of a request's body in a second
}

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	limit := b.timeout + time.Duration(max(r.ContentLength, 0)/b.rate)*time.Second
	ctx, cancel := context.WithCancelCause(r.Context())
	late := &timeoutError{limit}
	timer := time.AfterFunc(limit, func() { cancel(late) })
	response, err := b.inner.RoundTrip(r.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if errors.Is(context.Cause(ctx), late) {
			err = late
		}
		cancel(nil)
		return nil, err
	}
	response.Body = &boundedBody{ReadCloser: response.Body, timer: timer, wait: b.timeout, late: late, cause: func() error { return context.Cause(ctx) }, cancel: cancel}
	return response, nil
}

// boundedBody gives each Read its time; what its reader does in between does not
// count.
type boundedBody struct {
	io.ReadCloser
	timer  *time.Timer
	wait   time.Duration
	late   *timeoutError
	cause  func() error
	cancel context.CancelCauseFunc
}

func (b *boundedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.wait)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF && errors.Is(b.cause(), b.late) {
		err = b.late
	}
	return n, err
}

func (b *boundedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

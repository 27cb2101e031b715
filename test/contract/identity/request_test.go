package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/test/contract/harness"
)

// request is a call made by hand, where the SDK would not send it.
type request struct {
	// target is an operation of ECR; body is its input, "" stands for {}.
	target, body string
	// form is a call of IAM or STS, with Action and Version.
	form url.Values
	// service and region are what it is signed for; "" is the right one.
	service, region string
	// host is a host name, without the port; "" is localhost.
	host string
	// as replaces the caller's credentials.
	as *aws.Credentials
	// header is signed, late comes after the signature; "" removes.
	header, late map[string]string
	// lateBody and lateHost replace what was signed.
	lateBody, lateHost string
	// at is when it was signed; zero is now.
	at time.Time
	// unsigned has no signature.
	unsigned bool
}

const (
	iamVersion = "2010-05-08"
	stsVersion = "2011-06-15"
)

// form is a call of the Query protocol: parameters are name, value, ...
func form(version, action string, parameters ...string) url.Values {
	f := url.Values{"Action": {action}, "Version": {version}}
	for i := 0; i < len(parameters); i += 2 {
		f.Set(parameters[i], parameters[i+1])
	}
	return f
}

// call makes the request and returns the error that was answered.
func (c *caller) call(t *testing.T, q request) error {
	t.Helper()
	return failureOf(t, c.send(t, q))
}

// send makes the request.
func (c *caller) send(t *testing.T, q request) harness.Answer {
	t.Helper()
	r, body := c.build(t, q)
	if !q.unsigned {
		c.sign(t, r, body, q)
	}
	replace(r, q.late)
	if q.lateBody != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(q.lateBody)), int64(len(q.lateBody))
	}
	if q.lateHost != "" {
		r.Host = c.w.withPort(q.lateHost)
	}
	answer, err := c.w.Config().HTTPClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(answer.Body)
	if closeErr := answer.Body.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	return harness.Answer{Status: answer.StatusCode, Header: answer.Header, Body: content}
}

func (w *world) withPort(host string) string {
	_, port, _ := net.SplitHostPort(w.Host) // the harness has split it before
	return net.JoinHostPort(host, port)
}

// build makes the request as it is to be signed.
func (c *caller) build(t *testing.T, q request) (*http.Request, string) {
	t.Helper()
	body := q.body
	switch {
	case q.form != nil:
		body = q.form.Encode()
	case body == "":
		body = "{}"
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.w.Endpoint+"/", bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	if q.host != "" {
		r.Host = c.w.withPort(q.host)
	}
	if q.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	} else {
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921."+q.target)
	}
	replace(r, q.header)
	return r, body
}

func (c *caller) sign(t *testing.T, r *http.Request, body string, q request) {
	t.Helper()
	service, region, at, key := q.service, q.region, q.at, c.credentials
	if service == "" {
		switch q.form.Get("Version") {
		case iamVersion:
			service = "iam"
		case stsVersion:
			service = "sts"
		default:
			service = "ecr"
		}
	}
	if region == "" {
		region = home
	}
	if at.IsZero() {
		at = time.Now()
	}
	if q.as != nil {
		key = *q.as
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(sum[:]), service, region, at); err != nil {
		t.Fatal(err)
	}
}

func replace(r *http.Request, header map[string]string) {
	for k, v := range header {
		r.Header.Del(k)
		if v != "" {
			r.Header.Set(k, v)
		}
	}
}

// failureOf reads the error of an answer, nil for success.
func failureOf(t *testing.T, a harness.Answer) error {
	t.Helper()
	if a.Status == http.StatusOK {
		return nil
	}
	var inJSON struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	var inXML struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(a.Body, &inJSON) == nil && inJSON.Type != "" {
		return &smithy.GenericAPIError{Code: inJSON.Type, Message: inJSON.Message}
	}
	if xml.Unmarshal(a.Body, &inXML) == nil && inXML.Error.Code != "" {
		return &smithy.GenericAPIError{Code: inXML.Error.Code, Message: inXML.Error.Message}
	}
	return &harness.StatusError{Method: http.MethodPost, Path: "/", Status: a.Status, Body: string(a.Body)}
}

// registryRequest is a GET with headers: name, value, ...
func registryRequest(path string, header ...string) harness.Request {
	q := harness.Request{Method: http.MethodGet, Path: path, Header: map[string]string{}}
	for i := 0; i < len(header); i += 2 {
		maps.Copy(q.Header, map[string]string{header[i]: header[i+1]})
	}
	return q
}

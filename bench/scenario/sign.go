package scenario

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/berth-registry/berth/bench/load"
	"github.com/berth-registry/berth/bench/target"
)

// signer signs calls of the API. It is safe for concurrent use.
type signer struct {
	api  target.API
	sign *v4.Signer
}

func newSigner(api *target.API) signer {
	if api == nil {
		return signer{}
	}
	return signer{api: *api, sign: v4.NewSigner()}
}

const (
	targetPrefix = "AmazonEC2ContainerRegistry_V20150921."
	jsonType     = "application/x-amz-json-1.1"
)

// header are the lines of a signed call, whose body has this SHA-256 in hexadecimal
// digits.
func (s signer) header(ctx context.Context, operation string, length int, bodySum string, now time.Time) ([]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.api.Endpoint+"/", nil)
	if err != nil {
		return nil, err
	}
	r.ContentLength = int64(length)
	r.Header.Set("Content-Type", jsonType)
	r.Header.Set("X-Amz-Target", targetPrefix+operation)
	key := aws.Credentials{AccessKeyID: s.api.AccessKey, SecretAccessKey: s.api.SecretKey}
	if err := s.sign.SignHTTP(ctx, key, r, bodySum, "ecr", s.api.Region, now); err != nil {
		return nil, err
	}
	return []string{
		"Host: " + r.Host,
		"Content-Type: " + jsonType,
		"X-Amz-Target: " + targetPrefix + operation,
		"X-Amz-Date: " + r.Header.Get("X-Amz-Date"),
		"Authorization: " + r.Header.Get("Authorization"),
	}, nil
}

// call does one signed call and returns the body of its answer, which is valid until the
// connection's next request. there takes a refusal because something exists already for
// success.
func (w *World) call(ctx context.Context, c *load.Conn, operation string, body []byte, there bool) ([]byte, error) {
	if w.signer.sign == nil {
		return nil, errors.New(w.Server.Name + " has no signed API")
	}
	sum := sha256.Sum256(body)
	header, err := w.signer.header(ctx, operation, len(body), hex.EncodeToString(sum[:]), time.Now())
	if err != nil {
		return nil, err
	}
	answer, err := c.Do(&load.Request{Method: http.MethodPost, Path: "/", Header: header, Body: body, Keep: true})
	if err != nil {
		return nil, err
	}
	if there && answer.Status == http.StatusBadRequest && strings.Contains(string(answer.Body), "AlreadyExistsException") {
		return nil, nil
	}
	if err := answer.Want(http.StatusOK); err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	return answer.Body, nil
}

// ask is call with values in place of JSON.
func (w *World) ask(ctx context.Context, c *load.Conn, operation string, in map[string]any, out any) error {
	body, err := w.call(ctx, c, operation, encode(in), false)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("the answer of %s: %w", operation, err)
	}
	return nil
}

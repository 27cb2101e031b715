package ecr

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// macLength is how much of the HMAC a page token carries, in bytes.
const macLength = 16

// pageToken makes an opaque token out of the last key of a page. It only opens
// for the same scope: the operation and what it lists.
func (a *API) pageToken(scope, cursor string) *string {
	if cursor == "" {
		return nil
	}
	return new(base64.RawURLEncoding.EncodeToString(append(a.pageMAC(scope, cursor), cursor...)))
}

// cursor opens a page token; nil is the beginning.
func (a *API) cursor(scope string, token *string) (string, error) {
	if token == nil || *token == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(*token)
	if err != nil || len(b) <= macLength || !hmac.Equal(b[:macLength], a.pageMAC(scope, string(b[macLength:]))) {
		return "", errs.Parameter("nextToken", "Invalid pagination token provided")
	}
	return string(b[macLength:]), nil
}

func (a *API) pageMAC(scope, cursor string) []byte {
	m := hmac.New(sha256.New, a.SigningKey)
	m.Write([]byte("page\x00" + scope + "\x00" + cursor))
	return m.Sum(nil)[:macLength]
}

// Page sizes of the API reference.
const (
	pageSize          = 100
	referrersPageSize = 20
)

func limitOf(maxResults *int64, standard int) int {
	if maxResults == nil {
		return standard
	}
	return int(*maxResults)
}

// Package paging makes and opens the page tokens of the ECR APIs' listings.
//
// It does not know what is listed; a cursor is the listing's own text.
package paging

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// macLength is how much of the HMAC a page token carries, in bytes.
const macLength = 16

// Tokens makes and opens page tokens.
type Tokens struct {
	// Key signs them; 32 bytes.
	Key []byte
}

// Token makes an opaque token out of the last key of a page. It only opens
// for the same scope: the operation and what it lists.
func (t Tokens) Token(scope, cursor string) *string {
	if cursor == "" {
		return nil
	}
	// Not the URL alphabet: the AWS CLI takes a token that begins with "-" for a flag.
	return new(base64.RawStdEncoding.EncodeToString(append(t.mac(scope, cursor), cursor...)))
}

// Cursor opens a page token; nil is the beginning. errs.InvalidParameter for one
// that was not made here for the scope.
func (t Tokens) Cursor(scope string, token *string) (string, error) {
	if token == nil || *token == "" {
		return "", nil
	}
	b, err := base64.RawStdEncoding.DecodeString(*token)
	if err != nil || len(b) <= macLength || !hmac.Equal(b[:macLength], t.mac(scope, string(b[macLength:]))) {
		return "", errs.Parameter("nextToken", "Invalid pagination token provided")
	}
	return string(b[macLength:]), nil
}

func (t Tokens) mac(scope, cursor string) []byte {
	m := hmac.New(sha256.New, t.Key)
	m.Write([]byte("page\x00" + scope + "\x00" + cursor))
	return m.Sum(nil)[:macLength]
}

// Page sizes of the API reference: where nothing else is said, of a list of
// referrers, and of the results of a lifecycle policy preview.
const (
	Size          = 100
	ReferrersSize = 20
	PreviewSize   = 100
)

// LimitOf is the page size that a call asks for, or the standard one.
func LimitOf(maxResults *int64, standard int) int {
	if maxResults == nil {
		return standard
	}
	return int(*maxResults)
}

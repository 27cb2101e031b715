package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// ReadAll reads a body of the announced length, or, where that is below 0, up to
// one byte more than the limit.
func ReadAll(body io.Reader, length, limit int64) (b []byte, err error) {
	if length < 0 {
		b, err = io.ReadAll(io.LimitReader(body, limit+1))
	} else {
		b = make([]byte, length)
		_, err = io.ReadFull(body, b)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b, err
}

// JSON writes a document. Text stays as it is: no browser reads this, and escapes
// would make it longer.
func JSON(v any) ([]byte, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return body.Bytes(), err
}

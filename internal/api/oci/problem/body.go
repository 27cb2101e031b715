package problem

import (
	"net/http"
	"time"
)

// OfBody says what was wrong with a request body that broke off: nothing came of it
// for a while, or it ended too early. What arrived of an upload stays, so that the
// client can go on.
func OfBody(stalled bool, after time.Duration) *Problem {
	if stalled {
		return &Problem{Status: http.StatusRequestTimeout, Code: BlobUploadInvalid, Message: "No data came for " + after.String() + ". Ask for the state of the upload and go on from there."}
	}
	return &Problem{Status: http.StatusBadRequest, Code: SizeInvalid, Message: "The request body ended before its announced length"}
}

package aws

import (
	"net/http"

	"github.com/berth-registry/berth/internal/domain/authz"
)

// Observation is what became of one request, for metrics, traces and the request
// log.
type Observation struct {
	// Call is as far as the request has come; its names are those that the client
	// sent. It is not to be changed.
	Call *Call
	// Known says that the operation is one of the service's model, so that there is
	// a bounded number of them.
	Known bool
	// Needs is what the operation asked for; nil where it did not come to that.
	Needs []authz.Need
	// In is the operation's input and Out its output, pointers to generated types
	// that are not to be changed; nil where the request did not come to them.
	In, Out any
	Status  int
	// Code is the name of the error in the service's words, "" for none.
	Code string
	// Err is the error itself, nil for none. It may hold what nobody outside is to
	// read.
	Err error
}

func (x *exchange) observe(w http.ResponseWriter, status int, code string, out any, err error) {
	if x.p.cfg.Observe == nil {
		return
	}
	known := x.route.service != nil && x.route.service.known[x.route.operation] && x.call.Service != ""
	x.p.cfg.Observe(w, Observation{Call: &x.call, Known: known, Needs: x.needs, In: x.in, Out: out, Status: status, Code: code, Err: err})
}

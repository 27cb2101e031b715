package oci

import (
	"net/http"
	"slices"

	"github.com/berth-registry/berth/internal/api/oci/observation"
)

func (a *API) observe(w http.ResponseWriter, c *call, the row, elsewhere int64, status int, code string, err error) {
	if a.c.Observe == nil {
		return
	}
	o := observation.Request{
		ID: c.requestID, Kind: c.Kind, Registry: c.registry, Repository: c.repo, Caller: c.caller.ARN, Status: status, Code: code, Err: err,
		Digest: c.pulled.Digest, Tag: c.pulled.Tag, Elsewhere: elsewhere,
	}
	if the.Name != "" {
		o.Actions = the.actions
		if the.Also != nil {
			o.Actions = slices.Concat(o.Actions, the.Also(c))
		}
	}
	a.c.Observe(w, o)
}

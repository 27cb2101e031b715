package oci

import (
	"net/http"

	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// invalid refuses a parameter of the request: by the specification's own code
// with 400, or as ECR does, for which every invalid parameter is an
// unsupported operation.
func (a *API) invalid(code, parameter, constraint string) error {
	p := &problem.Problem{Status: http.StatusBadRequest, Code: code, Message: errs.Parameter(parameter, constraint).Message}
	if a.c.Quirks {
		p.Status, p.Code = http.StatusMethodNotAllowed, problem.Unsupported
	}
	return p
}

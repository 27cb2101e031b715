package problem

import (
	"net/http"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// Invalid refuses a parameter of the request: by the specification's own code
// with 400, or as ECR does, for which every invalid parameter is an unsupported
// operation.
func Invalid(quirks bool, code, parameter, constraint string) *Problem {
	p := &Problem{Status: http.StatusBadRequest, Code: code, Message: errs.Parameter(parameter, constraint).Message}
	if quirks {
		p.Status, p.Code = http.StatusMethodNotAllowed, Unsupported
	}
	return p
}

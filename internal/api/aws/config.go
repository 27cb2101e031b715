package aws

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Config is what a pipeline is made of. All fields are required but those that
// say otherwise.
type Config struct {
	Services      []Service
	Authenticator Authenticator
	Authorizer    authz.Authorizer
	Audit         Auditor
	Clock         clock.Clock
	Log           *slog.Logger
	// Throttle is optional; nil admits everything.
	Throttle Throttle
	// Hosts is optional: with it, a signature has to be made for the region
	// that the host names.
	Hosts name.Hosts
	// Origin is optional: it says where a request came from; nil takes the
	// connection's word.
	Origin func(*http.Request) authz.Origin
	// Used is optional: it is told of every access key that has signed a request.
	Used func(accessKeyID, region, service string)
	// Regions is optional: it says which regions this deployment serves.
	Regions func(name.Region) bool
	// Observe is optional: it is told of every request before it is answered, with
	// the writer that the request came with.
	Observe func(http.ResponseWriter, Observation)
}

// Pipeline answers the requests of its services. It is an http.Handler and safe
// for concurrent use.
type Pipeline struct {
	cfg      Config
	services []*service
	bodies   bodies
}

// service is a Service with its rows by name.
type service struct {
	Service
	// spoken are Protocols, with Protocol in its place.
	spoken Protocols
	rows   map[string]Operation
	known  map[string]bool
	// shapes holds, by error name, the error's name in the model where that differs.
	shapes map[string]string
	// details holds, by error name, the members that the error has besides the
	// message.
	details map[string][]string
}

// New checks the tables and returns the pipeline. It refuses a table that could
// go wrong at run time: a row without Needs, Do or a validated input, a name
// twice or unknown to the service model, an incomplete service.
func New(cfg Config) (*Pipeline, error) {
	if cfg.Authenticator == nil || cfg.Authorizer == nil || cfg.Audit == nil || cfg.Clock == nil || cfg.Log == nil {
		return nil, errors.New("aws: the pipeline needs an Authenticator, an Authorizer, an Audit, a Clock and a Log")
	}
	p := &Pipeline{cfg: cfg, bodies: newBodies()}
	seen := map[string]bool{}
	for _, s := range cfg.Services {
		built, err := newService(s)
		if err != nil {
			return nil, fmt.Errorf("aws: service %q: %w", s.Name, err)
		}
		for _, key := range append([]string{"name " + s.Name, "target " + s.TargetPrefix}, prefixed("signing name ", s.SigningNames)...) {
			if key == "target " {
				continue
			}
			if seen[key] {
				return nil, fmt.Errorf("aws: two services have the %s", key)
			}
			seen[key] = true
		}
		p.services = append(p.services, built)
	}
	if len(p.services) == 0 {
		return nil, errors.New("aws: the pipeline needs a service")
	}
	return p, nil
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

func newService(s Service) (*service, error) {
	if s.Name == "" || s.EventSource == "" || len(s.SigningNames) == 0 || s.Errors == nil {
		return nil, errors.New("needs a Name, an EventSource, SigningNames and Errors")
	}
	spoken, err := protocolsOf(s)
	if err != nil {
		return nil, err
	}
	out := &service{Service: s, spoken: spoken, rows: map[string]Operation{}, known: map[string]bool{}, details: map[string][]string{}, shapes: map[string]string{}}
	for _, known := range s.Known {
		out.known[known] = true
	}
	for _, op := range s.Operations {
		if op.Needs == nil {
			return nil, fmt.Errorf("operation %q: has no Needs, so that nobody could be refused", op.Name)
		}
		if err := checkRow(op, out); err != nil {
			return nil, fmt.Errorf("operation %q: %w", op.Name, err)
		}
		out.rows[op.Name] = op
	}
	for _, op := range s.Open {
		if op.Needs != nil {
			return nil, fmt.Errorf("open operation %q: has Needs, which nobody would ask for", op.Name)
		}
		if err := checkRow(op, out); err != nil {
			return nil, fmt.Errorf("open operation %q: %w", op.Name, err)
		}
		out.rows[op.Name] = op
	}
	for noted := range s.Notes {
		if out.rows[noted].Name == "" {
			return nil, fmt.Errorf("the note on %q: no such operation in the table", noted)
		}
	}
	for limited := range s.BodyLimits {
		if !out.known[limited] {
			return nil, fmt.Errorf("the body limit of %q: no such operation in the service model", limited)
		}
	}
	for _, e := range s.ErrorShapes {
		out.details[e.Name] = e.Members
		if e.Shape != "" {
			out.shapes[e.Name] = e.Shape
		}
	}
	return out, checkErrors(s)
}

// protocolsOf holds the service's protocols against what they are called by.
func protocolsOf(s Service) (Protocols, error) {
	spoken := s.Protocols
	if s.Protocol != nil {
		switch {
		case spoken != Protocols{}:
			return spoken, errors.New("needs a Protocol or Protocols, and not both")
		case (s.TargetPrefix == "") == (s.Version == ""):
			return spoken, errors.New("needs a TargetPrefix (JSON) or a Version (Query), and not both")
		case s.Version != "":
			return Protocols{Query: s.Protocol}, nil
		}
		return Protocols{JSON11: s.Protocol}, nil
	}
	switch {
	case spoken == Protocols{}:
		return spoken, errors.New("needs a Protocol or Protocols")
	case spoken.targeted() != (s.TargetPrefix != ""):
		return spoken, errors.New("needs a TargetPrefix for JSON and CBOR, and for these only")
	case (spoken.Query != nil) != (s.Version != ""):
		return spoken, errors.New("needs a Version for Query, and for Query only")
	}
	return spoken, nil
}

func checkRow(op Operation, s *service) error {
	switch {
	case !s.known[op.Name]:
		return errors.New("no such operation in the service model")
	case s.rows[op.Name].Name != "":
		return errors.New("stands in the table twice")
	case op.Do == nil:
		return errors.New("has no Do; leave out what is not built")
	case op.New == nil:
		return errors.New("has no New")
	}
	if _, ok := op.New().(validator); !ok {
		return errors.New("has an input without Validate; use the generated types")
	}
	return nil
}

// checkErrors holds the service's error table against its model: an error of
// the model has the status of the model, and no code is without an error.
func checkErrors(s Service) error {
	for code := errs.Internal; code <= errs.Unavailable; code++ {
		named, status := s.Errors(code)
		if named == "" || status < 400 || status > 599 {
			return fmt.Errorf("the error table has no row for code %d", code)
		}
		at := slices.IndexFunc(s.ErrorShapes, func(e shape.Error) bool { return e.Name == named })
		if at >= 0 && s.ErrorShapes[at].Status != status {
			return fmt.Errorf("the error table gives %s the status %d, the service model %d", named, status, s.ErrorShapes[at].Status)
		}
	}
	return nil
}

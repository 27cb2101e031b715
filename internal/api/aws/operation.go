package aws

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// Call is what an operation knows of the request besides its input.
type Call struct {
	Principal principal.Principal
	// Region is the one that the request was signed for.
	Region name.Region
	// Registry is the caller's own in that region, which inputs without a
	// registryId mean; an operation's Prepare may have put another in its place.
	Registry name.Registry
	// Identity is who called where that is no principal of ours: the holder of a
	// web identity. The operation sets it, for the audit trail.
	Identity audit.Identity
	// Service and Operation name the row: "ecr", "PutImage".
	Service, Operation string
	RequestID          string
	// Host is the Host header, Scheme http or https: how the client reached
	// us, for the addresses that answers hold.
	Host, Scheme string
	Origin       authz.Origin
	UserAgent    string
	// At is when the request arrived.
	At time.Time
}

// Operation is one row of a service: the heart of the edge. Use Op to make one.
type Operation struct {
	// Name is the operation's name in the service model.
	Name string
	// Prepare is optional: before Needs it looks up what these cannot be told without,
	// such as the registry behind an alias, and leaves it in the Call.
	Prepare func(ctx context.Context, c *Call, in any) error
	// Needs returns every action with its resource that the input asks for. An
	// empty answer is refused as a fault of ours.
	Needs func(c *Call, in any) ([]authz.Need, error)
	// Do carries it out.
	Do func(ctx context.Context, c *Call, in any) (any, error)
	// New returns a pointer to an empty input.
	New func() any
	// Mutates says that the operation changes something, which the audit
	// record states together with the answer.
	Mutates bool
}

// Op makes a row from functions over the generated types: I is the operation's
// input, which has to have the generated Validate, O its output.
func Op[I, O any](
	opName string,
	mutates bool,
	needs func(*Call, *I) ([]authz.Need, error),
	do func(context.Context, *Call, *I) (*O, error),
) Operation {
	op := Operation{Name: opName, Mutates: mutates, New: func() any { return new(I) }}
	if needs != nil {
		op.Needs = func(c *Call, in any) ([]authz.Need, error) { return needs(c, in.(*I)) }
	}
	if do != nil {
		op.Do = func(ctx context.Context, c *Call, in any) (any, error) {
			out, err := do(ctx, c, in.(*I))
			if err != nil {
				return nil, err
			}
			if out == nil {
				return nil, fmt.Errorf("%s answered neither an output nor an error", opName)
			}
			return out, nil
		}
	}
	return op
}

// OpenOp makes a row for Service.Open. Its Call has neither a principal nor a
// registry.
func OpenOp[I, O any](opName string, mutates bool, do func(context.Context, *Call, *I) (*O, error)) Operation {
	return Op(opName, mutates, nil, do)
}

// validator is what the generated inputs fulfil.
type validator interface{ Validate() error }

// Service is one AWS API with the operations that are built.
type Service struct {
	// Name is the service's short name: "ecr", "sts".
	Name string
	// EventSource names the service in audit records: "ecr.amazonaws.com".
	EventSource string
	// RecordedTimes is the Go layout of times in audit records; "" is that of
	// CloudTrail's samples for private registries.
	RecordedTimes string
	// TargetPrefix is what stands before the operation in X-Amz-Target, without
	// the dot, and in the path of a CBOR call. It is empty for a service of the
	// Query protocol alone.
	TargetPrefix string
	// Version is the API version that a Query service's requests name:
	// "2011-06-15". It is empty for a service that does not speak Query.
	Version string
	// Protocol is JSON 1.1 for a service with a TargetPrefix, Query for one with a
	// Version. Protocols stands in its place for a service that speaks others, or
	// several.
	Protocol  Protocol
	Protocols Protocols
	// SigningNames are the service names that a signature may be made for; the
	// first one stands in error messages.
	SigningNames []string
	// Host is the kind of host that the service has; at a host of another one its
	// operations are unknown. name.HostAny is at every host.
	Host name.HostKind
	// Global marks a service whose signatures may name any region, such as IAM.
	Global bool
	// Regions refuses calls that are signed for a region where the service is not; nil:
	// it is in the regions that are served (Config.Regions).
	Regions func(name.Region) error
	// Operations are the rows; Known are all operations of the service model.
	Operations []Operation
	Known      []string
	// Open are the rows that need no signature and no permission, such as
	// AssumeRoleWithWebIdentity: what they are given proves itself. Use OpenOp.
	Open []Operation
	// Errors is the service's table from failure codes to its own error names
	// and HTTP statuses. It has to be complete; ErrorTable is a help.
	Errors func(errs.Code) (name string, status int)
	// ErrorShapes are the errors of the service model. A detail of a failure is
	// sent only where the model has a member for it.
	ErrorShapes []shape.Error
	// Notes says of built operations what of them is without effect so far, for
	// docs/compatibility.md.
	Notes map[string]string
	// BodyLimits bounds the request bodies of the operations it names, in
	// bytes; DefaultBodyLimit holds for all others.
	BodyLimits map[string]int64
}

// DefaultBodyLimit bounds the request bodies of operations without a limit of
// their own, in bytes. The largest ones of the ECR API beside PutImage and
// UploadLayerPart carry policies of 30 KiB.
const DefaultBodyLimit = 1 << 20

// Limits for bodies that carry one large member.
const (
	// LayerPartBodyLimit holds a layer part of 20 MiB in base64, with 2 MiB for
	// line breaks and the other members.
	LayerPartBodyLimit = (20<<20)/3*4 + 2<<20
	// ManifestBodyLimit holds a manifest of 4 Mi characters as a JSON string in
	// its longest form, every character escaped in six bytes.
	ManifestBodyLimit = 6*(4<<20) + 1<<20
)

// NamedError is an error as one service names it.
type NamedError struct {
	Name   string
	Status int
}

// ErrorTable is a service's table from failure codes to its error names.
type ErrorTable map[errs.Code]NamedError

// Named is a Service's Errors function: the row of the code, and that of
// errs.Internal for a code without one.
func (t ErrorTable) Named(code errs.Code) (name string, status int) {
	row, ok := t[code]
	if !ok {
		row = t[errs.Internal]
	}
	return row.Name, row.Status
}

package authz

import (
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/policy"
)

// denied makes the refusal with AWS's sentence (IAM user guide, "troubleshoot
// access denied error messages").
func (s *Service) denied(who *subject, need *Need, q *policy.Request, d policy.Decision) error {
	e := errs.New(errs.AccessDenied, "User: %s is not authorized to perform: %s on resource: %s %s",
		who.ARN, need.Action, q.Resource, because(d, need.Action))
	if encoded, err := s.encodeMessage(who, q, d); err == nil {
		e = e.With(MessageDetail, encoded)
	}
	return e
}

// because is the end of the sentence.
func because(d policy.Decision, action string) string {
	side := sideText(d.By)
	if d.Explicit {
		article := "a "
		if d.By == policy.IdentitySide {
			article = "an "
		}
		return "with an explicit deny in " + article + side
	}
	return "because no " + side + " allows the " + action + " action"
}

func sideText(side policy.Side) string {
	switch side {
	case policy.ResourceSide:
		return "resource-based policy"
	case policy.BoundarySide:
		return "permissions boundary"
	case policy.SessionSide:
		return "session policy"
	case policy.ServiceControlSide:
		return "service control policy"
	case policy.IdentitySide, policy.NoSide:
	}
	return "identity-based policy"
}

package session

import (
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/principal"
)

// Refused says whether a principal may not perform an action because of what
// kind of credentials it has, whatever policies say, and why (IAM user guide,
// "Compare AWS STS credentials"; STS API reference, "Permissions" of each
// operation). The reason is a finished text. Actions are written as IAM writes
// them.
func Refused(p principal.Principal, action string) (reason string, refused bool) {
	if p.IsRoot() && action == "sts:AssumeRole" {
		return "Roles may not be assumed by root accounts.", true
	}
	s := p.Session
	if s == nil || slices.Contains(permissionsOnly, action) {
		return "", false
	}
	service, operation, _ := strings.Cut(action, ":")
	var allowed bool
	switch s.Kind {
	case principal.RoleSession:
		allowed = action != "sts:GetSessionToken" && action != "sts:GetFederationToken"
	case principal.TokenSession:
		switch service {
		case "iam":
			if s.MFA.IsZero() {
				return "Cannot call " + operation + " with session credentials that were obtained without multi-factor authentication", true
			}
			allowed = true
		case "sts":
			allowed = slices.Contains([]string{"AssumeRole", "TagSession", "SetSourceIdentity", "GetCallerIdentity"}, operation)
		default:
			allowed = true
		}
	case principal.FederatedSession:
		allowed = service != "iam" && service != "sts" || action == "sts:GetCallerIdentity"
	}
	if allowed {
		return "", false
	}
	return "Cannot call " + operation + " with session credentials", true
}

// permissionsOnly are actions of IAM and STS without an operation of their name:
// other services' operations need them.
var permissionsOnly = []string{"sts:GetServiceBearerToken", "iam:PassRole"}

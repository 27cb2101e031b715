// Package trail is how requests of the registry stand in the audit trail. Which of
// them do, and under which names, is api/oci's to say; the trail is domain/audit's.
package trail

import (
	"encoding/json"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/internal/api/oci/front"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// Call is what the trail has to know of a request.
type Call struct {
	At         time.Time
	ID         string
	Service    front.Service
	Registry   name.Registry
	Repository name.Repository // "" for none
	Caller     principal.Principal
	Origin     authz.Origin
	UserAgent  string
}

// Entry is an audit entry with what follows from the request alone. One that found no
// registry stands in the trail of the caller's account.
func (c Call) Entry(event string) audit.Entry {
	e := audit.Entry{
		Time: c.At, EventSource: c.Service.EventSource, EventName: event, Region: c.Service.Region, Principal: c.Caller.AuditIdentity(),
		Account: c.Registry.Account, UserAgent: c.UserAgent, RequestID: c.ID,
	}
	if e.Account == "" {
		e.Account = c.Caller.Account
	}
	if ip := c.Origin.SourceIP; ip.IsValid() {
		e.SourceIP = ip.String()
	}
	if c.Repository != "" {
		e.Resources = []string{c.Registry.RepositoryARN(c.Repository).String()}
	}
	return e
}

// Marshal writes the members of an entry, nil for none. What cannot be written is
// logged and left out.
func Marshal(log *slog.Logger, members map[string]any) json.RawMessage {
	if len(members) == 0 {
		return nil
	}
	b, err := json.Marshal(members)
	if err != nil {
		log.Error("a call's parameters cannot be recorded", "error", err)
		return nil
	}
	return b
}

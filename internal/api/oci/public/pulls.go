package public

import (
	"context"
	"net/http"
	"net/netip"
	"slices"

	"github.com/berth-registry/berth/internal/api/oci/front"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/quota"
)

// workload says whether an address belongs to a workload of the operator's.
func (f *Front) workload(from netip.Addr) bool {
	return slices.ContainsFunc(f.c.Workloads, func(p netip.Prefix) bool { return p.Contains(from) })
}

// Admit implements front.Front. A pull is a GET of a manifest, and what counts is the
// address for who has no token and for workloads, the account for others (ECR Public user
// guide, "Service quotas"). The rest of a pull is free; what belongs to a push has the
// rates of the API's operations.
func (f *Front) Admit(ctx context.Context, a front.Ask) error {
	from := a.Origin.SourceIP.Unmap()
	if f.counts(a.Caller, from) && a.Method == http.MethodGet && (a.Action == "BatchGetImage" || a.Action == "GetDownloadUrlForLayer") {
		if err := f.c.Volume.Allowed(ctx, from); err != nil {
			return err
		}
	}
	if f.c.Throttle == nil {
		return nil
	}
	account, action := a.Caller.Account, name.ServiceECRPublic+":"+a.Action
	pull := a.Action == "BatchGetImage" && a.Method == http.MethodGet
	switch {
	case pull && f.workload(from):
		account, action = quota.OfAddress(from), quota.WorkloadPull
	case pull && anonymous(a.Caller):
		account, action = quota.OfAddress(from), quota.AnonymousPull
	case pull:
		action = quota.PublicPull
	case anonymous(a.Caller), free(a.Action) && a.Action != "BatchCheckLayerAvailability":
		return nil
	}
	return f.c.Throttle(ctx, account, name.Public, action)
}

// counts says whether what the client pulls belongs to the volume of its address.
func (f *Front) counts(caller principal.Principal, from netip.Addr) bool {
	return f.c.Volume != nil && anonymous(caller) && from.IsValid() && !f.workload(from)
}

// Meter implements front.Front.
func (f *Front) Meter(caller principal.Principal, o authz.Origin) func(int64) {
	from := o.SourceIP.Unmap()
	if !f.counts(caller, from) {
		return nil
	}
	return func(bytes int64) { f.c.Volume.Add(from, bytes) }
}

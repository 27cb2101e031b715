package telling

import (
	"net/http"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/ecr"
	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/app/metering"
	"github.com/berth-registry/berth/internal/domain/event/pulls"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/usage"
)

// Meter is what app/observe tells of requests that are over: usage counts them, and pulls
// are noted for their events.
type Meter struct {
	metering.Metering
	pulls *pulls.Service
}

// Meter gives the meter.
func (s *Services) Meter() Meter { return Meter{metering.New(s.usage), s.pulls} }

// PullCounts says how often repositories were pulled from, where Prometheus is to know.
func (s *Services) PullCounts() []usage.PullCount { return s.usage.PullCounts() }

// AWS takes a call of an AWS API.
func (m Meter) AWS(o aws.Observation, sent, received int64) {
	m.Metering.AWS(o, sent, received)
	out, ok := o.Out.(*ecr.BatchGetImageOutput)
	if !ok || o.Status != http.StatusOK {
		return
	}
	for _, img := range out.Images {
		if img.RegistryId == nil || img.RepositoryName == nil || img.ImageId == nil || img.ImageId.ImageDigest == nil {
			continue
		}
		tag := ""
		if img.ImageId.ImageTag != nil {
			tag = *img.ImageId.ImageTag
		}
		m.pulls.Pulled(name.Registry{Account: name.AccountID(*img.RegistryId), Region: o.Call.Region}, name.Repository(*img.RepositoryName), name.Digest(*img.ImageId.ImageDigest), name.Tag(tag))
	}
}

// Registry takes a request of a registry client.
func (m Meter) Registry(o observation.Request, sent, received int64) {
	m.Metering.Registry(o, sent, received)
	if o.Digest != "" && o.Status < http.StatusBadRequest {
		m.pulls.Pulled(o.Registry, o.Repository, o.Digest, o.Tag)
	}
}

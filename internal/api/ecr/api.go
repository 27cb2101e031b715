package ecr

import (
	"net"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/ecr/scanning"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/storage"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/lifecycle"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/replication/backfill"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/gate"
	"github.com/berth-registry/berth/internal/domain/template"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Config is what the API stands on.
type Config struct {
	Principals   *principal.Service
	Entities     *entity.Service
	Access       *authz.Service
	Registries   *registry.Service
	Repositories *repository.Service
	Layers       *layer.Service
	Images       *image.Service
	Storage      *storage.Service
	Lifecycle    *lifecycle.Service
	Templates    *template.Service
	Rules        *pullthrough.Service
	Replication  *replication.Service
	Backfills    *backfill.Service
	Scans        scanning.Scans
	Cache        Cache
	Gate         *gate.Service // nil: none
	Clock        clock.Clock
	Quotas       quota.Source
	Hosts        name.Hosts
	// Default is the registry that answers on a host without a service's name.
	Default name.Registry
	// BlobMounting is the account setting BLOB_MOUNTING while nobody has set it.
	BlobMounting bool
	// SigningKey signs page tokens and download addresses; 32 bytes.
	SigningKey []byte
}

// API holds the operations.
type API struct {
	Config
}

// New returns the API.
func New(c Config) *API { return &API{Config: c} }

// onARN makes the Needs of an operation on a resource named by its ARN.
func onARN[I any](action string, of func(*I) *string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		reg, repo, err := repositoryOfARN(c, of(in))
		if err != nil {
			return nil, err
		}
		return []authz.Need{{Action: action, Resource: reg.RepositoryARN(repo)}}, nil
	}
}

// repositoryOfARN reads the ARN of a repository in the region of the call.
func repositoryOfARN(c *aws.Call, arn *string) (name.Registry, name.Repository, error) {
	a, err := name.ParseARN(*arn)
	if err == nil {
		if reg, repo, ok := a.RepositoryOf(); ok && reg.Region == c.Region && a.Partition == c.Region.Partition() {
			return reg, repo, nil
		}
	}
	return name.Registry{}, "", errs.Parameter("resourceArn", "Invalid ARN")
}

// tokens makes and opens the page tokens of all listings.
func (a *API) tokens() paging.Tokens { return paging.Tokens{Key: a.SigningKey} }

// registryHost is the host, with its port, under which a client of this call
// reaches a registry. A client that came by a canonical name gets canonical
// names; one that came by another name (localhost, an address) gets that name
// for the default registry.
func (a *API) registryHost(c *aws.Call, reg name.Registry) string {
	if a.Hosts.Parse(c.Host).Kind == name.HostAny && reg == a.Default {
		return c.Host
	}
	host := a.Hosts.RegistryHost(reg)
	if _, port, err := net.SplitHostPort(c.Host); err == nil {
		host = net.JoinHostPort(host, port)
	}
	return host
}

// base is the scheme and host of the request itself.
func base(c *aws.Call) string { return strings.ToLower(c.Scheme) + "://" + c.Host }

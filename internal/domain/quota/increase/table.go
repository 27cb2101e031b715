package increase

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strings"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
)

// Entry is one quota as the Service Quotas API lists it.
type Entry struct {
	// Service is the service's code: ecr or ecr-public.
	Service string
	// Code is AWS's where it is published (the links of the ECR user guide's table), and
	// else one of ours, made of the service and the title.
	Code string
	// Title and Description are AWS's where AWS has the quota.
	Title, Description string
	// Unit is the API's: "None", or "Megabytes" for sizes in MiB.
	Unit string
	// Adjustable says whether a request for more is taken.
	Adjustable bool
	// Quota is the name of the value in package quota; "" for one that is fixed.
	Quota string
	// Fixed is the value of one that cannot be changed.
	Fixed float64
	// PerSecond says that it is a rate.
	PerSecond bool
	// Action is the operation whose calls a rate counts, "PutImage"; Resource is what
	// else counts what the quota bounds, by the metric AWS/Usage ResourceCount.
	Action, Resource string
	// scale is by what the value of package quota is divided.
	scale int64
	// def is AWS's own value, in the unit of package quota.
	def int64
}

// ARN is the quota's name across services, for an account in a region.
func (e Entry) ARN(account name.AccountID, region name.Region) string {
	return "arn:aws:servicequotas:" + string(region) + ":" + string(account) + ":" + e.Service + "/" + e.Code
}

// NoLimit stands for a rate or size without a limit, for which the API has no word: it
// is more than a server can do.
const NoLimit = 1_000_000_000

// value turns a value of package quota into the API's.
func (e Entry) value(v int64, unlimited bool) float64 {
	if v == 0 && unlimited {
		return NoLimit
	}
	return float64(v) / float64(max(e.scale, 1))
}

// Default is AWS's value, or Berth's where AWS has none.
func (e Entry) Default() float64 {
	if e.Quota == "" {
		return e.Fixed
	}
	return e.value(e.def, e.def == 0)
}

// stored turns a value of the API's into that of package quota; ok is false where it is
// no whole number of it.
func (e Entry) stored(v float64) (int64, bool) {
	v *= float64(max(e.scale, 1))
	if v != math.Trunc(v) || v < 1 || v >= math.MaxInt64/2 {
		return 0, false
	}
	return int64(v), true
}

// Services are the services that have quotas here, by code, with the names of AWS's
// list of services.
func Services() []Service {
	return []Service{
		{Code: "ecr", Name: "Amazon Elastic Container Registry (Amazon ECR)"},
		{Code: "ecr-public", Name: "Amazon Elastic Container Registry Public (Amazon ECR Public)"},
	}
}

// Service is one of them.
type Service struct{ Code, Name string }

const mib = 1 << 20

// Entries lists the quotas of a service in the order of their titles; none for a service
// that has none here. Titles, descriptions and what is adjustable are the ECR user
// guide's, "Amazon ECR service quotas", and the ECR public user guide's; those that only
// Berth has are adjustable.
func Entries(service string) []Entry {
	var all []Entry
	switch service {
	case "ecr":
		all = private()
	case "ecr-public":
		all = public()
	}
	ecr := quota.Default()
	rates := quota.ECRRates()
	for i := range all {
		e := &all[i]
		e.Service = service
		if e.Unit == "" {
			e.Unit = "None"
		}
		if e.Code == "" {
			sum := sha256.Sum256([]byte(service + "/" + e.Title))
			e.Code = "L-" + strings.ToUpper(hex.EncodeToString(sum[:4]))
		}
		if action, ok := strings.CutPrefix(e.Quota, "rate:"); ok {
			e.def, e.PerSecond = rates[action], true
			continue
		}
		for _, q := range quota.All() {
			if q.Name == e.Quota {
				e.def = q.Of(ecr)
			}
		}
	}
	return all
}

// rate is the quota of an operation's rate.
func rate(code, operation, prefix, description string) Entry {
	return Entry{
		Code: code, Title: "Rate of " + operation + " requests", Quota: "rate:" + prefix + operation, Action: operation, Adjustable: true,
		Description: "The maximum number of " + operation + " requests that you can make per second in the current Region." + description,
	}
}

const onPush = " It is called by clients that push."

func private() []Entry {
	return []Entry{
		{Title: "Filters per rule in a replication configuration", Fixed: 100, Description: "The maximum number of filters per rule in a replication configuration."},
		{Code: "L-03A36CE1", Title: "Images per repository", Quota: "images-per-repository", Adjustable: true, Description: "The maximum number of images per repository.", Resource: "ImagesPerRepositoryCount"},
		{Title: "Layer parts", Quota: "max-layer-parts", Description: "The maximum number of layer parts. It concerns clients that upload by the API themselves."},
		{Title: "Layers per image", Quota: "layers-per-image", Adjustable: true, Description: "The maximum number of layers that a manifest names."},
		{Title: "Lifecycle policy length", Quota: "lifecycle-policy-chars", Description: "The maximum number of characters in a lifecycle policy."},
		{Title: "Manifest size", Quota: "manifest-bytes", Unit: "Bytes", Adjustable: true, Description: "The maximum size (bytes) of an image manifest."},
		{Title: "Maximum layer part size", Quota: "max-part-bytes", Unit: "Megabytes", scale: mib, Description: "The maximum size (MiB) of a layer part. It concerns clients that upload by the API themselves."},
		{Title: "Maximum layer size", Quota: "max-layer-bytes", Unit: "Megabytes", scale: mib, Description: "The maximum size (MiB) of a layer."},
		{Title: "Minimum layer part size", Quota: "min-part-bytes", Unit: "Megabytes", scale: mib, Description: "The minimum size (MiB) of a layer part that is not the last. It concerns clients that upload by the API themselves."},
		{Title: "Pull through cache rules per registry", Fixed: 50, Description: "The maximum number of pull-through cache rules."},
		{Title: "Pull-time exclusions", Quota: "pull-time-exclusions", Adjustable: true, Description: "The maximum number of principals whose pulls leave no time."},
		rate("L-B9173138", "BatchCheckLayerAvailability", "", onPush),
		rate("L-16E70933", "BatchGetImage", "", " It is called once for an image that is pulled."),
		rate("L-44194860", "CompleteLayerUpload", "", onPush),
		rate("L-55A41110", "GetAuthorizationToken", "", ""),
		rate("L-A60A366D", "GetDownloadUrlForLayer", "", " It is called once for each layer that a pulling client lacks."),
		rate("L-95B28F8D", "InitiateLayerUpload", "", onPush),
		rate("L-AD52DFB2", "PutImage", "", onPush),
		rate("L-A1670B10", "UploadLayerPart", "", onPush),
		{Code: "L-CFEB8E8D", Title: "Registered repositories", Quota: "repositories-per-registry", Adjustable: true, Resource: "RepositoryCount", Description: "The maximum number of repositories that you can create in this account in the current Region."},
		{Title: "Repository and registry policy length", Quota: "policy-chars", Adjustable: true, Description: "The maximum number of characters in the policy of a repository or a registry."},
		{Title: "Resource tags per repository", Quota: "resource-tags", Description: "The maximum number of tags of a repository."},
		{Title: "Rules per lifecycle policy", Quota: "lifecycle-rules", Description: "The maximum number of rules in a lifecycle policy."},
		{Title: "Rules per replication configuration", Fixed: 10, Description: "The maximum number of rules in a replication configuration."},
		{Title: "Storage per account and region", Quota: "storage-bytes", Unit: "Megabytes", scale: mib, Adjustable: true, Description: "The maximum size (MiB) of all images of this account in the current Region."},
		{Title: "Storage per repository", Quota: "repository-storage-bytes", Unit: "Megabytes", scale: mib, Adjustable: true, Description: "The maximum size (MiB) of the images of one repository."},
		{Title: "Tags per image", Quota: "tags-per-image", Description: "The maximum number of tags per image."},
		{Title: "Unique destinations across all rules in a replication configuration", Fixed: 25, Description: "The maximum number of unique destinations across all rules in a replication configuration."},
	}
}

func public() []Entry {
	const prefix = name.ServiceECRPublic + ":"
	return []Entry{
		{Title: "Images per repository", Quota: "images-per-repository", Adjustable: true, Description: "The maximum number of images per public repository."},
		{Title: "Layer parts", Quota: "public-max-layer-parts", Description: "The maximum number of layer parts. It concerns clients that upload by the API themselves."},
		{Title: "Maximum layer part size", Quota: "max-part-bytes", Unit: "Megabytes", scale: mib, Description: "The maximum size (MiB) of a layer part. It concerns clients that upload by the API themselves."},
		{Title: "Maximum layer size", Quota: "public-max-layer-bytes", Unit: "Megabytes", scale: mib, Description: "The maximum size (MiB) of a layer."},
		{Title: "Minimum layer part size", Quota: "min-part-bytes", Unit: "Megabytes", scale: mib, Description: "The minimum size (MiB) of a layer part that is not the last. It concerns clients that upload by the API themselves."},
		rate("", "BatchCheckLayerAvailability", prefix, onPush),
		rate("", "CompleteLayerUpload", prefix, onPush),
		rate("", "GetAuthorizationToken", prefix, ""),
		{Title: "Rate of image pulls", Quota: "rate:" + prefix + "Pull", Adjustable: true, Description: "The maximum number of image pulls per second with a token of this account."},
		rate("", "InitiateLayerUpload", prefix, onPush),
		rate("", "PutImage", prefix, onPush),
		rate("", "UploadLayerPart", prefix, onPush),
		{Title: "Registered repositories", Quota: "public-repositories", Adjustable: true, Description: "The maximum number of public repositories that you can create in this account."},
		{Title: "Tags per image", Quota: "tags-per-image", Description: "The maximum number of tags per image."},
	}
}

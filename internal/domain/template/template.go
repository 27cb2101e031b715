// Package template owns the repository creation templates of a registry: the
// settings of repositories that the registry makes by itself, for an image that
// is replicated, pulled through or pushed; which template holds for a name; and
// the making of the repository by it, as the service-linked role or the custom
// role that the template names.
//
// It does not own repositories and their settings (domain/repository), lifecycle
// policies (domain/lifecycle, connected in internal/app), nor what may be done
// with a template (domain/authz).
package template

import (
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Trigger is why a registry makes a repository by itself.
type Trigger string

// The triggers of the ECR API.
const (
	Replication      Trigger = "REPLICATION"
	PullThroughCache Trigger = "PULL_THROUGH_CACHE"
	CreateOnPush     Trigger = "CREATE_ON_PUSH"
)

// Root is the prefix of the template for all names that no other one covers.
const Root = "ROOT"

// Template is one repository creation template.
type Template struct {
	Registry name.Registry
	// Prefix as it was given; a slash at its end is meant in any case.
	Prefix      string
	Description string
	Encryption  repository.Encryption
	Mutability  repository.Mutability
	// Tags are the resource tags.
	Tags map[string]string
	// Policy is the repository policy, nil for none. In what Service returns its
	// principals are as people read them.
	Policy *policy.Document
	// Lifecycle is the lifecycle policy as it was given, "" for none.
	Lifecycle string
	// AppliedFor are the triggers that the template is for, one at least.
	AppliedFor []Trigger
	// CustomRole is the ARN of the role that makes the repositories, "" for the
	// service-linked one.
	CustomRole           string
	CreatedAt, UpdatedAt time.Time
}

// Change is what Service.Update changes; nil leaves a setting as it is. Empty
// values take settings away.
type Change struct {
	Description *string
	Encryption  *repository.Encryption
	// Setting without Filters takes the filters away where it has none.
	Setting *repository.TagMutability
	Filters *[]string
	Tags    *map[string]string
	// Policy points to nil for none.
	Policy     **policy.Document
	Lifecycle  *string
	AppliedFor *[]Trigger
	CustomRole *string
}

// into puts the change into a template.
func (c Change) into(t *Template) {
	set(&t.Description, c.Description)
	set(&t.Encryption, c.Encryption)
	set(&t.Mutability.Setting, c.Setting)
	set(&t.Mutability.Filters, c.Filters)
	if c.Setting != nil && c.Filters == nil && (*c.Setting == repository.Mutable || *c.Setting == repository.Immutable) {
		t.Mutability.Filters = nil
	}
	set(&t.Tags, c.Tags)
	set(&t.Policy, c.Policy)
	set(&t.Lifecycle, c.Lifecycle)
	set(&t.AppliedFor, c.AppliedFor)
	set(&t.CustomRole, c.CustomRole)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// key is what a prefix is kept and found under: "prod" and "prod/" are one.
func key(prefix string) string { return strings.TrimSuffix(prefix, "/") }

// covering are the keys of the templates that could hold for a repository, the
// first before the others: every run of whole segments in front of its last one,
// the longest first, and ROOT (ECR user guide, "repository creation templates").
func covering(repo name.Repository) []string {
	var keys []string
	for rest := string(repo); ; {
		i := strings.LastIndexByte(rest, '/')
		if i < 0 {
			return append(keys, Root)
		}
		rest = rest[:i]
		keys = append(keys, rest)
	}
}

// choose picks, of the templates that could hold for a repository, the first one
// in the order of keys that is for the trigger.
func choose(found []Template, keys []string, trigger Trigger) (Template, bool) {
	for _, k := range keys {
		for _, t := range found {
			if key(t.Prefix) == k && slices.Contains(t.AppliedFor, trigger) {
				return t, true
			}
		}
	}
	return Template{}, false
}

// validate holds the settings against each other.
func (t *Template) validate() error {
	if len(t.AppliedFor) == 0 {
		return errs.Parameter("appliedFor", "Member must have length greater than or equal to 1")
	}
	if err := t.Mutability.Validate(); err != nil {
		return err
	}
	if err := t.Encryption.Validate(); err != nil {
		return err
	}
	return t.checkRole()
}

// checkRole looks at the form of the custom role's ARN. Whether the role can be
// used shows when it is.
func (t *Template) checkRole() error {
	if t.CustomRole == "" {
		return nil
	}
	arn, err := name.ParseARN(t.CustomRole)
	if err != nil || arn.Service != "iam" || arn.Region != "" || !strings.HasPrefix(arn.Resource, "role/") {
		return errs.Parameter("customRoleArn", "Invalid ARN")
	}
	if arn.Account != t.Registry.Account {
		return errs.Parameter("customRoleArn", "The role has to be one of the account that the registry belongs to")
	}
	return nil
}

func notFound(reg name.Registry, prefix string) error {
	return errs.New(errs.TemplateNotFound, "The repository creation template with the prefix '%s' does not exist in the registry with id '%s'", prefix, reg.Account)
}

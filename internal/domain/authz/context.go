package authz

import (
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// requestContext gives the values of condition keys (IAM user guide, "AWS global
// condition context keys"). A key that the request does not have is missing,
// which conditions tell from empty.
type requestContext struct {
	request      *Request
	who          *subject
	need         *Need
	now          time.Time
	resourceTags map[string]string
	resourceOrg  func() (id, path string)
	// imageTags reads the tags of need.Images, nil for none.
	imageTags func() []string
	// failed is why a key could not be read; then there is no decision.
	failed error
}

var _ policy.Context = (*requestContext)(nil)

// Lookup returns the values of a key, given in lower case.
func (c *requestContext) Lookup(key string) ([]string, bool) {
	if values, ok := c.need.Context[key]; ok {
		return values, true
	}
	service, rest, _ := strings.Cut(key, ":")
	switch service {
	case "aws":
		return c.global(rest)
	case "ecr", "ecr-public":
		if key == imageTagKey {
			if c.imageTags == nil {
				return nil, false
			}
			tags := c.imageTags()
			return tags, len(tags) > 0
		}
		tag, ok := strings.CutPrefix(rest, "resourcetag/")
		// The guide's example for public repositories has ecr:ResourceTag.
		public := strings.HasPrefix(c.need.Action, name.ServiceECRPublic+":")
		if !ok || !public && !strings.HasPrefix(c.need.Action, service+":") {
			return nil, false
		}
		return tagValue(c.resourceTags, tag)
	case "sts", "saml":
		return nil, false
	}
	if s := c.who.Session; s != nil { // claims of the web identity behind the session
		values, ok := s.Claims[key]
		return values, ok
	}
	return nil, false
}

func one(v string) ([]string, bool) {
	if v == "" {
		return nil, false
	}
	return []string{v}, true
}

// tagValue finds a tag without regard to case, as condition keys are. Keys that
// differ in nothing else are refused when they are set; of those from before that
// was so the first in byte order counts.
func tagValue(tags map[string]string, lower string) ([]string, bool) {
	found := ""
	for k := range tags {
		if strings.EqualFold(k, lower) && (found == "" || k < found) {
			found = k
		}
	}
	if found == "" {
		return nil, false
	}
	return []string{tags[found]}, true
}

// global gives the keys that begin with "aws:".
func (c *requestContext) global(key string) ([]string, bool) {
	if group, tag, ok := strings.Cut(key, "/"); ok {
		switch group {
		case "resourcetag":
			return tagValue(c.resourceTags, tag)
		case "principaltag":
			return c.principalTag(tag)
		}
		return nil, false
	}
	p, origin := c.who.Principal, c.request.Origin
	switch key {
	case "principalarn":
		if c.who.caller.ParentARN != "" && p.Session.Kind == principal.RoleSession {
			return one(c.who.caller.ParentARN)
		}
		return one(p.ARN)
	case "principalaccount":
		return one(string(p.Account))
	case "principaltype":
		return one(principalType(c.who.caller.Type))
	case "principalorgid":
		return one(c.who.identity.Organization.ID)
	case "principalorgpaths":
		return one(c.who.identity.Organization.Path)
	case "principalisawsservice", "viaawsservice":
		return one("false")
	case "userid":
		return one(p.ID)
	case "username":
		if c.who.caller.Type != policy.User {
			return nil, false
		}
		return one(c.who.identity.Name)
	case "sourceip", "vpcsourceip":
		if !origin.SourceIP.IsValid() || (key == "vpcsourceip") != (origin.VPCEndpoint != "") {
			return nil, false
		}
		return one(origin.SourceIP.String())
	case "sourcevpc":
		return one(origin.VPC)
	case "sourcevpce":
		return one(origin.VPCEndpoint)
	case "securetransport":
		return one(strconv.FormatBool(origin.Secure))
	case "currenttime":
		return one(c.now.UTC().Format(time.RFC3339))
	case "epochtime":
		return one(strconv.FormatInt(c.now.Unix(), 10))
	case "useragent":
		return one(c.request.UserAgent)
	case "requestedregion":
		return one(string(c.request.Region))
	case "resourceaccount":
		if c.need.Resource.Account == "" {
			return one(string(p.Account))
		}
		return one(string(c.need.Resource.Account))
	case "resourceorgid", "resourceorgpaths":
		id, path := c.resourceOrg()
		if key == "resourceorgid" {
			return one(id)
		}
		return one(path)
	}
	return c.session(key)
}

// session gives the keys that only temporary credentials have.
func (c *requestContext) session(key string) ([]string, bool) {
	s := c.who.Session
	if s == nil {
		return nil, false
	}
	switch key {
	case "multifactorauthpresent":
		return one(strconv.FormatBool(!s.MFA.IsZero()))
	case "multifactorauthage":
		if s.MFA.IsZero() {
			return nil, false
		}
		return one(strconv.FormatInt(int64(c.now.Sub(s.MFA)/time.Second), 10))
	case "tokenissuetime":
		return one(s.Issued.UTC().Format(time.RFC3339))
	case "federatedprovider":
		return one(s.Provider)
	case "sourceidentity":
		return one(s.SourceIdentity)
	}
	return nil, false
}

// principalTag: a session's own tags go before those of the user or role.
func (c *requestContext) principalTag(tag string) ([]string, bool) {
	if s := c.who.Session; s != nil {
		if v, ok := tagValue(s.Tags, tag); ok {
			return v, true
		}
	}
	return tagValue(c.who.identity.Tags, tag)
}

// principalType is the value of aws:PrincipalType.
func principalType(t policy.CallerType) string {
	switch t {
	case policy.Root:
		return "Account"
	case policy.User:
		return "User"
	case policy.AssumedRole:
		return "AssumedRole"
	case policy.FederatedUser:
		return "FederatedUser"
	case policy.WebIdentity, policy.Service, policy.Anonymous:
	}
	return ""
}

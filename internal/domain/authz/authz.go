// Package authz decides whether a principal may perform actions on resources,
// and says why not. Every edge asks it, through its pipeline only. It collects
// the policies that have a say and the values of the condition keys; the rules
// themselves are in domain/policy.
//
// It does not authenticate (api/aws/sigv4, api/oci) and keeps no policies
// itself: those of principals are in domain/principal, those of resources with
// their resources.
package authz

import (
	"context"
	"net/netip"
	"strings"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// Need is one action on one resource that a request asks for.
type Need struct {
	// Action is the IAM action, "ecr:PutImage".
	Action string
	// Resource is what it acts on; the zero ARN stands for "*", for actions
	// without a resource type.
	Resource name.ARN
	// Context gives condition keys that only this action has, in lower case:
	// "aws:requesttag/environment", "sts:externalid". They go before those that
	// every request has.
	Context map[string][]string
	// Images are those that the action pushes or deletes, for the condition key
	// ecr:ImageTag: a tag stands for itself, a digest without one for all tags that
	// the image has, which are read only when a policy asks. Empty for all other
	// actions, which do not have the key.
	Images []ImageID
}

// ImageID names an image in a request, as the caller wrote it.
type ImageID struct{ Tag, Digest string }

// ImagesOf are the images of a request for a reference, which is a tag or a
// digest. A push by digest is about the tags that it sets beside.
func ImagesOf(reference string, push bool, tags []string) []ImageID {
	switch {
	case !strings.Contains(reference, ":"):
		return []ImageID{{Tag: reference}}
	case !push:
		return []ImageID{{Digest: reference}}
	}
	images := make([]ImageID, len(tags))
	for i, t := range tags {
		images[i].Tag = t
	}
	return images
}

// TagContext gives the condition keys of tags that a request brings:
// aws:RequestTag/<key> and aws:TagKeys.
func TagContext(tags map[string]string) map[string][]string {
	c := map[string][]string{}
	for k, v := range tags {
		c["aws:requesttag/"+strings.ToLower(k)] = []string{v}
		c["aws:tagkeys"] = append(c["aws:tagkeys"], k)
	}
	return c
}

// Origin is where a request came from.
type Origin struct {
	// SourceIP is the client's address; of what a proxy says only where the
	// proxy is trusted.
	SourceIP netip.Addr
	// VPC and VPCEndpoint are set for the listener that took the request; "" for
	// none. With an endpoint the address is aws:VpcSourceIp, as on AWS.
	VPC, VPCEndpoint string
	// Secure says that it came over TLS.
	Secure bool
}

// Request is one question: may this principal do all of this?
type Request struct {
	Principal principal.Principal
	Needs     []Need
	Region    name.Region
	Origin    Origin
	UserAgent string
}

// Authorizer answers Requests. A refusal is an errs.AccessDenied whose message
// is the one that AWS sends; its Detail has an encoded message under
// MessageDetail that DecodeMessage explains.
type Authorizer interface {
	Authorize(ctx context.Context, r Request) error
}

// MessageDetail is the member of a refusal's Detail with the encoded message.
const MessageDetail = "encodedAuthorizationMessage"

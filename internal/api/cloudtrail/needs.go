package cloudtrail

import (
	"context"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/audit/trails"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// The actions, resources and condition keys are those of the service authorization
// reference, "AWS CloudTrail".

func createNeeds(c *aws.Call, in *CreateTrailInput) ([]authz.Need, error) {
	arn, given := trails.UnmadeARN(c.Registry, *in.Name), authz.TagContext(tagsOf(in.TagsList))
	all := []authz.Need{{Action: "cloudtrail:CreateTrail", Resource: arn, Context: given}}
	if len(in.TagsList) > 0 {
		all = append(all, authz.Need{Action: "cloudtrail:AddTags", Resource: arn, Context: given})
	}
	return all, nil
}

// anywhere asks for an action without a resource.
func anywhere[I any](action string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(*aws.Call, *I) ([]authz.Need, error) { return []authz.Need{{Action: action}}, nil }
}

// needs asks for an action on the trail that an input calls by name or ARN. One that is
// not there is asked for as well, so that strangers do not learn which there are.
func needs[I any](a *API, action string, called func(*I) *string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		s := *called(in)
		t, err := a.Trails.Find(context.Background(), c.Registry, s)
		if errs.Is(err, errs.TrailNotFound) || errs.Is(err, errs.TrailNameInvalid) {
			return []authz.Need{{Action: action, Resource: trails.UnmadeARN(c.Registry, s)}}, nil
		}
		if err != nil {
			return nil, err
		}
		keys := map[string][]string{}
		for k, v := range t.Tags {
			keys["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
		}
		return []authz.Need{{Action: action, Resource: t.ARN(), Context: keys}}, nil
	}
}

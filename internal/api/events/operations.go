// Package events is the part of the Amazon EventBridge API (2015-10-07, JSON 1.1) by
// which events of registries get to others: rules and targets of the default event bus.
// It has the table of operations, each with the permissions it needs, and the
// translation between the service's shapes and the domain.
//
// It does not authenticate, validate shapes, authorize or write answers; the pipeline in
// api/aws does. Rules and targets are kept by domain/event/rule, destinations by
// domain/event/destination.
package events

import (
	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Config is what the API stands on.
type Config struct {
	Rules *rule.Service
}

// API holds the operations.
type API struct{ Config }

// New returns the API.
func New(c Config) *API { return &API{Config: c} }

// targetsBodyLimit holds 100 targets with a template of 8192 characters each, every
// character escaped in six bytes, and as much again for their other members.
const targetsBodyLimit = 10 << 20

// Service describes the API to the pipeline. It can be described without a Config, for
// the documentation.
func (a *API) Service() aws.Service {
	return aws.Service{
		Name:         "events",
		EventSource:  "events.amazonaws.com",
		TargetPrefix: "AWSEvents",
		SigningNames: []string{"events"},
		Host:         name.HostEvents,
		Protocol:     json11.Protocol{},
		Known:        OperationNames(),
		Errors:       errorOf,
		ErrorShapes:  ErrorShapes(),
		BodyLimits:   map[string]int64{"PutTargets": targetsBodyLimit},
		Notes: map[string]string{
			"PutRule":               "there are no schedules and no other bus than default: ScheduleExpression is refused; RoleArn is kept and has no effect",
			"PutTargets":            "a target is a destination that an administrator has made; the parameters of Batch, ECS, Kinesis, Redshift, Run Command, SageMaker and AppSync targets are refused in FailedEntries; RoleArn is kept and has no effect",
			"ListRuleNamesByTarget": "of the default bus",
			"TagResource":           "rules and the default bus have tags",
			"DescribeEventBus":      "of the default bus, which has no policy",
			"ListEventBuses":        "there is the default bus",
		},
		Operations: a.operations(),
	}
}

// operations is the table. What the model has and the table has not is answered as an
// unknown operation and listed as missing in docs/compatibility.md.
func (a *API) operations() []aws.Operation {
	return []aws.Operation{
		aws.Op("PutRule", true, a.putRuleNeeds, a.putRule),
		aws.Op("DescribeRule", false, a.describeRuleNeeds, a.describeRule),
		aws.Op("ListRules", false, listRulesNeeds, a.listRules),
		aws.Op("DeleteRule", true, a.deleteRuleNeeds, a.deleteRule),
		aws.Op("EnableRule", true, a.enableRuleNeeds, a.enableRule),
		aws.Op("DisableRule", true, a.disableRuleNeeds, a.disableRule),
		aws.Op("PutTargets", true, a.putTargetsNeeds, a.putTargets),
		aws.Op("ListTargetsByRule", false, a.listTargetsNeeds, a.listTargets),
		aws.Op("RemoveTargets", true, a.removeTargetsNeeds, a.removeTargets),
		aws.Op("TestEventPattern", false, testPatternNeeds, a.testPattern),
		aws.Op("ListRuleNamesByTarget", false, namesByTargetNeeds, a.namesByTarget),
		aws.Op("TagResource", true, a.tagNeeds, a.tagResource),
		aws.Op("UntagResource", true, a.untagNeeds, a.untagResource),
		aws.Op("ListTagsForResource", false, a.listTagsNeeds, a.listTags),
		aws.Op("DescribeEventBus", false, describeBusNeeds, a.describeBus),
		aws.Op("ListEventBuses", false, listBusesNeeds, a.listBuses),
	}
}

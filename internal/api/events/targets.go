package events

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/event/transform"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/eventsink"
)

func (a *API) putTargets(ctx context.Context, c *aws.Call, in *PutTargetsInput) (*PutTargetsOutput, error) {
	if err := onDefault(c, in.EventBusName); err != nil {
		return nil, err
	}
	var failures []rule.Failure
	var good []rule.Settings
	for _, t := range in.Targets {
		if reason := refused(t); reason != nil {
			failures = append(failures, rule.Failure{TargetID: *t.Id, Reason: reason})
			continue
		}
		good = append(good, settingsOf(t))
	}
	more, err := a.Rules.PutTargets(ctx, c.Registry, *in.Rule, good)
	if err != nil {
		return nil, err
	}
	out := &PutTargetsOutput{FailedEntries: []PutTargetsResultEntry{}}
	for _, f := range append(failures, more...) {
		code, _ := errorOf(f.Reason.Code)
		out.FailedEntries = append(out.FailedEntries, PutTargetsResultEntry{TargetId: new(f.TargetID), ErrorCode: &code, ErrorMessage: &f.Reason.Message})
	}
	out.FailedEntryCount = new(int64(len(out.FailedEntries)))
	return out, nil
}

// settingsOf translates a target.
func settingsOf(t Target) rule.Settings {
	s := rule.Settings{
		ID: *t.Id, ARN: *t.Arn, RoleARN: text(t.RoleArn),
		Input: transform.Input{Constant: text(t.Input), Path: text(t.InputPath)},
	}
	if t.InputTransformer != nil {
		s.Input.Transformer = &transform.Transformer{Paths: t.InputTransformer.InputPathsMap, Template: text(t.InputTransformer.InputTemplate)}
	}
	if t.SqsParameters != nil {
		s.Parameters.MessageGroupID = text(t.SqsParameters.MessageGroupId)
	}
	if h := t.HttpParameters; h != nil {
		s.Parameters.Header, s.Parameters.Query, s.Parameters.Path = h.HeaderParameters, h.QueryStringParameters, h.PathParameterValues
	}
	if t.RetryPolicy != nil {
		s.Attempts, s.AgeSeconds = t.RetryPolicy.MaximumRetryAttempts, t.RetryPolicy.MaximumEventAgeInSeconds
	}
	if t.DeadLetterConfig != nil {
		s.DeadLetterARN = text(t.DeadLetterConfig.Arn)
	}
	return s
}

// refused says what of a target's parameters is not for a destination here, nil for
// nothing.
func refused(t Target) *errs.Error {
	for _, p := range []struct {
		member string
		there  bool
	}{
		{"KinesisParameters", t.KinesisParameters != nil}, {"RunCommandParameters", t.RunCommandParameters != nil},
		{"EcsParameters", t.EcsParameters != nil}, {"BatchParameters", t.BatchParameters != nil},
		{"RedshiftDataParameters", t.RedshiftDataParameters != nil}, {"SageMakerPipelineParameters", t.SageMakerPipelineParameters != nil},
		{"AppSyncParameters", t.AppSyncParameters != nil},
	} {
		if p.there {
			return errs.New(errs.Validation, "Parameter(s) %s not valid for target %s: targets of this kind are not served here. Send the events to an event bus of AWS, by a destination of the kind eventbridge, and give the target to a rule of that bus.", p.member, *t.Id)
		}
	}
	arn, err := name.ParseARN(*t.Arn)
	if err != nil {
		return nil // refused with the whole call
	}
	switch {
	case t.SqsParameters != nil && arn.Service != "sqs":
		return errs.New(errs.Validation, "Parameter(s) SqsParameters not valid for target %s: they are for SQS queues.", *t.Id)
	case t.HttpParameters != nil && arn.Service != "events":
		return errs.New(errs.Validation, "Parameter(s) HttpParameters not valid for target %s: they are for API destinations.", *t.Id)
	}
	return nil
}

func (a *API) listTargets(ctx context.Context, c *aws.Call, in *ListTargetsByRuleInput) (*ListTargetsByRuleOutput, error) {
	if err := onDefault(c, in.EventBusName); err != nil {
		return nil, err
	}
	after, size, err := page("targets", in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	targets, more, err := a.Rules.Targets(ctx, c.Registry, *in.Rule, after, size)
	if err != nil {
		return nil, err
	}
	out := &ListTargetsByRuleOutput{Targets: []Target{}}
	last := ""
	for _, s := range targets {
		last = s.ID
		out.Targets = append(out.Targets, shapeOf(s))
	}
	out.NextToken = token("targets", last, more)
	return out, nil
}

// shapeOf gives a target back as it was put: what was not given is left out.
func shapeOf(s rule.Settings) Target {
	t := Target{
		Id: &s.ID, Arn: &s.ARN, RoleArn: optional(s.RoleARN), Input: optional(s.Input.Constant), InputPath: optional(s.Input.Path),
	}
	if x := s.Input.Transformer; x != nil {
		t.InputTransformer = &InputTransformer{InputPathsMap: x.Paths, InputTemplate: &x.Template}
	}
	if s.Parameters.MessageGroupID != "" {
		t.SqsParameters = &SqsParameters{MessageGroupId: &s.Parameters.MessageGroupID}
	}
	if h := httpOf(s.Parameters); len(h.HeaderParameters)+len(h.QueryStringParameters)+len(h.PathParameterValues) > 0 {
		t.HttpParameters = h
	}
	if s.Attempts != nil || s.AgeSeconds != nil {
		t.RetryPolicy = &RetryPolicy{MaximumRetryAttempts: s.Attempts, MaximumEventAgeInSeconds: s.AgeSeconds}
	}
	if s.DeadLetterARN != "" {
		t.DeadLetterConfig = &DeadLetterConfig{Arn: &s.DeadLetterARN}
	}
	return t
}

func httpOf(p eventsink.Parameters) *HttpParameters {
	return &HttpParameters{HeaderParameters: p.Header, QueryStringParameters: p.Query, PathParameterValues: p.Path}
}

func (a *API) removeTargets(ctx context.Context, c *aws.Call, in *RemoveTargetsInput) (*RemoveTargetsOutput, error) {
	if err := onDefault(c, in.EventBusName); err != nil {
		return nil, err
	}
	failures, err := a.Rules.RemoveTargets(ctx, c.Registry, *in.Rule, in.Ids)
	if err != nil {
		return nil, err
	}
	out := &RemoveTargetsOutput{FailedEntryCount: new(int64(len(failures))), FailedEntries: []RemoveTargetsResultEntry{}}
	for _, f := range failures {
		code, _ := errorOf(f.Reason.Code)
		out.FailedEntries = append(out.FailedEntries, RemoveTargetsResultEntry{TargetId: new(f.TargetID), ErrorCode: &code, ErrorMessage: &f.Reason.Message})
	}
	return out, nil
}

func (a *API) namesByTarget(ctx context.Context, c *aws.Call, in *ListRuleNamesByTargetInput) (*ListRuleNamesByTargetOutput, error) {
	if err := onDefault(c, in.EventBusName); err != nil {
		return nil, err
	}
	after, size, err := page("names", in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	names, more, err := a.Rules.NamesByTarget(ctx, c.Registry, *in.TargetArn, after, size)
	if err != nil {
		return nil, err
	}
	out := &ListRuleNamesByTargetOutput{RuleNames: []string{}}
	last := ""
	for _, n := range names {
		last = n
		out.RuleNames = append(out.RuleNames, n)
	}
	out.NextToken = token("names", last, more)
	return out, nil
}

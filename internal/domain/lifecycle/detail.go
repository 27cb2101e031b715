package lifecycle

import (
	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/lifecycle/selection"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Execution is the detail of event.PolicyExecuted and event.PolicyPreviewed, in the
// form of the audit record's serviceEventDetails (ECR user guide, "logging
// lifecycle policy actions").
type Execution struct {
	RepositoryName name.Repository   `json:"repositoryName"`
	Policy         ExecutedPolicy    `json:"lifecycleEventPolicy"`
	Actions        []ExecutedAction  `json:"lifecycleEventImageActions"`
	Failures       []ExecutedFailure `json:"lifecycleEventFailureDetails"`
}

// ExecutedPolicy is the policy of an Execution.
type ExecutedPolicy struct {
	Rules []ExecutedRule `json:"lifecycleEventRules"`
	// LastEvaluatedAt is the run before, in milliseconds since 1970; 0: there was none.
	LastEvaluatedAt int64  `json:"lastEvaluatedAt"`
	PolicyVersion   int64  `json:"policyVersion"`
	PolicyID        string `json:"policyId"`
}

// ExecutedRule is a rule in words.
type ExecutedRule struct {
	RulePriority int64             `json:"rulePriority"`
	Description  string            `json:"description"`
	Selection    ExecutedSelection `json:"lifecycleEventSelection"`
	Action       rules.ActionType  `json:"action"`
}

// ExecutedSelection is a selection in words.
type ExecutedSelection struct {
	TagStatus      string   `json:"tagStatus"`
	TagPrefixList  []string `json:"tagPrefixList"`
	TagPatternList []string `json:"tagPatternList,omitempty"`
	CountType      string   `json:"countType"`
	CountUnit      string   `json:"countUnit,omitempty"`
	CountNumber    int64    `json:"countNumber"`
}

// ExecutedImage is an image of an Execution.
type ExecutedImage struct {
	Digest    name.Digest `json:"digest"`
	TagStatus string      `json:"tagStatus"`
	TagList   []string    `json:"tagList"`
	// PushedAt is in milliseconds since 1970.
	PushedAt int64 `json:"pushedAt"`
}

// ExecutedAction is what a rule did to an image.
type ExecutedAction struct {
	Image        ExecutedImage `json:"lifecycleEventImage"`
	RulePriority int64         `json:"rulePriority"`
}

// ExecutedFailure is what a rule could not do to an image.
type ExecutedFailure struct {
	Image         ExecutedImage `json:"lifecycleEventImage"`
	RulePriority  int64         `json:"rulePriority"`
	FailureCode   string        `json:"failureCode"`
	FailureReason string        `json:"failureReason"`
}

// maxTags is how many tags of an image a record lists.
const maxTags = 100

func newExecution(r repository.Repository, p plan) *Execution {
	e := &Execution{
		RepositoryName: r.Name, Actions: []ExecutedAction{}, Failures: []ExecutedFailure{},
		Policy: ExecutedPolicy{LastEvaluatedAt: p.policy.evaluatedAt / 1000, PolicyVersion: p.policy.version, PolicyID: p.policy.id},
	}
	for _, rule := range p.rules.Rules {
		sel := ExecutedSelection{
			TagStatus: tagWords[rule.Selection.TagStatus], TagPrefixList: append([]string{}, rule.Selection.Prefixes...),
			TagPatternList: rule.Selection.Patterns, CountType: countWords[rule.Selection.CountType], CountNumber: rule.Selection.CountNumber,
		}
		if rule.Selection.CountType != rules.ImageCountMoreThan && rule.Selection.CountType != rules.NoCount {
			sel.CountUnit = "Days"
		}
		e.Policy.Rules = append(e.Policy.Rules, ExecutedRule{RulePriority: rule.Priority, Description: rule.Description, Selection: sel, Action: rule.Action.Type})
	}
	return e
}

var (
	tagWords   = map[rules.TagStatus]string{rules.Any: "Any", rules.Tagged: "Tagged", rules.Untagged: "Untagged"}
	countWords = map[rules.CountType]string{
		rules.ImageCountMoreThan: "Image count more than", rules.SinceImagePushed: "Since image pushed",
		rules.SinceImagePulled: "Since image pulled", rules.SinceImageTransitioned: "Since image transitioned",
	}
)

func (e *Execution) empty() bool { return len(e.Actions)+len(e.Failures) == 0 }

func (e *Execution) acted(i selection.Image, a selection.Action) {
	e.Actions = append(e.Actions, ExecutedAction{Image: executed(i), RulePriority: a.Rule})
}

func (e *Execution) refused(i selection.Image, a selection.Action, reason string) {
	e.Failures = append(e.Failures, ExecutedFailure{Image: executed(i), RulePriority: a.Rule, FailureCode: "ImageReferencedByManifestList", FailureReason: reason})
}

func executed(i selection.Image) ExecutedImage {
	out := ExecutedImage{Digest: i.Digest, TagStatus: "Untagged", TagList: append([]string{}, i.Tags[:min(len(i.Tags), maxTags)]...), PushedAt: i.PushedAt.UnixMilli()}
	if len(i.Tags) > 0 {
		out.TagStatus = "Tagged"
	}
	return out
}

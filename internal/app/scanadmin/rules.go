package scanadmin

import (
	"context"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/gate"
	"github.com/berth-registry/berth/internal/domain/scan/tagrule"
)

// GateRule is a rule of the pull gate as operators see it.
type GateRule struct {
	Name         string           `json:"name"`
	Repositories []string         `json:"repositories"`
	Severity     finding.Severity `json:"severity,omitempty"`
	FixableOnly  bool             `json:"fixableOnly"`
	GraceDays    int              `json:"graceDays"`
	Unscanned    gate.Unscanned   `json:"unscanned"`
	WaitSeconds  int64            `json:"waitSeconds"`
	Exempt       []string         `json:"exempt"`
	Created      time.Time        `json:"created"`
	Updated      time.Time        `json:"updated"`
}

func gateRule(r gate.Rule) GateRule {
	return GateRule{
		Name: r.Name, Repositories: append([]string{}, r.Repositories...), Severity: r.Severity, FixableOnly: r.FixableOnly, GraceDays: r.Grace,
		Unscanned: r.Unscanned, WaitSeconds: int64(r.Wait / time.Second), Exempt: append([]string{}, r.Exempt...), Created: r.CreatedAt, Updated: r.UpdatedAt,
	}
}

// GateRules is the list of a registry's rules.
type GateRules struct {
	Rules []GateRule `json:"rules"`
}

// GateRules lists the rules of the pull gate.
func (s Service) GateRules(ctx context.Context, in Target) (GateRules, error) {
	all, err := s.Gate.Rules(ctx, s.registry(in))
	out := GateRules{Rules: []GateRule{}} // "[]" in JSON
	for _, r := range all {
		out.Rules = append(out.Rules, gateRule(r))
	}
	return out, err
}

// SetGateRuleRequest stores a rule, in place of the one of its name.
type SetGateRuleRequest struct {
	Target
	Name         string   `json:"name"`
	Repositories []string `json:"repositories"`
	// Severity and Unscanned are taken in any case. "" for Unscanned is allow.
	Severity    string   `json:"severity,omitempty"`
	FixableOnly bool     `json:"fixableOnly,omitempty"`
	GraceDays   int      `json:"graceDays,omitempty"`
	Unscanned   string   `json:"unscanned,omitempty"`
	Wait        string   `json:"wait,omitempty"` // 90m, 2h, 1d; "": no end
	Exempt      []string `json:"exempt,omitempty"`
}

// SetGateRule stores a rule.
func (s Service) SetGateRule(ctx context.Context, in SetGateRuleRequest) (GateRule, error) {
	r := gate.Rule{
		Name: in.Name, Repositories: in.Repositories, Severity: finding.Severity(strings.ToUpper(in.Severity)), FixableOnly: in.FixableOnly,
		Grace: in.GraceDays, Unscanned: gate.Allow, Exempt: in.Exempt,
	}
	if in.Unscanned != "" {
		r.Unscanned = gate.Unscanned(strings.ToLower(in.Unscanned))
	}
	if in.Wait != "" {
		var ok bool
		if r.Wait, ok = span(in.Wait); !ok {
			return GateRule{}, errs.New(errs.InvalidParameter, "%q is no length of time. Write 90m, 2h or 1d.", in.Wait)
		}
	}
	r, err := s.Gate.Put(ctx, s.registry(in.Target), r)
	return gateRule(r), err
}

// Named names a rule of a registry.
type Named struct {
	Target
	Name string `json:"name"`
}

// DeleteGateRule removes a rule.
func (s Service) DeleteGateRule(ctx context.Context, in Named) (Named, error) {
	return in, s.Gate.Delete(ctx, s.registry(in.Target), in.Name)
}

// Exception is an exception from the pull gate as operators see it.
type Exception struct {
	Number        int64     `json:"number,string"`
	Vulnerability string    `json:"vulnerability"`
	Repository    string    `json:"repository,omitempty"` // absent: all
	Package       string    `json:"package,omitempty"`    // absent: all
	Reason        string    `json:"reason"`
	Until         time.Time `json:"until"`
	Created       time.Time `json:"created"`
	Ended         bool      `json:"ended"`
}

func (s Service) exception(e gate.Exception) Exception {
	return Exception{
		Number: e.ID, Vulnerability: e.Vulnerability, Repository: e.Repository, Package: e.Package, Reason: e.Reason, Until: e.Until, Created: e.CreatedAt,
		Ended: !s.Clock.Now().Before(e.Until),
	}
}

// Exceptions is the list of a registry's exceptions.
type Exceptions struct {
	Exceptions []Exception `json:"exceptions"`
}

// Exceptions lists the exceptions.
func (s Service) Exceptions(ctx context.Context, in Target) (Exceptions, error) {
	all, err := s.Gate.Exceptions(ctx, s.registry(in))
	out := Exceptions{Exceptions: []Exception{}} // "[]" in JSON
	for _, e := range all {
		out.Exceptions = append(out.Exceptions, s.exception(e))
	}
	return out, err
}

// AddExceptionRequest asks for an exception.
type AddExceptionRequest struct {
	Target
	Vulnerability string `json:"vulnerability"`
	Repository    string `json:"repository,omitempty"`
	Package       string `json:"package,omitempty"`
	Reason        string `json:"reason"`
	Until         string `json:"until"` // 12h, 30d, 2026-12-31
}

// AddException stores an exception.
func (s Service) AddException(ctx context.Context, in AddExceptionRequest) (Exception, error) {
	end, err := until(in.Until, s.Clock.Now())
	if err != nil {
		return Exception{}, err
	}
	e, err := s.Gate.Except(ctx, s.registry(in.Target), gate.Exception{
		Vulnerability: in.Vulnerability, Repository: in.Repository, Package: in.Package, Reason: in.Reason, Until: end,
	})
	return s.exception(e), err
}

// Numbered names an exception of a registry.
type Numbered struct {
	Target
	Number int64 `json:"number,string"`
}

// RemoveException ends an exception.
func (s Service) RemoveException(ctx context.Context, in Numbered) (Exception, error) {
	e, err := s.Gate.Revoke(ctx, s.registry(in.Target), in.Number)
	return s.exception(e), err
}

// TagRule is a scan rule by tag as operators see it.
type TagRule struct {
	Repository string    `json:"repository"`
	Tags       []string  `json:"tags"`
	Created    time.Time `json:"created"`
}

// TagRules is the list of a registry's rules.
type TagRules struct {
	Rules []TagRule `json:"rules"`
}

// TagRules lists the rules by tag.
func (s Service) TagRules(ctx context.Context, in Target) (TagRules, error) {
	all, err := s.Tags.Rules(ctx, s.registry(in))
	out := TagRules{Rules: []TagRule{}} // "[]" in JSON
	for _, r := range all {
		out.Rules = append(out.Rules, TagRule{Repository: r.Repository, Tags: r.Tags, Created: r.CreatedAt})
	}
	return out, err
}

// SetTagRuleRequest stores a rule, in place of the one of its filter.
type SetTagRuleRequest struct {
	Target
	Repository string   `json:"repository"`
	Tags       []string `json:"tags"`
}

// SetTagRule stores a rule.
func (s Service) SetTagRule(ctx context.Context, in SetTagRuleRequest) (TagRule, error) {
	r, err := s.Tags.Put(ctx, s.registry(in.Target), tagrule.Rule{Repository: in.Repository, Tags: in.Tags})
	return TagRule{Repository: r.Repository, Tags: r.Tags, Created: r.CreatedAt}, err
}

// DeleteTagRuleRequest names a rule by its filter.
type DeleteTagRuleRequest struct {
	Target
	Repository string `json:"repository"`
}

// DeleteTagRule removes a rule.
func (s Service) DeleteTagRule(ctx context.Context, in DeleteTagRuleRequest) (DeleteTagRuleRequest, error) {
	return in, s.Tags.Delete(ctx, s.registry(in.Target), in.Repository)
}

// Package rules says which repositories are scanned when: ECR's registry scanning
// configuration, its filters, and how they decide. It is pure but for the rows in
// store.go.
//
// It does not scan and knows no images (domain/scan).
package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// ScanType is the kind of scanning of a registry.
type ScanType string

// The scan types (ECR API reference, RegistryScanningConfiguration).
const (
	Basic    ScanType = "BASIC"
	Enhanced ScanType = "ENHANCED"
)

// Frequency says when a repository's images are scanned.
type Frequency string

// The frequencies.
const (
	Manual     Frequency = "MANUAL"
	OnPush     Frequency = "SCAN_ON_PUSH"
	Continuous Frequency = "CONTINUOUS_SCAN"
)

// Limits of a configuration (ECR API reference, RegistryScanningConfiguration,
// RegistryScanningRule and ScanningRepositoryFilter).
const (
	MaxRules        = 2
	MaxFilters      = 100 // of a rule
	MaxFilterLength = 255 // characters
)

// Wildcard is the only type that a filter has.
const Wildcard = "WILDCARD"

// FilterPattern is what a filter's value looks like.
const FilterPattern = `^[a-z0-9*](?:[._\-/a-z0-9*]?[a-z0-9*]+)*$`

var filterPattern = regexp.MustCompile(FilterPattern)

// Filter selects repositories by name: without a star those whose name contains
// Value, with stars those whose whole name fits (each star stands for any run of characters).
type Filter struct {
	Value string `json:"filter"`
	Type  string `json:"filterType"` // WILDCARD
}

// Matches says whether the filter selects the repository. It takes no longer than
// the product of both lengths.
func (f Filter) Matches(repo name.Repository) bool {
	if !strings.Contains(f.Value, "*") {
		return strings.Contains(string(repo), f.Value)
	}
	first, rest, _ := strings.Cut(f.Value, "*")
	s, ok := strings.CutPrefix(string(repo), first)
	if !ok {
		return false
	}
	// Between two stars the leftmost place is as good as any other.
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		_, after, found := strings.Cut(s, part)
		if !found {
			return false
		}
		s, rest = after, more
	}
}

// Rule gives the repositories that one of its filters matches a frequency.
type Rule struct {
	Frequency Frequency `json:"scanFrequency"`
	Filters   []Filter  `json:"repositoryFilters"`
}

// Configuration is a registry's scanning configuration. The zero value is not valid;
// Default is what holds while none is set.
type Configuration struct {
	Type  ScanType `json:"scanType"`
	Rules []Rule   `json:"rules"`
}

// Default is basic scanning without rules.
func Default() Configuration { return Configuration{Type: Basic, Rules: []Rule{}} }

// Frequencies are those that a rule may have under a scan type, the strongest first
// (ECR API reference, RegistryScanningRule; MANUAL is what holds without a rule as
// well). There are none for what is no scan type.
func (t ScanType) Frequencies() []Frequency {
	switch t {
	case Basic:
		return []Frequency{OnPush, Manual}
	case Enhanced:
		return []Frequency{Continuous, OnPush}
	}
	return nil
}

// Validate says what is wrong with the configuration: errs.InvalidParameter, in the
// words of the ECR API.
func (c Configuration) Validate() error {
	allowed := c.Type.Frequencies()
	if allowed == nil {
		return errs.Parameter("scanType", "Member must satisfy enum value set: [BASIC, ENHANCED]")
	}
	if len(c.Rules) > MaxRules {
		return errs.Parameter("rules", fmt.Sprintf("Member must have length less than or equal to %d", MaxRules))
	}
	for i, r := range c.Rules {
		if err := r.validate(fmt.Sprintf("rules.%d.member.", i+1)); err != nil {
			return err
		}
		if !slices.Contains(allowed, r.Frequency) {
			return errs.Parameter("rules", fmt.Sprintf("The scan frequency %s is not supported for the scan type %s. Use %s or %s", r.Frequency, c.Type, allowed[0], allowed[1]))
		}
		if slices.ContainsFunc(c.Rules[:i], func(other Rule) bool { return other.Frequency == r.Frequency }) {
			return errs.Parameter("rules", fmt.Sprintf("There is more than one rule with the scan frequency %s. Put the filters into one rule", r.Frequency))
		}
	}
	return nil
}

func (r Rule) validate(member string) error {
	switch r.Frequency {
	case OnPush, Continuous, Manual:
	default:
		return errs.Parameter(member+"scanFrequency", "Member must satisfy enum value set: [SCAN_ON_PUSH, CONTINUOUS_SCAN, MANUAL]")
	}
	if len(r.Filters) > MaxFilters {
		return errs.Parameter(member+"repositoryFilters", fmt.Sprintf("Member must have length less than or equal to %d", MaxFilters))
	}
	for i, f := range r.Filters {
		member := fmt.Sprintf("%srepositoryFilters.%d.member.", member, i+1)
		switch n := utf8.RuneCountInString(f.Value); {
		case n < 1:
			return errs.Parameter(member+"filter", "Member must have length greater than or equal to 1")
		case n > MaxFilterLength:
			return errs.Parameter(member+"filter", fmt.Sprintf("Member must have length less than or equal to %d", MaxFilterLength))
		case !filterPattern.MatchString(f.Value):
			return errs.Parameter(member+"filter", "Member must satisfy regular expression pattern: "+FilterPattern)
		case f.Type != Wildcard:
			return errs.Parameter(member+"filterType", "Member must satisfy enum value set: ["+Wildcard+"]")
		}
	}
	return nil
}

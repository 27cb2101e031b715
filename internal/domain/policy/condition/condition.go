// Package condition owns the condition operators of the IAM policy language:
// their names, which values they take, and how they compare (IAM user guide,
// "IAM JSON policy elements: Condition operators" and "Set operators for
// multivalued context keys").
//
// It does not own where the values of condition keys come from, nor how texts
// are matched (policy/pattern).
package condition

import (
	"cmp"
	"errors"
	"strings"

	"github.com/berth-registry/berth/internal/domain/policy/pattern"
)

// Failures of Compile.
var (
	// ErrOperator says that there is no such operator.
	ErrOperator = errors.New("there is no such condition operator")
	// ErrValue says that an operator cannot compare with a value.
	ErrValue = errors.New("the value is none that the condition operator compares with")
)

// Condition is one operator on one key, compiled and immutable.
type Condition struct {
	key      string // as written
	lower    string
	operator operator
	set      set
	ifExists bool
	values   values
}

// set is the prefix of an operator.
type set uint8

const (
	noSet set = iota
	forAllValues
	forAnyValue
)

// Compile reads an operator with its prefix and suffix, a key and the values to
// compare with. It fails with ErrOperator, ErrValue or pattern.ErrVariable.
// variables says that the policy has policy variables, which the operators on
// strings and ARNs know.
func Compile(name, key string, texts []string, variables bool) (Condition, error) {
	c := Condition{key: key, lower: strings.ToLower(key)}
	// Lower case is enough: case has no meaning in the names of operators.
	rest := strings.ToLower(name)
	if after, ok := strings.CutPrefix(rest, "forallvalues:"); ok {
		c.set, rest = forAllValues, after
	} else if after, ok := strings.CutPrefix(rest, "foranyvalue:"); ok {
		c.set, rest = forAnyValue, after
	}
	rest, c.ifExists = strings.CutSuffix(rest, "ifexists")
	var ok bool
	if c.operator, ok = operators[rest]; !ok {
		return Condition{}, ErrOperator
	}
	if c.operator.family == null && (c.ifExists || c.set != noSet) {
		return Condition{}, ErrOperator // whether a key is there is not a matter of its values
	}
	for _, t := range texts {
		if err := c.values.add(c.operator, t, variables); err != nil {
			return Condition{}, err
		}
	}
	return c, nil
}

// Key is the condition key, as written.
func (c *Condition) Key() string { return c.key }

// CompareCost orders conditions by what they cost to evaluate, as cmp.Compare
// does: of several it is best to begin with the cheap ones.
func (c *Condition) CompareCost(other *Condition) int {
	return cmp.Compare(c.operator.family, other.operator.family)
}

// VariableKeys calls f with the key of each policy variable in the values, as
// written, and whether it has a default.
func (c *Condition) VariableKeys(f func(key string, optional bool)) {
	for i := range c.values.texts {
		c.values.texts[i].VariableKeys(f)
	}
	for i := range c.values.arns {
		c.values.arns[i].VariableKeys(f)
	}
}

// Holds evaluates the condition. A key without values counts as missing.
//
// A missing key fulfils IfExists, ForAllValues and the negated operators, and
// nothing else. Several values to compare with are alternatives; with a negated
// operator none of them may match. Several values of the key need ForAllValues,
// of which each has to fulfil the operator, or ForAnyValue, of which one has;
// without a prefix a positive operator wants one that matches, and a negated one
// none. A value of the key that is not of the operator's kind matches nothing.
func (c *Condition) Holds(ctx pattern.Context) bool {
	have, ok := ctx.Lookup(c.lower)
	missing := !ok || len(have) == 0
	if c.operator.family == null {
		return c.values.hasBool(missing)
	}
	if missing {
		return c.ifExists || c.set == forAllValues || (c.set == noSet && c.operator.negated)
	}
	switch c.set {
	case forAllValues:
		for _, v := range have {
			if c.values.match(c.operator, v, ctx) == c.operator.negated {
				return false
			}
		}
		return true
	case forAnyValue:
		for _, v := range have {
			if c.values.match(c.operator, v, ctx) != c.operator.negated {
				return true
			}
		}
		return false
	default:
		for _, v := range have {
			if c.values.match(c.operator, v, ctx) {
				return !c.operator.negated
			}
		}
		return c.operator.negated
	}
}

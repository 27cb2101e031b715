package rules

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/domain/policy/jsontree"
)

// Parse reads a policy. It is strict: what is unknown, doubled, missing, null, of
// the wrong type or without sense is refused, and so is a policy without rules,
// which could do nothing. The error is an errs.InvalidParameter with ECR's text
// where that is known. How long a policy may be is the API's business.
func Parse(text string, g Grammar, l Limits) (*Policy, error) {
	tree, err := readTree(text)
	if err != nil {
		return nil, err
	}
	nodes, err := readRules(tree, l)
	if err != nil {
		return nil, err
	}
	p := &Policy{Rules: make([]Rule, len(nodes))}
	for i, n := range nodes {
		if p.Rules[i], err = readRule(n, g); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(p.Rules, func(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	for i := range p.Rules {
		if err := checkRule(&p.Rules[i], g); err != nil {
			return nil, err
		}
	}
	if err := checkTogether(p.Rules); err != nil {
		return nil, err
	}
	return p, nil
}

// Minify writes the text without the white space between its tokens, which is
// what ECR keeps of a policy. Members stay in their order; numbers and strings
// stay as they are written. It refuses what is not JSON or gives a member twice,
// as Parse does, and looks at nothing else.
func Minify(text string) (string, error) {
	if _, err := readTree(text); err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		return "", refuse(textNotMapped)
	}
	return b.String(), nil
}

func readTree(text string) (*jsontree.Node, error) {
	tree, err := jsontree.Parse(text)
	switch {
	case errors.Is(err, jsontree.ErrDuplicate):
		return nil, refuse(textDuplicateMember)
	case errors.Is(err, jsontree.ErrLimit):
		return nil, refuse(textTooLarge)
	case err != nil:
		return nil, refuse(textNotMapped)
	}
	return tree, nil
}

// readRules finds the rules, all of which are objects.
func readRules(tree *jsontree.Node, l Limits) ([]*jsontree.Node, error) {
	if tree.Kind != jsontree.Object {
		return nil, refuse(textNotMapped)
	}
	top := map[string]*jsontree.Node{}
	var unknown []string
	for _, m := range tree.Members {
		if m.Key != "rules" {
			unknown = append(unknown, m.Key)
		}
		top[m.Key] = m.Value
	}
	rules := top["rules"]
	switch limit := cmp.Or(l.Rules, DefaultRules); {
	case rules == nil || rules.Kind != jsontree.Array: // the same to ECR
		return nil, refuseMissing([]string{"rules"})
	case len(unknown) > 0:
		return nil, refuseUnknown(unknown)
	case len(rules.Items) == 0:
		return nil, refuse("array is too short: must have at least 1 elements but instance has 0 elements'")
	case len(rules.Items) > limit:
		return nil, refuse(fmt.Sprintf("array is too long: must have at most %d elements but instance has %d elements'", limit, len(rules.Items)))
	}
	for _, n := range rules.Items {
		if n.Kind != jsontree.Object {
			return nil, refuse(fmt.Sprintf(`instance type (%s) does not match any allowed primitive type (allowed: ["object"])'`, typeName(n)))
		}
	}
	return rules.Items, nil
}

// object reads an object's members, of which some are required, and others are
// allowed.
func object(n *jsontree.Node, required, allowed []string) (map[string]*jsontree.Node, error) {
	if n.Kind != jsontree.Object {
		return nil, refuseType(n, "object")
	}
	members := map[string]*jsontree.Node{}
	var missing, unknown []string
	null := false
	for _, m := range n.Members {
		if !slices.Contains(required, m.Key) && !slices.Contains(allowed, m.Key) {
			unknown = append(unknown, m.Key)
		}
		null = null || m.Value.Kind == jsontree.Null
		members[m.Key] = m.Value
	}
	for _, name := range required {
		if members[name] == nil {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) > 0:
		return nil, refuseMissing(missing)
	case len(unknown) > 0:
		return nil, refuseUnknown(unknown)
	case null:
		return nil, refuse(textNoSchema)
	}
	return members, nil
}

// readRule reads one rule by itself: its members, their types and values.
func readRule(n *jsontree.Node, g Grammar) (Rule, error) {
	var r Rule
	members, err := object(n, []string{"rulePriority", "selection", "action"}, []string{"description"})
	if err != nil {
		return r, err
	}
	if r.Priority, err = number(members["rulePriority"]); err != nil {
		return r, err
	}
	if r.Description, err = text(members["description"]); err != nil {
		return r, err
	}
	if r.Action, err = readAction(members["action"], g); err != nil {
		return r, err
	}
	r.Selection, err = readSelection(members["selection"], r.Action.Type)
	return r, err
}

func readAction(n *jsontree.Node, g Grammar) (Action, error) {
	var a Action
	members, err := object(n, []string{"type"}, []string{"targetStorageClass"})
	if err != nil {
		return a, err
	}
	value, err := text(members["type"])
	if err != nil {
		return a, err
	}
	a.Type = ActionType(value)
	switch a.Type {
	case Expire, Transition:
	case Retain, Untag:
		if g != Extended {
			return a, refuseAction(value, g)
		}
	default:
		return a, refuseAction(value, g)
	}
	target := members["targetStorageClass"]
	value, err = text(target)
	switch a.Target = StorageClass(value); {
	case err != nil:
		return a, err
	case target != nil && a.Target != Archive:
		return a, refuseEnum(value, `["archive"]`)
	case target != nil && a.Type != Transition:
		return a, refuse(textTarget(a.Type))
	case target == nil && a.Type == Transition:
		return a, refuse(textNoTarget)
	}
	return a, nil
}

func refuseAction(value string, g Grammar) error {
	if g == Extended {
		return refuseEnum(value, `["expire","retain","transition","untag"]`)
	}
	return refuseEnum(value, `["expire","transition"]`)
}

// readSelection reads what an action of a type applies to. An action that retains
// can do without a count.
func readSelection(n *jsontree.Node, action ActionType) (Selection, error) {
	var s Selection
	count := []string{"countType", "countNumber"}
	required := append([]string{"tagStatus"}, count...)
	if action == Retain && n.Kind == jsontree.Object && !slices.ContainsFunc(n.Members, func(m jsontree.Member) bool { return strings.HasPrefix(m.Key, "count") }) {
		required = required[:1]
	}
	members, err := object(n, required, append(count, "tagPrefixList", "tagPatternList", "storageClass", "countUnit"))
	if err != nil {
		return s, err
	}
	value, err := text(members["tagStatus"])
	if err != nil {
		return s, err
	}
	switch s.TagStatus = TagStatus(value); s.TagStatus {
	case Tagged, Untagged, Any:
	default:
		return s, refuseEnum(value, `["any", "tagged", "untagged"]`)
	}
	if s.StorageClass, err = readStorageClass(members["storageClass"]); err != nil {
		return s, err
	}
	if err := readCount(&s, members); err != nil {
		return s, err
	}
	return s, readLists(&s, members)
}

func readStorageClass(n *jsontree.Node) (StorageClass, error) {
	value, err := text(n)
	switch class := StorageClass(value); {
	case err != nil:
		return "", err
	case n == nil:
		return Standard, nil
	case class == Standard || class == Archive:
		return class, nil
	}
	return "", refuseEnum(value, `["archive", "standard"]`)
}

// readCount reads the members that begin with "count": all of them, or none.
func readCount(s *Selection, members map[string]*jsontree.Node) error {
	if members["countType"] == nil {
		return nil
	}
	value, err := text(members["countType"])
	if err != nil {
		return err
	}
	s.CountType = CountType(value)
	days := true
	switch s.CountType {
	case ImageCountMoreThan:
		days = false
	case SinceImagePushed, SinceImagePulled, SinceImageTransitioned:
	case NoCount:
		fallthrough
	default:
		return refuse(textNoSchema)
	}
	unit := members["countUnit"]
	value, err = text(unit)
	switch {
	case err != nil:
		return err
	case unit != nil && value != "days":
		return refuseEnum(value, `["days"]`)
	case days != (unit != nil):
		return refuse(textNoSchema)
	}
	s.CountNumber, err = number(members["countNumber"])
	return err
}

// readLists reads the lists of tags, of which Tagged has exactly one. An empty
// list is no list for Tagged, and one too many for the others.
func readLists(s *Selection, members map[string]*jsontree.Node) error {
	prefixes, patterns := members["tagPrefixList"], members["tagPatternList"]
	var err error
	if s.Prefixes, err = texts(prefixes); err != nil {
		return err
	}
	if s.Patterns, err = texts(patterns); err != nil {
		return err
	}
	switch {
	case s.TagStatus != Tagged && (prefixes != nil || patterns != nil):
		return refuse(textLists(s.TagStatus))
	case prefixes != nil && patterns != nil:
		return refuse(textBothLists)
	case s.TagStatus == Tagged && len(s.Prefixes)+len(s.Patterns) == 0:
		return refuse(textNoList)
	}
	for _, pattern := range s.Patterns {
		if strings.Count(pattern, "*") > MaxWildcards {
			return refuse(textWildcards)
		}
	}
	return nil
}

// text reads a string, which is "" if there is none.
func text(n *jsontree.Node) (string, error) {
	if n == nil {
		return "", nil
	}
	if n.Kind != jsontree.String {
		return "", refuseType(n, "string")
	}
	return n.Text, nil
}

// texts reads a list of strings that are not empty.
func texts(n *jsontree.Node) ([]string, error) {
	if n == nil {
		return nil, nil
	}
	if n.Kind != jsontree.Array {
		return nil, refuseType(n, "array")
	}
	var all []string
	for _, item := range n.Items {
		s, err := text(item)
		if err != nil {
			return nil, err
		}
		if s == "" {
			return nil, refuse(`string "" is too short (length: 0, required minimum: 1)'`)
		}
		all = append(all, s)
	}
	return all, nil
}

// number reads an integer from 1 to MaxNumber.
func number(n *jsontree.Node) (int64, error) {
	if typeName(n) != "integer" {
		return 0, refuseType(n, "integer")
	}
	// What does not fit gives the nearest number that does, out of range as well.
	switch v, _ := strconv.ParseInt(n.Text, 10, 64); {
	case v < 1:
		return 0, refuseMinimum(1, n.Text)
	case v > MaxNumber:
		return 0, refuseMaximum(n.Text)
	default:
		return v, nil
	}
}

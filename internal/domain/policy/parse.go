package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/policy/condition"
	"github.com/berth-registry/berth/internal/domain/policy/jsontree"
	"github.com/berth-registry/berth/internal/domain/policy/pattern"
)

// AWS's texts for policies that are refused. Where AWS tells no more than that
// the policy has a syntax error, neither do we: clients compare the text.
const (
	textSyntax       = "Syntax errors in policy."
	textLegacy       = "The policy failed legacy parsing"
	textVersion      = "Policy document must be version 2012-10-17 or greater."
	textDuplicateKey = "Syntax errors in policy. Duplicate JSON keys are not allowed." // the first sentence is AWS's
	textTooLarge     = "Syntax errors in policy. The document is too long, too deep or has too many elements."
	textNoActions    = "Policy statement must contain actions."
	textNoResources  = "Policy statement must contain resources."
	textPrincipal    = "Policy document should not specify a principal."
	textSidUnique    = "Statement IDs (SID) in a single policy must be unique."
	textSidForm      = "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
	textVendor       = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
	textOneColon     = "Actions/Condition can contain only one colon."
	textRegex        = "Resource vendor must be fully qualified and cannot contain regexes."
	textSTSOnly      = "AssumeRole policy may only specify STS AssumeRole actions."
	textNotPrincipal = "Allow with NotPrincipal is not allowed."                                                                    // ours
	textCanonical    = "Principals of type CanonicalUser belong to Amazon S3 and are not supported; use AWS, Service or Federated." // ours
)

func refuse(format string, args ...any) error {
	return &SyntaxError{Message: fmt.Sprintf(format, args...)}
}

const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

var (
	sidForm       = regexp.MustCompile(`^[0-9A-Za-z]*$`)
	vendorForm    = regexp.MustCompile(`^[0-9A-Za-z.*?-]+$`)
	partitionForm = regexp.MustCompile(`^aws(-[a-z-]+)?$|[*?]|^\$\{`)
)

// raw is a statement whose elements have the right types.
type raw struct {
	sid   string
	allow bool

	principal    *jsontree.Node // nil without the element, negated or not
	notPrincipal bool

	action    bool // whether there is the element, negated or not
	notAction bool
	actions   []string

	resource    bool // as action
	notResource bool
	resources   []string

	conditions []rawCondition
}

type rawCondition struct {
	operator, key string
	values        []string
}

// Parse reads a policy of a grammar. It is strict: what is unknown, doubled,
// missing, empty, of the wrong type or without sense is refused. The error is a
// *SyntaxError. How long a policy may be is up to the service that stores it;
// Parse refuses only what no service takes.
func Parse(text string, g Grammar) (*Document, error) {
	tree, err := jsontree.Parse(text)
	switch {
	case errors.Is(err, jsontree.ErrDuplicate):
		return nil, refuse(textDuplicateKey)
	case errors.Is(err, jsontree.ErrLimit):
		return nil, refuse(textTooLarge)
	case err != nil:
		return nil, refuse(textSyntax)
	}
	version, raws, err := readDocument(tree)
	if err != nil {
		return nil, err
	}
	if err := checkElements(raws, g); err != nil {
		return nil, err
	}
	d := &Document{tree: tree, statements: make([]statement, len(raws))}
	for i := range raws {
		if d.statements[i], err = compile(&raws[i], g, version == version2012); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// readDocument looks at the types of all elements, and at nothing else.
func readDocument(tree *jsontree.Node) (version string, raws []raw, err error) {
	if tree.Kind != jsontree.Object {
		return "", nil, refuse(textSyntax)
	}
	version = version2008
	var statements []*jsontree.Node
	for _, m := range tree.Members {
		switch m.Key {
		case "Version":
			if m.Value.Kind != jsontree.String {
				return "", nil, refuse(textSyntax)
			}
			version = m.Value.Text
		case "Id":
			if m.Value.Kind != jsontree.String {
				return "", nil, refuse(textSyntax)
			}
		case "Statement":
			statements = []*jsontree.Node{m.Value}
			if m.Value.Kind == jsontree.Array {
				statements = m.Value.Items
			}
		default:
			return "", nil, refuse(textSyntax)
		}
	}
	if len(statements) == 0 {
		return "", nil, refuse(textSyntax)
	}
	for _, n := range statements {
		r, err := readStatement(n)
		if err != nil {
			return "", nil, err
		}
		raws = append(raws, r)
	}
	if version != version2008 && version != version2012 {
		return "", nil, refuse(textVersion)
	}
	return version, raws, nil
}

func readStatement(n *jsontree.Node) (raw, error) {
	var r raw
	if n.Kind != jsontree.Object {
		return r, refuse(textSyntax)
	}
	effect := ""
	for _, m := range n.Members {
		var ok bool
		switch m.Key {
		case "Sid":
			r.sid = m.Value.Text
			ok = m.Value.Kind == jsontree.String
		case "Effect":
			effect = m.Value.Text
			ok = m.Value.Kind == jsontree.String && (effect == "Allow" || effect == "Deny")
		case "Principal", "NotPrincipal":
			ok = r.principal == nil
			r.principal, r.notPrincipal = m.Value, m.Key == "NotPrincipal"
		case "Action", "NotAction":
			ok = !r.action
			r.action, r.notAction = true, m.Key == "NotAction"
			r.actions, ok = stringList(m.Value, ok)
		case "Resource", "NotResource":
			ok = !r.resource
			r.resource, r.notResource = true, m.Key == "NotResource"
			r.resources, ok = stringList(m.Value, ok)
		case "Condition":
			r.conditions, ok = readConditions(m.Value)
		}
		if !ok { // an unknown element, one of the wrong type, one that is there twice
			return r, refuse(textSyntax)
		}
	}
	if effect == "" {
		return r, refuse(textSyntax)
	}
	r.allow = effect == "Allow"
	return r, nil
}

// stringList reads a string or a list of strings.
func stringList(n *jsontree.Node, ok bool) ([]string, bool) {
	if n.Kind == jsontree.String {
		return []string{n.Text}, ok
	}
	var list []string
	for _, item := range n.Items {
		if item.Kind != jsontree.String {
			return nil, false
		}
		list = append(list, item.Text)
	}
	return list, ok && n.Kind == jsontree.Array
}

// readConditions reads a Condition element. Without any operator, and with an
// operator without any key, it demands nothing, as in AWS.
func readConditions(n *jsontree.Node) ([]rawCondition, bool) {
	var all []rawCondition
	if n.Kind != jsontree.Object {
		return nil, false
	}
	for _, operator := range n.Members {
		if operator.Value.Kind != jsontree.Object {
			return nil, false
		}
		for _, m := range operator.Value.Members {
			values := []*jsontree.Node{m.Value}
			if m.Value.Kind == jsontree.Array {
				values = m.Value.Items
			}
			if len(values) == 0 {
				return nil, false
			}
			c := rawCondition{operator: operator.Key, key: m.Key}
			for _, v := range values {
				if v.Kind != jsontree.String && v.Kind != jsontree.Number && v.Kind != jsontree.Bool {
					return nil, false
				}
				c.values = append(c.values, v.Text)
			}
			all = append(all, c)
		}
	}
	return all, true
}

// checkElements says which elements the grammar misses or does not admit.
func checkElements(raws []raw, g Grammar) error {
	strictSid := g == Identity || g == Trust || g == ServiceControl
	wantsPrincipal := g == Trust || g == Repository || g == Registry
	sids := map[string]bool{}
	for _, r := range raws {
		if !strictSid {
			break
		}
		if !sidForm.MatchString(r.sid) {
			return refuse(textSidForm)
		}
		if r.sid != "" && sids[r.sid] {
			return refuse(textSidUnique)
		}
		sids[r.sid] = true
	}
	for _, r := range raws {
		switch {
		case r.principal != nil && !wantsPrincipal:
			return refuse(textPrincipal)
		case r.principal == nil && wantsPrincipal:
			return refuse("Missing required field Principal")
		case r.resource && g == Trust:
			return refuse("Has prohibited field Resource")
		case len(r.actions) == 0:
			return refuse(textNoActions)
		case len(r.resources) == 0 && (r.resource || (g != Trust && g != Repository)):
			return refuse(textNoResources)
		case r.allow && r.notPrincipal:
			return refuse(textNotPrincipal)
		}
	}
	return nil
}

// compile reads what stands in the elements.
func compile(r *raw, g Grammar, variables bool) (statement, error) {
	st := statement{
		sid: r.sid, allow: r.allow, notPrincipal: r.notPrincipal,
		actionTexts: r.actions, notAction: r.notAction, notResource: r.notResource,
	}
	for _, text := range r.resources {
		a, err := compileResource(text, variables)
		if err != nil {
			return st, err
		}
		st.resources = append(st.resources, a)
	}
	for _, text := range r.actions {
		if err := checkAction(text, g); err != nil {
			return st, err
		}
		st.actions = append(st.actions, pattern.CompileAction(text))
	}
	if r.principal != nil {
		refs, err := checkPrincipal(r.principal)
		if err != nil {
			return st, err
		}
		st.principals = compilePrincipals(refs)
	}
	for _, c := range r.conditions {
		if !strings.Contains(c.key, ":") {
			return st, refuse(textVendor)
		}
		compiled, err := condition.Compile(c.operator, c.key, c.values, variables)
		switch {
		case errors.Is(err, condition.ErrValue):
			return st, refuse(textLegacy)
		case err != nil: // no such operator, or a variable that is not well formed
			return st, refuse(textSyntax)
		}
		st.conditions = append(st.conditions, compiled)
	}
	slices.SortStableFunc(st.conditions, func(a, b condition.Condition) int { return a.CompareCost(&b) })
	return st, nil
}

// compileResource reads a pattern of Resource: "*", or an ARN with a known
// partition and a service without wildcards.
func compileResource(text string, variables bool) (pattern.ARN, error) {
	a, err := pattern.CompileARN(text, variables)
	if err != nil {
		return a, refuse(textSyntax)
	}
	if text == "*" {
		return a, nil
	}
	parts := strings.Split(text, ":")
	if parts[0] != "arn" || len(parts) < 2 {
		return a, refuse(`Resource %s must be in ARN format or "*".`, text)
	}
	if !partitionForm.MatchString(parts[1]) {
		for len(parts) < 6 {
			parts = append(parts, "*")
		}
		return a, refuse(`Partition "%s" is not valid for resource "%s".`, parts[1], strings.Join(parts, ":"))
	}
	if len(parts) < 3 || parts[2] == "" || strings.ContainsAny(parts[2], "*?") {
		return a, refuse(textRegex)
	}
	if !a.Whole() {
		return a, refuse(textLegacy)
	}
	return a, nil
}

func checkAction(text string, g Grammar) error {
	vendor, name, found := strings.Cut(text, ":")
	switch {
	case g == Trust && (!strings.EqualFold(vendor, "sts") || !found):
		return refuse(textSTSOnly)
	case text == "*":
		return nil
	case !found:
		return refuse(textVendor)
	case strings.Contains(name, ":"):
		return refuse(textOneColon)
	case !vendorForm.MatchString(vendor):
		return refuse("Vendor %s is not valid", vendor)
	case name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }):
		return refuse(textSyntax)
	}
	return nil
}

// checkPrincipal looks at a Principal element, and lists the principals in it.
func checkPrincipal(n *jsontree.Node) ([]PrincipalRef, error) {
	if n.Kind == jsontree.String {
		if n.Text != "*" {
			return nil, refuse(`Invalid principal in policy: "STAR":"%s"`, n.Text)
		}
		return principalRefs(n), nil
	}
	if n.Kind != jsontree.Object || len(n.Members) == 0 {
		return nil, refuse(textSyntax)
	}
	for _, m := range n.Members {
		if m.Key == "CanonicalUser" {
			return nil, refuse(textCanonical)
		}
		list, ok := stringList(m.Value, true)
		if !ok || len(list) == 0 || !slices.Contains([]string{"AWS", "Service", "Federated"}, m.Key) {
			return nil, refuse(textSyntax)
		}
	}
	refs := principalRefs(n)
	for _, r := range refs {
		if !r.valid() {
			return nil, refuse(`Invalid principal in policy: "%s":"%s"`, strings.ToUpper(r.Type), r.Value)
		}
	}
	return refs, nil
}

package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/policy/condition"
	"github.com/berth-registry/berth/internal/domain/policy/jsontree"
	"github.com/berth-registry/berth/internal/domain/policy/pattern"
)

// Document is a policy, parsed and compiled. It is immutable, and safe for
// concurrent use.
type Document struct {
	tree       *jsontree.Node
	statements []statement
}

// statement is compiled. What an element says stands beside whether it is the
// negated one, as NotAction.
type statement struct {
	sid   string
	allow bool

	principals   []principal // none in grammars without Principal
	notPrincipal bool

	actions     []pattern.Action
	actionTexts []string
	notAction   bool

	resources   []pattern.ARN // none where Resource is implied: every resource
	notResource bool

	conditions []condition.Condition // the cheap ones first
}

// JSON returns the policy without space between its tokens, its elements in the
// order in which they were given. Parsing it again gives an equal document.
func (d *Document) JSON() string { return d.tree.Compact() }

// Pretty returns the policy in the form in which ECR returns policies: members on
// lines of their own, two spaces a level, `"Key" : value`,
// arrays on one line.
func (d *Document) Pretty() string { return d.tree.Pretty() }

// Len returns the number of statements.
func (d *Document) Len() int { return len(d.statements) }

// Actions returns every pattern of Action and NotAction, as written and in order.
func (d *Document) Actions() []string {
	var all []string
	for i := range d.statements {
		all = append(all, d.statements[i].actionTexts...)
	}
	return all
}

// HasNotAction says whether a statement has NotAction.
func (d *Document) HasNotAction() bool {
	return slices.ContainsFunc(d.statements, func(st statement) bool { return st.notAction })
}

// Principals returns every principal that Principal or NotPrincipal names, in
// order.
func (d *Document) Principals() []PrincipalRef {
	var all []PrincipalRef
	for i := range d.statements {
		for _, p := range d.statements[i].principals {
			all = append(all, p.ref)
		}
	}
	return all
}

// MapPrincipals returns a copy in which f has replaced the value of every
// principal but "*". It is for storing unique ids in place of ARNs, and for
// showing ARNs again; that the new values make a valid policy is up to f.
func (d *Document) MapPrincipals(f func(PrincipalRef) string) *Document {
	mapped := &Document{statements: slices.Clone(d.statements)}
	next := 0
	statement := func(n *jsontree.Node) *jsontree.Node {
		st := &mapped.statements[next]
		next++
		return replace(n, func(key string, v *jsontree.Node) *jsontree.Node {
			if key == "Principal" || key == "NotPrincipal" {
				v = mapValues(v, f)
				st.principals = compilePrincipals(principalRefs(v))
			}
			return v
		})
	}
	mapped.tree = replace(d.tree, func(key string, v *jsontree.Node) *jsontree.Node {
		if key != "Statement" {
			return v
		}
		if v.Kind == jsontree.Object {
			return statement(v)
		}
		items := make([]*jsontree.Node, len(v.Items))
		for i, item := range v.Items {
			items[i] = statement(item)
		}
		return &jsontree.Node{Kind: jsontree.Array, Items: items}
	})
	return mapped
}

// replace copies an object with other values.
func replace(n *jsontree.Node, f func(key string, v *jsontree.Node) *jsontree.Node) *jsontree.Node {
	c := &jsontree.Node{Kind: n.Kind, Members: slices.Clone(n.Members)}
	for i, m := range c.Members {
		c.Members[i].Value = f(m.Key, m.Value)
	}
	return c
}

// mapValues copies the value of a Principal element with other principals.
func mapValues(n *jsontree.Node, f func(PrincipalRef) string) *jsontree.Node {
	if n.Kind != jsontree.Object {
		return n // "*"
	}
	return replace(n, func(kind string, v *jsontree.Node) *jsontree.Node {
		value := func(n *jsontree.Node) *jsontree.Node {
			if n.Text == "*" {
				return n
			}
			return &jsontree.Node{Kind: jsontree.String, Text: f(PrincipalRef{Type: kind, Value: n.Text})}
		}
		if v.Kind != jsontree.Array {
			return value(v)
		}
		c := &jsontree.Node{Kind: jsontree.Array}
		for _, item := range v.Items {
			c.Items = append(c.Items, value(item))
		}
		return c
	})
}

// ContextKeys returns every condition key and every policy variable that the
// policy uses, as written, sorted, each once. The characters ${*}, ${?} and ${$}
// are no variables.
func (d *Document) ContextKeys() []string {
	keys := map[string]bool{}
	add := func(key string, _ bool) { keys[key] = true }
	for i := range d.statements {
		st := &d.statements[i]
		for j := range st.resources {
			st.resources[j].VariableKeys(add)
		}
		for j := range st.conditions {
			keys[st.conditions[j].Key()] = true
			st.conditions[j].VariableKeys(add)
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// MatchAction says whether a pattern of actions, "ecr:Describe*", covers an
// action. Case has no meaning; "*" covers every action, and otherwise the service
// and the name are compared by themselves.
func MatchAction(actionPattern, action string) bool {
	p := pattern.CompileAction(actionPattern)
	return p.Match(action)
}

// coversAction says whether Action or NotAction covers the action.
func (st *statement) coversAction(action string) bool {
	for i := range st.actions {
		if st.actions[i].Match(action) {
			return !st.notAction
		}
	}
	return st.notAction
}

// coversResource says whether Resource or NotResource covers the resource. A
// pattern whose variable has no value covers nothing, so that NotResource then
// covers the resource (IAM user guide, "Policy variables with no value").
func (st *statement) coversResource(resource *pattern.Subject, ctx Context) bool {
	if len(st.resources) == 0 {
		return true
	}
	for i := range st.resources {
		if st.resources[i].Match(resource, ctx) {
			return !st.notResource
		}
	}
	return st.notResource
}

// holds says whether all conditions do.
func (st *statement) holds(ctx Context) bool {
	for i := range st.conditions {
		if !st.conditions[i].Holds(ctx) {
			return false
		}
	}
	return true
}

// missing adds the keys, in lower case, that the statement looks for and the
// context does not have. Of the variables in Resource it wants only those whose
// value could make it cover the resource.
func (st *statement) missing(resource *pattern.Subject, ctx Context, keys map[string]bool) {
	want := func(key string) bool {
		key = strings.ToLower(key)
		values, ok := ctx.Lookup(key)
		if ok && len(values) > 0 {
			return false
		}
		keys[key] = true
		return true
	}
	open := false // a variable decides whether the resource is covered
	wantVariable := func(key string, optional bool) {
		if !optional && want(key) {
			open = true
		}
	}
	covers := st.coversResource(resource, ctx)
	if !covers || st.notResource {
		for i := range st.resources {
			st.resources[i].VariableKeys(wantVariable)
		}
	}
	if !covers && !open {
		return
	}
	for i := range st.conditions {
		want(st.conditions[i].Key())
		st.conditions[i].VariableKeys(wantVariable)
	}
}

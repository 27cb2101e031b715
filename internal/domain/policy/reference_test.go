package policy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/policy"
)

// The reference evaluator reads policies with encoding/json and follows AWS's
// rules one by one, without compiling, ordering or stopping early. It shares no
// code with the package.

type refStatement struct {
	policy    string
	index     int
	variables bool
	elements  map[string]any
}

func refStatements(p policy.Named) []refStatement {
	if p.Document == nil {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(p.Document.JSON()))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		panic(err)
	}
	var all []refStatement
	for i, st := range refList(doc["Statement"]) {
		all = append(all, refStatement{p.Name, i, doc["Version"] == "2012-10-17", st.(map[string]any)})
	}
	return all
}

func refList(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

func refText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	panic("no scalar")
}

// refToken is a character of a pattern. Wildcards and colons that stand in the
// policy itself are marked; what a variable brought in is not.
type refToken struct {
	char rune
	own  bool
}

var refVariable = regexp.MustCompile(`\$\{([*?$]|[^}',]+?)(?: *, *'([^']*)' *)?\}`)

// refTokens returns false when a variable has no value.
func refTokens(text string, ctx policy.Context, variables bool) ([]refToken, bool) {
	var tokens []refToken
	add := func(s string, own bool) {
		for _, c := range s {
			tokens = append(tokens, refToken{c, own})
		}
	}
	if !variables {
		add(text, true)
		return tokens, true
	}
	end := 0
	for _, m := range refVariable.FindAllStringSubmatchIndex(text, -1) {
		add(text[end:m[0]], true)
		end = m[1]
		name := text[m[2]:m[3]]
		if name == "*" || name == "?" || name == "$" {
			add(name, false)
			continue
		}
		values, _ := ctx.Lookup(strings.ToLower(name))
		switch {
		case len(values) == 1:
			add(values[0], false)
		case len(values) == 0 && m[4] >= 0:
			add(text[m[4]:m[5]], false)
		default:
			return nil, false
		}
	}
	add(text[end:], true)
	return tokens, true
}

func refGlob(p []refToken, s []rune) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	switch c := p[0]; {
	case c.own && c.char == '*':
		for i := range len(s) + 1 {
			if refGlob(p[1:], s[i:]) {
				return true
			}
		}
		return false
	case len(s) == 0:
		return false
	case c.own && c.char == '?':
		return refGlob(p[1:], s[1:])
	default:
		return c.char == s[0] && refGlob(p[1:], s[1:])
	}
}

func refARN(text, value string, ctx policy.Context, variables bool) bool {
	tokens, ok := refTokens(text, ctx, variables)
	if !ok {
		return false
	}
	if text == "*" {
		return true
	}
	parts := [][]refToken{nil}
	for _, c := range tokens {
		if c.own && c.char == ':' && len(parts) < 6 {
			parts = append(parts, nil)
			continue
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], c)
	}
	have := strings.SplitN(value, ":", len(parts))
	if len(have) != len(parts) {
		return false
	}
	for i := range parts {
		if !refGlob(parts[i], []rune(have[i])) {
			return false
		}
	}
	return true
}

func refActions(list any, action string) bool {
	for _, a := range refList(list) {
		p, s := strings.ToLower(a.(string)), strings.ToLower(action)
		if p == "*" {
			return true
		}
		ps, ss := strings.SplitN(p, ":", 2), strings.SplitN(s, ":", 2)
		if len(ps) != len(ss) {
			continue
		}
		all := true
		for i := range ps {
			tokens, _ := refTokens(ps[i], nil, false)
			all = all && refGlob(tokens, []rune(ss[i]))
		}
		if all {
			return true
		}
	}
	return false
}

func refTime(s string) (time.Time, bool) {
	if len(s) > 4 || (s != "" && len(s) < 4) {
		if n, err := strconv.ParseUint(s, 10, 62); err == nil {
			return time.Unix(int64(n), 0), true
		}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700", time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// refCompare says whether one value of a key matches one of the policy, with the
// negation of an operator taken off its name.
func refCompare(operator, want, have string, ctx policy.Context, variables bool) bool {
	order := func(c int) bool {
		switch {
		case strings.HasSuffix(operator, "lessthan"):
			return c < 0
		case strings.HasSuffix(operator, "lessthanequals"):
			return c <= 0
		case strings.HasSuffix(operator, "greaterthan"):
			return c > 0
		case strings.HasSuffix(operator, "greaterthanequals"):
			return c >= 0
		}
		return c == 0
	}
	literal := func() (string, bool) {
		tokens, ok := refTokens(want, ctx, variables)
		var b strings.Builder
		for _, c := range tokens {
			b.WriteRune(c.char)
		}
		return b.String(), ok
	}
	switch {
	case operator == "stringequals":
		w, ok := literal()
		return ok && w == have
	case operator == "stringequalsignorecase":
		w, ok := literal()
		return ok && strings.EqualFold(w, have)
	case operator == "stringlike":
		tokens, ok := refTokens(want, ctx, variables)
		return ok && refGlob(tokens, []rune(have))
	case strings.HasPrefix(operator, "arn"):
		return refARN(want, have, ctx, variables)
	case strings.HasPrefix(operator, "numeric"):
		w, ok1 := new(big.Rat).SetString(want)
		h, ok2 := new(big.Rat).SetString(have)
		return ok1 && ok2 && order(h.Cmp(w))
	case strings.HasPrefix(operator, "date"):
		w, ok1 := refTime(want)
		h, ok2 := refTime(have)
		return ok1 && ok2 && order(h.Compare(w))
	case operator == "bool":
		have = strings.ToLower(have)
		return (have == "true" || have == "false") && have == strings.ToLower(want)
	case operator == "binaryequals":
		w, err1 := base64.StdEncoding.DecodeString(want)
		h, err2 := base64.StdEncoding.DecodeString(have)
		return err1 == nil && err2 == nil && bytes.Equal(w, h)
	case operator == "ipaddress":
		h, err := netip.ParseAddr(have)
		if err != nil {
			return false
		}
		if a, err := netip.ParseAddr(want); err == nil {
			return a.Unmap() == h.Unmap()
		}
		return netip.MustParsePrefix(want).Contains(h.Unmap())
	}
	panic("no operator " + operator)
}

func refCondition(name, key string, wants []any, ctx policy.Context, variables bool) bool {
	operator := strings.ToLower(name)
	values, _ := ctx.Lookup(strings.ToLower(key))
	missing := len(values) == 0
	if operator == "null" {
		return slices.ContainsFunc(wants, func(w any) bool {
			return strings.EqualFold(refText(w), strconv.FormatBool(missing))
		})
	}
	set, rest, found := strings.Cut(operator, ":")
	if found {
		operator = rest
	} else {
		set = ""
	}
	operator, ifExists := strings.CutSuffix(operator, "ifexists")
	negated := strings.Contains(operator, "not")
	operator = strings.Replace(operator, "not", "", 1)
	if missing {
		if ifExists || set == "forallvalues" {
			return true
		}
		return negated && set == ""
	}
	matches := 0
	for _, v := range values {
		if slices.ContainsFunc(wants, func(w any) bool { return refCompare(operator, refText(w), v, ctx, variables) }) {
			matches++
		}
	}
	switch {
	case set == "forallvalues" && negated:
		return matches == 0
	case set == "forallvalues":
		return matches == len(values)
	case set == "foranyvalue" && negated:
		return matches < len(values)
	case negated:
		return matches == 0
	default:
		return matches > 0
	}
}

var refAccount = regexp.MustCompile(`^([0-9]{12})$|^arn:[a-z-]+:iam::([0-9]{12}):root$`)

// The strength of a name, as the rules list them.
const (
	refNone      = iota
	refAccountIs // only delegates
	refStar
	refBehind // the role or user behind a session
	refSelf
)

func refNames(principal any, c policy.Caller) []int {
	var found []int
	if principal == "*" {
		return []int{refStar}
	}
	for kind, list := range principal.(map[string]any) {
		for _, v := range refList(list) {
			name := v.(string)
			account := refAccount.FindStringSubmatch(name)
			switch {
			case kind == "Service":
				if c.Type == policy.Service && c.Service == name {
					found = append(found, refSelf)
				}
			case kind == "Federated":
				if c.Type == policy.WebIdentity && c.Provider == name {
					found = append(found, refSelf)
				}
			case name == "*":
				found = append(found, refStar)
			case account != nil:
				if account[1]+account[2] == c.Account {
					found = append(found, refAccountIs)
				}
			case name == c.ARN || (name == c.UniqueID && c.Type == policy.User):
				found = append(found, refSelf)
			case name == c.ParentARN || name == c.UniqueID:
				found = append(found, refBehind)
			}
		}
	}
	return found
}

func refStrength(st refStatement, c policy.Caller) int {
	if not := st.elements["NotPrincipal"]; not != nil {
		names := refNames(not, c)
		need := map[policy.CallerType][]int{
			policy.Root: {refAccountIs}, policy.User: {refAccountIs, refSelf},
			policy.AssumedRole: {refAccountIs, refBehind, refSelf}, policy.FederatedUser: {refAccountIs, refBehind, refSelf},
		}[c.Type]
		if need == nil {
			need = []int{refSelf}
		}
		for _, n := range need {
			if !slices.Contains(names, n) && !slices.Contains(names, refStar) {
				return refStar
			}
		}
		return refNone
	}
	if st.elements["Principal"] == nil {
		return refSelf
	}
	return max(0, slices.Max(append(refNames(st.elements["Principal"], c), 0)))
}

func refApplies(st refStatement, r *policy.Request, ctx policy.Context) bool {
	if a, ok := st.elements["Action"]; ok != refActions(firstOf(a, st.elements["NotAction"]), r.Action) {
		return false
	}
	resource := st.elements["Resource"]
	list := firstOf(resource, st.elements["NotResource"])
	if list != nil {
		covered := slices.ContainsFunc(refList(list), func(p any) bool { return refARN(p.(string), r.Resource, ctx, st.variables) })
		if covered != (resource != nil) {
			return false
		}
	}
	conditions, _ := st.elements["Condition"].(map[string]any)
	for operator, keys := range conditions {
		for key, values := range keys.(map[string]any) {
			if !refCondition(operator, key, refList(values), ctx, st.variables) {
				return false
			}
		}
	}
	return true
}

func firstOf(a, b any) any {
	if a != nil {
		return a
	}
	return b
}

type refSide struct {
	deny, allow *refStatement
	strength    int
}

func refLook(list []policy.Named, r *policy.Request, ctx policy.Context) refSide {
	var side refSide
	for _, p := range list {
		for _, st := range refStatements(p) {
			strength := refStrength(st, r.Caller)
			if strength == refNone || !refApplies(st, r, ctx) {
				continue
			}
			if st.elements["Effect"] == "Deny" {
				if side.deny == nil {
					side.deny = &st
				}
			} else if strength > side.strength {
				side.allow, side.strength = &st, strength
			}
		}
	}
	return side
}

type refEmpty struct{}

func (refEmpty) Lookup(string) ([]string, bool) { return nil, false }

func referenceDecide(s *policy.Sources, r *policy.Request) policy.Decision {
	ctx := r.Context
	if ctx == nil {
		ctx = refEmpty{}
	}
	made := func(by policy.Side, st *refStatement, allowed, explicit bool) policy.Decision {
		d := policy.Decision{By: by, Allowed: allowed, Explicit: explicit, Statement: -1}
		if st != nil {
			d.Policy, d.Statement = st.policy, st.index
			d.Sid, _ = st.elements["Sid"].(string)
		}
		return d
	}
	resource := refLook(s.Resource, r, ctx)
	switch r.Caller.Type {
	case policy.Root, policy.User, policy.AssumedRole, policy.FederatedUser:
	default:
		switch {
		case resource.deny != nil:
			return made(policy.ResourceSide, resource.deny, false, true)
		case resource.allow != nil:
			return made(policy.ResourceSide, resource.allow, true, false)
		}
		return made(policy.ResourceSide, nil, false, false)
	}
	scpAllows := true
	for _, level := range s.ServiceControl {
		side := refLook(level, r, ctx)
		if side.deny != nil {
			return made(policy.ServiceControlSide, side.deny, false, true)
		}
		scpAllows = scpAllows && side.allow != nil
	}
	identity := refLook(s.Identity, r, ctx)
	boundary := refSide{}
	if s.Boundary != nil {
		boundary = refLook([]policy.Named{*s.Boundary}, r, ctx)
	}
	session := refLook(s.Session, r, ctx)
	for _, x := range []struct {
		by   policy.Side
		side refSide
	}{
		{policy.ResourceSide, resource}, {policy.IdentitySide, identity}, {policy.BoundarySide, boundary}, {policy.SessionSide, session},
	} {
		if x.side.deny != nil {
			return made(x.by, x.side.deny, false, true)
		}
	}
	if !scpAllows {
		return made(policy.ServiceControlSide, nil, false, false)
	}
	boundaryAllows := s.Boundary == nil || boundary.allow != nil
	sessionAllows := !s.Sessioned && len(s.Session) == 0 || session.allow != nil
	identityAllows := s.Root || identity.allow != nil
	sameAccount := s.ResourceAccount == "" || s.ResourceAccount == r.Caller.Account

	// What the resource policy gives by itself: past boundary and session, or
	// within them.
	past := sameAccount && resource.strength == refSelf
	inside := sameAccount && (resource.strength == refBehind || resource.strength == refStar && !s.ResourceRequired)
	if past || inside && boundaryAllows && sessionAllows {
		return made(policy.ResourceSide, resource.allow, true, false)
	}
	resourceNeeded := !sameAccount || s.ResourceRequired
	if identityAllows && boundaryAllows && sessionAllows {
		switch {
		case !resourceNeeded:
			return made(policy.IdentitySide, identity.allow, true, false)
		case resource.strength > refNone:
			return made(policy.ResourceSide, resource.allow, true, false)
		}
		return made(policy.ResourceSide, nil, false, false)
	}
	switch {
	case !identityAllows && !inside:
		return made(policy.IdentitySide, nil, false, false)
	case !boundaryAllows:
		return made(policy.BoundarySide, nil, false, false)
	}
	return made(policy.SessionSide, nil, false, false)
}

package pattern

import (
	"net/netip"
	"strconv"
	"strings"
)

// maxNumeric is how far from zero a bound of a numeric range may be ("Numeric matching",
// EventBridge user guide).
const maxNumeric = 5e9

// parsed is what an operator comes to.
type parsed struct {
	match matcher // nil for {"exists": false}
	// absent says that the operator asks for a path that is not there.
	absent bool
	// wild are its wildcards.
	wild []string
}

// operator reads {"prefix": …} and its like.
func operator(n node) (parsed, error) {
	if len(n.members) == 0 {
		return parsed{}, wrong(n.end, "Match expression name not found")
	}
	m := n.members[0]
	p, err := expression(m)
	if err == nil && len(n.members) > 1 {
		err = wrong(n.members[1].value.start, "Only one key allowed in match expression")
	}
	return p, err
}

func expression(m member) (parsed, error) {
	switch v := m.value; m.name {
	case "exactly":
		if v.kind != kindString {
			return parsed{}, wrong(v.start, "exact match pattern must be a string")
		}
		return parsed{match: exactly(value{kind: kindString, text: v.text})}, nil
	case "prefix", "suffix":
		return affix(m)
	case "equals-ignore-case":
		if v.kind != kindString {
			return parsed{}, wrong(v.start, "equals-ignore-case match pattern must be a string")
		}
		return parsed{match: onString(equalFold(v.text))}, nil
	case "wildcard":
		return wildcardOf(v)
	case "anything-but":
		return anythingBut(v)
	case "numeric":
		return numeric(v)
	case "exists":
		switch {
		case v.kind == kindLiteral && v.text == "true":
			return parsed{match: func(value) bool { return true }}, nil
		case v.kind == kindLiteral && v.text == "false":
			return parsed{absent: true}, nil
		}
		return parsed{}, wrong(v.start, "exists match pattern must be either true or false.")
	case "cidr":
		if v.kind != kindString {
			return parsed{}, wrong(v.start, "prefix match pattern must be a string")
		}
		return cidr(v.text)
	}
	return parsed{}, wrong(m.value.start, "Unrecognized match type %s", m.name)
}

// affix is {"prefix": "a"} or {"prefix": {"equals-ignore-case": "a"}}, and suffix alike.
func affix(m member) (parsed, error) {
	v := m.value
	text, fold := v.text, false
	switch v.kind {
	case kindString:
	case kindObject:
		if len(v.members) == 0 {
			return parsed{}, wrong(v.end, "%s expression name not found", strings.ToUpper(m.name[:1])+m.name[1:])
		}
		inner := v.members[0]
		switch {
		case inner.name != "equals-ignore-case":
			return parsed{}, wrong(inner.value.start, "Unsupported %s pattern: %s", m.name, inner.name)
		case inner.value.kind != kindString:
			return parsed{}, wrong(inner.value.start, "equals-ignore-case match pattern must be a string")
		case len(v.members) > 1:
			return parsed{}, wrong(v.members[1].value.start, "Only one key allowed in match expression")
		}
		text, fold = inner.value.text, true
	case kindArray, kindNumber, kindLiteral:
		return parsed{}, wrong(v.start, "%s match pattern must be a string", m.name)
	}
	switch {
	case m.name == "prefix" && fold:
		return parsed{match: onString(prefixFold(text))}, nil
	case m.name == "prefix":
		return parsed{match: onString(func(s string) bool { return strings.HasPrefix(s, text) })}, nil
	case fold:
		return parsed{match: onString(suffixFold(text))}, nil
	}
	return parsed{match: onString(func(s string) bool { return strings.HasSuffix(s, text) })}, nil
}

func wildcardOf(v node) (parsed, error) {
	if v.kind != kindString {
		return parsed{}, wrong(v.start, "wildcard match pattern must be a string")
	}
	w, err := parseWildcard(v.text)
	if err != nil {
		return parsed{}, wrong(v.end, "%s", err)
	}
	return parsed{match: onString(w.match), wild: []string{v.text}}, nil
}

// anythingBut is {"anything-but": x}, where x is a string, a number, a list of either, or
// one of prefix, suffix, equals-ignore-case and wildcard with a string or a list of them.
func anythingBut(v node) (parsed, error) {
	switch v.kind {
	case kindString, kindNumber:
		return not([]matcher{same(newValue(v))}, nil), nil
	case kindLiteral:
		return parsed{}, wrong(v.start, "Value of anything-but must be an array or single string/number value.")
	case kindArray:
		return anythingButList(v)
	case kindObject:
	}
	if len(v.members) == 0 {
		return parsed{}, wrong(v.end, "Anything-But expression name not found")
	}
	inner := v.members[0]
	list := []node{inner.value}
	switch inner.name {
	case "prefix", "suffix", "equals-ignore-case", "wildcard":
	default:
		return parsed{}, wrong(inner.value.start, "Unsupported anything-but pattern: %s", inner.name)
	}
	switch inner.value.kind {
	case kindArray:
		if list = inner.value.items; len(list) == 0 {
			return parsed{}, wrong(inner.value.end, "Empty arrays are not allowed")
		}
	case kindString, kindNumber:
	case kindObject, kindLiteral:
		return parsed{}, wrong(inner.value.start, "Value of anything-but must be an array or single string/number value.")
	}
	if len(v.members) > 1 {
		return parsed{}, wrong(v.members[1].value.start, "Only one key allowed in match expression")
	}
	var refused []matcher
	var wild []string
	for _, item := range list {
		p, err := refusal(inner.name, item)
		if err != nil {
			return parsed{}, err
		}
		refused = append(refused, p.match)
		wild = append(wild, p.wild...)
	}
	return not(refused, wild), nil
}

// refusal is what anything-but does not let through.
func refusal(op string, item node) (parsed, error) {
	if op == "wildcard" {
		return wildcardOf(item)
	}
	if item.kind != kindString {
		if op == "equals-ignore-case" {
			return parsed{}, wrong(item.start, "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.")
		}
		return parsed{}, wrong(item.start, "prefix/suffix match pattern must be a string")
	}
	if op == "equals-ignore-case" {
		return parsed{match: onString(equalFold(item.text))}, nil
	}
	if item.text == "" {
		return parsed{}, wrong(item.end, "Null prefix/suffix not allowed")
	}
	return affix(member{op, item})
}

func anythingButList(v node) (parsed, error) {
	var refused []matcher
	numbers := 0
	for _, item := range v.items {
		switch item.kind {
		case kindNumber:
			numbers++
		case kindString:
		case kindObject, kindArray, kindLiteral:
			return parsed{}, wrong(item.start, "Inside anything but list, start|null|boolean is not supported.")
		}
		refused = append(refused, same(newValue(item)))
	}
	if len(v.items) == 0 || (numbers > 0 && numbers < len(v.items)) {
		return parsed{}, wrong(v.end, "Inside anything but list, either all values are number or string, mixed type is not supported")
	}
	return not(refused, nil), nil
}

// numeric is {"numeric": [">", 0, "<=", 5]}.
func numeric(v node) (parsed, error) {
	if v.kind != kindArray {
		return parsed{}, wrong(v.start, "Value of numeric must be an array.")
	}
	r := numbers{}
	items := v.items
	var op string
	for i := 0; i == 0 || i < len(items); i += 2 {
		if i >= 4 {
			return parsed{}, wrong(items[i].start, "Too many terms in numeric range expression")
		}
		if i >= len(items) || items[i].kind != kindString {
			return parsed{}, wrong(endOf(items, i, v), "Invalid member in numeric match: %s", textOf(items, i))
		}
		first := op
		op = items[i].text
		lower, upper := op == ">" || op == ">=", op == "<" || op == "<="
		switch {
		case !lower && !upper && op != "=":
			return parsed{}, wrong(items[i].end, "Unrecognized numeric range operator: %s", op)
		case i > 0 && (first == "=" || first == "<" || first == "<="):
			return parsed{}, wrong(items[i].start, "Too many elements in numeric expression")
		case i > 0 && !upper:
			return parsed{}, wrong(items[i].end, "Bad numeric range operator: %s", op)
		case i+1 >= len(items) || items[i+1].kind != kindNumber:
			return parsed{}, wrong(endOf(items, i+1, v), "Value of %s must be numeric", op)
		}
		n := parseNumber(items[i+1].text)
		switch {
		case !n.exact:
			return parsed{}, wrong(items[i+1].end, "Cannot compare number : %s", items[i+1].text)
		case n.float < -maxNumeric || n.float > maxNumeric:
			return parsed{}, wrong(items[i+1].end, "Value must be between -5.0E9 and 5.0E9, inclusive")
		}
		r.bound(op, n.float)
	}
	if r.low.set && r.high.set && r.low.at >= r.high.at && !r.equal {
		return parsed{}, wrong(v.end, "Bottom must be less than top")
	}
	return parsed{match: func(v value) bool { return v.kind == kindNumber && v.number.exact && r.has(v.number.float) }}, nil
}

// endOf is behind item i, or behind the array if it has no such item.
func endOf(items []node, i int, array node) int {
	if i < len(items) {
		return items[i].start
	}
	return array.end
}

func textOf(items []node, i int) string {
	if i < len(items) && items[i].text != "" {
		return items[i].text
	}
	return "none"
}

// numbers is a range.
type numbers struct {
	low, high limit
	equal     bool // it is the one number that both limits are
}

type limit struct {
	at        float64
	set, open bool
}

func (r *numbers) bound(op string, at float64) {
	l := limit{at: at, set: true, open: op == ">" || op == "<"}
	switch op {
	case "=":
		r.low, r.high, r.equal = l, l, true
	case ">", ">=":
		r.low = l
	default:
		r.high = l
	}
}

func (r numbers) has(f float64) bool {
	above := !r.low.set || f > r.low.at || (!r.low.open && f == r.low.at)
	below := !r.high.set || f < r.high.at || (!r.high.open && f == r.high.at)
	return above && below
}

// cidr is {"cidr": "10.0.0.0/24"}. Bits behind the mask are ignored. As in AWS's matcher,
// a mask leaves at least one bit open.
func cidr(text string) (parsed, error) {
	address, mask, ok := strings.Cut(text, "/")
	if !ok || strings.Contains(mask, "/") {
		return parsed{}, wrong(-1, "Malformed CIDR, one '/' required")
	}
	bits, err := strconv.Atoi(mask)
	switch {
	case err != nil:
		return parsed{}, wrong(-1, "Malformed CIDR, mask bits must be an integer")
	case bits < 0:
		return parsed{}, wrong(-1, "Malformed CIDR, mask bits must not be negative")
	}
	a := parseAddr(address)
	switch {
	case !a.IsValid():
		return parsed{}, wrong(-1, "Nonstandard IP address: %s", address)
	case a.Is4() && bits > 31:
		return parsed{}, wrong(-1, "IPv4 mask bits must be < 32")
	case bits > 127:
		return parsed{}, wrong(-1, "IPv6 mask bits must be < 128")
	}
	net := netip.PrefixFrom(a, bits)
	return parsed{match: func(v value) bool { return v.addr.IsValid() && net.Contains(v.addr) }}, nil
}

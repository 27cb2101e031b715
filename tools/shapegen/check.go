package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// writeCheck writes the method that holds one structure against the model:
// members in the order of the model, and for each one presence, then length or
// range, then pattern or enum, then what stands under it.
func (g *generator) writeCheck(goName string, s *shapeDef) error {
	var body strings.Builder
	for _, mem := range s.Members {
		expr := "in." + exported(mem.Name)
		v := value{shape: mem.Shape, expr: expr, member: lowerCamel(mem.Name), check: "c"}
		def := g.model.Shapes[mem.Shape]
		switch def.Type {
		case "list", "map", "blob", "structure":
		default:
			v.expr = "*" + expr
		}
		if g.ownWords(mem.Shape) {
			v.check = "c.Own()"
		}
		checks, err := g.valueChecks(v)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", goName, mem.Name, err)
		}
		required := s.requires(mem.Name)
		switch {
		case required && checks != "":
			fmt.Fprintf(&body, "if %s == nil {\n%s.Missing(%q)\n} else {\n%s}\n", expr, v.check, v.member, checks)
		case required:
			fmt.Fprintf(&body, "if %s == nil {\n%s.Missing(%q)\n}\n", expr, v.check, v.member)
		case checks != "":
			fmt.Fprintf(&body, "if %s != nil {\n%s}\n", expr, checks)
		}
		if def.Sensitive && (required || checks != "") {
			fmt.Fprintf(&body, "c.Hide(%q)\n", v.member)
		}
	}
	if body.Len() == 0 {
		g.printf("func (in *%s) check(*shape.Check) {}\n\n", goName)
		return nil
	}
	g.printf("func (in *%s) check(c *shape.Check) {\n%s}\n\n", goName, body.String())
	return nil
}

// lowerCamel is how AWS's validation messages name a member.
func lowerCamel(name string) string { return strings.ToLower(name[:1]) + name[1:] }

// ownWords says whether the service checks the shape with its own words instead
// of those of AWS's framework. ECR was seen to do so for repository names and
// registry ids, which it has had from the start; the other two shapes of that
// age are taken to go with them.
func (g *generator) ownWords(shapeName string) bool {
	if g.query {
		return false
	}
	switch shapeName {
	case "RepositoryName", "RegistryId", "UploadId", "LayerDigest":
		return true
	}
	return false
}

// value is a present value in the generated code: its shape, the expression for
// it, the member under which a failure is reported, and the expression for the
// check.
type value struct {
	shape, expr, member, check string
	depth                      int
}

// valueChecks returns the statements that check the value, "" if the model sets
// it no limits.
func (g *generator) valueChecks(v value) (string, error) {
	s := g.model.Shapes[v.shape]
	least, most, err := limits(s)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	call := func(method string, args ...string) {
		fmt.Fprintf(&b, "%s.%s(%q, %s)\n", v.check, method, v.member, strings.Join(args, ", "))
	}
	bounded := least > 0 || most >= 0
	span := []string{strconv.FormatInt(least, 10), strconv.FormatInt(most, 10)}
	switch s.Type {
	case "structure":
		fmt.Fprintf(&b, "%s.check(%s.In(%q))\n", v.expr, v.check, v.member)
	case "string":
		if len(s.Enum) > 0 {
			args := []string{"string(" + v.expr + ")"}
			for _, one := range g.enumOrder(v.shape, s.Enum) {
				args = append(args, strconv.Quote(one))
			}
			call("Enum", args...)
			break
		}
		if bounded {
			call("Length", append([]string{v.expr}, span...)...)
		}
		if s.Pattern != "" {
			call("Pattern", v.expr, g.patternName(v.shape))
		}
	case "integer", "long":
		if s.Min != "" {
			call("Least", v.expr, s.Min.String())
		}
		if s.Max != "" {
			call("Most", v.expr, s.Max.String())
		}
	case "blob", "list", "map":
		if bounded {
			call("Size", append([]string{"len(" + v.expr + ")"}, span...)...)
		}
		elements, err := g.elementChecks(s, v)
		if err != nil {
			return "", err
		}
		b.WriteString(elements)
	case "float", "double":
		if s.Min != "" {
			call("LeastOf", v.expr, s.Min.String())
		}
		if s.Max != "" {
			call("MostOf", v.expr, s.Max.String())
		}
	case "boolean", "timestamp":
		if s.Min != "" || s.Max != "" || s.Pattern != "" {
			return "", fmt.Errorf("limits on the %s %s are not supported", s.Type, v.shape)
		}
	}
	return b.String(), nil
}

// elementChecks returns the loop that checks the elements of a list.
func (g *generator) elementChecks(s *shapeDef, v value) (string, error) {
	if s.Type == "map" {
		return g.mapChecks(s, v)
	}
	if s.Type != "list" {
		return "", nil
	}
	index := string(rune('i' + v.depth))
	element := value{shape: s.Member.Shape, expr: v.expr + "[" + index + "]", member: v.member, depth: v.depth + 1}
	var checks string
	switch {
	case g.model.Shapes[element.shape].Type == "structure":
		checks = fmt.Sprintf("%s.check(%s.Item(%q, %s))\n", element.expr, v.check, v.member, index)
	case element.shape == "RepositoryName" && !g.query:
		// ECR names the repository name itself, not the list that holds it.
		element.check, element.member = v.check+".Own()", "repositoryName"
	default:
		element.check = v.check + ".Element()"
	}
	if checks == "" {
		var err error
		if checks, err = g.valueChecks(element); err != nil || checks == "" {
			return "", err
		}
	}
	return fmt.Sprintf("for %s := range %s {\n%s}\n", index, v.expr, checks), nil
}

// mapChecks returns the loop that checks the keys and values of a map, in the order of
// its keys.
func (g *generator) mapChecks(s *shapeDef, v value) (string, error) {
	key, element := fmt.Sprintf("k%d", v.depth), fmt.Sprintf("v%d", v.depth)
	keys, err := g.valueChecks(value{shape: s.Key.Shape, expr: key, member: v.member, check: v.check + ".Key()", depth: v.depth + 1})
	if err != nil {
		return "", err
	}
	values, err := g.valueChecks(value{shape: s.Value.Shape, expr: element, member: v.member, check: v.check + ".Value()", depth: v.depth + 1})
	if err != nil || keys+values == "" {
		return "", err
	}
	if values != "" {
		values = fmt.Sprintf("%s := %s[%s]\n", element, v.expr, key) + values
	}
	return fmt.Sprintf("for _, %s := range shape.Keys(%s) {\n%s%s}\n", key, v.expr, keys, values), nil
}

// limits returns the length limits of a shape, -1 where there is none.
func limits(s *shapeDef) (least, most int64, err error) {
	if least, err = limit(s.Min); err != nil {
		return 0, 0, err
	}
	most, err = limit(s.Max)
	return least, most, err
}

func limit(n json.Number) (int64, error) {
	if n == "" {
		return -1, nil
	}
	return n.Int64()
}

// enumOrder is the order in which an error message lists the values: that of
// the model, save where the service was seen to print another one.
func (g *generator) enumOrder(shapeName string, values []string) []string {
	if g.model.Metadata.ServiceID == "ECR" && shapeName == "ImageTagMutability" {
		return []string{"IMMUTABLE", "MUTABLE", "MUTABLE_WITH_EXCLUSION", "IMMUTABLE_WITH_EXCLUSION"}
	}
	return values
}

func (g *generator) patternName(shapeName string) string {
	name := "pattern" + exported(shapeName)
	g.patterns[shapeName] = name
	return name
}

// writePatterns writes the compiled patterns of the shapes that inputs reach.
func (g *generator) writePatterns(inputs map[string]bool) error {
	if len(g.patterns) == 0 {
		return nil
	}
	g.printf("// The patterns of the service model, compiled once and never changed.\nvar (\n")
	for _, shapeName := range sorted(inputs) {
		name, used := g.patterns[shapeName]
		if !used {
			continue
		}
		if err := g.claim(name, "the pattern of "+shapeName); err != nil {
			return err
		}
		text := g.model.Shapes[shapeName].Pattern
		expression, err := translate(text)
		if err != nil {
			return fmt.Errorf("pattern of %s: %w", shapeName, err)
		}
		g.printf("\t%s = shape.NewPattern(%s, %s)\n", name, literal(shown(text)), literal(expression))
	}
	g.printf(")\n")
	return nil
}

// shown is a pattern as error messages print it: without the escape of a slash
// that the models carry over from another language.
func shown(pattern string) string { return strings.ReplaceAll(pattern, `\/`, `/`) }

// literal writes s as a Go string, raw where that can be.
func literal(s string) string {
	if strconv.CanBackquote(s) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}

// lookaheads are patterns with look-ahead, which Go's expressions lack, each
// with an expression that matches the same texts.
func lookaheads() map[string]string {
	return map[string]string{
		// An account alias: no hyphen is followed by another one. The model's
		// bounds on the middle part repeat the length limits of the shape.
		`^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$`: `[a-z0-9](-?[a-z0-9])+`,
		// Part of a path: something other than blanks.
		`^(?!\s*$).+`: `\s*[^\s].*`,
	}
}

var unicodeEscape = regexp.MustCompile(`\\u(10[0-9A-F]{4}|[0-9A-F]{4})`)

// translate writes a pattern of a model in Go's syntax. The models use that of
// Java: \uXXXX for a character, with \u10000 and \u10FFFF meant as six digits
// or five.
func translate(pattern string) (string, error) {
	if known, ok := lookaheads()[pattern]; ok {
		return known, nil
	}
	expression := strings.ReplaceAll(shown(pattern), `\u10000`, `\x{10000}`)
	expression = unicodeEscape.ReplaceAllString(expression, `\x{$1}`)
	if _, err := regexp.Compile(expression); err != nil {
		return "", fmt.Errorf("%q is not an expression that Go knows; add its translation to lookaheads: %w", pattern, err)
	}
	return expression, nil
}

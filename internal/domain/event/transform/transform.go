// Package transform makes of an event what a target of a rule gets: a constant, a part of
// the event, or a template with parts of it ("Amazon EventBridge input transformation",
// EventBridge user guide). It is pure.
//
// Where the guide is silent it does as EventBridge was seen to do, but for one thing:
// EventBridge does not escape what it puts between quotes, and does not deliver what is no
// JSON then; here quotes, backslashes and control characters are escaped.
//
// It does not own targets (event/rule) nor sending (event/delivery).
package transform

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// The limits of inputs (Target and InputTransformer, EventBridge API reference), in
// characters.
const (
	MaxText  = 8192 // of a constant and a template
	MaxPath  = 256
	MaxPaths = 100 // variables of a transformer
	maxName  = 256 // a variable's name
)

// Input says what a target gets in place of the event; the zero one is the event itself.
// At most one of its members is set.
type Input struct {
	// Constant is JSON.
	Constant string `json:"input,omitempty"`
	// Path is of the part of the event that the target gets.
	Path        string       `json:"inputPath,omitempty"`
	Transformer *Transformer `json:"inputTransformer,omitempty"`
}

// Transformer takes values from the event and puts them into a template.
type Transformer struct {
	// Paths are by the names of the variables.
	Paths map[string]string `json:"inputPathsMap,omitempty"`
	// Template is JSON, or JSON strings one behind the other, in which <name> stands for a
	// variable.
	Template string `json:"inputTemplate"`
}

// Rule is what reserved variables know of the rule that matched.
type Rule struct {
	ARN, Name string
	// IngestionTime is when the event came to the rules.
	IngestionTime time.Time
}

// CheckFor says what is wrong with an input, as an errs.Validation in AWS's words, which name
// the target by its id; "" leaves it out.
func (i Input) CheckFor(target string) error {
	of := ""
	if target != "" {
		of = " for target " + target
	}
	set := 0
	for _, has := range []bool{i.Constant != "", i.Path != "", i.Transformer != nil} {
		if has {
			set++
		}
	}
	switch {
	case set > 1:
		return errs.New(errs.Validation, "Only one of Input, InputPath, or InputTransformer must be provided%s.", of)
	case i.Constant != "":
		switch {
		case utf8.RuneCountInString(i.Constant) > MaxText:
			return errs.New(errs.Validation, "Input%s is longer than %d characters.", of, MaxText)
		case !json.Valid([]byte(i.Constant)):
			return errs.New(errs.Validation, "JSON syntax error in input%s.", of)
		}
	case i.Path != "":
		return checkPath(i.Path, of)
	case i.Transformer != nil:
		return i.Transformer.check(of)
	}
	return nil
}

func checkPath(text, of string) error {
	if _, err := parsePath(text); err != nil {
		return errs.Wrap(err, errs.Validation, "InputPath%s is invalid.", of)
	}
	return nil
}

// nameRE are the names of variables (InputTransformerPathKey, EventBridge API reference).
// It leaves none that are reserved.
var nameRE = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (t *Transformer) check(of string) error {
	if len(t.Paths) > MaxPaths {
		return errs.New(errs.Validation, "InputPathsMap%s has more than %d variables.", of, MaxPaths)
	}
	names := make([]string, 0, len(t.Paths))
	for name := range t.Paths {
		names = append(names, name)
	}
	slices.Sort(names) // so that the same is said each time
	for _, name := range names {
		if len(name) > maxName || !nameRE.MatchString(name) {
			return errs.New(errs.Validation, "InputPathsMap%s contains the invalid variable %q: names have letters, digits, - and _, and at most %d of them.", of, name, maxName)
		}
		if err := checkPath(t.Paths[name], of); err != nil {
			return err
		}
	}
	if t.Template == "" || utf8.RuneCountInString(t.Template) > MaxText {
		return errs.New(errs.Validation, "InputTemplate%s must have between 1 and %d characters.", of, MaxText)
	}
	pieces := split(t.Template)
	for _, p := range pieces {
		if p.variable == "" {
			continue
		}
		if _, ok := t.Paths[p.variable]; !ok && !reserved(p.variable) {
			return errs.New(errs.Validation, "InputTemplate%s contains invalid placeholder %s.", of, p.variable)
		}
		if p.variable == wholeEvent && (p.quoted || !isObject(t.Template)) {
			return errs.New(errs.Validation, "InputTemplate%s contains placeholder %s valid only for JSON template.", of, wholeEvent)
		}
	}
	// Whatever variables stand for, with something in each one's place the template has to
	// be JSON; a number where no quotes are, since that can be no object's key, and between
	// spaces, since it must not be part of another.
	text := fill(pieces, func(p piece) string {
		if p.quoted {
			return marker
		}
		return " 0 "
	})
	if err := checkJSON(text, isObject(t.Template)); err != nil {
		return errs.Wrap(err, errs.Validation, "Invalid InputTemplate%s : %s.", of, err)
	}
	if isObject(t.Template) && markedKey(json.RawMessage(strings.TrimSpace(text))) {
		return errs.New(errs.Validation, "Invalid InputTemplate%s : a placeholder cannot be used as an object key.", of)
	}
	return nil
}

// isObject says whether a template is what EventBridge calls a JSON template.
func isObject(template string) bool { return strings.HasPrefix(strings.TrimSpace(template), "{") }

// Apply makes what the target gets of an event in EventBridge's envelope. It fails where a
// template would not be JSON, because it has an object or a list between quotes; later
// tries would fail as well. A path that leads nowhere is "" in a template, and null as
// input path.
func (i Input) Apply(event []byte, r Rule) ([]byte, error) {
	switch {
	case i.Constant != "":
		return []byte(i.Constant), nil
	case i.Path != "":
		p, err := parsePath(i.Path)
		if err != nil {
			return nil, errs.Wrap(err, errs.Validation, "InputPath %s is invalid.", i.Path)
		}
		found, ok, err := p.find(event)
		if err != nil {
			return nil, err
		}
		if !ok {
			return []byte("null"), nil
		}
		return compact(found)
	case i.Transformer != nil:
		return i.Transformer.apply(event, r)
	}
	return event, nil
}

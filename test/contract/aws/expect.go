package aws

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// leaf checks one value of an answer that cannot be written down beforehand. It
// returns what is wrong with it.
type leaf func(got any) string

// same fails unless the answer is exactly the wanted one.
func same(t *testing.T, what string, want, got any) {
	t.Helper()
	found := differences("", want, got)
	if len(found) == 0 {
		return
	}
	for _, d := range found {
		t.Errorf("%s: %s", what, d)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	t.Fatalf("%s: the whole answer is %.2000s", what, text)
}

// differences compares an answer with objects, arrays, leaves and plain values.
// A member that is nil in want has to be absent.
func differences(path string, want, got any) []string {
	switch want := want.(type) {
	case leaf:
		if wrong := want(got); wrong != "" {
			return []string{path + " " + wrong}
		}
		return nil
	case object:
		return objectDifferences(path, want, got)
	case array:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return []string{fmt.Sprintf("%s is %s, want a list of %d", path, shown(got), len(want))}
		}
		var all []string
		for i := range want {
			all = append(all, differences(path+"["+strconv.Itoa(i)+"]", want[i], list[i])...)
		}
		return all
	case int:
		if got != json.Number(strconv.Itoa(want)) {
			return []string{fmt.Sprintf("%s is %s, want %d", path, shown(got), want)}
		}
		return nil
	}
	if got != want {
		return []string{fmt.Sprintf("%s is %s, want %s", path, shown(got), shown(want))}
	}
	return nil
}

func objectDifferences(path string, want object, got any) []string {
	members, ok := got.(object)
	if !ok {
		return []string{fmt.Sprintf("%s is %s, want an object", path, shown(got))}
	}
	var all []string
	for k, v := range want {
		value, there := members[k]
		switch {
		case v == nil && there:
			all = append(all, fmt.Sprintf("%s.%s is %s, want it absent", path, k, shown(value)))
		case v == nil:
		case !there:
			all = append(all, path+"."+k+" is absent")
		default:
			all = append(all, differences(path+"."+k, v, value)...)
		}
	}
	for k, v := range members {
		if _, known := want[k]; !known {
			all = append(all, fmt.Sprintf("%s has a member %s of %s that does not belong there", path, k, shown(v)))
		}
	}
	slices.Sort(all)
	return all
}

func shown(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("%.300s", text)
}

// epochForm is a time as AWS's JSON has it: a number of seconds.
var epochForm = regexp.MustCompile(`^[1-9][0-9]{9}(\.[0-9]{1,3})?$`)

// during is a time between from and now, to a second.
func during(from time.Time) leaf { return between(from, 0) }

// between is a time that is later by so much than one between from and now.
func between(from time.Time, later time.Duration) leaf {
	return func(got any) string {
		n, ok := got.(json.Number)
		if !ok || !epochForm.MatchString(string(n)) {
			return "is " + shown(got) + ", want seconds since 1970"
		}
		seconds, err := n.Float64()
		if err != nil {
			return err.Error()
		}
		at := time.UnixMilli(int64(seconds * 1000))
		if least, most := from.Add(later-time.Second), time.Now().Add(later+time.Second); at.Before(least) || at.After(most) {
			return fmt.Sprintf("is %s, want a time from %s to %s", at, least, most)
		}
		return ""
	}
}

// matching is a text of the form.
func matching(form string) leaf {
	re := regexp.MustCompile(form)
	return func(got any) string {
		if text, ok := got.(string); ok && re.MatchString(text) {
			return ""
		}
		return "is " + shown(got) + ", want a text like " + form
	}
}

// anyOrder is a list of exactly these texts or objects, in whatever order.
func anyOrder(want ...any) leaf {
	return func(got any) string {
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("is %s, want a list of %d", shown(got), len(want))
		}
		left := slices.Clone(list)
		for _, w := range want {
			at := slices.IndexFunc(left, func(g any) bool { return len(differences("", w, g)) == 0 })
			if at < 0 {
				return fmt.Sprintf("is %s, which has no %s", shown(got), shown(w))
			}
			left = slices.Delete(left, at, at+1)
		}
		return ""
	}
}

// text takes a text out of an answer.
func text(t *testing.T, from object, path ...string) string {
	t.Helper()
	var v any = from
	for _, k := range path {
		members, ok := v.(object)
		if !ok {
			t.Fatalf("%v is not in %s", path, shown(from))
		}
		v = members[k]
	}
	s, ok := v.(string)
	if !ok {
		t.Fatalf("%v is no text in %s", path, shown(from))
	}
	return s
}

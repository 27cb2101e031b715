package query

import (
	"encoding/base64"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
)

// maxDepth bounds the segments of a parameter's name that are looked at. The
// service models need less than ten.
const maxDepth = 32

// node is a parameter with the ones that stand under its name:
// Tags.member.1.Key is the node Key under 1 under member under Tags.
type node struct {
	value    string
	set      bool
	children map[string]*node
}

func tree(form url.Values) *node {
	root := &node{}
	for name, values := range form {
		segments := strings.Split(name, ".")
		if len(segments) > maxDepth || len(values) == 0 {
			continue
		}
		at := root
		for _, segment := range segments {
			if at.children == nil {
				at.children = map[string]*node{}
			}
			next := at.children[segment]
			if next == nil {
				next = &node{}
				at.children[segment] = next
			}
			at = next
		}
		at.value, at.set = values[0], true
	}
	return root
}

// under returns the node below n, nil where there is none. n may be nil.
func (n *node) under(name string) *node {
	if n == nil {
		return nil
	}
	return n.children[name]
}

// items returns the nodes 1, 2, 3 and so on under n, up to the first gap.
func (n *node) items() []*node {
	var out []*node
	for i := 1; ; i++ {
		item := n.under(strconv.Itoa(i))
		if item == nil {
			return out
		}
		out = append(out, item)
	}
}

func decode(form url.Values, v reflect.Value) error {
	return structInto(tree(form), "", v)
}

func structInto(n *node, path string, v reflect.Value) error {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if child := n.under(name); child != nil {
			if err := valueInto(child, path+name, v.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func valueInto(n *node, path string, v reflect.Value) error {
	switch {
	case v.Kind() == reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		v.Set(target)
		return valueInto(n, path, target.Elem())
	case v.Type() == reflect.TypeFor[shape.Timestamp](), v.Type() == reflect.TypeFor[[]byte]():
	case v.Kind() == reflect.Struct:
		return structInto(n, path+".", v)
	case v.Kind() == reflect.Slice:
		return listInto(n, path, v)
	case v.Kind() == reflect.Map:
		return mapInto(n, path, v)
	}
	if !n.set {
		return wrong(path, "a value")
	}
	return scalarInto(n.value, path, v)
}

// listInto reads Name.member.1, Name.member.2 and so on. An empty Name= is an
// empty list.
func listInto(n *node, path string, v reflect.Value) error {
	items := n.under("member").items()
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		if err := valueInto(item, path+".member."+strconv.Itoa(i+1), v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// mapInto reads Name.entry.1.key, Name.entry.1.value and so on.
func mapInto(n *node, path string, v reflect.Value) error {
	v.Set(reflect.MakeMap(v.Type()))
	for i, item := range n.under("entry").items() {
		at := path + ".entry." + strconv.Itoa(i+1)
		key, value := item.under("key"), item.under("value")
		if key == nil || value == nil {
			return wrong(at, "a key and a value")
		}
		k, element := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		if err := valueInto(key, at+".key", k); err != nil {
			return err
		}
		if err := valueInto(value, at+".value", element); err != nil {
			return err
		}
		v.SetMapIndex(k, element)
	}
	return nil
}

func scalarInto(text, path string, v reflect.Value) error {
	switch {
	case v.Kind() == reflect.String:
		v.SetString(strings.ToValidUTF8(text, "\uFFFD"))
	case v.Kind() == reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return wrong(path, "an integer")
		}
		v.SetInt(n)
	case v.Kind() == reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return wrong(path, "a number")
		}
		v.SetFloat(f)
	case v.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return wrong(path, "true or false")
		}
		v.SetBool(text == "true")
	case v.Type() == reflect.TypeFor[shape.Timestamp]():
		stamp, err := shape.ParseISO(text)
		if err != nil {
			return wrong(path, "a time such as 2006-01-02T15:04:05Z")
		}
		v.Set(reflect.ValueOf(stamp))
	default: // a blob, the last of the generated types
		blob, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return wrong(path, "base64")
		}
		v.SetBytes(blob)
	}
	return nil
}

func wrong(path, wanted string) error {
	return aws.NewFault(aws.Malformed, "The parameter %s has to be %s.", path, wanted)
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
)

// Source is a service model with the name that the generated header gives.
type Source struct {
	Name string
	JSON []byte
}

// model is the part of a service model that the generator reads.
type model struct {
	Metadata struct {
		Protocol  string `json:"protocol"`
		ServiceID string `json:"serviceId"`
		// QueryCompatible is there for a service that once spoke the Query protocol: its
		// errors have a code for that protocol besides their names.
		QueryCompatible *struct{} `json:"awsQueryCompatible"`
	} `json:"metadata"`
	Operations map[string]operation `json:"operations"`
	Shapes     map[string]*shapeDef `json:"shapes"`
}

type operation struct {
	Input  *ref  `json:"input"`
	Output *ref  `json:"output"`
	Errors []ref `json:"errors"`
}

type ref struct {
	Shape         string `json:"shape"`
	ResultWrapper string `json:"resultWrapper"`
}

// shapeDef is one shape. Members keep the order of the model, because it is the
// order in which a request is checked.
type shapeDef struct {
	Type      string      `json:"type"`
	Members   memberList  `json:"members"`
	Required  []string    `json:"required"`
	Member    *ref        `json:"member"`
	Key       *ref        `json:"key"`
	Value     *ref        `json:"value"`
	Min       json.Number `json:"min"`
	Max       json.Number `json:"max"`
	Pattern   string      `json:"pattern"`
	Enum      []string    `json:"enum"`
	Sensitive bool        `json:"sensitive"`
	Exception bool        `json:"exception"`
	Fault     bool        `json:"fault"`
	Error     *struct {
		Code           string `json:"code"`
		HTTPStatusCode int    `json:"httpStatusCode"`
	} `json:"error"`
}

type member struct {
	Name  string
	Shape string
}

type memberList []member

// UnmarshalJSON keeps the order of the members.
func (l *memberList) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var r ref
		if err := d.Decode(&r); err != nil {
			return err
		}
		*l = append(*l, member{Name: name.(string), Shape: r.Shape})
	}
	return nil
}

func parseModel(src Source) (*model, error) {
	var m model
	if err := json.Unmarshal(src.JSON, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", src.Name, err)
	}
	for name, s := range m.Shapes {
		for _, mem := range s.Members {
			if m.Shapes[mem.Shape] == nil {
				return nil, fmt.Errorf("%s: member %s of %s has the unknown shape %s", src.Name, mem.Name, name, mem.Shape)
			}
		}
		for _, r := range []*ref{s.Member, s.Key, s.Value} {
			if r != nil && m.Shapes[r.Shape] == nil {
				return nil, fmt.Errorf("%s: %s refers to the unknown shape %s", src.Name, name, r.Shape)
			}
		}
	}
	return &m, nil
}

func (s *shapeDef) requires(name string) bool {
	for _, r := range s.Required {
		if r == name {
			return true
		}
	}
	return false
}

func (m *model) operationNames() []string {
	names := make([]string, 0, len(m.Operations))
	for name := range m.Operations {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// reach adds the shape and everything under it to seen.
func (m *model) reach(name string, seen map[string]bool) {
	if name == "" || seen[name] {
		return
	}
	seen[name] = true
	s := m.Shapes[name]
	for _, mem := range s.Members {
		m.reach(mem.Shape, seen)
	}
	for _, r := range []*ref{s.Member, s.Key, s.Value} {
		if r != nil {
			m.reach(r.Shape, seen)
		}
	}
}

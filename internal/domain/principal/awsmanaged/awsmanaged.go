// Package awsmanaged holds AWS's own managed policies that Berth's users attach:
// their ARNs, versions and documents, pinned. The documents are files, one a
// version, as AWS publishes them.
//
// It does not own what an account does with them: attachments, and counting
// these, are principal/entity's and principal/managed's.
package awsmanaged

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/policy"
)

//go:embed documents/*.json
var documents embed.FS

// Policy is one managed policy in its default version.
type Policy struct {
	ID, ARN, Name, Path, Description string
	// Version is the number of the default version: 3 for v3.
	Version          int64
	Created, Updated time.Time
	// Text is the document as AWS has it, Document the same compiled.
	Text     string
	Document *policy.Document
	// ServiceRole says that only a service-linked role can have it.
	ServiceRole bool
	// Versions are the versions that are known, the default one among them,
	// newest first.
	Versions []Version
}

// Version is a version of a policy.
type Version struct {
	Number  int64
	Created time.Time
	Text    string
}

// Catalog finds the policies. It does not change.
type Catalog struct {
	byARN map[string]Policy
	all   []Policy
}

// Load reads the policies that stand in the program. An error is a fault of the
// program.
func Load() (*Catalog, error) {
	c := &Catalog{byARN: map[string]Policy{}}
	for _, e := range table() {
		p, err := e.load()
		if err != nil {
			return nil, fmt.Errorf("AWS's managed policy %s: %w", e.name, err)
		}
		c.byARN[p.ARN] = p
		c.all = append(c.all, p)
	}
	slices.SortFunc(c.all, func(a, b Policy) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

func (e entry) load() (Policy, error) {
	p := Policy{
		ID: e.id, ARN: "arn:aws:iam::aws:policy" + e.path + e.name, Name: e.name, Path: e.path,
		Description: e.description, ServiceRole: e.path == serviceRoles,
	}
	var err error
	if p.Created, err = time.Parse(time.RFC3339, e.created); err != nil {
		return p, err
	}
	for _, v := range e.versions {
		text, err := documents.ReadFile(fmt.Sprintf("documents/%s.v%d.json", e.name, v.number))
		if err != nil {
			return p, err
		}
		p.Version, p.Text = v.number, strings.TrimSuffix(string(text), "\n")
		if p.Updated, err = time.Parse(time.RFC3339, v.created); err != nil {
			return p, err
		}
		if p.Document, err = policy.Parse(p.Text, policy.Identity); err != nil {
			return p, fmt.Errorf("version %d: %w", v.number, err)
		}
		p.Versions = append(p.Versions, Version{Number: v.number, Created: p.Updated, Text: p.Text})
	}
	slices.Reverse(p.Versions)
	return p, nil
}

// Get finds a policy by its ARN.
func (c *Catalog) Get(arn string) (Policy, bool) {
	p, ok := c.byARN[arn]
	return p, ok
}

// All lists the policies by name. The list must not be changed.
func (c *Catalog) All() []Policy { return c.all }

package finding

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxValue is how long the value of an attribute may be, in characters (ECR API
// reference, Attribute).
const maxValue = 256

// nvdSource is the National Vulnerability Database, in Inspector's form.
const nvdSource = "NVD"

// Basic is the report as basic scanning shows it: one finding for each vulnerability of each
// package of the distribution, in the order of Matches.
func (r Report) Basic() []Basic {
	out := make([]Basic, 0, len(r.Matches))
	for _, m := range r.Matches {
		if !m.Package.Type.Distribution() {
			continue
		}
		v := r.vulnerability(m)
		out = append(out, Basic{
			Name:        v.ID,
			Description: description(v),
			URI:         m.URI,
			Severity:    m.Severity,
			Attributes:  attributes(m, v),
		})
	}
	return out
}

// Counts says how many findings of basic scanning have which severity; those that none has
// are left out.
func (r Report) Counts() map[Severity]int64 {
	counts := map[Severity]int64{}
	for _, m := range r.Matches {
		if m.Package.Type.Distribution() {
			counts[m.Severity]++
		}
	}
	return counts
}

// vulnerability is that of a match; a report that was put together wrongly has none for it.
func (r Report) vulnerability(m Match) Vulnerability {
	if m.Vulnerability < 0 || m.Vulnerability >= len(r.Vulnerabilities) {
		return Vulnerability{}
	}
	return r.Vulnerabilities[m.Vulnerability]
}

// description is the text, else the title, where the database has no more.
func description(v Vulnerability) string {
	if v.Description != "" {
		return v.Description
	}
	return v.Title
}

func attributes(m Match, v Vulnerability) []Attribute {
	var out []Attribute
	add := func(key, value string) {
		if value != "" {
			out = append(out, Attribute{key, cut(value, maxValue)})
		}
	}
	add("package_version", m.Package.FullVersion())
	add("package_name", m.Package.Name)
	for _, of := range []struct{ version, key string }{{"2", "CVSS2"}, {"3", "CVSS3"}} {
		if c, ok := score(v.CVSS, m.Source, of.version); ok {
			add(of.key+"_VECTOR", c.Vector)
			add(of.key+"_SCORE", strconv.FormatFloat(c.Score, 'f', -1, 64))
		}
	}
	return out
}

// score is the CVSS score of a version ("2", "3", "4") by a source, else by NVD.
func score(all []CVSS, source, version string) (CVSS, bool) {
	for _, s := range []string{source, nvdSource} {
		for _, c := range all {
			if c.Source == s && strings.HasPrefix(c.Version, version+".") {
				return c, true
			}
		}
	}
	return CVSS{}, false
}

// cut shortens a text to n characters.
func cut(s string, n int) string {
	if len(s) <= n || utf8.RuneCountInString(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

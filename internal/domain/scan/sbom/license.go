package sbom

import (
	"strings"
)

// known are the ids of the SPDX licence list that packages of distributions and
// languages have most. An id that is not here is written as a name, which is right as well and
// says less. They are spelled as in the list.
var known = func() map[string]string {
	all := map[string]string{}
	for _, id := range strings.Fields(`0BSD AFL-2.1 AFL-3.0 AGPL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 APSL-2.0 Artistic-1.0
		Artistic-1.0-Perl Artistic-2.0 BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-3-Clause BSD-4-Clause BSD-4-Clause-UC BSD-Source-Code
		BSL-1.0 bzip2-1.0.6 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDDL-1.0 CDDL-1.1 CPL-1.0 curl EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 FSFAP
		FSFUL FSFULLR FTL GFDL-1.1-or-later GFDL-1.2-or-later GFDL-1.3 GFDL-1.3-only GFDL-1.3-or-later GPL-1.0 GPL-1.0-only GPL-1.0-or-later GPL-2.0 GPL-2.0-only
		GPL-2.0-or-later GPL-3.0 GPL-3.0-only GPL-3.0-or-later HPND ICU IJG ImageMagick Info-ZIP ISC JSON LGPL-2.0 LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1
		LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0 LGPL-3.0-only LGPL-3.0-or-later Libpng libpng-2.0 libtiff MIT MIT-0 MIT-CMU MIT-Modern-Variant MPL-1.0 MPL-1.1
		MPL-2.0 MS-PL MS-RL NCSA Net-SNMP NTP OFL-1.0 OFL-1.1 OLDAP-2.8 OpenSSL PHP-3.0 PHP-3.01 PostgreSQL PSF-2.0 Python-2.0 Python-2.0.1 Ruby Sendmail
		Sleepycat SMLNJ SSPL-1.0 TCL Unicode-3.0 Unicode-DFS-2015 Unicode-DFS-2016 Unlicense UPL-1.0 Vim W3C WTFPL X11 XFree86-1.1 Xnet Zend-2.0 Zlib
		zlib-acknowledgement ZPL-2.1`) {
		all[strings.ToLower(id)] = id
	}
	return all
}()

// exceptions are the ids of SPDX's exceptions that occur.
var exceptions = func() map[string]string {
	all := map[string]string{}
	for _, id := range strings.Fields(`Autoconf-exception-2.0 Autoconf-exception-3.0 Bison-exception-2.2 Classpath-exception-2.0 Font-exception-2.0
		GCC-exception-2.0 GCC-exception-3.1 Libtool-exception Linux-syscall-note LLVM-exception OpenJDK-assembly-exception-1.0 openvpn-openssl-exception
		u-boot-exception-2.0 Universal-FOSS-exception-1.0 WxWindows-exception-3.1`) {
		all[strings.ToLower(id)] = id
	}
	return all
}()

// licence is one licence of a package, as its makers wrote it.
type licence struct {
	// text is what they wrote.
	text string
	// expression is the same as an SPDX expression; "" where it is none.
	expression string
	// simple says that the expression is one id.
	simple bool
}

// licences reads what a package says, without what is empty or there already.
func licences(all []string) []licence {
	var out []licence
	seen := map[string]bool{}
	for _, one := range all {
		one = strings.Join(strings.Fields(text(one)), " ")
		if one == "" || seen[one] || strings.EqualFold(one, "NOASSERTION") || strings.EqualFold(one, "NONE") {
			continue
		}
		seen[one] = true
		l := licence{text: one}
		if id, ok := known[strings.ToLower(one)]; ok {
			l.expression, l.simple = id, true
		} else {
			l.expression = expression(one)
		}
		out = append(out, l)
	}
	return out
}

// expression is the text as an SPDX licence expression (SPDX 2.3, annex D) of known ids
// in their right spelling; "" for what is none.
func expression(s string) string {
	p := parser{left: strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(s))}
	out, ok := p.any(0)
	if !ok || len(p.left) > 0 {
		return ""
	}
	return out
}

// parser reads an expression.
type parser struct{ left []string }

// maxDepth bounds parentheses within parentheses: text comes out of images.
const maxDepth = 16

func (p *parser) next() string {
	if len(p.left) == 0 {
		return ""
	}
	return p.left[0]
}

func (p *parser) take() string {
	s := p.next()
	if s != "" {
		p.left = p.left[1:]
	}
	return s
}

// any reads operands with AND and OR between them.
func (p *parser) any(depth int) (string, bool) {
	var out []string
	for {
		one, ok := p.one(depth)
		if !ok {
			return "", false
		}
		out = append(out, one)
		operator := strings.ToUpper(p.next())
		if operator != "AND" && operator != "OR" {
			return strings.Join(out, " "), true
		}
		p.take()
		out = append(out, operator)
	}
}

func (p *parser) one(depth int) (string, bool) {
	word := p.take()
	if word == "(" {
		if depth == maxDepth {
			return "", false
		}
		inner, ok := p.any(depth + 1)
		return "(" + inner + ")", ok && p.take() == ")"
	}
	plain, later := strings.CutSuffix(word, "+")
	id, ok := known[strings.ToLower(plain)]
	if !ok {
		return "", false
	}
	if later {
		id += "+"
	}
	if strings.EqualFold(p.next(), "WITH") {
		p.take()
		exception, ok := exceptions[strings.ToLower(p.take())]
		return id + " WITH " + exception, ok
	}
	return id, true
}

package gate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// found makes a scanned image: each finding is "ID SEVERITY PACKAGE AGE-IN-DAYS FIX", the
// age "-" where it is not known, the fix "-" where there is none.
func found(lines ...string) Image {
	img := Image{Repository: "team/app", State: Scanned, PushedAt: now.Add(-day), FirstSeen: map[string]time.Time{}}
	for _, line := range lines {
		f := strings.Fields(line)
		v := finding.Vulnerability{ID: f[0]}
		if age, err := time.ParseDuration(f[3] + "h"); err == nil {
			v.Published = now.Add(-24 * age)
		}
		m := finding.Match{Vulnerability: len(img.Report.Vulnerabilities), Severity: finding.Severity(f[1]), Package: inventory.Package{Name: f[2]}}
		if f[4] != "-" {
			m.FixedVersion = f[4]
		}
		img.Report.Vulnerabilities = append(img.Report.Vulnerabilities, v)
		img.Report.Matches = append(img.Report.Matches, m)
	}
	return img
}

func except(id, repo, pkg string, until time.Time) Exception {
	return Exception{Vulnerability: id, Repository: repo, Package: pkg, Reason: "r", Until: until}
}

func TestDecide(t *testing.T) {
	high := Rule{Name: "r", Repositories: []string{"*"}, Severity: finding.High, Unscanned: Allow}
	with := func(change func(*Rule)) Rule { r := high; change(&r); return r }
	fixable := with(func(r *Rule) { r.FixableOnly = true })
	grace := with(func(r *Rule) { r.Grace = 30 })
	both := with(func(r *Rule) { r.Grace, r.FixableOnly = 30, true })
	all := with(func(r *Rule) { r.Severity = finding.Undefined })
	seen := func(img Image, id string, days int) Image {
		img.FirstSeen[id] = now.Add(-time.Duration(days) * day)
		return img
	}
	later := now.Add(day)
	for name, c := range map[string]struct {
		rule       Rule
		img        Image
		exceptions []Exception
		want       string // the ids of Worst, "" where it passes
	}{
		"nothing found":                  {high, found(), nil, ""},
		"as bad as the threshold":        {high, found("CVE-1 HIGH a 100 -"), nil, "CVE-1"},
		"worse":                          {high, found("CVE-1 CRITICAL a 100 -"), nil, "CVE-1"},
		"less bad":                       {high, found("CVE-1 MEDIUM a 100 1"), nil, ""},
		"not rated":                      {high, found("CVE-1 UNDEFINED a 100 1", "CVE-2 UNTRIAGED a 100 1", "CVE-3 WEIRD a 100 1"), nil, ""},
		"everything":                     {all, found("CVE-1 UNDEFINED a 100 1", "CVE-2 UNTRIAGED a 100 1", "CVE-3 LOW a 100 1", "CVE-4 INFORMATIONAL b 1 -"), nil, "CVE-3 CVE-4 CVE-2 CVE-1"},
		"no severity":                    {with(func(r *Rule) { r.Severity, r.Unscanned = "", Block }), found("CVE-1 CRITICAL a 100 1"), nil, ""},
		"fixable, with a fix":            {fixable, found("CVE-1 HIGH a 100 1", "CVE-2 HIGH a 100 -"), nil, "CVE-1"},
		"fixable, without one":           {fixable, found("CVE-2 HIGH a 100 -"), nil, ""},
		"published lately":               {grace, found("CVE-1 HIGH a 29 1"), nil, ""},
		"published long enough ago":      {grace, found("CVE-1 HIGH a 30 1"), nil, "CVE-1"},
		"published lately, found before": {grace, seen(found("CVE-1 HIGH a 2 1"), "CVE-1", 30), nil, "CVE-1"},
		"published long ago, found now":  {grace, seen(found("CVE-1 HIGH a 31 1"), "CVE-1", 0), nil, "CVE-1"},
		"found lately, else not known":   {grace, seen(found("CVE-1 HIGH a - 1"), "CVE-1", 3), nil, ""},
		"of no known age":                {grace, found("CVE-1 HIGH a - 1"), nil, "CVE-1"},
		"young or not fixable":           {both, found("CVE-1 HIGH a 2 1", "CVE-2 HIGH a 40 -"), nil, ""},
		"old and fixable":                {both, found("CVE-1 HIGH a 2 1", "CVE-2 HIGH a 40 1"), nil, "CVE-2"},
		"excepted":                       {high, found("CVE-1 HIGH a 100 1"), []Exception{except("cve-1", "", "", later)}, ""},
		"another one excepted":           {high, found("CVE-1 HIGH a 100 1"), []Exception{except("CVE-11", "", "", later)}, "CVE-1"},
		"one of two excepted":            {high, found("CVE-1 HIGH a 100 1", "CVE-2 HIGH b 1 -"), []Exception{except("CVE-1", "", "", later)}, "CVE-2"},
		"excepted until now":             {high, found("CVE-1 HIGH a 100 1"), []Exception{except("CVE-1", "", "", now)}, "CVE-1"},
		"excepted in the repository":     {high, found("CVE-1 HIGH a 100 1"), []Exception{except("CVE-1", "team/*", "", later)}, ""},
		"excepted elsewhere":             {high, found("CVE-1 HIGH a 100 1"), []Exception{except("CVE-1", "team", "", later)}, "CVE-1"},
		"excepted in the package":        {high, found("CVE-1 HIGH a 100 1", "CVE-1 HIGH b 100 1"), []Exception{except("CVE-1", "", "a", later)}, "CVE-1"},
		"excepted in both packages":      {high, found("CVE-1 HIGH a 100 1", "CVE-1 HIGH b 100 1"), []Exception{except("CVE-1", "", "a", later), except("CVE-1", "", "b", later)}, ""},
		"more than are named": {all, found("CVE-1 LOW a 9 -", "CVE-2 HIGH a 9 -", "CVE-3 CRITICAL a 9 -", "CVE-4 CRITICAL a 9 -", "CVE-5 MEDIUM a 9 -", "CVE-6 LOW a 9 -"), nil,
			"CVE-4 CVE-3 CVE-2 CVE-5 CVE-6"},
	} {
		d := c.rule.Decide(c.img, c.exceptions, now)
		if got := strings.Join(d.Worst, " "); got != c.want || d.Blocked != (c.want != "") || d.State != Scanned {
			t.Errorf("%s: %+v, want %q", name, d, c.want)
		}
	}
	if d := all.Decide(found("CVE-1 UNTRIAGED a 9 -", "CVE-1 UNDEFINED b 9 -", "CVE-2 HIGH b 9 -"), nil, now); d.Counts[finding.Undefined] != 2 || d.Counts[finding.High] != 1 || len(d.Counts) != 2 {
		t.Errorf("%+v", d)
	}
	broken := found("CVE-1 HIGH a 9 -")
	broken.Report.Vulnerabilities = nil
	if d := high.Decide(broken, nil, now); d.Blocked {
		t.Errorf("%+v", d)
	}
}

func TestUnscanned(t *testing.T) {
	pushed := func(s State, ago time.Duration) Image {
		return Image{Repository: "a/b", State: s, PushedAt: now.Add(-ago)}
	}
	for name, c := range map[string]struct {
		unscanned Unscanned
		wait      time.Duration
		img       Image
		want      bool
	}{
		"allow":                    {Allow, 0, pushed(Waiting, 0), false},
		"block":                    {Block, 0, pushed(Waiting, 1000*day), true},
		"strict":                   {Strict, 0, pushed(Waiting, 0), true},
		"block, within the wait":   {Block, time.Hour, pushed(Waiting, time.Hour-1), true},
		"block, after the wait":    {Block, time.Hour, pushed(Waiting, time.Hour), false},
		"allow, unsupported":       {Allow, 0, pushed(Unsupported, 0), false},
		"block, unsupported":       {Block, 0, pushed(Unsupported, 0), false},
		"strict, unsupported":      {Strict, 0, pushed(Unsupported, 0), true},
		"strict, after the wait":   {Strict, time.Hour, pushed(Unsupported, 2*time.Hour), true},
		"strict, an index":         {Strict, 0, pushed(Unscannable, 0), false},
		"strict, nothing is found": {Strict, 0, pushed(Scanned, 0), false},
	} {
		r := Rule{Severity: finding.Critical, Unscanned: c.unscanned, Wait: c.wait}
		if d := r.Decide(c.img, nil, now); d.Blocked != c.want || len(d.Counts) != 0 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// TestMonotony: an exception never has more held back, nor does a rule that asks for less.
func TestMonotony(t *testing.T) {
	ids := []string{"CVE-1", "CVE-2", "CVE-3", "CVE-4"}
	words := append(slices.Clone(severities), finding.Untriaged, "NEW")
	rapid.Check(t, func(t *rapid.T) {
		img := Image{Repository: name.Repository(rapid.SampledFrom([]string{"a/b", "a/c", "d"}).Draw(t, "repository")), FirstSeen: map[string]time.Time{}, PushedAt: now.Add(-time.Duration(rapid.IntRange(0, 10).Draw(t, "pushed")) * day)}
		img.State = rapid.SampledFrom([]State{Waiting, Scanned, Scanned, Scanned, Unsupported, Unscannable}).Draw(t, "state")
		for _, id := range ids {
			v := finding.Vulnerability{ID: id}
			if age := rapid.IntRange(-1, 20).Draw(t, "age"); age >= 0 {
				v.Published = now.Add(-time.Duration(age) * day)
			}
			if age := rapid.IntRange(-1, 20).Draw(t, "seen"); age >= 0 {
				img.FirstSeen[id] = now.Add(-time.Duration(age) * day)
			}
			img.Report.Vulnerabilities = append(img.Report.Vulnerabilities, v)
		}
		for range rapid.IntRange(0, 6).Draw(t, "matches") {
			img.Report.Matches = append(img.Report.Matches, finding.Match{
				Vulnerability: rapid.IntRange(0, 3).Draw(t, "which"), Severity: rapid.SampledFrom(words).Draw(t, "severity"),
				Package: inventory.Package{Name: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "package")}, FixedVersion: rapid.SampledFrom([]string{"", "1"}).Draw(t, "fix"),
			})
		}
		exception := func() Exception {
			return except(rapid.SampledFrom(ids).Draw(t, "id"), rapid.SampledFrom([]string{"", "a/*", "d"}).Draw(t, "filter"), rapid.SampledFrom([]string{"", "x"}).Draw(t, "of"), now.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "until"))*day))
		}
		var exceptions []Exception
		for range rapid.IntRange(0, 3).Draw(t, "exceptions") {
			exceptions = append(exceptions, exception())
		}
		at := rapid.IntRange(0, len(severities)-1).Draw(t, "threshold")
		r := Rule{Severity: severities[at], FixableOnly: rapid.Bool().Draw(t, "fixable"), Grace: rapid.IntRange(0, 10).Draw(t, "grace"), Unscanned: rapid.SampledFrom([]Unscanned{Allow, Block, Strict}).Draw(t, "unscanned"), Wait: time.Duration(rapid.IntRange(0, 10).Draw(t, "wait")) * day}
		before := r.Decide(img, exceptions, now)
		total := func(d Decision) (n int) {
			for _, c := range d.Counts {
				n += c
			}
			return n
		}
		less := func(what string, after Decision) {
			t.Helper()
			if after.Blocked && !before.Blocked || total(after) > total(before) {
				t.Errorf("%s: %+v before, %+v after", what, before, after)
			}
		}
		less("an exception more", r.Decide(img, append(slices.Clone(exceptions), exception()), now))
		if milder := r; at > 0 {
			milder.Severity = severities[at-1]
			less("a higher threshold", milder.Decide(img, exceptions, now))
		}
		milder := r
		milder.FixableOnly = true
		less("fixable only", milder.Decide(img, exceptions, now))
		milder = r
		milder.Grace++
		less("more grace", milder.Decide(img, exceptions, now))
		if before.Blocked != (len(before.Worst) > 0) && img.State == Scanned || len(before.Worst) > total(before) || len(before.Worst) > worst {
			t.Errorf("%+v", before)
		}
		if before.Blocked && before.Text("r", img.Repository, "sha256:x") == "" {
			t.Error("no reason")
		}
	})
}

func TestText(t *testing.T) {
	r := Rule{Severity: finding.Low, Unscanned: Strict}
	for want, img := range map[string]Image{
		"The rule 'prod' of the pull gate holds back the image sha256:1 of the repository team/app: 3 findings (1 CRITICAL, 2 LOW), the worst: CVE-2, CVE-3, CVE-1. Pull an image in which they are mended, or ask for an exception: berth scan gate except add CVE-2 --repository team/app --until 30d --reason TEXT": found("CVE-1 LOW a 9 -", "CVE-2 CRITICAL a 9 -", "CVE-3 LOW a 9 -"),
		"1 finding (1 LOW), the worst: CVE-1.": found("CVE-1 LOW a 9 -"),
		"no scan of it has been completed. Pull it again when it is scanned; berth scan status team/app@sha256:1 says how that stands.": {State: Waiting},
		"it cannot be scanned": {State: Unsupported},
	} {
		if got := r.Decide(img, nil, now).Text("prod", "team/app", "sha256:1"); !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestExempts(t *testing.T) {
	r := Rule{Exempt: []string{"arn:aws:iam::111122223333:role/ci-*", "arn:aws:iam::*:user/scanner", "arn:aws:sts::111122223333:assumed-role/one/session"}}
	role := func(arn, session string) principal.Principal {
		return principal.Principal{ARN: session, Session: &principal.Session{Kind: principal.RoleSession, RoleARN: arn}}
	}
	for _, c := range []struct {
		who  principal.Principal
		want bool
	}{
		{principal.Principal{ARN: "arn:aws:iam::444455556666:user/scanner"}, true},
		{principal.Principal{ARN: "arn:aws:iam::444455556666:user/scanner2"}, false},
		{role("arn:aws:iam::111122223333:role/ci-build", "arn:aws:sts::111122223333:assumed-role/ci-build/x"), true},
		{role("arn:aws:iam::111122223333:role/cd", "arn:aws:sts::111122223333:assumed-role/cd/x"), false},
		{role("arn:aws:iam::111122223333:role/one", "arn:aws:sts::111122223333:assumed-role/one/session"), true},
		{role("arn:aws:iam::111122223333:role/one", "arn:aws:sts::111122223333:assumed-role/one/other"), false},
		{principal.Principal{ARN: "arn:aws:iam::111122223333:user/x", Session: &principal.Session{Kind: principal.TokenSession, RoleARN: "arn:aws:iam::111122223333:role/ci-x"}}, false},
		{principal.Principal{}, false},
	} {
		if got := r.Exempts(c.who); got != c.want {
			t.Errorf("%+v: %v", c.who, got)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Rule{Name: "prod", Repositories: []string{"team/*", "*"}, Severity: finding.High, FixableOnly: true, Grace: 7, Unscanned: Block, Wait: time.Hour, Exempt: []string{"arn:aws:iam::*:role/ci"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Rule){
		"cannot be the name of a rule":          func(r *Rule) { r.Name = "Prod" },
		"1 to 20 filters":                       func(r *Rule) { r.Repositories = nil },
		"needs 1 to 20 filters":                 func(r *Rule) { r.Repositories = slices.Repeat([]string{"*"}, 21) },
		`"te?m" cannot be a filter`:             func(r *Rule) { r.Repositories = []string{"te?m"} },
		`"high" is no severity`:                 func(r *Rule) { r.Severity = "high" },
		`"" is nothing that can happen`:         func(r *Rule) { r.Unscanned = "" },
		"would hold nothing back":               func(r *Rule) { *r = Rule{Name: "x", Repositories: r.Repositories, Unscanned: Allow} },
		"UNDEFINED takes every finding":         func(r *Rule) { r.Severity = "" },
		"days from 0 to 3650":                   func(r *Rule) { r.Grace = -1 },
		"up to 365 days":                        func(r *Rule) { r.Wait = 366 * day },
		"whole seconds":                         func(r *Rule) { r.Wait = time.Millisecond },
		"this rule lets them pass":              func(r *Rule) { r.Unscanned = Allow },
		"up to 50 patterns":                     func(r *Rule) { r.Exempt = slices.Repeat([]string{"arn:*"}, 51) },
		`"*" cannot be the pattern of a caller`: func(r *Rule) { r.Exempt = []string{"*"} },
		`"arn:aws:iam" cannot be the pattern`:   func(r *Rule) { r.Exempt = []string{"arn:aws:iam"} },
	} {
		r := good
		change(&r)
		if err := r.Validate(); !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := except("GHSA-xxxx-yyyy-zzzz", "", "", now.Add(MaxException)).Validate(now); err != nil {
		t.Error(err)
	}
	for want, e := range map[string]Exception{
		"no id of a vulnerability":      except("C", "", "", now.Add(day)),
		`"CVE 1" is no id`:              except("CVE 1", "", "", now.Add(day)),
		"ended already":                 except("CVE-1", "", "", now),
		"before 2027-03-02":             except("CVE-1", "", "", now.Add(MaxException+1)),
		"needs a reason":                {Vulnerability: "CVE-1", Reason: " ", Until: now.Add(day)},
		`"A" cannot be a filter`:        except("CVE-1", "A", "", now.Add(day)),
		"name of the package is too lo": except("CVE-1", "", strings.Repeat("x", 501), now.Add(day)),
	} {
		if err := e.Validate(now); !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

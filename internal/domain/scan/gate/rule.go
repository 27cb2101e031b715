// Package gate holds images back that no one is to pull: by the severity, the age and
// the fix of what their scan has found, or because no scan has been completed yet. It is
// beyond ECR and does nothing in a registry without rules.
//
// It owns the rules, the exceptions from them, and the decision, which is pure. It does
// not scan (domain/scan), and which requests are pulls is for the edges to say: they ask
// Check with each manifest that they are about to hand out.
//
// The gate is about manifests. An index passes, since each of its images is looked at
// when its own manifest is asked for. Layers are handed out to whoever may read
// them and knows their digest, which a manifest says that is not handed out. What does
// not pass the edges' pulls passes no gate: replication, and the pull-through cache as it
// fetches from a registry of this deployment.
package gate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy/pattern"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
)

// The limits of what operators can set.
const (
	MaxRules      = 100  // in a registry
	MaxExceptions = 1000 // in a registry
	MaxFilters    = 20   // of a rule
	MaxExempt     = 50   // of a rule
	MaxGrace      = 3650 // days
	MaxWait       = 365 * 24 * time.Hour
	// MaxException is how long an exception can hold: a year, and the day that a leap
	// year has more.
	MaxException = 366 * 24 * time.Hour
	// MaxReason is in bytes.
	MaxReason = 1000
)

// Unscanned says what a rule does with an image that no scan has been completed of.
type Unscanned string

// What there is.
const (
	// Allow lets it pass.
	Allow Unscanned = "allow"
	// Block holds it back until a scan has been completed. What cannot be
	// scanned passes.
	Block Unscanned = "block"
	// Strict also holds images back that cannot be scanned, because what they are made
	// of is not known. Indexes and artifacts pass, as they have no software in them.
	Strict Unscanned = "strict"
)

// Rule says which images of which repositories are held back. An image passes when no
// rule for its repository holds it back.
type Rule struct {
	// Name tells the rule from others of the registry.
	Name string
	// Repositories are filters: a star stands for any run of characters, and the whole
	// name has to fit.
	Repositories []string
	// Severity holds images back that have a finding which is at least that bad; "" has
	// the rule not look at findings. finding.Undefined takes every finding.
	Severity finding.Severity
	// FixableOnly has only findings count that a version mends.
	FixableOnly bool
	// Grace is how many days a vulnerability has been known when it begins to count: since
	// it was published or was first found in the image, whichever is earlier. One of
	// which neither is known counts at once. 0: all count at once.
	Grace int
	// Unscanned is what happens to images without a completed scan.
	Unscanned Unscanned
	// Wait is how long after its push an image that waits for its scan is held back
	// at most; 0: as long as it waits.
	Wait time.Duration
	// Exempt are patterns of the ARNs of callers that the rule does not hold up; with a
	// role it is all of its sessions.
	Exempt               []string
	CreatedAt, UpdatedAt time.Time
}

// Exception has the gate not count a vulnerability, for a time.
type Exception struct {
	ID            int64
	Vulnerability string // its id, in any case
	Repository    string // a filter as those of rules; "": all repositories
	Package       string // the name of a package; "": all packages
	Reason        string
	Until         time.Time
	CreatedAt     time.Time
}

// State is how the scan of an image stands, as far as the gate cares.
type State int

// The states.
const (
	// Waiting: no scan has been completed, and one may be; also after one that has failed.
	Waiting State = iota
	// Scanned: there is a report, also if a later scan runs or has failed.
	Scanned
	// Unsupported: an image that was looked at and that a scan says nothing about, as its
	// distribution is not known.
	Unsupported
	// Unscannable: an index or an artifact.
	Unscannable
)

// Image is what the gate knows of an image.
type Image struct {
	Repository name.Repository
	PushedAt   time.Time
	State      State
	// Report is that of the last completed scan.
	Report finding.Report
	// FirstSeen is when a vulnerability was first found in the image, by its id.
	FirstSeen map[string]time.Time
}

// Decision is what a rule says to an image. The zero value lets it pass.
type Decision struct {
	Blocked bool
	// State is why where no finding is: Waiting or Unsupported. Else it is Scanned.
	State State
	// Counts has the findings that count, by severity, and Worst up to worst of
	// their ids, the worst first.
	Counts map[finding.Severity]int
	Worst  []string
}

// worst is how many ids a refusal names.
const worst = 5

// severities are those of rules, the worst first.
var severities = []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low, finding.Informational, finding.Undefined}

// rank is lower for what is worse.
func rank(s finding.Severity) int {
	if s == finding.Untriaged {
		s = finding.Undefined
	}
	if i := slices.Index(severities, s); i >= 0 {
		return i
	}
	return len(severities) - 1 // a word that is not known is as one that was not rated
}

// Covers says whether the rule is about a repository.
func (r Rule) Covers(repo name.Repository) bool {
	return slices.ContainsFunc(r.Repositories, func(f string) bool { return fits(f, string(repo)) })
}

// fits says whether all of s is what the filter stands for.
func fits(filter, s string) bool {
	p, err := pattern.Compile(filter, pattern.Wildcards)
	return err == nil && p.Match(s, nil)
}

// Exempts says whether the rule does not hold the caller up.
func (r Rule) Exempts(who principal.Principal) bool {
	arns := []string{who.ARN}
	if s := who.Session; s != nil && s.Kind == principal.RoleSession {
		arns = append(arns, s.RoleARN)
	}
	for _, text := range r.Exempt {
		p, err := pattern.CompileARN(text, false)
		if err != nil {
			continue // Validate has let none in
		}
		for _, arn := range arns {
			if subject := pattern.NewSubject(arn); p.Match(&subject, nil) {
				return true
			}
		}
	}
	return false
}

// holds says whether the exception is about a finding.
func (e Exception) holds(repo name.Repository, v finding.Vulnerability, m finding.Match, now time.Time) bool {
	return now.Before(e.Until) && strings.EqualFold(e.Vulnerability, v.ID) && (e.Package == "" || e.Package == m.Package.Name) &&
		(e.Repository == "" || fits(e.Repository, string(repo)))
}

// Decide says whether the rule holds the image back. It does not ask whether the rule
// covers the repository or exempts a caller.
func (r Rule) Decide(img Image, exceptions []Exception, now time.Time) Decision {
	switch img.State {
	case Unscannable:
		return Decision{}
	case Waiting:
		blocks := r.Unscanned == Block || r.Unscanned == Strict
		return Decision{State: Waiting, Blocked: blocks && (r.Wait == 0 || now.Before(img.PushedAt.Add(r.Wait)))}
	case Unsupported:
		return Decision{State: Unsupported, Blocked: r.Unscanned == Strict}
	case Scanned:
	}
	d := Decision{State: Scanned}
	if r.Severity == "" {
		return d
	}
	bound, found := rank(r.Severity), map[string]int{}
	for _, m := range img.Report.Matches {
		if rank(m.Severity) > bound || r.FixableOnly && m.FixedVersion == "" || m.Vulnerability < 0 || m.Vulnerability >= len(img.Report.Vulnerabilities) {
			continue
		}
		v := img.Report.Vulnerabilities[m.Vulnerability]
		if r.young(v, img.FirstSeen[v.ID], now) || slices.ContainsFunc(exceptions, func(e Exception) bool { return e.holds(img.Repository, v, m, now) }) {
			continue
		}
		if d.Counts == nil {
			d.Counts = map[finding.Severity]int{}
		}
		d.Blocked = true
		d.Counts[severities[rank(m.Severity)]]++
		if at, there := found[v.ID]; !there || rank(m.Severity) < at {
			found[v.ID] = rank(m.Severity)
		}
	}
	for id := range found {
		d.Worst = append(d.Worst, id)
	}
	slices.SortFunc(d.Worst, func(a, b string) int {
		if x, y := found[a], found[b]; x != y {
			return x - y
		}
		return strings.Compare(b, a) // later years first
	})
	d.Worst = d.Worst[:min(len(d.Worst), worst)]
	return d
}

// young says whether a vulnerability is in the rule's grace still.
func (r Rule) young(v finding.Vulnerability, seen, now time.Time) bool {
	since := v.Published
	if since.IsZero() || !seen.IsZero() && seen.Before(since) {
		since = seen
	}
	return r.Grace > 0 && !since.IsZero() && now.Before(since.Add(time.Duration(r.Grace)*24*time.Hour))
}

var (
	nameRE   = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	filterRE = regexp.MustCompile(`^[a-z0-9._/*-]{1,256}$`)
)

// CheckFilter says what is wrong with a filter of repositories: errs.InvalidParameter.
func CheckFilter(f string) error {
	if !filterRE.MatchString(f) {
		return errs.New(errs.InvalidParameter, "%q cannot be a filter of repositories. Write a name, with * for any run of characters: team/*", f)
	}
	return nil
}

// Validate says what is wrong with a rule: errs.InvalidParameter.
func (r Rule) Validate() error {
	bad := func(format string, args ...any) error { return errs.New(errs.InvalidParameter, format, args...) }
	switch {
	case !nameRE.MatchString(r.Name):
		return bad("%q cannot be the name of a rule. Take 1 to 63 lower-case letters, digits, dots, hyphens and underscores.", r.Name)
	case len(r.Repositories) == 0 || len(r.Repositories) > MaxFilters:
		return bad("A rule needs 1 to %d filters of repositories; * stands for all repositories.", MaxFilters)
	case r.Severity != "" && !slices.Contains(severities, r.Severity):
		return bad("%q is no severity. Take one of %s.", r.Severity, words(severities))
	case r.Unscanned != Allow && r.Unscanned != Block && r.Unscanned != Strict:
		return bad("%q is nothing that can happen to images without a scan. Take allow, block or strict.", r.Unscanned)
	case r.Severity == "" && r.Unscanned == Allow:
		return bad("The rule would hold nothing back. Give it a severity, or have it hold images back that are not scanned.")
	case r.Severity == "" && (r.FixableOnly || r.Grace != 0):
		return bad("Which findings count can be said with a severity only. Give one; UNDEFINED takes every finding.")
	case r.Grace < 0 || r.Grace > MaxGrace:
		return bad("The grace is a number of days from 0 to %d.", MaxGrace)
	case r.Wait < 0 || r.Wait > MaxWait || r.Wait%time.Second != 0:
		return bad("The wait is a time in whole seconds, up to 365 days.")
	case r.Wait != 0 && r.Unscanned == Allow:
		return bad("A wait says until when images without a scan are held back, and this rule lets them pass. Take one of them back.")
	case len(r.Exempt) > MaxExempt:
		return bad("A rule can exempt up to %d patterns of callers.", MaxExempt)
	}
	for _, f := range r.Repositories {
		if err := CheckFilter(f); err != nil {
			return err
		}
	}
	for _, text := range r.Exempt {
		p, err := pattern.CompileARN(text, false)
		if err != nil || len(text) > 2048 || !strings.HasPrefix(text, "arn:") || !p.Whole() {
			return bad("%q cannot be the pattern of a caller. Write an ARN, with * for any run of characters: arn:aws:iam::111122223333:role/ci-*", text)
		}
	}
	return nil
}

func words[T ~string](all []T) string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = string(one)
	}
	return strings.Join(out, ", ")
}

var vulnerabilityRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{2,99}$`)

// Validate says what is wrong with an exception that is to be made now:
// errs.InvalidParameter.
func (e Exception) Validate(now time.Time) error {
	bad := func(format string, args ...any) error { return errs.New(errs.InvalidParameter, format, args...) }
	switch {
	case !vulnerabilityRE.MatchString(e.Vulnerability):
		return bad("%q is no id of a vulnerability. Write it as the finding does: CVE-2026-1234", e.Vulnerability)
	case strings.TrimSpace(e.Reason) == "" || len(e.Reason) > MaxReason:
		return bad("An exception needs a reason, of up to %d bytes.", MaxReason)
	case !e.Until.After(now):
		return bad("The exception would have ended already. Take a time to come.")
	case e.Until.After(now.Add(MaxException)):
		return bad("An exception ends, at the latest in a year. Take a time before %s; it can be made again then.", now.Add(MaxException).UTC().Format("2006-01-02"))
	case len(e.Package) > 500:
		return bad("The name of the package is too long.")
	}
	if e.Repository != "" {
		return CheckFilter(e.Repository)
	}
	return nil
}

// Text says what is held back and why, and what can be done.
func (d Decision) Text(rule string, repo name.Repository, digest name.Digest) string {
	text := fmt.Sprintf("The rule '%s' of the pull gate holds back the image %s of the repository %s: ", rule, digest, repo)
	switch d.State {
	case Waiting:
		return text + "no scan of it has been completed. Pull it again when it is scanned; berth scan status " + string(repo) + "@" + string(digest) + " says how that stands."
	case Unsupported:
		return text + "it cannot be scanned, as it is not known what it is made of. Build it on a distribution that is supported, or have the rule changed."
	case Scanned, Unscannable:
	}
	total, counts := 0, []string{}
	for _, s := range severities {
		if n := d.Counts[s]; n > 0 {
			total += n
			counts = append(counts, fmt.Sprintf("%d %s", n, s))
		}
	}
	noun := "findings"
	if total == 1 {
		noun = "finding"
	}
	example := "ID"
	if len(d.Worst) > 0 {
		example = d.Worst[0]
	}
	return fmt.Sprintf("%s%d %s (%s), the worst: %s. Pull an image in which they are mended, or ask for an exception: berth scan gate except add %s --repository %s --until 30d --reason TEXT",
		text, total, noun, strings.Join(counts, ", "), strings.Join(d.Worst, ", "), example, repo)
}

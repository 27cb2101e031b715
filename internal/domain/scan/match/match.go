package match

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/aquasecurity/trivy/pkg/clock"
	"github.com/aquasecurity/trivy/pkg/types"
	bolt "go.etcd.io/bbolt"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// maxText is how long a name or a version may be that is looked up, in bytes. Real ones have
// some dozens; a longer one would only cost time.
const maxText = 1024

// maxMatches is how many matches a report may have. Images that are years old and hold everything
// have some ten thousand; an image that was made to have more would fill the memory of who keeps reports.
const maxMatches = 100_000

// ErrTooMany says that the image has more vulnerable packages than a report may tell of.
var ErrTooMany = fmt.Errorf("the image lists packages with more than %d vulnerabilities, which no real image does", maxMatches)

// Options say what is matched.
type Options struct {
	// Languages: packages of languages too, as enhanced scanning does.
	Languages bool
	// Now decides whether the distribution is past its end of life.
	Now time.Time
}

// hit is one vulnerability that Trivy found in one package.
type hit struct {
	types.DetectedVulnerability
	pkg int // index into Image.Packages
}

// Match says which vulnerabilities the packages of an image have. The same image and
// database always yield the same report. Report.Supported is false where the database knows
// nothing of the distribution in this version and there are no packages of languages (or they were
// not asked for): the report then says nothing about the image. An error means that the
// database cannot be read, that ctx ended, or ErrTooMany.
func (d *Database) Match(ctx context.Context, img inventory.Image, o Options) (finding.Report, error) {
	r := finding.Report{SourceUpdatedAt: d.metadata.UpdatedAt, OS: img.OS, Architecture: img.Architecture}
	err := d.use(ctx, func(b *bolt.DB) error {
		ctx := clock.With(ctx, o.Now)
		hits, err := distribution(ctx, b, img, &r)
		if err != nil {
			return err
		}
		if o.Languages {
			more, err := languages(ctx, img, &r)
			if err != nil {
				return err
			}
			hits = append(hits, more...)
		}
		if hits = unique(hits); len(hits) > maxMatches {
			return ErrTooMany
		}
		return report(ctx, b, img, hits, &r)
	})
	if err != nil {
		return finding.Report{}, fmt.Errorf("match the image's packages: %w", err)
	}
	return r, nil
}

// usable says whether a package can be looked up at all.
func usable(p inventory.Package) bool {
	return p.Name != "" && p.Version != "" && len(p.Name) <= maxText && len(p.SrcName) <= maxText &&
		len(p.FullVersion()) <= maxText && len(p.SrcFullVersion()) <= maxText && len(p.Modularity) <= maxText
}

// unique leaves one of several hits of the same package and vulnerability (Oracle has one
// for each erratum), that with the greatest fixed version, as Trivy does.
func unique(hits []hit) []hit {
	slices.SortStableFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), strings.Compare(a.VulnerabilityID, b.VulnerabilityID),
			strings.Compare(b.FixedVersion, a.FixedVersion))
	})
	out := hits[:0]
	for _, h := range hits {
		if n := len(out); n > 0 && out[n-1].pkg == h.pkg && out[n-1].VulnerabilityID == h.VulnerabilityID {
			out[n-1].VendorIDs = slices.Concat(out[n-1].VendorIDs, h.VendorIDs)
			continue
		}
		out = append(out, h)
	}
	return out
}

// report puts the hits into r, with what is known of their vulnerabilities.
func report(ctx context.Context, b *bolt.DB, img inventory.Image, hits []hit, r *finding.Report) error {
	if len(hits) == 0 {
		return nil
	}
	ids := make([]string, 0, len(hits))
	for _, h := range hits {
		ids = append(ids, h.VulnerabilityID)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	details, err := details(ctx, b, ids)
	if err != nil {
		return err
	}
	index := make(map[string]int, len(ids))
	r.Vulnerabilities = make([]finding.Vulnerability, len(ids))
	for i, id := range ids {
		index[id] = i
		r.Vulnerabilities[i] = vulnerability(id, details[i])
	}
	r.Matches = make([]finding.Match, len(hits))
	for i, h := range hits {
		v := index[h.VulnerabilityID]
		r.Matches[i] = oneMatch(h, img, v, details[v])
	}
	slices.SortStableFunc(r.Matches, func(a, b finding.Match) int {
		return cmp.Or(
			finding.CompareSeverity(a.Severity, b.Severity),
			cmp.Compare(a.Vulnerability, b.Vulnerability),
			strings.Compare(a.Package.Name, b.Package.Name),
			strings.Compare(a.Package.FullVersion(), b.Package.FullVersion()),
			strings.Compare(a.Package.Path, b.Package.Path),
			strings.Compare(string(a.Package.Type), string(b.Package.Type)),
			strings.Compare(a.Package.Arch, b.Package.Arch),
		)
	})
	return nil
}

func oneMatch(h hit, img inventory.Image, v int, detail dbtypes.Vulnerability) finding.Match {
	p := img.Packages[h.pkg]
	src := sourceOf(h.DetectedVulnerability, p, img.OS)
	m := finding.Match{
		Vulnerability: v,
		Package:       p,
		FixedVersion:  h.FixedVersion,
		Status:        status(h.DetectedVulnerability),
		Source:        sourceName(src),
		URI:           uri(h.DetectedVulnerability, src, img.OS, detail.References),
	}
	m.Severity, m.VendorSeverity = severity(h.DetectedVulnerability, src, detail, m.Status)
	if len(h.VendorIDs) > 0 {
		m.VendorIDs = slices.Compact(slices.Sorted(slices.Values(h.VendorIDs)))
	}
	return m
}

// status is the vendor's word for how it stands with a fix.
func status(v types.DetectedVulnerability) string {
	if v.FixedVersion != "" {
		return dbtypes.Statuses[dbtypes.StatusFixed]
	}
	if v.Status == dbtypes.StatusUnknown {
		return dbtypes.Statuses[dbtypes.StatusAffected]
	}
	return v.Status.String()
}

// errPassed: a package made a detector panic.
var errPassed = errors.New("passed over")

// try runs a detector, which is fed with what an image says of itself. A panic of its own is
// errPassed; one that the database caused is a damaged.
func try(f func() ([]types.DetectedVulnerability, error)) (found []types.DetectedVulnerability, err error) {
	defer func() {
		if p := recover(); p != nil {
			if damage(p) {
				found, err = nil, &damaged{fmt.Sprint(p)}
				return
			}
			found, err = nil, errPassed
		}
	}()
	return f()
}

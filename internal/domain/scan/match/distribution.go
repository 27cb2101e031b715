package match

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/vulnsrc/bucket"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg"
	osver "github.com/aquasecurity/trivy/pkg/detector/ospkg/version"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/scan/utils"
	"github.com/aquasecurity/trivy/pkg/types"
	bolt "go.etcd.io/bbolt"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// distribution looks up the packages of the distribution. It says in r whether the
// database knows the distribution, and whether that is past its end of life.
func distribution(ctx context.Context, b *bolt.DB, img inventory.Image, r *finding.Report) ([]hit, error) {
	os := system(img.OS)
	known, err := knows(b, os, img.AlpineRepository)
	if plain, ok := strings.CutSuffix(os.Name, "-ESM"); ok && !known && err == nil {
		os.Name = plain // support that is paid for has no advisories of its own while the plain one lasts
		known, err = knows(b, os, "")
	}
	if err != nil || !known {
		return nil, err
	}
	groups := grouped(img, os.Family)
	if os.Family == ftypes.RedHat || os.Family == ftypes.CentOS {
		if groups, err = withContent(groups, img, os); err != nil {
			return nil, err
		}
		if len(groups) == 0 && len(img.Packages) > 0 {
			return nil, nil // nothing tells which of Red Hat's products this is
		}
	}
	target := types.ScanTarget{OS: os}
	if img.AlpineRepository != "" {
		target.Repository = &ftypes.Repository{Family: os.Family, Release: img.AlpineRepository}
	}
	for i := range groups {
		target.Packages = append(target.Packages, groups[i].pkg)
	}
	found, eol, err := detect(ctx, target)
	if errors.Is(err, errPassed) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r.Supported, r.EndOfLife = true, eol
	return expand(found, groups), nil
}

// system is the distribution in the form that Trivy's detectors want.
func system(os inventory.OS) ftypes.OS {
	s := ftypes.OS{Family: ftypes.OSType(os.Family), Name: os.Name, Extended: os.Extended}
	switch s.Family {
	case ftypes.OpenSUSE:
		s.Family = ftypes.OpenSUSELeap
	case "suse linux enterprise server":
		s.Family = ftypes.SLES
	case "suse linux enterprise micro":
		s.Family = ftypes.SLEMicro
	case ftypes.Ubuntu:
		base, extended := strings.CutSuffix(s.Name, "-ESM")
		s.Name = osver.Minor(base)
		if extended || s.Extended {
			s.Name += "-ESM"
		}
	}
	return s
}

// knows says whether the database has advisories for a distribution. Trivy's detectors find
// nothing in one that it does not know, a new release or Debian's sid, which is not the same as its having none.
func knows(b *bolt.DB, os ftypes.OS, alpineRepository string) (known bool, err error) {
	where := advisoriesOf(os, alpineRepository)
	if where == nil {
		return false, nil
	}
	err = b.View(func(tx *bolt.Tx) error {
		known = tx.Bucket([]byte(where.Name())) != nil
		return nil
	})
	return known, err
}

// advisoriesOf is where Trivy's detectors look, nil for a distribution that none is for.
func advisoriesOf(os ftypes.OS, alpineRepository string) bucket.Bucket {
	if os.Name == "" && os.Family != ftypes.Wolfi && os.Family != ftypes.Chainguard && os.Family != ftypes.OpenSUSETumbleweed {
		return nil
	}
	switch major := osver.Major(os.Name); os.Family {
	case ftypes.Alpine:
		stream := osver.Minor(os.Name)
		if alpineRepository != "" {
			stream = osver.Minor(alpineRepository)
		}
		return bucket.NewAlpine(stream)
	case ftypes.Amazon:
		fields := strings.Fields(os.Name)
		if len(fields) == 0 {
			return nil // the detector panics on it
		}
		switch major := osver.Major(fields[0]); major {
		case "2", "2022", "2023":
			return bucket.NewAmazon(major)
		}
		return bucket.NewAmazon("1")
	case ftypes.Debian:
		return bucket.NewDebian(major)
	case ftypes.Ubuntu:
		return bucket.NewUbuntu(os.Name)
	case ftypes.RedHat, ftypes.CentOS:
		return bucket.NewRedHat("")
	case ftypes.Alma:
		return bucket.NewAlma(major)
	case ftypes.Rocky:
		return bucket.NewRocky(major)
	case ftypes.Oracle:
		return bucket.NewOracle(major)
	case ftypes.SLES:
		return bucket.NewSUSELinuxEnterprise(os.Name)
	case ftypes.SLEMicro:
		return bucket.NewSUSELinuxEnterpriseMicro(os.Name)
	case ftypes.OpenSUSELeap:
		return bucket.NewOpenSUSE(os.Name)
	case ftypes.OpenSUSETumbleweed:
		return bucket.NewOpenSUSETumbleweed()
	case ftypes.Photon:
		return bucket.NewPhoton(os.Name)
	case ftypes.Wolfi:
		return bucket.NewWolfi("")
	case ftypes.Chainguard:
		return bucket.NewChainguard("")
	case ftypes.CBLMariner:
		return bucket.NewMariner(osver.Minor(os.Name))
	case ftypes.Azure:
		return bucket.NewAzureLinux(osver.Minor(os.Name))
	}
	return nil
}

// group is packages that a detector cannot tell apart, and the one that stands for them.
type group struct {
	pkg     ftypes.Package
	members []int // indices into Image.Packages
}

// grouped puts together binary packages of the same source package: detectors of these
// families look at the source alone, and reading a source's advisories once saves most of the time.
func grouped(img inventory.Image, family ftypes.OSType) []group {
	bySource := false
	switch family {
	case ftypes.Debian, ftypes.Ubuntu, ftypes.Alpine, ftypes.Wolfi, ftypes.Chainguard, ftypes.Photon:
		bySource = true
	}
	type key struct {
		src, srcVersion, version string
		third                    bool
	}
	var groups []group
	at := map[key]int{}
	for i, p := range img.Packages {
		if !p.Type.Distribution() || !usable(p) {
			continue
		}
		f := osPackage(p)
		seal := strings.HasPrefix(strings.ToLower(p.Name), "seal-")
		if bySource && !seal { // the supplier Seal is known by its packages' names
			k := key{src: f.SrcName, srcVersion: p.SrcFullVersion(), version: p.FullVersion(), third: p.ThirdParty}
			if n, ok := at[k]; ok {
				groups[n].members = append(groups[n].members, i)
				continue
			}
			at[k] = len(groups)
		}
		f.ID = strconv.Itoa(len(groups))
		groups = append(groups, group{pkg: f, members: []int{i}})
	}
	return groups
}

// osPackage is the package in Trivy's form.
func osPackage(p inventory.Package) ftypes.Package {
	f := ftypes.Package{
		Name: p.Name, Version: p.Version, Release: p.Release, Epoch: p.Epoch, Arch: p.Arch,
		SrcName: p.SrcName, SrcVersion: p.SrcVersion, SrcRelease: p.SrcRelease, SrcEpoch: p.SrcEpoch,
		Modularitylabel: p.Modularity, Maintainer: p.Maintainer,
	}
	if f.SrcName == "" {
		f.SrcName = p.Name
	}
	if f.SrcVersion == "" {
		f.SrcVersion, f.SrcRelease, f.SrcEpoch = p.Version, p.Release, p.Epoch
	}
	if p.ThirdParty {
		f.Repository.Class = ftypes.RepositoryClassThirdParty
	}
	return f
}

// expand turns what was found in those that stand for groups into hits. The detectors of
// Azure Linux, CBL-Mariner and CoreOS leave the id out; their packages are told by name and version.
func expand(found []types.DetectedVulnerability, groups []group) []hit {
	var hits []hit
	type key struct{ name, version string }
	var named map[key][]int
	seen := map[string]bool{}
	for _, v := range found {
		k := key{v.PkgName, v.InstalledVersion}
		if v.PkgID == "" && named == nil {
			named = map[key][]int{}
			for n := range groups {
				k := key{groups[n].pkg.Name, utils.FormatVersion(groups[n].pkg)}
				named[k] = append(named[k], n)
			}
		}
		of := named[k]
		if v.PkgID != "" {
			n, err := strconv.Atoi(v.PkgID)
			if err != nil || n < 0 || n >= len(groups) {
				continue // cannot be: the ids are ours
			}
			of = []int{n}
		} else if once := v.VulnerabilityID + " " + k.name + " " + k.version; seen[once] {
			continue // of another architecture, and in of already
		} else {
			seen[once] = true
		}
		for _, n := range of {
			for _, m := range groups[n].members {
				hits = append(hits, hit{v, m})
			}
		}
	}
	return hits
}

// detect runs Trivy's detector for all packages, and for one at a time if that fails, so
// that one package does not hide the others. It is errPassed if all of them fail.
func detect(ctx context.Context, target types.ScanTarget) (found []types.DetectedVulnerability, eol bool, err error) {
	run := func(pkgs []ftypes.Package) ([]types.DetectedVulnerability, error) {
		t := target
		t.Packages = pkgs
		return try(func() ([]types.DetectedVulnerability, error) {
			d, err := ospkg.NewDetector(t)
			if err != nil {
				return nil, err
			}
			v, over, err := d.Detect(ctx)
			eol = eol || over
			return v, err
		})
	}
	found, err = run(target.Packages)
	if !errors.Is(err, errPassed) {
		return found, eol, err
	}
	found = nil
	passed := 0
	for _, p := range target.Packages {
		if err := ctx.Err(); err != nil {
			return nil, eol, err
		}
		v, err := run([]ftypes.Package{p})
		switch {
		case errors.Is(err, errPassed):
			passed++
		case err != nil:
			return nil, eol, err
		}
		found = append(found, v...)
	}
	if passed == len(target.Packages) {
		return nil, eol, errPassed
	}
	return found, eol, nil
}

// generic is a suffix of content sets in Red Hat's manifests that names no repository; it is
// Trivy's rule (trivy-db issue 435).
var generic = regexp.MustCompile(`__\d+$`)

// withContent sets which repositories Red Hat's packages come from, by which its advisories
// go. Those whose repositories the database does not know get those of the release; where it knows
// none of these either, the package cannot be matched, and is left out. (Trivy gives up on the whole image.)
func withContent(groups []group, img inventory.Image, os ftypes.OS) ([]group, error) {
	major := osver.Major(os.Name)
	standard := []string{"rhel-" + major + "-for-x86_64-baseos-rpms", "rhel-" + major + "-for-x86_64-appstream-rpms"}
	if n, err := strconv.Atoi(major); err == nil && n < 8 {
		standard = []string{"rhel-" + major + "-server-rpms", "rhel-" + major + "-server-extras-rpms"}
	}
	asked := map[string]bool{}
	known := func(kind, key string, ask func(string) ([]int, error)) (bool, error) {
		k := kind + "\x00" + key
		if yes, ok := asked[k]; ok {
			return yes, nil
		}
		n, err := ask(key)
		asked[k] = len(n) > 0
		return len(n) > 0, err
	}
	anyKnown := func(b *ftypes.BuildInfo) (bool, error) {
		for _, set := range b.ContentSets {
			if yes, err := known("set", generic.ReplaceAllString(set, ""), db.Config{}.RedHatRepoToCPEs); yes || err != nil {
				return yes, err
			}
		}
		if b.Nvr == "" {
			return false, nil
		}
		return known("nvr", b.Nvr+"-"+b.Arch, db.Config{}.RedHatNVRToCPEs)
	}
	kept := groups[:0]
	for _, g := range groups {
		p := img.Packages[g.members[0]]
		info := &ftypes.BuildInfo{ContentSets: p.ContentSets}
		if p.Build != nil {
			info.Nvr, info.Arch = p.Build.NVR, p.Build.Arch
		}
		ok, err := anyKnown(info)
		if err == nil && !ok {
			info = &ftypes.BuildInfo{ContentSets: standard}
			ok, err = anyKnown(info)
		}
		if err != nil {
			return nil, err
		}
		if ok {
			g.pkg.BuildInfo = info
			g.pkg.ID = strconv.Itoa(len(kept))
			kept = append(kept, g)
		}
	}
	return kept, nil
}

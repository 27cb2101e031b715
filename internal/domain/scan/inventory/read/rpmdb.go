package read

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/inventory/read/rpm"
)

// rpmOfficial tells the distributions' own packages by how their Vendor begins: the list is that of Trivy 0.74.
func rpmOfficial(vendor, release string) bool {
	if vendor == "" {
		return strings.Contains(release, "amzn") // some of Amazon's have none
	}
	for _, s := range [...]string{
		"Amazon Linux", "Amazon.com", "CentOS", "Fedora Project", "Oracle America", "Red Hat", "AlmaLinux", "CloudLinux",
		"VMware", "SUSE", "openSUSE", "Microsoft Corporation", "Rocky",
	} {
		if strings.HasPrefix(vendor, s) {
			return true
		}
	}
	return false
}

func (w *walker) rpm(ctx context.Context, in *inventory.File, r io.ReaderAt, size int64) error {
	bad, err := rpm.Read(ctx, r, size, func(p *rpm.Package) error {
		if p.Name == "gpg-pubkey" { // a key, not software
			return nil
		}
		official := rpmOfficial(p.Vendor, p.Release)
		pkg := inventory.Package{
			Type: inventory.RPM, Name: p.Name, Version: p.Version, Release: p.Release, Epoch: p.Epoch, Arch: p.Arch,
			Modularity: p.Modularity, Maintainer: p.Vendor, ThirdParty: !official,
		}
		if pkg.Arch == "" {
			pkg.Arch = "None"
		}
		if name, version, release, ok := rpmFile(p.SourceRPM); ok {
			// The name of a source package has no epoch; it has the same.
			pkg.SrcName, pkg.SrcVersion, pkg.SrcRelease, pkg.SrcEpoch = name, version, release, p.Epoch
		} else {
			pkg.SrcEpoch = p.Epoch
		}
		if p.License != "" {
			pkg.Licenses = []string{p.License}
		}
		if p.MD5 != "" {
			pkg.Digest = "md5:" + p.MD5
		}
		if official {
			p.Files(func(path string) { w.own(in, path) })
		}
		return w.add(in, pkg)
	})
	if err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("has %d packages that cannot be read", bad)
	}
	return nil
}

// rpmFile takes the name of an RPM apart: "bash-5.1.8-9.el9.src.rpm".
func rpmFile(file string) (name, version, release string, ok bool) {
	s := strings.TrimSuffix(file, ".rpm")
	arch := strings.LastIndexByte(s, '.')
	if arch < 0 {
		return "", "", "", false
	}
	s = s[:arch]
	r := strings.LastIndexByte(s, '-')
	if r < 0 {
		return "", "", "", false
	}
	v := strings.LastIndexByte(s[:r], '-')
	if v < 0 {
		return "", "", "", false
	}
	return s[:v], s[v+1 : r], s[r+1:], true
}

// rpmManifest reads the list that Azure Linux and CBL-Mariner leave in images without a
// database, as "rpm -qa" prints it: ten columns with tabs between them.
func (w *walker) rpmManifest(in *inventory.File, r io.Reader) error {
	s := lines(r)
	bad := 0
	for s.Scan() {
		f := strings.Split(s.Text(), "\t")
		if len(f) != 10 {
			bad++
			continue
		}
		version, release, ok := strings.Cut(f[1], "-")
		epoch, err := strconv.ParseInt(f[8], 10, 32)
		if !ok || err != nil {
			bad++
			continue
		}
		p := inventory.Package{
			Type: inventory.RPM, Name: f[0], Version: version, Release: release, Epoch: int(epoch), Arch: f[7],
			SrcEpoch: int(epoch), Maintainer: f[4],
		}
		p.SrcName, p.SrcVersion, p.SrcRelease, _ = rpmFile(f[9])
		if err := w.add(in, p); err != nil {
			return err
		}
	}
	if err := scanned(s); err != nil {
		return err
	}
	if bad > 0 {
		return errors.New("has lines that tell of no package")
	}
	return nil
}

package read

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// apk reads apk's list of what is installed: a letter, a colon and a value on each line
// (Alpine's "Apk spec"), an empty line between packages. Under a package stand its directories (F) and
// their files (R).
func (w *walker) apk(in *inventory.File, r io.Reader) error {
	s := lines(r)
	var p inventory.Package
	var dir string
	seen := map[string]bool{}
	end := func() error {
		if p.Name == "" || seen[p.Name] {
			p = inventory.Package{}
			return nil
		}
		seen[p.Name] = true
		p.Type = inventory.Apk
		if p.SrcName == "" {
			p.SrcName = p.Name
		}
		p.SrcVersion = p.Version // apk has one version for both
		err := w.add(in, p)
		p = inventory.Package{}
		return err
	}
	for s.Scan() {
		line := s.Bytes()
		if len(line) < 2 {
			if err := end(); err != nil {
				return err
			}
			continue
		}
		if line[1] != ':' {
			continue
		}
		switch line[0] {
		case 'P':
			p.Name = string(line[2:])
		case 'V':
			p.Version = string(line[2:])
		case 'o':
			p.SrcName = string(line[2:])
		case 'A':
			p.Arch = string(line[2:])
		case 'm':
			p.Maintainer = string(line[2:])
		case 'L':
			if l := strings.TrimSpace(string(line[2:])); l != "" {
				p.Licenses = []string{l}
			}
		case 'C':
			p.Digest = apkDigest(string(line[2:]))
		case 'F':
			dir = string(line[2:])
		case 'R':
			file := string(line[2:])
			if dir != "" {
				file = dir + "/" + file
			}
			w.own(in, file)
		}
	}
	if err := end(); err != nil {
		return err
	}
	return scanned(s)
}

// apkDigest is SHA-1 after "Q1", in base64.
func apkDigest(s string) string {
	b, ok := strings.CutPrefix(s, "Q1")
	if !ok {
		return ""
	}
	sum, err := base64.StdEncoding.DecodeString(b)
	if err != nil || len(sum) != 20 {
		return ""
	}
	return "sha1:" + hex.EncodeToString(sum)
}

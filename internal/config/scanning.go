package config

import (
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Scanning says how images are scanned for vulnerabilities.
type Scanning struct {
	// Workers is how many images a node scans at once.
	Workers int `yaml:"workers"`
	// Memory bounds the memory of each process that reads layers, in bytes.
	Memory int64 `yaml:"memory"`
	// Timeout bounds the reading of one layer, beside a second for each 4 MiB of it.
	Timeout Duration `yaml:"timeout"`
	// Eligible is how long ago an image may have been pushed when enhanced scanning
	// comes to its repository, to be scanned still.
	Eligible Duration `yaml:"eligible"`
	// Rescan is how long after its push an image is scanned anew for each new
	// database; 0 is as long as it is there.
	Rescan Duration `yaml:"rescan"`
	// SBOM are the formats, cyclonedx and spdx, in which the list of its packages is
	// attached to an image that was scanned.
	SBOM     []string      `yaml:"sbom"`
	Database Vulnerability `yaml:"database"`
}

// Vulnerability says where vulnerability databases come from.
type Vulnerability struct {
	// Sources are artifacts, registry/repository:tag, that are asked for a newer
	// database in this order until one answers; none: nobody is asked.
	Sources []string `yaml:"sources"`
	// Refresh is how often they are asked.
	Refresh Duration `yaml:"refresh"`
	// Repository is a repository of this deployment, account/region/name, whose pushed
	// artifacts become the database; "" for none.
	Repository string `yaml:"repository"`
	// MaxAge is from which age on a database is called old.
	MaxAge Duration `yaml:"max_age"`
	// CA is a PEM file with certificate authorities that sources are trusted by, besides
	// the system's; PlainHTTP speaks HTTP without TLS to them; AllowPrivate lets them have
	// any address.
	CA           string `yaml:"ca"`
	PlainHTTP    bool   `yaml:"plain_http"`
	AllowPrivate bool   `yaml:"allow_private"`
}

// defaultScanning is what holds unless the operator says otherwise.
func defaultScanning() Scanning {
	return Scanning{
		Workers: 1, Memory: 2 << 30, Timeout: Duration(10 * time.Minute), Eligible: Duration(14 * 24 * time.Hour),
		Database: Vulnerability{Refresh: Duration(6 * time.Hour), MaxAge: Duration(7 * 24 * time.Hour)},
	}
}

// RepositoryOf is the repository that Repository names; ok is false for none.
func (v Vulnerability) RepositoryOf() (reg name.Registry, repo name.Repository, ok bool) {
	parts := strings.SplitN(v.Repository, "/", 3)
	if len(parts) < 3 {
		return reg, "", false
	}
	account, err := name.ParseAccountID(parts[0])
	if err != nil {
		return reg, "", false
	}
	region, err := name.ParseRegion(parts[1])
	if err != nil {
		return reg, "", false
	}
	repo, err = name.ParseRepository(parts[2])
	return name.Registry{Account: account, Region: region}, repo, err == nil
}

func (c *Config) validateScanning(say func(format string, args ...any)) {
	s := c.Scanning
	if s.Workers < 1 || s.Workers > 64 {
		say("scanning.workers: has to be between 1 and 64")
	}
	if s.Memory < 512<<20 {
		say("scanning.memory: has to be at least %d bytes", 512<<20)
	}
	if s.Timeout < Duration(time.Second) {
		say("scanning.timeout: has to be at least 1s")
	}
	if s.Eligible < 0 || s.Rescan < 0 {
		say("scanning.eligible, scanning.rescan: cannot be below 0")
	}
	for i, format := range s.SBOM {
		if format != "cyclonedx" && format != "spdx" || slices.Contains(s.SBOM[:i], format) {
			say("scanning.sbom: %q: write cyclonedx, spdx, or both", format)
		}
	}
	d := s.Database
	if d.Refresh < Duration(time.Minute) {
		say("scanning.database.refresh: has to be at least 1m")
	}
	if d.MaxAge < Duration(time.Hour) {
		say("scanning.database.max_age: has to be at least 1h")
	}
	for _, source := range d.Sources {
		if host, rest, ok := strings.Cut(source, "/"); !ok || host == "" || rest == "" || strings.Contains(source, "://") {
			say("scanning.database.sources: %q is no artifact; write mirror.gcr.io/aquasec/trivy-db:2", source)
		}
	}
	if d.Repository != "" {
		if reg, _, ok := d.RepositoryOf(); !ok || !slices.Contains(c.Regions, reg.Region) {
			say("scanning.database.repository: %q is no repository here; write account/region/name, 123456789012/us-east-1/trivy-db", d.Repository)
		}
	}
}

package observe

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/scan/tally"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/infra/obs"
)

// Scans says how image scanning stands; *scan.Service does.
type Scans interface {
	Backlog(ctx context.Context) (waiting int64, oldest time.Time, err error)
	Stats() tally.Stats
}

// VulnerabilityDatabases says how the vulnerability database stands; *vulndb.Service does.
type VulnerabilityDatabases interface {
	Status(ctx context.Context) (vulndb.Status, error)
}

// Scanning attaches image scanning.
func (o *Observer) Scanning(scans Scans, databases VulnerabilityDatabases) {
	o.attach(func(s *sources) { s.scans, s.databases = scans, databases })
}

// scanMetrics are those that readScans gives.
func scanMetrics() []obs.Metric {
	return []obs.Metric{
		counter("berth_scans_total", "Scans of images that this node has ended, by type (basic, enhanced) and by how: complete, unsupported (scratch, an unknown distribution), content (bytes that are no layer), scanner (its process ended), database (there is none), internal.", "type", "result"),
		counter("berth_scan_rematches_total", "Images that this node has matched with a new vulnerability database, without reading them."),
		counter("berth_scan_layers_total", "Layers that this node has read for a scan."),
		counter("berth_scan_layer_bytes_total", "Their bytes, as they are stored in registries: compressed."),
	}
}

func (o *Observer) readScans(_ context.Context, set set) error {
	s, _, _ := o.attached()
	if s.scans == nil {
		return nil
	}
	t := s.scans.Stats()
	for _, e := range slices.SortedFunc(maps.Keys(t.Ended), func(a, b tally.Ended) int { return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.How, b.How)) }) {
		set("berth_scans_total", float64(t.Ended[e]), strings.ToLower(string(e.Type)), e.How)
	}
	set("berth_scan_rematches_total", float64(t.Matched))
	set("berth_scan_layers_total", float64(t.Layers))
	set("berth_scan_layer_bytes_total", float64(t.Bytes))
	return nil
}

// scanningMetrics are those that readScanning gives.
func scanningMetrics() []obs.Metric {
	return []obs.Metric{
		gauge("berth_scan_backlog", "Images that wait for a scan or are being scanned, of the whole deployment."),
		gauge("berth_scan_oldest_seconds", "How long the one that has waited longest does."),
		gauge("berth_vulndb_age_seconds", "How long ago the vulnerability database was made that scans use; absent while there is none."),
		gauge("berth_vulndb_present", "Whether there is a vulnerability database, and this node has it: 0 or 1."),
	}
}

func (o *Observer) readScanning(ctx context.Context, set set) error {
	s, _, _ := o.attached()
	if s.scans == nil {
		return nil
	}
	waiting, oldest, err := s.scans.Backlog(ctx)
	if err != nil {
		return err
	}
	set("berth_scan_backlog", float64(waiting))
	if oldest.IsZero() {
		set("berth_scan_oldest_seconds", 0)
	} else {
		set("berth_scan_oldest_seconds", o.cfg.Clock.Now().Sub(oldest).Seconds())
	}
	status, err := s.databases.Status(ctx)
	if err != nil {
		return err
	}
	present := 0.0
	if status.Current != nil {
		set("berth_vulndb_age_seconds", status.Age.Seconds())
		if status.Unpacked {
			present = 1
		}
	}
	set("berth_vulndb_present", present)
	return nil
}

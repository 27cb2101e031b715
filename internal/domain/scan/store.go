package scan

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// errChanged says that the image was scanned by somebody else meanwhile.
var errChanged = errors.New("scan: the image's scan has changed meanwhile")

// fail writes why the scan did not come to an end. What the last completed one found
// stays.
func (s *Service) fail(ctx context.Context, sub subject, o order, u unfit) error {
	s.counts.End(o.Type, u.how)
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		r, ok, err := find(ctx, tx, o.Image, o.Type)
		if err != nil || !ok {
			return err
		}
		r.status, r.description, r.waiting = u.status, u.text, u.waiting
		if err := r.put(ctx, tx); err != nil || o.Type != rules.Basic || u.waiting {
			return err
		}
		return s.scannedTx(ctx, tx, sub, event.ImageScanned, string(Failed), nil)
	})
}

// scannedTx records that a scan has ended.
func (s *Service) scannedTx(ctx context.Context, tx *sqldb.Tx, sub subject, kind event.Kind, status string, counts map[finding.Severity]int64) error {
	tags, err := tagsOf(ctx, tx, sub.id)
	if err != nil {
		return err
	}
	d := event.ScanDetail{Repository: sub.repository.Name, Digest: sub.digest, Tags: append([]name.Tag{}, tags...), Status: status, Counts: map[string]int64{}}
	for severity, n := range counts {
		d.Counts[string(severity)] = n
	}
	return s.Outbox.Record(ctx, tx, event.Event{Registry: sub.repository.Registry, Kind: kind, OccurredAt: s.Clock.Now(), Detail: d})
}

// store writes what a scan has found, in place of what the one before did, with the
// events of what has changed.
func (s *Service) store(ctx context.Context, sub subject, kind rules.ScanType, db vulndb.Database, report finding.Report, author string) error {
	before, ok, err := s.before(ctx, sub, kind)
	if err != nil || !ok {
		return err
	}
	now := s.Clock.Now().UTC()
	after := result{Report: report, Observed: map[string]finding.Observation{}, Author: author}
	details, err := s.details(ctx, sub, after)
	if err != nil {
		return err
	}
	// What was there before is seen through today's image: a tag that moved changes no finding.
	old := map[string]finding.Enhanced{}
	for _, f := range before.result.Report.Enhanced(finding.EnhancedOptions{Image: details, Observed: before.result.Observed, Now: now}) {
		old[f.ID] = f
	}
	for _, f := range report.Enhanced(finding.EnhancedOptions{Image: details, Now: now}) {
		o, seen := before.result.Observed[f.ID]
		hash := f.Hash()
		if !seen {
			o = finding.Observation{First: now}
		}
		if o.Hash != hash {
			o.Updated, o.Hash = now, hash
		}
		o.Last = now
		after.Observed[f.ID] = o
	}
	body, err := s.pack(ctx, sub.repository, sealContext("report", sub.id), after)
	if err != nil {
		return err
	}
	var changes []finding.Enhanced
	counts := report.Counts()
	if kind == rules.Enhanced {
		all := report.Enhanced(finding.EnhancedOptions{Image: details, Observed: after.Observed, Now: now})
		counts, changes = finding.EnhancedCounts(all), changed(old, all, before.result.Observed, after.Observed, now)
	}
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		r, ok, err := s.lockRow(ctx, tx, sub.id, kind)
		if err != nil || !ok {
			return err
		}
		if !r.completed.Equal(before.row.completed) || r.database != before.row.database {
			return errChanged
		}
		first := r.completed.IsZero()
		r.status, r.description, r.waiting = Complete, "The scan was completed successfully.", false
		r.completed, r.source, r.database, r.counts = now, report.SourceUpdatedAt, db.Digest, counts
		if err := r.put(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO scan_report (image_id, scan_type, body) VALUES ($1, $2, $3)
			ON CONFLICT (image_id, scan_type) DO UPDATE SET body = excluded.body`, sub.id, string(kind), body); err != nil {
			return err
		}
		switch {
		case kind == rules.Basic:
			err = s.scannedTx(ctx, tx, sub, event.ImageScanned, string(Complete), counts)
		case first:
			err = s.scannedTx(ctx, tx, sub, event.ImageScanInitial, "INITIAL_SCAN_COMPLETE", counts)
		}
		for _, f := range changes {
			if err == nil {
				err = s.Outbox.Record(ctx, tx, event.Event{Registry: sub.repository.Registry, Kind: event.FindingChanged, OccurredAt: now, Repository: sub.repository.Name, Detail: f})
			}
		}
		if err == nil && s.DoneTx != nil {
			err = s.DoneTx(ctx, tx, sub.repository, sub.digest)
		}
		return err
	})
	if err == nil {
		s.counts.End(kind, "complete")
	}
	return err
}

// standing is how the scan of an image stood.
type standing struct {
	row    row
	result result
}

// before reads what is known of the image; ok is false where its row has gone.
func (s *Service) before(ctx context.Context, sub subject, kind rules.ScanType) (out standing, ok bool, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		out.row, ok, err = find(ctx, tx, sub.id, kind)
		return err
	})
	if err != nil || !ok || out.row.completed.IsZero() {
		return out, ok, err
	}
	if out.result, _, err = s.report(ctx, sub.repository, sub.id, kind); errs.Is(err, errs.KeyFailure) {
		return out, false, err
	}
	return out, err == nil, err
}

// lockRow reads the row and holds it until the transaction ends.
func (s *Service) lockRow(ctx context.Context, tx *sqldb.Tx, image int64, kind rules.ScanType) (row, bool, error) {
	r, err := scanRow(tx.QueryRow(ctx, `SELECT `+rowColumns+` FROM scan_image WHERE image_id = $1 AND scan_type = $2`+tx.ForUpdate(), image, string(kind)))
	if errors.Is(err, sqldb.ErrNoRows) {
		return row{}, false, nil
	}
	return r, err == nil, err
}

// details describes the image for findings.
func (s *Service) details(ctx context.Context, sub subject, found result) (finding.ImageDetails, error) {
	var d image.Detail
	err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		d, err = s.Images.FindTx(ctx, tx, sub.repository, image.Ref{Digest: sub.digest})
		return err
	})
	return detailsOf(sub, d, found), err
}

func detailsOf(sub subject, d image.Detail, found result) finding.ImageDetails {
	return finding.ImageDetails{
		Registry: sub.repository.Registry, Repository: sub.repository.Name, Digest: sub.digest, Tags: d.Tags, PushedAt: d.PushedAt,
		Author: found.Author, Architecture: found.Report.Architecture, Platform: finding.Platform(found.Report.OS),
	}
}

// changed lists the findings that are new, have changed or are closed.
func changed(old map[string]finding.Enhanced, all []finding.Enhanced, before, after map[string]finding.Observation, now time.Time) (out []finding.Enhanced) {
	for _, f := range all {
		if b, ok := before[f.ID]; !ok || b.Hash != after[f.ID].Hash {
			out = append(out, f)
		}
		delete(old, f.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(old)) {
		f := old[id]
		f.Status, f.Update, f.LastObserved = "CLOSED", now, before[id].Last
		out = append(out, f)
	}
	return out
}

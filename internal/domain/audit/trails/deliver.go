package trails

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// page is how many records are read at a time.
	page = 500
	// errorBytes bounds the text of a failure that a trail's row keeps.
	errorBytes = 1000
)

// Deliver writes the log files and digests of all trails that are due. What fails is
// kept with its trail, for GetTrailStatus, and tried again by the next Deliver; the
// others go on. Two at once do no harm.
func (s *Service) Deliver(ctx context.Context) error {
	var all []Trail
	err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(ctx, tx, scanTrail, `SELECT `+trailColumns+` FROM trail ORDER BY id`)
		return err
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, t := range all {
		files := s.deliverFiles(ctx, t)
		var digests error
		if files == nil && t.Validation {
			digests = s.deliverDigests(ctx, t)
		}
		if err := s.report(ctx, t, files, digests); err != nil {
			return err
		}
		if err := errors.Join(files, digests); err != nil {
			failed = append(failed, fmt.Errorf("the trail %s: %w", t.ARN(), err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

// report keeps what came of a try.
func (s *Service) report(ctx context.Context, t Trail, files, digests error) error {
	text := func(err error) string {
		if err == nil {
			return ""
		}
		b := []byte(err.Error())
		return string(bytes.ReplaceAll(bytes.ToValidUTF8(b[:min(len(b), errorBytes)], []byte("?")), []byte{0}, []byte("?")))
	}
	// It is written also when ctx has ended, which may be what the failure is about.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if files != nil {
			_, err := tx.Exec(ctx, `UPDATE trail SET attempted_at = $1, delivery_error = $2 WHERE id = $3`, micros(s.now()), text(files), t.ID)
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE trail SET attempted_at = $1, delivery_error = '', digest_error = $2 WHERE id = $3`, micros(s.now()), text(digests), t.ID)
		return err
	})
}

// deliverFiles writes the log files of a trail: those that were planned and not written,
// then new ones, until no records are left that are old enough.
func (s *Service) deliverFiles(ctx context.Context, t Trail) error {
	var spans []span
	var planned []File
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
		// The row may have changed since, or be gone.
		if err := t.reload(ctx, tx); err != nil {
			return err
		}
		if t.Logging { // the server may have more regions than when logging was started
			if err := s.openSpans(ctx, tx, t); err != nil {
				return err
			}
		}
		if spans, err = sqldb.Collect(ctx, tx, scanSpan, `SELECT id, region, position, until_id FROM trail_span WHERE trail_id = $1 ORDER BY id`, t.ID); err != nil {
			return err
		}
		planned, err = sqldb.Collect(ctx, tx, scanFile, `SELECT `+fileColumns+` FROM trail_file f JOIN trail t ON t.id = f.trail_id WHERE f.trail_id = $1 AND f.digest_id = 0 AND f.hash = '' ORDER BY f.id`, t.ID)
		return err
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	for _, f := range planned {
		if err := s.write(ctx, t, f); err != nil {
			return err
		}
	}
	for _, sp := range spans {
		if err := s.deliverSpan(ctx, t, sp); err != nil {
			return err
		}
	}
	return nil
}

// deliverSpan writes what is due of a span.
func (s *Service) deliverSpan(ctx context.Context, t Trail, sp span) error {
	for {
		bound := sqldb.IDBefore(s.Margin)
		ends := sp.until != 0 && sp.until <= bound
		if ends {
			bound = sp.until
		}
		b, err := s.gather(ctx, t, sp.region, sp.position, bound)
		if err != nil {
			return err
		}
		if b.last > sp.position {
			f, won, err := s.plan(ctx, t, sp, b)
			if err != nil || !won { // another node goes on from here
				return err
			}
			if len(b.records) > 0 {
				if err := s.write(ctx, t, f); err != nil {
					return err
				}
			}
			sp.position = b.last
		}
		switch {
		case b.full:
		case ends:
			return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, `DELETE FROM trail_span WHERE id = $1 AND position = $2`, sp.id, sp.position)
				return err
			})
		default:
			return nil
		}
	}
}

// batch is what one file has.
type batch struct {
	records []json.RawMessage
	// last is the id up to which records were looked at; full says that the file took no
	// more, so that there are some behind it.
	last           int64
	full           bool
	oldest, newest time.Time
}

// gather reads the records of a region above after and below bound, as many as a file
// takes.
func (s *Service) gather(ctx context.Context, t Trail, region name.Region, after, bound int64) (batch, error) {
	b, size := batch{last: after}, 0
	for {
		rows, err := s.Records.After(ctx, t.Account, region, b.last, page, time.Time{})
		if err != nil {
			return batch{}, err
		}
		seen := len(rows) < page
		for _, row := range rows {
			if seen = seen || row.ID >= bound; row.ID >= bound {
				break
			}
			if b.full = len(b.records) == s.FileRecords || len(b.records) > 0 && size+len(row.Record) > s.FileBytes; b.full {
				return b, nil
			}
			b.last = row.ID
			if !t.wants(row) {
				continue
			}
			if b.records = append(b.records, row.Record); b.oldest.IsZero() || row.OccurredAt.Before(b.oldest) {
				b.oldest = row.OccurredAt
			}
			b.newest = later(b.newest, row.OccurredAt)
			size += len(row.Record)
		}
		if seen {
			// What the region has not is not looked for again.
			b.last = max(b.last, bound-1)
			return b, nil
		}
	}
}

// wants says whether a trail has the record.
func (t Trail) wants(r audit.Stored) bool {
	if t.GlobalEvents {
		return true
	}
	var of struct {
		EventSource string `json:"eventSource"`
	}
	// What is no JSON is no call of IAM either; it is written as it is.
	_ = json.Unmarshal(r.Record, &of)
	return of.EventSource != "iam.amazonaws.com" && of.EventSource != "sts.amazonaws.com"
}

// plan fixes what the next file of a span has, and moves the span's position past it.
// won is false where another node has done so first.
func (s *Service) plan(ctx context.Context, t Trail, sp span, b batch) (f File, won bool, err error) {
	now := s.now()
	f = File{
		ID: sqldb.NewID(), TrailID: t.ID, Account: t.Account, Region: sp.region, Bucket: t.Bucket, Object: t.fileKey(sp.region, now),
		Records: len(b.records), Oldest: b.oldest, Newest: b.newest, after: sp.position, last: b.last,
	}
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE trail_span SET position = $1 WHERE id = $2 AND position = $3`, b.last, sp.id, sp.position)
		if won = n == 1; err != nil || !won || len(b.records) == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO trail_file (id, trail_id, region, bucket, object, after_id, last_id, records, oldest_at, newest_at, hash, delivered_at, digest_id)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', 0, 0)`,
			f.ID, f.TrailID, string(f.Region), f.Bucket, f.Object, f.after, f.last, f.Records, micros(f.Oldest), micros(f.Newest))
		return err
	})
	return f, won, err
}

// unique is how many random characters a log file's name has.
const unique = 16

// fileKey is the key of a new log file (CloudTrail user guide, "Finding your CloudTrail
// log files").
func (t Trail) fileKey(region name.Region, at time.Time) string {
	return fmt.Sprintf("%sAWSLogs/%s/CloudTrail/%s/%s/%s_CloudTrail_%s_%s_%s.json.gz",
		t.keyPrefix(), t.Account, region, at.Format("2006/01/02"), t.Account, region, at.Format("20060102T1504Z"), rand.Text()[:unique])
}

func (t Trail) keyPrefix() string {
	if t.Prefix == "" {
		return ""
	}
	return t.Prefix + "/"
}

// write writes a file that was planned.
func (s *Service) write(ctx context.Context, t Trail, f File) error {
	b, err := s.gather(ctx, t, f.Region, f.after, f.last+1)
	if err != nil {
		return err
	}
	content := contentOf(b.records)
	if err := s.put(ctx, f.Bucket, f.Object, content, nil); err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	now := micros(s.now())
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE trail_file SET hash = $1, delivered_at = $2, records = $3 WHERE id = $4 AND hash = ''`, hex.EncodeToString(sum[:]), now, len(b.records), f.ID)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE trail SET delivered_at = $1 WHERE id = $2`, now, t.ID)
		return err
	})
}

// contentOf is what a log file has, each record as it was recorded.
func contentOf(records []json.RawMessage) []byte {
	b := []byte(`{"Records":[`)
	for i, r := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r...)
	}
	return append(b, "]}"...)
}

// put compresses and writes an object.
func (s *Service) put(ctx context.Context, bucket, object string, content []byte, metadata map[string]string) error {
	if err := s.bucket(bucket); err != nil {
		return err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(content)
	if err := errors.Join(err, z.Close()); err != nil {
		return err
	}
	if err := s.Buckets[bucket].Put(ctx, object, packed.Bytes(), metadata); err != nil {
		return fmt.Errorf("%s cannot be written to the bucket %s: %w", object, bucket, err)
	}
	return nil
}

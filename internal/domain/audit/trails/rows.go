package trails

import (
	"context"
	"encoding/json"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// micros and timeOf are how times are stored: 0 is the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

const trailColumns = `id, account_id, home_region, name, bucket, prefix, multi_region, global_events, logging, started_at, stopped_at, validated_from, tags,
	created_at, attempted_at, delivered_at, delivery_error, digested_at, digest_error`

func scanTrail(row sqldb.Scanner) (t Trail, err error) {
	var started, stopped, validated, created, attempted, delivered, digested int64
	var tags string
	err = row.Scan(&t.ID, &t.Account, &t.HomeRegion, &t.Name, &t.Bucket, &t.Prefix, &t.MultiRegion, &t.GlobalEvents, &t.Logging, &started, &stopped, &validated, &tags,
		&created, &attempted, &delivered, &t.DeliveryError, &digested, &t.DigestError)
	if err != nil {
		return Trail{}, err
	}
	t.StartedAt, t.StoppedAt, t.validatedFrom, t.CreatedAt = timeOf(started), timeOf(stopped), timeOf(validated), timeOf(created)
	t.AttemptedAt, t.DeliveredAt, t.DigestedAt = timeOf(attempted), timeOf(delivered), timeOf(digested)
	t.Validation = validated != 0
	return t, json.Unmarshal([]byte(tags), &t.Tags)
}

func list(ctx context.Context, tx *sqldb.Tx, account name.AccountID) ([]Trail, error) {
	return sqldb.Collect(ctx, tx, scanTrail, `SELECT `+trailColumns+` FROM trail WHERE account_id = $1 ORDER BY home_region, name`, string(account))
}

func (t Trail) insert(ctx context.Context, tx *sqldb.Tx) error {
	tags, err := tagsJSON(t.Tags)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO trail (`+trailColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, 0, '', 0, '')`,
		t.ID, string(t.Account), string(t.HomeRegion), t.Name, t.Bucket, t.Prefix, t.MultiRegion, t.GlobalEvents, t.Logging,
		micros(t.StartedAt), micros(t.StoppedAt), micros(t.validatedFrom), tags, micros(t.CreatedAt))
	return err
}

// reload reads the trail's row again and locks it.
func (t *Trail) reload(ctx context.Context, tx *sqldb.Tx) (err error) {
	*t, err = scanTrail(tx.QueryRow(ctx, `SELECT `+trailColumns+` FROM trail WHERE id = $1`+tx.ForUpdate(), t.ID))
	return err
}

// save writes what can be changed, the state of deliveries left out.
func (t Trail) save(ctx context.Context, tx *sqldb.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE trail SET bucket = $1, prefix = $2, multi_region = $3, global_events = $4, logging = $5, started_at = $6, stopped_at = $7, validated_from = $8 WHERE id = $9`,
		t.Bucket, t.Prefix, t.MultiRegion, t.GlobalEvents, t.Logging, micros(t.StartedAt), micros(t.StoppedAt), micros(t.validatedFrom), t.ID)
	return err
}

// span is a row of trail_span.
type span struct {
	id, position, until int64
	region              name.Region
}

func scanSpan(row sqldb.Scanner) (s span, err error) {
	return s, row.Scan(&s.id, &s.region, &s.position, &s.until)
}

// File is a log file, as the database knows it.
type File struct {
	ID      int64
	TrailID int64
	// Account owns the trail and the records.
	Account        name.AccountID
	Region         name.Region
	Bucket, Object string
	// Records is how many there are; the first and the last occurred at Oldest and Newest.
	Records        int
	Oldest, Newest time.Time
	// Hash is the SHA-256 of the content before compression, in hexadecimal; "" until the
	// file is written, at DeliveredAt.
	Hash        string
	DeliveredAt time.Time
	// Digested: a digest has the file, or will, since the trail has digests.
	Digested bool

	after, last, digest int64
}

const fileColumns = `f.id, f.trail_id, t.account_id, f.region, f.bucket, f.object, f.after_id, f.last_id, f.records, f.oldest_at, f.newest_at, f.hash, f.delivered_at, f.digest_id, t.validated_from`

func scanFile(row sqldb.Scanner) (f File, err error) {
	var oldest, newest, delivered, validated int64
	err = row.Scan(&f.ID, &f.TrailID, &f.Account, &f.Region, &f.Bucket, &f.Object, &f.after, &f.last, &f.Records, &oldest, &newest, &f.Hash, &delivered, &f.digest, &validated)
	f.Oldest, f.Newest, f.DeliveredAt = timeOf(oldest), timeOf(newest), timeOf(delivered)
	f.Digested = f.digest != 0 || validated != 0 && delivered >= validated
	return f, err
}

// Digest is a digest file, as the database knows it.
type Digest struct {
	ID             int64
	TrailID        int64
	Account        name.AccountID
	Region         name.Region
	Bucket, Object string
	// Start and End are the time that it is of, the first included.
	Start, End time.Time
	// KeyID is the fingerprint of the key that signs it.
	KeyID string
	// Hash is the SHA-256 of the content before compression, Signature what was signed
	// with the key, both in hexadecimal and "" until the digest is written.
	Hash, Signature string
}

const digestColumns = `d.id, d.trail_id, t.account_id, d.region, d.bucket, d.object, d.start_at, d.end_at, d.key_id, d.hash, d.signature`

func scanDigest(row sqldb.Scanner) (d Digest, err error) {
	var start, end int64
	err = row.Scan(&d.ID, &d.TrailID, &d.Account, &d.Region, &d.Bucket, &d.Object, &start, &end, &d.KeyID, &d.Hash, &d.Signature)
	d.Start, d.End = timeOf(start), timeOf(end)
	return d, err
}

package trails

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// DigestPeriod is the time that a digest is of.
const DigestPeriod = time.Hour

// The words of digests (CloudTrail user guide, "CloudTrail digest file structure").
const (
	SignatureAlgorithm = "SHA256withRSA"
	HashAlgorithm      = "SHA-256"
	MetaSignature      = "signature"
	MetaAlgorithm      = "signature-algorithm"
	// TimeLayout is that of times in digests and records.
	TimeLayout = "2006-01-02T15:04:05Z"
)

// Content is what a digest file has, in the order of CloudTrail's.
type Content struct {
	Account               string          `json:"awsAccountId"`
	Start                 string          `json:"digestStartTime"`
	End                   string          `json:"digestEndTime"`
	Bucket                string          `json:"digestS3Bucket"`
	Object                string          `json:"digestS3Object"`
	KeyID                 string          `json:"digestPublicKeyFingerprint"`
	SignatureAlgorithm    string          `json:"digestSignatureAlgorithm"`
	Newest                *string         `json:"newestEventTime"` // null in a digest without files
	Oldest                *string         `json:"oldestEventTime"`
	PreviousBucket        *string         `json:"previousDigestS3Bucket"` // null in the first digest, as all of Previous
	PreviousObject        *string         `json:"previousDigestS3Object"`
	PreviousHash          *string         `json:"previousDigestHashValue"`
	PreviousHashAlgorithm *string         `json:"previousDigestHashAlgorithm"`
	PreviousSignature     *string         `json:"previousDigestSignature"`
	Files                 []ContentOfFile `json:"logFiles"`
}

// ContentOfFile is what a digest has of a log file.
type ContentOfFile struct {
	Bucket        string `json:"s3Bucket"`
	Object        string `json:"s3Object"`
	Hash          string `json:"hashValue"`
	HashAlgorithm string `json:"hashAlgorithm"`
	Newest        string `json:"newestEventTime"`
	Oldest        string `json:"oldestEventTime"`
}

// Signed is the text that is signed for a digest: hash is that of its content.
func (c Content) Signed(hash string) string {
	previous := "null"
	if c.PreviousSignature != nil {
		previous = *c.PreviousSignature
	}
	return c.End + "\n" + c.Bucket + "/" + c.Object + "\n" + hash + "\n" + previous
}

// digestKey is the key of a digest file.
func (t Trail) digestKey(region name.Region, end time.Time) string {
	return fmt.Sprintf("%sAWSLogs/%s/CloudTrail-Digest/%s/%s/%s_CloudTrail-Digest_%s_%s_%s_%s.json.gz",
		t.keyPrefix(), t.Account, region, end.Format("2006/01/02"), t.Account, region, t.Name, t.HomeRegion, end.Format("20060102T150405Z"))
}

// deliverDigests writes the digests of a trail that are due, of each region.
func (s *Service) deliverDigests(ctx context.Context, t Trail) error {
	key, err := s.signing(ctx)
	if err != nil {
		return err
	}
	var regions []name.Region
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		// Spans and files tell regions that the trail has no more.
		regions, err = sqldb.Collect(ctx, tx, sqldb.One[name.Region],
			`SELECT region FROM trail_span WHERE trail_id = $1 UNION SELECT region FROM trail_file WHERE trail_id = $1 AND digest_id = 0 UNION SELECT region FROM trail_digest WHERE trail_id = $1 AND signature = ''`, t.ID)
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(regions)
	for _, region := range regions {
		for {
			d, due, err := s.planDigest(ctx, t, region, key)
			if err != nil {
				return err
			}
			if !due {
				break
			}
			if err := s.writeDigest(ctx, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// planDigest returns the digest that is to be written next: one that was planned
// already, or one of the next hour if that is over, with the files that were written
// by its end and that no digest has.
func (s *Service) planDigest(ctx context.Context, t Trail, region name.Region, key string) (d Digest, due bool, err error) {
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		d, due = Digest{}, false
		latest, err := sqldb.Collect(ctx, tx, scanDigest, `SELECT `+digestColumns+` FROM trail_digest d JOIN trail t ON t.id = d.trail_id
			WHERE d.trail_id = $1 AND d.region = $2 ORDER BY d.end_at DESC LIMIT 1`, t.ID, string(region))
		if err != nil {
			return err
		}
		start := t.validatedFrom
		if len(latest) > 0 {
			if d = latest[0]; d.Signature == "" {
				due = true
				return nil
			}
			start = later(start, d.End)
		}
		oldest, err := oldestUndigested(ctx, tx, t, region)
		if err != nil {
			return err
		}
		if oldest.IsZero() {
			// Nothing is to be said of a time in which the trail did not log, unless files came
			// late: no digests until it logs again, and then from there on.
			var open int
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM trail_span WHERE trail_id = $1 AND region = $2`, t.ID, string(region)).Scan(&open); err != nil {
				return err
			}
			if open == 0 {
				return nil
			}
			if t.Logging {
				start = later(start, t.StartedAt.Truncate(time.Second))
			}
		}
		end := start.Add(DigestPeriod)
		if end.After(s.now()) {
			return nil
		}
		d = Digest{ID: sqldb.NewID(), TrailID: t.ID, Account: t.Account, Region: region, Bucket: t.Bucket, Object: t.digestKey(region, end), Start: start, End: end, KeyID: key}
		n, err := tx.Exec(ctx, `INSERT INTO trail_digest (id, trail_id, region, bucket, object, start_at, end_at, key_id, hash, signature)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '', '') ON CONFLICT DO NOTHING`,
			d.ID, d.TrailID, string(d.Region), d.Bucket, d.Object, micros(d.Start), micros(d.End), d.KeyID)
		if due = n == 1; err != nil || !due { // else another node has planned it, and writes it
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE trail_file SET digest_id = $1 WHERE trail_id = $2 AND region = $3 AND digest_id = 0 AND hash <> '' AND delivered_at >= $4 AND delivered_at < $5`,
			d.ID, t.ID, string(region), micros(t.validatedFrom), micros(end))
		return err
	})
	return d, due, err
}

// oldestUndigested is when the first file was written that no digest has; zero for none.
func oldestUndigested(ctx context.Context, tx *sqldb.Tx, t Trail, region name.Region) (time.Time, error) {
	var at int64
	err := tx.QueryRow(ctx, `SELECT CAST(coalesce(min(delivered_at), 0) AS BIGINT) FROM trail_file WHERE trail_id = $1 AND region = $2 AND digest_id = 0 AND hash <> '' AND delivered_at >= $3`,
		t.ID, string(region), micros(t.validatedFrom)).Scan(&at)
	return timeOf(at), err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// writeDigest writes a digest that was planned.
func (s *Service) writeDigest(ctx context.Context, d Digest) error {
	var files []File
	var before []Digest
	err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		files, err = sqldb.Collect(ctx, tx, scanFile, `SELECT `+fileColumns+` FROM trail_file f JOIN trail t ON t.id = f.trail_id WHERE f.trail_id = $1 AND f.region = $2 AND f.digest_id = $3 ORDER BY f.id`,
			d.TrailID, string(d.Region), d.ID)
		if err != nil {
			return err
		}
		before, err = sqldb.Collect(ctx, tx, scanDigest, `SELECT `+digestColumns+` FROM trail_digest d JOIN trail t ON t.id = d.trail_id
			WHERE d.trail_id = $1 AND d.region = $2 AND d.end_at < $3 ORDER BY d.end_at DESC LIMIT 1`, d.TrailID, string(d.Region), micros(d.End))
		return err
	})
	if err != nil {
		return err
	}
	c := Content{
		Account: string(d.Account), Start: d.Start.Format(TimeLayout), End: d.End.Format(TimeLayout), Bucket: d.Bucket, Object: d.Object,
		KeyID: d.KeyID, SignatureAlgorithm: SignatureAlgorithm, Files: []ContentOfFile{}, // "[]" in JSON
	}
	var oldest, newest time.Time
	for _, f := range files {
		c.Files = append(c.Files, ContentOfFile{
			Bucket: f.Bucket, Object: f.Object, Hash: f.Hash, HashAlgorithm: HashAlgorithm, Newest: f.Newest.Format(TimeLayout), Oldest: f.Oldest.Format(TimeLayout),
		})
		newest = later(newest, f.Newest)
		if oldest.IsZero() || f.Oldest.Before(oldest) {
			oldest = f.Oldest
		}
	}
	if len(files) > 0 {
		c.Newest, c.Oldest = new(newest.Format(TimeLayout)), new(oldest.Format(TimeLayout))
	}
	if len(before) > 0 {
		p := before[0]
		c.PreviousBucket, c.PreviousObject, c.PreviousHash, c.PreviousHashAlgorithm, c.PreviousSignature = &p.Bucket, &p.Object, &p.Hash, new(HashAlgorithm), &p.Signature
	}
	content, err := json.Marshal(c)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:])
	signature, err := s.sign(ctx, d.KeyID, c.Signed(hash))
	if err != nil {
		return err
	}
	if err := s.put(ctx, d.Bucket, d.Object, content, map[string]string{MetaSignature: signature, MetaAlgorithm: SignatureAlgorithm}); err != nil {
		return err
	}
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE trail_digest SET hash = $1, signature = $2 WHERE id = $3`, hash, signature, d.ID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE trail SET digested_at = $1 WHERE id = $2`, micros(s.now()), d.TrailID)
		return err
	})
}

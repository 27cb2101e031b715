package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// row is a row of scan_image.
type row struct {
	image       int64
	kind        rules.ScanType
	status      Status
	description string
	waiting     bool
	requested   time.Time
	completed   time.Time // zero: never
	source      time.Time
	database    name.Digest
	counts      map[finding.Severity]int64
}

const rowColumns = `image_id, scan_type, status, description, waiting, requested_at, completed_at, source_at, database, counts`

func scanRow(from sqldb.Scanner) (r row, err error) {
	var requested, completed, source int64
	var counts string
	if err = from.Scan(&r.image, &r.kind, &r.status, &r.description, &r.waiting, &requested, &completed, &source, &r.database, &counts); err != nil {
		return r, err
	}
	r.requested, r.completed, r.source = at(requested), at(completed), at(source)
	if counts != "" {
		err = json.Unmarshal([]byte(counts), &r.counts)
	}
	return r, err
}

// at is the time of a column, zero for 0.
func at(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// find reads the row of an image; ok is false where there is none.
func find(ctx context.Context, tx *sqldb.Tx, image int64, kind rules.ScanType) (r row, ok bool, err error) {
	r, err = scanRow(tx.QueryRow(ctx, `SELECT `+rowColumns+` FROM scan_image WHERE image_id = $1 AND scan_type = $2`, image, string(kind)))
	if errors.Is(err, sqldb.ErrNoRows) {
		return row{}, false, nil
	}
	return r, err == nil, err
}

// put writes the row.
func (r row) put(ctx context.Context, tx *sqldb.Tx) error {
	counts := ""
	if r.counts != nil {
		text, err := json.Marshal(r.counts)
		if err != nil {
			return err
		}
		counts = string(text)
	}
	_, err := tx.Exec(ctx, `INSERT INTO scan_image (`+rowColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (image_id, scan_type) DO UPDATE SET status = excluded.status, description = excluded.description, waiting = excluded.waiting,
			requested_at = excluded.requested_at, completed_at = excluded.completed_at, source_at = excluded.source_at, database = excluded.database, counts = excluded.counts`,
		r.image, string(r.kind), string(r.status), r.description, r.waiting, micro(r.requested), micro(r.completed), micro(r.source), string(r.database), counts)
	return err
}

// result is what scan_report keeps.
type result struct {
	Report   finding.Report                 `json:"report"`
	Observed map[string]finding.Observation `json:"observed"`
	Author   string                         `json:"author,omitempty"`
}

// sealContext binds a sealed body to what it is of.
func sealContext(what string, of any) string { return fmt.Sprintf("scan %s %v", what, of) }

// pack makes a body of a value.
func (s *Service) pack(ctx context.Context, r repository.Repository, context string, v any) ([]byte, error) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(json.NewEncoder(w).Encode(v), w.Close()); err != nil {
		return nil, err
	}
	return s.Repositories.Seal(ctx, r, context, b.Bytes())
}

// maxBody bounds a body when it is unpacked, in bytes: far more than the limits of an
// inventory let come.
const maxBody = 512 << 20

func (s *Service) unpack(ctx context.Context, r repository.Repository, context string, sealed []byte, v any) error {
	packed, err := s.Repositories.Unseal(ctx, r, context, sealed)
	if err != nil {
		return err
	}
	zr, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBody))
	if err != nil {
		return err
	}
	defer zr.Close()
	return json.NewDecoder(io.LimitReader(zr, maxBody)).Decode(v)
}

// report reads the findings of an image's last completed scan; ok is false where there
// are none.
func (s *Service) report(ctx context.Context, r repository.Repository, image int64, kind rules.ScanType) (out result, ok bool, err error) {
	var body []byte
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT body FROM scan_report WHERE image_id = $1 AND scan_type = $2`, image, string(kind)).Scan(&body)
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return result{}, false, nil
	}
	if err == nil {
		err = s.unpack(ctx, r, sealContext("report", image), body, &out)
	}
	return out, err == nil, err
}

// known reads the inventory of a layer, also out of another repository of the registry
// that holds the same bytes; ok is false where it has to be made.
func (s *Service) known(ctx context.Context, r repository.Repository, d name.Digest) (out inventory.Layer, ok bool, err error) {
	var body []byte
	from := r.ID
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT body FROM scan_layer WHERE repository_id = $1 AND digest = $2 AND version = $3`, r.ID, string(d), int64(inventory.Version)).Scan(&body)
	})
	if err == nil {
		return out, true, s.unpack(ctx, r, sealContext("layer", d), body, &out)
	}
	if !errors.Is(err, sqldb.ErrNoRows) {
		return out, false, err
	}
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT o.repository_id, o.body FROM layer l JOIN layer other ON other.blob_id = l.blob_id JOIN scan_layer o ON o.repository_id = other.repository_id AND o.digest = other.digest
			WHERE l.repository_id = $1 AND l.digest = $2 AND o.version = $3 LIMIT 1`, r.ID, string(d), int64(inventory.Version)).Scan(&from, &body)
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return out, false, nil
	}
	if err != nil {
		return out, false, err
	}
	other, err := s.Repositories.Stored(ctx, from)
	if err == nil {
		err = s.unpack(ctx, other, sealContext("layer", d), body, &out)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "the inventory of a layer in another repository cannot be used; the layer is read again", "digest", d, "repository", from, "err", err)
		return inventory.Layer{}, false, nil
	}
	return out, true, s.keep(ctx, r, d, out)
}

// keep stores the inventory of a layer. A layer that has gone meanwhile is passed over.
func (s *Service) keep(ctx context.Context, r repository.Repository, d name.Digest, l inventory.Layer) error {
	body, err := s.pack(ctx, r, sealContext("layer", d), l)
	if err != nil {
		return err
	}
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		var there int64
		err := tx.QueryRow(ctx, `SELECT 1 FROM layer WHERE repository_id = $1 AND digest = $2`+tx.ForShare(), r.ID, string(d)).Scan(&there)
		if errors.Is(err, sqldb.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO scan_layer (repository_id, digest, version, body, read_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (repository_id, digest) DO UPDATE SET version = excluded.version, body = excluded.body, read_at = excluded.read_at`,
			r.ID, string(d), int64(inventory.Version), body, s.Clock.Now().UnixMicro())
		return err
	})
}

// countTx counts one basic scan of the registry, and says false where it has begun as
// many as it may in the last 24 hours.
func (s *Service) countTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry, now time.Time) (bool, error) {
	hour := now.Unix() / 3600
	var n int64
	err := tx.QueryRow(ctx, `SELECT CAST(coalesce(sum(scans), 0) AS BIGINT) FROM scan_count WHERE account_id = $1 AND region = $2 AND hour > $3`,
		string(reg.Account), string(reg.Region), hour-24).Scan(&n)
	if err != nil || n >= s.Daily {
		return false, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO scan_count (account_id, region, hour, scans) VALUES ($1, $2, $3, 1)
		ON CONFLICT (account_id, region, hour) DO UPDATE SET scans = scan_count.scans + 1`, string(reg.Account), string(reg.Region), hour)
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM scan_count WHERE account_id = $1 AND region = $2 AND hour <= $3`, string(reg.Account), string(reg.Region), hour-24)
	}
	return err == nil, err
}

// shardKey is the unique key of the JobRematch of one part.
func shardKey(shard int64) string { return strconv.FormatInt(shard, 10) }

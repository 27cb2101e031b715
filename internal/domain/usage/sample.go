package usage

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// gaugeMinutes is the resolution of what is kept as changes, in minutes (reference:
	// ECR publishes ResourceCount each five).
	gaugeMinutes = 5
	// live is the last_at of a series that still stands.
	live = int64(math.MaxInt64)
	// gone is the value of a point from which on there is nothing to count.
	gone = int64(-1)
	// perSample is how many changes, or repositories, are read at once.
	perSample = 500
)

func itoa(n int) string { return strconv.Itoa(n) }

// gauge is a number that is new.
type gauge struct {
	after string // for the next page
	key   seriesKey
	value int64
}

// sampleGauges writes down which numbers of repositories and images have changed since
// the sample before, as of a minute.
func (s *Service) sampleGauges(ctx context.Context, minute int64) error {
	// The registry's row counts its repositories.
	err := s.changed(ctx, minute, func(ctx context.Context, tx *sqldb.Tx, after string) ([]gauge, error) {
		account, region := cut(after)
		return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (g gauge, err error) {
			var account, region string
			err = row.Scan(&account, &region, &g.value)
			g.after, g.key = account+"/"+region, seriesKey{name.AccountID(account), name.Region(region), repositories, ""}
			return g, err
		}, `SELECT r.account_id, r.region, r.repositories FROM registry r
			LEFT JOIN usage_series s ON s.account_id = r.account_id AND s.region = r.region AND s.metric = $1 AND s.resource = ''
			WHERE (r.account_id > $2 OR r.account_id = $2 AND r.region > $3) AND r.region <> $4 AND (s.id IS NULL OR s.value <> r.repositories)
			ORDER BY r.account_id, r.region LIMIT `+itoa(perSample), int64(repositories), account, region, string(name.Public))
	})
	if err != nil {
		return err
	}
	err = s.changed(ctx, minute, func(ctx context.Context, tx *sqldb.Tx, after string) ([]gauge, error) {
		last, _ := strconv.ParseInt(after, 10, 64) // "" is the beginning; everything else is our own
		return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (g gauge, err error) {
			var id int64
			var account, region string
			g.key.metric = images
			err = row.Scan(&id, &account, &region, &g.key.resource, &g.value)
			g.after, g.key.account, g.key.region = strconv.FormatInt(id, 10), name.AccountID(account), name.Region(region)
			return g, err
		}, `SELECT r.id, r.account_id, r.region, r.name, r.images FROM repository r
			LEFT JOIN usage_series s ON s.account_id = r.account_id AND s.region = r.region AND s.metric = $1 AND s.resource = r.name
			WHERE r.id > $2 AND r.deleted_at = 0 AND r.region <> $3 AND (s.id IS NULL OR s.value <> r.images)
			ORDER BY r.id LIMIT `+itoa(perSample), int64(images), last, string(name.Public))
	})
	if err != nil {
		return err
	}
	return s.end(ctx, minute)
}

func cut(after string) (account, region string) {
	if len(after) > 12 { // the length of an account's id, and the stroke
		return after[:12], after[13:]
	}
	return "", ""
}

// changed writes down what find finds, page by page.
func (s *Service) changed(ctx context.Context, minute int64, find func(ctx context.Context, tx *sqldb.Tx, after string) ([]gauge, error)) error {
	for after := ""; ; {
		var page []gauge
		err := s.c.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
			page, err = find(ctx, tx, after)
			return err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].after
		for batch := range slices.Chunk(page, perCommit) {
			if err := s.writeGauges(ctx, minute, batch); err != nil {
				return err
			}
		}
	}
}

func (s *Service) writeGauges(ctx context.Context, minute int64, all []gauge) error {
	return s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		for _, g := range all {
			id := g.key.id()
			if err := putSeries(ctx, tx, id, g.key, live, g.value); err != nil {
				return err
			}
			if err := putChange(ctx, tx, id, minute, g.value); err != nil {
				return err
			}
		}
		return nil
	})
}

func putChange(ctx context.Context, tx *sqldb.Tx, id, minute, value int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO usage_point (series_id, minute, value) VALUES ($1, $2, $3)
		ON CONFLICT (series_id, minute) DO UPDATE SET value = excluded.value`, id, minute, value)
	return err
}

// end writes down which repositories are gone.
func (s *Service) end(ctx context.Context, minute int64) error {
	for after := int64(0); ; {
		var page []int64
		err := s.c.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
			page, err = sqldb.Collect(ctx, tx, sqldb.One[int64], `SELECT s.id FROM usage_series s
				WHERE s.id > $1 AND s.metric = $2 AND s.last_at = $3 AND NOT EXISTS (SELECT 1 FROM repository r
					WHERE r.account_id = s.account_id AND r.region = s.region AND r.name = s.resource AND r.deleted_at = 0)
				ORDER BY s.id LIMIT `+itoa(perSample), after, int64(images), live)
			return err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1]
		err = s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
			for _, id := range page {
				if _, err := tx.Exec(ctx, `UPDATE usage_series SET last_at = $1, value = $2 WHERE id = $3`, minute, gone, id); err != nil {
					return err
				}
				if err := putChange(ctx, tx, id, minute, gone); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// held is what a repository holds, or a registry.
type held struct {
	row int64 // the repository's id
	registryRepository
	bytes, archived int64
	tags            map[string]string
}

// sampleStorage adds to the day what repositories and registries hold in an hour. What
// has that hour already is left alone.
func (s *Service) sampleStorage(ctx context.Context, hour int64) error {
	for after := int64(0); ; {
		page, err := s.held(ctx, after)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].row
		if err := s.writeHeld(ctx, hour, page); err != nil {
			return err
		}
	}
	all, err := s.heldByRegistries(ctx)
	if err != nil {
		return err
	}
	if err := s.writeHeld(ctx, hour, all); err != nil {
		return err
	}
	return s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO usage_hour (hour) VALUES ($1) ON CONFLICT (hour) DO NOTHING`, hour)
		return err
	})
}

// What is counted is what storage quotas count (domain/layer): the bytes of layers before
// they are sealed; each once in a repository, and in a registry once whichever
// repositories hold it.
const heldBytes = `CAST(COALESCE(sum(CASE WHEN b.archived THEN 0 ELSE b.size END), 0) AS BIGINT), CAST(COALESCE(sum(CASE WHEN b.archived THEN b.size ELSE 0 END), 0) AS BIGINT)`

// held reads a page of repositories, by their ids, with what they hold.
func (s *Service) held(ctx context.Context, after int64) (page []held, err error) {
	err = s.c.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		page, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (h held, err error) {
			var account, region, repo string
			err = row.Scan(&h.row, &account, &region, &repo)
			h.registry, h.repository = name.Registry{Account: name.AccountID(account), Region: name.Region(region)}, name.Repository(repo)
			return h, err
		}, `SELECT id, account_id, region, name FROM repository WHERE id > $1 AND deleted_at = 0 ORDER BY id LIMIT `+itoa(perSample), after)
		if err != nil || len(page) == 0 {
			return err
		}
		at, last := map[int64]*held{}, page[len(page)-1].row
		for i := range page {
			at[page[i].row] = &page[i]
		}
		sizes, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (n [3]int64, err error) {
			return n, row.Scan(&n[0], &n[1], &n[2])
		}, `SELECT l.repository_id, `+heldBytes+` FROM layer l JOIN blob b ON b.id = l.blob_id WHERE l.repository_id > $1 AND l.repository_id <= $2 GROUP BY l.repository_id`, after, last)
		if err != nil {
			return err
		}
		for _, n := range sizes {
			if h := at[n[0]]; h != nil { // else it is a deleted one
				h.bytes, h.archived = n[1], n[2]
			}
		}
		type tag struct {
			id         int64
			key, value string
		}
		tags, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (t tag, err error) { return t, row.Scan(&t.id, &t.key, &t.value) },
			`SELECT repository_id, tag_key, tag_value FROM repository_tag WHERE repository_id > $1 AND repository_id <= $2`, after, last)
		for _, t := range tags {
			if h := at[t.id]; h != nil {
				if h.tags == nil {
					h.tags = map[string]string{}
				}
				h.tags[t.key] = t.value
			}
		}
		return err
	})
	return page, err
}

// heldByRegistries reads what each registry holds, one after the other.
func (s *Service) heldByRegistries(ctx context.Context) (all []held, err error) {
	err = s.c.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (h held, err error) {
			var account, region string
			err = row.Scan(&account, &region)
			h.registry = name.Registry{Account: name.AccountID(account), Region: name.Region(region)}
			return h, err
		}, `SELECT account_id, region FROM registry ORDER BY account_id, region`)
		return err
	})
	for i := range all {
		if err != nil {
			return nil, err
		}
		h := &all[i]
		err = s.c.DB.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT `+heldBytes+` FROM blob b WHERE b.account_id = $1 AND b.region = $2`, string(h.registry.Account), string(h.registry.Region)).Scan(&h.bytes, &h.archived)
		})
	}
	return all, err
}

// writeHeld adds an hour. What holds nothing has no row of it, so that empty repositories
// take no room.
func (s *Service) writeHeld(ctx context.Context, hour int64, all []held) error {
	all = slices.DeleteFunc(slices.Clone(all), func(h held) bool { return h.bytes+h.archived == 0 })
	slices.SortFunc(all, func(a, b held) int { return cmp.Compare(a.id(), b.id()) }) // as writeDays
	for batch := range slices.Chunk(all, perCommit) {
		if err := s.writeHour(ctx, hour, batch); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) writeHour(ctx context.Context, hour int64, all []held) error {
	return s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		for _, h := range all {
			k := dayKey{h.registryRepository, floorDiv(hour, hoursPerDay)}
			tags, err := putNames(ctx, tx, k, h.tags)
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO usage_day (day, repository_id, tags_id, sampled, byte_hours, archived_byte_hours, sent, received, pulls, pushes)
				VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0)
				ON CONFLICT (day, repository_id) DO UPDATE SET tags_id = excluded.tags_id, sampled = excluded.sampled,
					byte_hours = usage_day.byte_hours + excluded.byte_hours, archived_byte_hours = usage_day.archived_byte_hours + excluded.archived_byte_hours
				WHERE usage_day.sampled < excluded.sampled`, k.day, k.id(), tags, hour, h.bytes, h.archived)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

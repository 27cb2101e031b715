package usage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// maxKeys bounds what is counted in memory, some 250 bytes a key: a key is a metric
	// in a minute, or a repository in a day. Beyond it further ones are not counted until
	// the next flush.
	maxKeys = 100_000
	// perCommit is how many of them are written in one transaction, which holds up other
	// writers of SQLite.
	perCommit = 100
)

// kind is a metric.
type kind int64

// The metrics, as usage_series has them.
const (
	calls kind = iota + 1
	pulls
	repositories
	images
)

// seriesKey names a series: resource is an operation, a repository, or "".
type seriesKey struct {
	account  name.AccountID
	region   name.Region
	metric   kind
	resource string
}

// id is the row's. A million series of one account share one by chance once in eighteen
// million deployments; those of different accounts cannot be made to.
func (k seriesKey) id() int64 {
	return hashID("series", string(k.account), string(k.region), fmt.Sprint(int64(k.metric)), k.resource)
}

// pointKey is a series in a minute.
type pointKey struct {
	series seriesKey
	minute int64
}

type registryRepository struct {
	registry   name.Registry
	repository name.Repository
}

// id is the row's in usage_repository.
func (r registryRepository) id() int64 {
	return hashID("repository", string(r.registry.Account), string(r.registry.Region), string(r.repository))
}

// dayKey is a repository in a day.
type dayKey struct {
	registryRepository
	day int64
}

// traffic is what a repository has moved.
type traffic struct{ sent, received, pulls, pushes int64 }

func (t traffic) plus(o traffic) traffic {
	return traffic{t.sent + o.sent, t.received + o.received, t.pulls + o.pulls, t.pushes + o.pushes}
}

// hashID makes an id out of texts none of which holds a NUL; it is never 0.
func hashID(parts ...string) int64 {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return max(int64(binary.BigEndian.Uint64(sum[:])&math.MaxInt64), 1)
}

// Operations are the operations that AWS counts for ECR (user guide, "Amazon ECR usage
// metrics").
func Operations() []string {
	return []string{
		"GetAuthorizationToken", "BatchCheckLayerAvailability", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload",
		"PutImage", "BatchGetImage", "GetDownloadUrlForLayer",
	}
}

// Call counts a call of an account in a region. Only those that AWS counts are:
// Operations of the service "ecr". It waits for no I/O, as all that counts here.
func (s *Service) Call(account name.AccountID, region name.Region, service, operation string) {
	if service != name.ServiceECR || region == name.Public || account == "" || !slices.Contains(Operations(), operation) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countPoint(seriesKey{account, region, calls, operation}, 1)
}

// Pull counts a manifest that was pulled: for CloudWatch where the registry is a private
// one, and for the day's report.
func (s *Service) Pull(reg name.Registry, repo name.Repository) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !reg.IsPublic() {
		s.countPoint(seriesKey{reg.Account, reg.Region, pulls, string(repo)}, 1)
	}
	s.countDay(reg, repo, traffic{pulls: 1})
	if s.c.Repositories <= 0 {
		return
	}
	k := registryRepository{reg, repo}
	if _, ok := s.pulls[k]; ok || len(s.pulls) < s.maxKeys {
		s.pulls[k]++
	}
}

// Push counts a manifest that a client has pushed, for the day's report.
func (s *Service) Push(reg name.Registry, repo name.Repository) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countDay(reg, repo, traffic{pushes: 1})
}

// Transfer counts bytes that clients were sent out of a repository, and that were
// received from them, for the day's report.
func (s *Service) Transfer(reg name.Registry, repo name.Repository, sent, received int64) {
	sent, received = max(sent, 0), max(received, 0)
	if sent+received == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countDay(reg, repo, traffic{sent: sent, received: received})
}

// countPoint adds to a metric of this minute. s.mu is held.
func (s *Service) countPoint(k seriesKey, n int64) {
	at := pointKey{k, minuteOf(s.c.Clock.Now())}
	if _, ok := s.points[at]; !ok && len(s.points) >= s.maxKeys {
		s.drop()
		return
	}
	s.points[at] += n
}

// countDay adds to a repository's day. s.mu is held.
func (s *Service) countDay(reg name.Registry, repo name.Repository, t traffic) {
	at := dayKey{registryRepository{reg, repo}, dayOf(s.c.Clock.Now())}
	old, ok := s.days[at]
	if !ok && len(s.days) >= s.maxKeys {
		s.drop()
		return
	}
	s.days[at] = old.plus(t)
}

// drop notes that something is not counted. s.mu is held.
func (s *Service) drop() {
	s.dropped++
	if !s.dropping {
		s.dropping = true
		s.c.Log.Warn("more metrics and repositories are in use at once than usage is counted of; further ones are not counted until what is counted is written down", "at_most", s.maxKeys)
	}
}

// Dropped is how much was not counted for want of room, since the start.
func (s *Service) Dropped() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// PullCount is how many manifests of a repository this node has given out since its
// start.
type PullCount struct {
	Registry   name.Registry
	Repository name.Repository
	Pulls      int64
}

// PullCounts lists those of the Config.Repositories with the most, the most first. It is
// for Prometheus; CloudWatch's numbers are those of the deployment (Points).
func (s *Service) PullCounts() []PullCount {
	s.mu.Lock()
	all := make([]PullCount, 0, len(s.pulls))
	for k, n := range s.pulls {
		all = append(all, PullCount{k.registry, k.repository, n})
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b PullCount) int {
		return cmp.Or(cmp.Compare(b.Pulls, a.Pulls), cmp.Compare(a.Registry.Account, b.Registry.Account), cmp.Compare(a.Registry.Region, b.Registry.Region), cmp.Compare(a.Repository, b.Repository))
	})
	return all[:min(len(all), s.c.Repositories)]
}

// Flush writes down what was counted, adding it to what other nodes have. What could not
// be written is kept for the next time; after a commit whose outcome nobody knows that
// can count up to 100 metrics' last minutes twice.
func (s *Service) Flush(ctx context.Context) error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	points, days := s.points, s.days
	s.points, s.days, s.dropping = map[pointKey]int64{}, map[dayKey]traffic{}, false
	s.mu.Unlock()

	err := s.writePoints(ctx, points)
	if err == nil {
		err = s.writeDays(ctx, days)
	}
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, n := range points { // what was written is not there any more
		if _, ok := s.points[k]; ok || len(s.points) < s.maxKeys {
			s.points[k] += n
		} else {
			s.drop()
		}
	}
	for k, t := range days {
		if old, ok := s.days[k]; ok || len(s.days) < s.maxKeys {
			s.days[k] = old.plus(t)
		} else {
			s.drop()
		}
	}
	return fmt.Errorf("writing down what was counted: %w", err)
}

// pointRow is a point as it is written. Rows are written in the order of their ids, so
// that no two nodes wait for each other in a circle.
type pointRow struct {
	id  int64
	key pointKey
}

// writePoints writes points down, and takes out those that it has.
func (s *Service) writePoints(ctx context.Context, points map[pointKey]int64) error {
	rows := make([]pointRow, 0, len(points))
	for k := range points {
		rows = append(rows, pointRow{k.series.id(), k})
	}
	slices.SortFunc(rows, func(a, b pointRow) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.key.minute, b.key.minute))
	})
	for batch := range slices.Chunk(rows, perCommit) {
		err := s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
			for _, row := range batch {
				// By the hour, so that the row is seldom written.
				last := (row.key.minute/60 + 1) * 60
				if err := putSeries(ctx, tx, row.id, row.key.series, last, 0); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, `INSERT INTO usage_point (series_id, minute, value) VALUES ($1, $2, $3)
					ON CONFLICT (series_id, minute) DO UPDATE SET value = usage_point.value + excluded.value`, row.id, row.key.minute, points[row.key])
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, row := range batch {
			delete(points, row.key)
		}
	}
	return nil
}

// putSeries makes sure that a series is there, that it is not removed before last, and
// that it stands at value.
func putSeries(ctx context.Context, tx *sqldb.Tx, id int64, k seriesKey, last, value int64) error {
	stands, err := there(ctx, tx, `SELECT count(*) FROM usage_series WHERE id = $1 AND last_at >= $2 AND value = $3`, id, last, value)
	if err != nil || stands {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO usage_series (id, account_id, region, metric, resource, last_at, value) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (id) DO UPDATE SET last_at = excluded.last_at, value = excluded.value
		WHERE usage_series.last_at < excluded.last_at OR usage_series.value <> excluded.value`,
		id, string(k.account), string(k.region), int64(k.metric), k.resource, last, value)
	return err
}

// there says whether a row stands as it should. Asked first, since an insert with a
// conflict holds the row and writes to it even where it changes nothing.
func there(ctx context.Context, tx *sqldb.Tx, query string, args ...any) (bool, error) {
	var n int64
	err := tx.QueryRow(ctx, query, args...).Scan(&n)
	return n > 0, err
}

// writeDays writes the days' traffic down, and takes out what it has.
func (s *Service) writeDays(ctx context.Context, days map[dayKey]traffic) error {
	keys := slices.SortedFunc(maps.Keys(days), func(a, b dayKey) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.id(), b.id()))
	})
	for batch := range slices.Chunk(keys, perCommit) {
		err := s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
			for _, k := range batch {
				if err := writeDay(ctx, tx, k, days[k]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, k := range batch {
			delete(days, k)
		}
	}
	return nil
}

func writeDay(ctx context.Context, tx *sqldb.Tx, k dayKey, t traffic) error {
	n, err := tx.Exec(ctx, `UPDATE usage_day SET sent = sent + $1, received = received + $2, pulls = pulls + $3, pushes = pushes + $4
		WHERE day = $5 AND repository_id = $6`, t.sent, t.received, t.pulls, t.pushes, k.day, k.id())
	if err != nil || n > 0 {
		return err
	}
	// The first of the day: the tags that the repository has now are the day's, until
	// the next sample.
	tags, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (tag [2]string, err error) {
		return tag, row.Scan(&tag[0], &tag[1])
	}, `SELECT t.tag_key, t.tag_value FROM repository_tag t JOIN repository r ON r.id = t.repository_id
		WHERE r.account_id = $1 AND r.region = $2 AND r.name = $3 AND r.deleted_at = 0`, string(k.registry.Account), string(k.registry.Region), string(k.repository))
	if err != nil {
		return err
	}
	set := map[string]string{}
	for _, tag := range tags {
		set[tag[0]] = tag[1]
	}
	tagsID, err := putNames(ctx, tx, k, set)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO usage_day (day, repository_id, tags_id, sampled, byte_hours, archived_byte_hours, sent, received, pulls, pushes)
		VALUES ($1, $2, $3, 0, 0, 0, $4, $5, $6, $7)
		ON CONFLICT (day, repository_id) DO UPDATE SET sent = usage_day.sent + excluded.sent, received = usage_day.received + excluded.received,
			pulls = usage_day.pulls + excluded.pulls, pushes = usage_day.pushes + excluded.pushes`,
		k.day, k.id(), tagsID, t.sent, t.received, t.pulls, t.pushes)
	return err
}

// putNames makes sure that what a row of usage_day speaks of is there, the repository
// and its tags, and that neither is removed before the row. It returns the tags' id.
func putNames(ctx context.Context, tx *sqldb.Tx, k dayKey, tags map[string]string) (int64, error) {
	stands, err := there(ctx, tx, `SELECT count(*) FROM usage_repository WHERE id = $1 AND last_day >= $2`, k.id(), k.day)
	if err != nil {
		return 0, err
	}
	if !stands {
		_, err = tx.Exec(ctx, `INSERT INTO usage_repository (id, account_id, region, name, last_day) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (id) DO UPDATE SET last_day = excluded.last_day WHERE usage_repository.last_day < excluded.last_day`,
			k.id(), string(k.registry.Account), string(k.registry.Region), string(k.repository), k.day)
	}
	if err != nil || len(tags) == 0 {
		return 0, err
	}
	text, err := json.Marshal(tags) // with its keys in order
	if err != nil {
		return 0, err
	}
	id := hashID("tags", string(text))
	stands, err = there(ctx, tx, `SELECT count(*) FROM usage_tags WHERE id = $1 AND last_day >= $2`, id, k.day)
	if err != nil || stands {
		return id, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO usage_tags (id, tags, last_day) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET last_day = excluded.last_day WHERE usage_tags.last_day < excluded.last_day`, id, string(text), k.day)
	return id, err
}

package replication

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// backfillLane begins the names of lanes of backfills. No tag and no digest begins
// so.
const backfillLane = "~"

// lane is what is done in order. It is the payload of the jobs.
type lane struct {
	RepositoryID int64         `json:"repositoryId"`
	Destination  name.Registry `json:"destination"`
	Name         string        `json:"name"`
}

func (l lane) key() string {
	return strconv.FormatInt(l.RepositoryID, 10) + "/" + l.Destination.String() + "/" + l.Name
}

// kind is the kind of job that does the lane.
func (l lane) kind() string {
	if strings.HasPrefix(l.Name, backfillLane) {
		return JobBackfill
	}
	return JobSend
}

// item is a row of the queue.
type item struct {
	id int64
	lane
	source     name.Registry
	repository name.Repository
	seq        int64
	removal    bool
	digest     name.Digest
	tag        name.Tag
	backfill   string
	queuedAt   int64
	attempts   int64
	nextAt     int64
}

func (i item) place() Place {
	return Place{Source: i.source, Destination: i.Destination, Repository: i.repository}
}

const itemColumns = `id, repository_id, account_id, region, repository, to_account, to_region, lane, seq, removal, digest, tag, backfill, queued_at, attempts, next_at`

func scanItem(row sqldb.Scanner) (i item, err error) {
	err = row.Scan(&i.id, &i.RepositoryID, &i.source.Account, &i.source.Region, &i.repository, &i.Destination.Account, &i.Destination.Region, &i.Name,
		&i.seq, &i.removal, &i.digest, &i.tag, &i.backfill, &i.queuedAt, &i.attempts, &i.nextAt)
	return i, err
}

// Subscribe is told of every event, inside its transaction and under the lock of
// the repository: what was pushed, restored or deleted is to be copied.
func (s *Service) Subscribe(ctx context.Context, tx *sqldb.Tx, e event.Event) error {
	switch e.Kind {
	case event.ImagePushed:
		d := e.Detail.(event.ImageDetail)
		if d.Origin == event.OriginReplication {
			return nil // one hop only
		}
		return s.pushed(ctx, tx, e.Registry, d.Repository, d.Digest, []name.Tag{d.Tag})
	case event.StorageClassChanged:
		if d := e.Detail.(event.StorageClassDetail); d.Target == event.StandardClass {
			return s.restored(ctx, tx, e.Registry, d.ImageDetail)
		}
	case event.ImageDeleted:
		return s.deleted(ctx, tx, e.Registry, e.Detail.(event.ImageDetail))
	case event.PolicyExecuted, event.PolicyPreviewed, event.ImageReplicated, event.ImagePulledThrough,
		event.ImageScanned, event.ImageScanInitial, event.FindingChanged, event.ScanFrequencyChanged, event.ImagePulled:
	default:
	}
	return nil
}

// pushed adds an image with each of the tags for every destination that is to have
// it.
func (s *Service) pushed(ctx context.Context, tx *sqldb.Tx, reg name.Registry, repo name.Repository, d name.Digest, tags []name.Tag) error {
	p, err := s.PlanTx(ctx, tx, reg)
	if err != nil {
		return err
	}
	to := p.Destinations(repo)
	if len(to) == 0 {
		return nil
	}
	i := item{source: reg, repository: repo, digest: d}
	var imageID int64
	var subject name.Digest
	err = tx.QueryRow(ctx, `SELECT r.id, i.id, i.subject FROM repository r JOIN image i ON i.repository_id = r.id
		WHERE r.account_id = $1 AND r.region = $2 AND r.name = $3 AND i.digest = $4`, string(reg.Account), string(reg.Region), string(repo), string(d)).Scan(&i.RepositoryID, &imageID, &subject)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, i.Destination = range to {
		o, follows := p.Of(i.Destination), false
		if len(o.Tags) > 0 && subject != "" {
			if follows, err = followsTx(ctx, tx, i.RepositoryID, subject, i.Destination); err != nil {
				return err
			}
		}
		for _, i.tag = range tags {
			if !o.Lets(i.tag) && !follows {
				continue
			}
			if err := s.addTx(ctx, tx, &i, imageID); err != nil {
				return err
			}
		}
	}
	return nil
}

// followsTx says whether an image that refers to the subject goes where that has
// gone, by itself or as the child of an index.
func followsTx(ctx context.Context, tx *sqldb.Tx, repositoryID int64, subject name.Digest, to name.Registry) (follows bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM image i JOIN replication_status s ON s.image_id = i.id
			WHERE i.repository_id = $1 AND i.digest = $2 AND s.to_account = $3 AND s.to_region = $4)
		OR EXISTS (SELECT 1 FROM image_child c JOIN replication_status s ON s.image_id = c.image_id
			WHERE c.repository_id = $1 AND c.digest = $2 AND s.to_account = $3 AND s.to_region = $4)`,
		repositoryID, string(subject), string(to.Account), string(to.Region)).Scan(&follows)
	return follows, err
}

// restored adds an image that has come back from the archive, with all its tags.
func (s *Service) restored(ctx context.Context, tx *sqldb.Tx, reg name.Registry, d event.ImageDetail) error {
	p, err := s.PlanTx(ctx, tx, reg)
	if err != nil || len(p.Destinations(d.Repository)) == 0 {
		return err
	}
	tags, err := sqldb.Collect(ctx, tx, sqldb.One[name.Tag], `SELECT t.tag FROM image_tag t JOIN image i ON i.id = t.image_id JOIN repository r ON r.id = i.repository_id
		WHERE r.account_id = $1 AND r.region = $2 AND r.name = $3 AND i.digest = $4 ORDER BY t.tag`, string(reg.Account), string(reg.Region), string(d.Repository), string(d.Digest))
	if err != nil {
		return err
	}
	if len(tags) == 0 {
		tags = []name.Tag{""}
	}
	return s.pushed(ctx, tx, reg, d.Repository, d.Digest, tags)
}

// deleted adds the removal of a tag, or of an image that has gone, for the
// destinations whose options say so.
func (s *Service) deleted(ctx context.Context, tx *sqldb.Tx, reg name.Registry, d event.ImageDetail) error {
	p, err := s.PlanTx(ctx, tx, reg)
	if err != nil {
		return err
	}
	to := slices.DeleteFunc(p.Destinations(d.Repository), func(r name.Registry) bool { return !p.Of(r).Deletes && !p.Of(r).Untags })
	if len(to) == 0 {
		return nil
	}
	i := item{source: reg, repository: d.Repository, removal: true, digest: d.Digest}
	var there, foreign bool
	// A row that is being removed says that the deletion has itself come from
	// another registry: one hop only.
	err = tx.QueryRow(ctx, `SELECT r.id, EXISTS (SELECT 1 FROM image i WHERE i.repository_id = r.id AND i.digest = $4),
			EXISTS (SELECT 1 FROM replication_guard g WHERE g.repository_id = r.id AND g.ref IN ($4, $5) AND g.removing)
		FROM repository r WHERE r.account_id = $1 AND r.region = $2 AND r.name = $3`,
		string(reg.Account), string(reg.Region), string(d.Repository), string(d.Digest), string(d.Tag)).Scan(&i.RepositoryID, &there, &foreign)
	if errors.Is(err, sqldb.ErrNoRows) || err == nil && foreign {
		return nil
	}
	if err != nil {
		return err
	}
	for _, i.Destination = range to {
		o := p.Of(i.Destination)
		switch {
		case !there && o.Deletes:
			i.tag = "" // the image with everything on it
		case o.Untags && d.Tag != "":
			i.tag = d.Tag
		default:
			continue
		}
		if i.tag == "" { // once, however many tags it had
			var queued bool
			err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM replication_item WHERE repository_id = $1 AND digest = $2 AND to_account = $3 AND to_region = $4 AND removal AND tag = ''
				AND seq = (SELECT max(seq) FROM replication_item WHERE repository_id = $1 AND digest = $2))`,
				i.RepositoryID, string(i.digest), string(i.Destination.Account), string(i.Destination.Region)).Scan(&queued)
			if err != nil {
				return err
			}
			if queued {
				continue
			}
		}
		if err := s.addTx(ctx, tx, &i, 0); err != nil {
			return err
		}
	}
	return nil
}

// EnqueueTx adds an image, with a tag or "", for a destination, on behalf of a
// backfill that Config.Done names at the item's end. The caller holds the
// repository's Lock and has seen the tag on the image.
func (s *Service) EnqueueTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, destination name.Registry, d name.Digest, tag name.Tag, backfill string) error {
	var imageID int64
	err := tx.QueryRow(ctx, `SELECT id FROM image WHERE repository_id = $1 AND digest = $2`, r.ID, string(d)).Scan(&imageID)
	if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return err
	}
	return s.addTx(ctx, tx, &item{
		lane: lane{RepositoryID: r.ID, Destination: destination}, source: r.Registry, repository: r.Name, digest: d, tag: tag, backfill: backfill,
	}, imageID)
}

// addTx puts the item into the queue, with the next number of its repository, and
// sets the status of its image, 0 for none. The caller holds the repository's lock.
func (s *Service) addTx(ctx context.Context, tx *sqldb.Tx, i *item, imageID int64) error {
	now := s.Clock.Now().UnixMicro()
	err := tx.QueryRow(ctx, `INSERT INTO replication_seq (account_id, region, repository, seq) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account_id, region, repository) DO UPDATE SET seq = CASE WHEN excluded.seq > replication_seq.seq THEN excluded.seq ELSE replication_seq.seq + 1 END RETURNING seq`,
		string(i.source.Account), string(i.source.Region), string(i.repository), now).Scan(&i.seq)
	if err != nil {
		return err
	}
	i.id, i.queuedAt, i.Name = sqldb.NewID(), now, string(i.tag)
	if i.tag == "" {
		i.Name = string(i.digest)
	}
	if i.backfill != "" {
		i.Name = backfillLane + i.Name
	}
	_, err = tx.Exec(ctx, `INSERT INTO replication_item (`+itemColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, 0)`,
		i.id, i.RepositoryID, string(i.source.Account), string(i.source.Region), string(i.repository), string(i.Destination.Account), string(i.Destination.Region), i.Name,
		i.seq, i.removal, string(i.digest), string(i.tag), i.backfill, now)
	if err != nil {
		return err
	}
	if !i.removal && imageID != 0 {
		_, err = tx.Exec(ctx, `INSERT INTO replication_status (image_id, to_account, to_region, status, failure_code) VALUES ($1, $2, $3, $4, '')
			ON CONFLICT (image_id, to_account, to_region) DO UPDATE SET status = excluded.status, failure_code = ''`,
			imageID, string(i.Destination.Account), string(i.Destination.Region), string(InProgress))
		if err != nil {
			return err
		}
	}
	return s.enqueueLane(ctx, tx, i.lane)
}

// maxAttempts lets a lane's job never die: its items give up by themselves.
const maxAttempts = 1 << 30

func (s *Service) enqueueLane(ctx context.Context, tx *sqldb.Tx, l lane) error {
	return s.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: l.kind(), UniqueKey: l.key(), Payload: l, MaxAttempts: maxAttempts})
}

// Statuses describes an image and says how far it is at each of its destinations,
// in the byte order of account and region. It fails as image.Service.FindTx does.
func (s *Service) Statuses(ctx context.Context, r repository.Repository, ref image.Ref) (d image.Detail, all []Status, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		if d, err = s.Images.FindTx(ctx, tx, r, ref); err != nil {
			return err
		}
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (st Status, err error) {
			err = row.Scan(&st.Destination.Account, &st.Destination.Region, &st.Status, &st.FailureCode)
			return st, err
		}, `SELECT to_account, to_region, status, failure_code FROM replication_status WHERE image_id = $1 ORDER BY to_account, to_region`, d.ID)
		return err
	})
	return d, all, err
}

// Backlog says what waits for each destination that something waits for.
func (s *Service) Backlog(ctx context.Context) (all []Backlog, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		all = nil
		for to := (name.Registry{}); ; {
			next, found, err := nextDestination(ctx, tx, to)
			if err != nil || !found {
				return err
			}
			b := Backlog{Destination: next}
			var oldest int64
			err = tx.QueryRow(ctx, `SELECT count(*), COALESCE(min(queued_at), 0) FROM (SELECT queued_at FROM replication_item
				WHERE to_account = $1 AND to_region = $2 ORDER BY queued_at, id LIMIT $3) q`, string(next.Account), string(next.Region), MaxBacklog).Scan(&b.Items, &oldest)
			if err != nil {
				return err
			}
			b.Oldest, to = time.UnixMicro(oldest).UTC(), next
			all = append(all, b)
		}
	})
	return all, err
}

// nextDestination finds the first destination after the given one that something
// waits for.
func nextDestination(ctx context.Context, tx *sqldb.Tx, after name.Registry) (next name.Registry, found bool, err error) {
	err = tx.QueryRow(ctx, `SELECT to_account, to_region FROM replication_item WHERE (to_account, to_region) > ($1, $2) ORDER BY to_account, to_region, queued_at, id LIMIT 1`,
		string(after.Account), string(after.Region)).Scan(&next.Account, &next.Region)
	if errors.Is(err, sqldb.ErrNoRows) {
		return name.Registry{}, false, nil
	}
	return next, err == nil, err
}

// ofLane selects the items of a lane.
const ofLane = ` FROM replication_item WHERE repository_id = $1 AND to_account = $2 AND to_region = $3 AND lane = $4`

func (l lane) args() []any {
	return []any{l.RepositoryID, string(l.Destination.Account), string(l.Destination.Region), l.Name}
}

// first reads the item of a lane that is next. One that waits for its next try does
// not hold up the others: the destination keeps the newer of two changes of a tag,
// whichever comes first. Without one, next is when there is one, 0 for never.
func (s *Service) first(ctx context.Context, l lane) (i item, found bool, next int64, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		found, next = false, 0
		i, err = scanItem(tx.QueryRow(ctx, `SELECT `+itemColumns+ofLane+` AND next_at <= $5 ORDER BY seq, id LIMIT 1`, append(l.args(), s.Clock.Now().UnixMicro())...))
		if errors.Is(err, sqldb.ErrNoRows) {
			return tx.QueryRow(ctx, `SELECT COALESCE(min(next_at), 0)`+ofLane, l.args()...).Scan(&next)
		}
		found = err == nil
		return err
	})
	return i, found, next, err
}

// finish takes an item out of the queue, in the transaction that writes what has
// become of it.
func (s *Service) finish(ctx context.Context, i item, o outcome) error {
	return s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		if o.follow {
			// Before everything else, as a push does.
			r := repository.Repository{ID: i.RepositoryID, Registry: i.source, Name: i.repository}
			_, err := s.Repositories.Lock(ctx, tx, r)
			if err != nil && !errs.Is(err, errs.RepositoryNotFound) {
				return err
			}
			if err == nil {
				if err := s.followersTx(ctx, tx, i); err != nil {
					return err
				}
			}
		}
		n, err := tx.Exec(ctx, `DELETE FROM replication_item WHERE id = $1`, i.id)
		if err != nil || n == 0 { // another node has ended it
			return err
		}
		if !i.removal {
			if err := statusTx(ctx, tx, i, o); err != nil {
				return err
			}
		}
		if o.tell {
			err := s.Outbox.Record(ctx, tx, event.Event{Registry: i.source, Kind: event.ImageReplicated, OccurredAt: s.Clock.Now(), Detail: event.ReplicationDetail{
				Repository: i.repository, Digest: i.digest, Tag: i.tag, Source: i.source, Destination: i.Destination, Result: event.Failed, FailureCode: o.code,
			}})
			if err != nil {
				return err
			}
		}
		if i.backfill == "" || s.Done == nil {
			return nil
		}
		code := o.code
		if o.dropped && code == "" {
			code = DestinationRemoved
		}
		return s.Done(ctx, tx, Done{
			Backfill: i.backfill, Source: i.source, Destination: i.Destination, Repository: i.repository, Digest: i.digest, Tag: i.tag, Code: code, Sub: o.sub,
		})
	})
}

// statusTx writes the status of the item's image.
func statusTx(ctx context.Context, tx *sqldb.Tx, i item, o outcome) error {
	to := []any{string(i.Destination.Account), string(i.Destination.Region)}
	var imageID int64
	var state State
	err := tx.QueryRow(ctx, `SELECT image_id, status FROM replication_status WHERE image_id = (SELECT id FROM image WHERE repository_id = $1 AND digest = $2)
		AND to_account = $3 AND to_region = $4`+tx.ForUpdate(), append([]any{i.RepositoryID, string(i.digest)}, to...)...).Scan(&imageID, &state)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil // the image was deleted
	}
	if err != nil {
		return err
	}
	if o.code != "" && !o.dropped {
		_, err = tx.Exec(ctx, `UPDATE replication_status SET status = $4, failure_code = $5 WHERE image_id = $1 AND to_account = $2 AND to_region = $3`,
			append(append([]any{imageID}, to...), string(Failed), o.code)...)
		return err
	}
	var more bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM replication_item WHERE repository_id = $1 AND digest = $2 AND to_account = $3 AND to_region = $4 AND NOT removal)`,
		append([]any{i.RepositoryID, string(i.digest)}, to...)...).Scan(&more)
	if err != nil || more || state != InProgress {
		return err
	}
	if o.dropped {
		_, err = tx.Exec(ctx, `DELETE FROM replication_status WHERE image_id = $1 AND to_account = $2 AND to_region = $3`, append([]any{imageID}, to...)...)
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE replication_status SET status = $4 WHERE image_id = $1 AND to_account = $2 AND to_region = $3`, append(append([]any{imageID}, to...), string(Complete))...)
	return err
}

// maxFollowers bounds what one transaction adds; who comes later finds the status
// of the subject by itself.
const maxFollowers = 1000

// followersTx adds the images that refer to the item's image, or to a child of it,
// and have not gone to the destination: a filter of tags let this one through after
// they were pushed.
func (s *Service) followersTx(ctx context.Context, tx *sqldb.Tx, i item) error {
	type follower struct {
		id     int64
		digest name.Digest
	}
	all, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (f follower, err error) {
		err = row.Scan(&f.id, &f.digest)
		return f, err
	}, `SELECT i.id, i.digest FROM image i WHERE i.repository_id = $1 AND i.subject <> '' AND i.status = 0
		AND i.subject IN (SELECT p.digest FROM image p WHERE p.repository_id = $1 AND p.digest = $2
			UNION ALL SELECT c.digest FROM image_child c JOIN image p ON p.id = c.image_id WHERE p.repository_id = $1 AND p.digest = $2)
		AND NOT EXISTS (SELECT 1 FROM replication_status s WHERE s.image_id = i.id AND s.to_account = $3 AND s.to_region = $4) ORDER BY i.id LIMIT $5`,
		i.RepositoryID, string(i.digest), string(i.Destination.Account), string(i.Destination.Region), maxFollowers)
	if err != nil {
		return err
	}
	for _, f := range all {
		next := item{lane: lane{RepositoryID: i.RepositoryID, Destination: i.Destination}, source: i.source, repository: i.repository, digest: f.digest}
		if err := s.addTx(ctx, tx, &next, f.id); err != nil {
			return err
		}
	}
	return nil
}

package image

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// TagStatus selects images by whether they have tags.
type TagStatus int

// The selections.
const (
	AnyTags TagStatus = iota
	Tagged
	Untagged
)

// StatusFilter selects images by their status; "" is ActiveOnly, which is what the
// ECR API lists unless it is told otherwise.
type StatusFilter string

// The selections.
const (
	ActiveOnly     StatusFilter = ""
	ArchivedOnly   StatusFilter = "archived"
	ActivatingOnly StatusFilter = "activating"
	AnyStatus      StatusFilter = "any"
)

// condition is the filter as it follows other conditions on the table i.
func (f StatusFilter) condition() string {
	switch f {
	case ActiveOnly:
		return ` AND i.status = 0`
	case ArchivedOnly:
		return ` AND i.status <> 0 AND i.status = 1`
	case ActivatingOnly:
		return ` AND i.status <> 0 AND i.status = 2`
	case AnyStatus:
	}
	return ""
}

// Lets says whether the filter lets an image of the status through.
func (f StatusFilter) Lets(s Status) bool {
	switch f {
	case ActiveOnly:
		return s == Active
	case ArchivedOnly:
		return s == Archived
	case ActivatingOnly:
		return s == Activating
	case AnyStatus:
	}
	return true
}

// Cursor is where a page ended: the next one begins after it. "" begins a
// listing, and comes back at its end. It is opaque text that clients may hand
// back; one that is not of this package is errs.InvalidParameter. A listing
// shows exactly once what is there all the time, whatever comes and goes.
type Cursor string

// position is what a Cursor says: the number of the last image that was listed,
// and its last tag.
type position struct {
	image int64
	tag   name.Tag
}

func (p position) cursor() Cursor {
	return Cursor(strconv.FormatInt(p.image, 36) + ":" + string(p.tag))
}

func (c Cursor) position() (position, error) {
	if c == "" {
		return position{}, nil
	}
	number, tag, ok := strings.Cut(string(c), ":")
	id, err := strconv.ParseInt(number, 36, 64)
	if !ok || err != nil || id <= 0 {
		return position{}, errs.Parameter("nextToken", "Invalid token")
	}
	if tag != "" {
		if _, err := name.ParseTag(tag); err != nil {
			return position{}, errs.Parameter("nextToken", "Invalid token")
		}
	}
	return position{id, name.Tag(tag)}, nil
}

// ListQuery selects a page of List.
type ListQuery struct {
	TagStatus TagStatus
	Status    StatusFilter
	After     Cursor
	// Limit is the number of entries of a page, at least 1.
	Limit int
}

// The queries of List, in the order of the images' numbers: what stands before
// the StatusFilter and what behind. The images of a page, of which each has an
// entry at least, save the first that may have had all of them on the page before,
// are found before their tags are looked for: joined at once, PostgreSQL may read
// the tags of all repositories beside them.
const (
	listAny    = `SELECT p.id, p.digest, COALESCE(t.tag, '') FROM (SELECT i.id, i.digest FROM image i WHERE i.repository_id = $1 AND i.id >= $2`
	anyOrder   = ` ORDER BY i.id LIMIT $4 + 1) p LEFT JOIN image_tag t ON t.image_id = p.id WHERE p.id > $2 OR t.tag > $3` + listOrder
	listTagged = `SELECT p.id, p.digest, t.tag FROM (SELECT i.id, i.digest FROM image i WHERE i.repository_id = $1 AND i.tags > 0 AND i.id >= $2`
	tagOrder   = ` ORDER BY i.id LIMIT $4 + 1) p JOIN image_tag t ON t.image_id = p.id WHERE p.id > $2 OR t.tag > $3` + listOrder

	listUntagged = `SELECT i.id, i.digest, '' FROM image i WHERE i.repository_id = $1 AND i.tags = 0 AND i.id > $2`

	listOrder     = ` ORDER BY p.id, t.tag LIMIT $4`
	describeOrder = ` ORDER BY i.id LIMIT $3`
)

// List returns the repository's images: one entry for each tag, and one without
// a tag for each untagged image. next is "" on the last page.
func (s *Service) List(ctx context.Context, r repository.Repository, q ListQuery) (refs []Ref, next Cursor, err error) {
	after, err := q.After.position()
	if err != nil {
		return nil, "", err
	}
	query, order, args := listAny, anyOrder, []any{r.ID, after.image, string(after.tag), q.Limit + 1}
	switch q.TagStatus {
	case AnyTags:
	case Tagged:
		query, order = listTagged, tagOrder
	case Untagged:
		query, order, args = listUntagged, describeOrder, []any{r.ID, after.image, q.Limit + 1}
	}
	type entry struct {
		at  position
		ref Ref
	}
	var entries []entry
	err = s.Durable.Lookup(ctx, func(tx *sqldb.Tx) error {
		var err error
		entries, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (entry, error) {
			var id int64
			var digest, tag string
			err := row.Scan(&id, &digest, &tag)
			return entry{position{id, name.Tag(tag)}, Ref{Digest: name.Digest(digest), Tag: name.Tag(tag)}}, err
		}, query+q.Status.condition()+order, args...)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(entries) > q.Limit {
		entries = entries[:q.Limit]
		next = entries[q.Limit-1].at.cursor()
	}
	for _, e := range entries {
		refs = append(refs, e.ref)
	}
	return refs, next, nil
}

// listTags asks about the image of each tag only where the repository has one that
// is not active; as a value, since PostgreSQL may read all those images at once to
// find out whether one of them EXISTS.
const listTags = `SELECT t.tag FROM image_tag t WHERE t.repository_id = $1 AND t.tag > $2
	AND (NOT EXISTS (SELECT 1 FROM image i WHERE i.repository_id = $1 AND i.status <> 0)
		OR (SELECT 1 FROM image i WHERE i.repository_id = $1 AND i.id = t.image_id AND i.status <> 0) IS NULL) ORDER BY t.tag LIMIT $3`

// Tags returns up to limit tags of active images that come after the given text in byte order,
// and whether there are more. errs.InvalidParameter for a text that no database
// could hold.
func (s *Service) Tags(ctx context.Context, r repository.Repository, after name.Tag, limit int) (tags []name.Tag, more bool, err error) {
	if !storable(string(after)) {
		return nil, false, errs.Parameter("last", "must satisfy regular expression '"+name.TagPattern+"'")
	}
	err = s.Durable.Lookup(ctx, func(tx *sqldb.Tx) (err error) {
		tags, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (name.Tag, error) {
			t, err := sqldb.One[string](row)
			return name.Tag(t), err
		}, listTags, r.ID, string(after), limit+1)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return tags[:min(limit, len(tags))], len(tags) > limit, nil
}

// Detail describes one image.
type Detail struct {
	ID     int64
	Digest name.Digest
	// Tags are in byte order.
	Tags         []name.Tag
	MediaType    string
	ArtifactType string
	// Size is in bytes: of the image's blobs, or of the largest child.
	Size         int64
	ManifestSize int64
	PushedAt     time.Time
	// LastPulledAt is zero as long as no pull has been recorded.
	LastPulledAt time.Time
	// Subject is "" for an image that refers to none.
	Subject name.Digest
	Status  Status
	// ArchivedAt and ActivatedAt are when it was last archived, and when it last
	// came back; zero for never.
	ArchivedAt, ActivatedAt time.Time
}

// DescribeQuery selects images for Describe.
type DescribeQuery struct {
	// Refs names the images, of whatever status; then the other members are not looked at.
	Refs      []Ref
	TagStatus TagStatus
	Status    StatusFilter
	After     Cursor
	// Limit is the number of images of a page, at least 1.
	Limit int
}

// detailColumns are what a detailScanner reads, of a table that the query calls i. The
// tags are one text, in any order; none has a blank.
const detailColumns = rowColumns + `, COALESCE((SELECT u.pulled_at FROM image_pull u WHERE u.image_id = i.id), 0),
	COALESCE((SELECT string_agg(g.tag, ' ') FROM image_tag g WHERE g.image_id = i.id), '')`

const (
	describeAny      = `SELECT ` + detailColumns + ` FROM image i WHERE i.repository_id = $1 AND i.id > $2`
	describeTagged   = `SELECT ` + detailColumns + ` FROM image i WHERE i.repository_id = $1 AND i.tags > 0 AND i.id > $2`
	describeUntagged = `SELECT ` + detailColumns + ` FROM image i WHERE i.repository_id = $1 AND i.tags = 0 AND i.id > $2`
)

// Describe returns details of images, each once. With Refs, one that is missing
// fails the whole call with errs.ImageNotFound, and there is no next page.
func (s *Service) Describe(ctx context.Context, r repository.Repository, q DescribeQuery) (details []Detail, next Cursor, err error) {
	after, err := q.After.position()
	if err != nil {
		return nil, "", err
	}
	if len(q.Refs) > 0 {
		err = s.Durable.View(ctx, func(tx *sqldb.Tx) (err error) {
			details, err = describeAll(ctx, tx, r, q.Refs)
			return err
		})
		return details, "", err
	}
	query := describeAny
	switch q.TagStatus {
	case AnyTags:
	case Tagged:
		query = describeTagged
	case Untagged:
		query = describeUntagged
	}
	err = s.Durable.Lookup(ctx, func(tx *sqldb.Tx) (err error) {
		details, err = sqldb.Append(ctx, tx, make([]Detail, 0, min(q.Limit+1, 128)), detailScanner(), query+q.Status.condition()+describeOrder, r.ID, after.image, q.Limit+1)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(details) > q.Limit {
		details = details[:q.Limit]
		next = position{image: details[q.Limit-1].ID}.cursor()
	}
	return details, next, nil
}

// FindTx describes one image, of whatever status, in a caller's transaction. It
// returns errs.ImageNotFound as Describe does, and errs.InvalidParameter for a ref
// that cannot be.
func (s *Service) FindTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ref Ref) (Detail, error) {
	details, err := describeAll(ctx, tx, r, []Ref{ref})
	if err != nil {
		return Detail{}, err
	}
	return details[0], nil
}

// describeAll describes the images of all refs, each once, or fails.
func describeAll(ctx context.Context, tx *sqldb.Tx, r repository.Repository, refs []Ref) ([]Detail, error) {
	var details []Detail
	seen := map[int64]bool{}
	for _, ref := range refs {
		d, err := lookUp(ctx, tx, r, ref, detailByDigest, detailByTag, detailScanner())
		if err == nil {
			err = ref.matches(d.Digest)
		}
		if errs.Is(err, errs.ImageNotFound) {
			return nil, errs.Wrap(err, errs.ImageNotFound, "The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name '%s' in the registry with id '%s'",
				orNull(ref.Digest), orNull(ref.Tag), r.Name, r.Registry.Account)
		}
		if err != nil {
			return nil, err
		}
		if !seen[d.ID] {
			seen[d.ID] = true
			details = append(details, d)
		}
	}
	return details, nil
}

// atNonZero is a time in microseconds, the zero time for 0.
func atNonZero(t int64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMicro(t)
}

// detailScanner reads details, one after the other.
func detailScanner() func(sqldb.Scanner) (Detail, error) {
	var pulled int64
	var tags string
	s := rows(&pulled, &tags)
	return func(from sqldb.Scanner) (Detail, error) {
		i, err := s.scan(from)
		d := Detail{
			ID: i.id, Digest: i.digest, MediaType: i.mediaType, ArtifactType: i.artifactType, Size: i.size,
			ManifestSize: i.manifestSize, PushedAt: time.UnixMicro(i.pushedAt), LastPulledAt: atNonZero(pulled), Subject: i.subject,
			Status: i.status, ArchivedAt: atNonZero(i.archivedAt), ActivatedAt: atNonZero(i.activatedAt),
		}
		if tags != "" {
			d.Tags = make([]name.Tag, 0, i.tags)
			for t := range strings.SplitSeq(tags, " ") {
				d.Tags = append(d.Tags, name.Tag(t))
			}
			slices.Sort(d.Tags)
		}
		return d, err
	}
}

package gallery

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/catalog/search"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	refreshEvery = 2 * time.Second
	rebuildEvery = 10 * time.Minute
	flushEvery   = 5 * time.Second
	// overlap is how far a refresh goes back: what was changed before the last one under a
	// clock that is slow, or in a transaction that took that long to commit, is found so.
	overlap = 30 * time.Second
	// lastFlush bounds the write at the end of Run.
	lastFlush = 10 * time.Second
	// settled is the age from which on a changed_at stands for one state of an entry: what is
	// younger is read again, since more may change under the same time.
	settled = time.Second

	// An index of which changedMin documents and one in changedPart have changed is rebuilt,
	// since every further change makes all those anew (search.Index.Apply).
	changedMin, changedPart = 2000, 32
	// manyChanged are so many changes at once that a rebuild costs less.
	manyChanged = 10_000

	entriesPerRead   = 5000
	documentsPerRead = 500
)

// Run keeps the index of this node up to date and writes downloads, until ctx ends, and then
// writes those once more. What fails is logged and tried again.
func (s *Service) Run(ctx context.Context) error {
	refresh, flush := time.NewTicker(refreshEvery), time.NewTicker(flushEvery)
	defer refresh.Stop()
	defer flush.Stop()
	try := func(what string, do func(context.Context) error) {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			s.Log.LogAttrs(ctx, slog.LevelWarn, what, slog.Any("error", err))
		}
	}
	for {
		try("the gallery's index could not be brought up to date; it will be tried again", s.refresh)
		select {
		case <-refresh.C:
		case <-flush.C:
			try("downloads could not be written; they will be tried again", s.Flush)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			return s.Flush(last)
		}
	}
}

// upToDate has the index loaded, with what was committed on this node so far. It waits for
// the first rebuild, but for no other.
func (s *Service) upToDate(ctx context.Context) error {
	if !s.ready.Load() {
		if err := s.rebuild(ctx, true); err != nil {
			return err
		}
	}
	if !s.dirty.Load() || s.behind.Load() {
		return nil
	}
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	if !s.dirty.Load() { // somebody has done it while the lock was waited for
		return nil
	}
	return s.update(ctx)
}

// refresh brings the index up to date.
func (s *Service) refresh(ctx context.Context) error {
	s.refreshing.Lock()
	size, age := s.index.Stats(), s.Clock.Now().Sub(s.rebuilt)
	whole := !s.ready.Load() || age >= rebuildEvery || age < 0 || size.Changed > changedMin && size.Changed > size.Documents/changedPart
	var err error
	if !whole {
		err = s.update(ctx)
	}
	s.refreshing.Unlock()
	if err == nil && (whole || s.behind.Load()) {
		err = s.rebuild(ctx, false)
	}
	return err
}

// rebuild reads everything, while searches and updates go on in what there is, and what was
// changed meanwhile at its end. With first it does nothing where there is an index already.
func (s *Service) rebuild(ctx context.Context, first bool) error {
	s.rebuilding.Lock()
	defer s.rebuilding.Unlock()
	if first && s.ready.Load() {
		return nil
	}
	began := s.Clock.Now()
	read := changes{since: began.Add(-overlap), seen: map[int64]int64{}}
	b := search.NewBuilder()
	l := newLoader()
	for after, more := int64(-1), true; more; {
		err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
			return l.read(ctx, tx, documentsAfter, after, documentsPerRead)
		})
		for _, d := range l.found {
			if err == nil {
				err = b.Add(d)
			}
		}
		if err != nil {
			return err
		}
		for id, changed := range l.changed {
			read.note(id, changed, began)
		}
		after, more = l.last, l.rows == documentsPerRead
	}
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	s.dirty.Store(false)
	put, remove, now, err := s.changed(ctx, read, math.MaxInt)
	if err == nil {
		err = s.index.Replace(b, put, remove)
	}
	if err != nil {
		s.dirty.Store(true)
		return err
	}
	s.rebuilt, s.read = began, now
	s.behind.Store(false)
	s.ready.Store(true)
	return nil
}

// update reads what was changed. When that is too much, behind says so. The caller holds
// refreshing.
func (s *Service) update(ctx context.Context) error {
	s.dirty.Store(false)
	put, remove, now, err := s.changed(ctx, s.read, s.many)
	if err == nil {
		err = s.index.Apply(put, remove)
	}
	if errors.Is(err, errMany) {
		s.behind.Store(true)
		return nil
	}
	if err != nil {
		s.dirty.Store(true)
		return err
	}
	s.read = now
	return nil
}

// errMany says that more was changed than was asked for.
var errMany = errors.New("too many repositories have changed")

// changes is how far changes were read.
type changes struct {
	since time.Time       // what was changed from then on may not be in the index,
	seen  map[int64]int64 // but this is: changed_at by repository
}

// note notes what was read at a time.
func (c changes) note(id, changed int64, at time.Time) {
	if changed >= c.since.UnixMicro() && changed < at.Add(-settled).UnixMicro() {
		c.seen[id] = changed
	}
}

const entriesChanged = `SELECT repository_id, changed_at FROM catalog_entry WHERE changed_at >= $1 AND (changed_at > $1 OR repository_id > $2)
	ORDER BY changed_at, repository_id LIMIT $3`

// changed reads what was changed and is not to be found in before: the documents to put and
// the ids to remove. errMany when these are more than most.
func (s *Service) changed(ctx context.Context, before changes, most int) (put []search.Document, remove []int64, now changes, err error) {
	began := s.Clock.Now()
	now = changes{since: began.Add(-overlap), seen: map[int64]int64{}}
	fresh, err := s.freshEntries(ctx, before, now, began)
	if err != nil {
		return nil, nil, now, err
	}
	if len(fresh) > most {
		return nil, nil, now, errMany
	}
	l := newLoader()
	for batch := range slices.Chunk(fresh, documentsPerRead) {
		args := make([]any, len(batch))
		for i, id := range batch {
			args[i] = id
		}
		err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
			return l.read(ctx, tx, documentsByID+sqldb.In(1, len(args)), slices.Clone(args)...)
		})
		if err != nil {
			return nil, nil, now, err
		}
		there := make(map[int64]bool, len(l.found))
		for _, d := range l.found {
			there[d.ID] = true
		}
		put = append(put, l.found...)
		for _, id := range batch {
			if !there[id] {
				remove = append(remove, id)
			}
		}
	}
	return put, remove, now, nil
}

// freshEntries lists the repositories that were changed, and notes them in now.
func (s *Service) freshEntries(ctx context.Context, before, now changes, began time.Time) (fresh []int64, err error) {
	type entry struct{ id, changed int64 }
	last := entry{id: -1, changed: before.since.UnixMicro()}
	for more := true; more; {
		var page []entry
		err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
			page, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (e entry, err error) {
				err = row.Scan(&e.id, &e.changed)
				return e, err
			}, entriesChanged, last.changed, last.id, entriesPerRead)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if old, ok := before.seen[e.id]; !ok || old != e.changed {
				fresh = append(fresh, e.id)
			}
			now.note(e.id, e.changed, began)
			last = e
		}
		more = len(page) == entriesPerRead
	}
	return fresh, nil
}

// publisher is what the index has of a registry.
type publisher struct {
	names    string // "" for one that has no address
	verified bool
}

// loader reads documents, and each publisher once.
type loader struct {
	known map[string]publisher
	// Of the last read: the documents that are to be shown, how many rows there were, the last
	// one's id, and changed_at by id.
	found   []search.Document
	rows    int
	last    int64
	changed map[int64]int64
}

func newLoader() loader { return loader{known: map[string]publisher{}, changed: map[int64]int64{}} }

const (
	documentColumns = `SELECT e.repository_id, r.account_id, r.name, e.pushed_at, e.downloads, e.changed_at, r.deleted_at = 0 AND r.images > 0,
		COALESCE(d.description, ''), COALESCE(d.operating_systems, ''), COALESCE(d.architectures, '')
		FROM catalog_entry e JOIN repository r ON r.id = e.repository_id LEFT JOIN catalog_data d ON d.repository_id = e.repository_id`
	documentsAfter = documentColumns + ` WHERE e.repository_id > $1 ORDER BY e.repository_id LIMIT $2`
	documentsByID  = documentColumns + ` WHERE e.repository_id IN `

	registriesByAccount = `SELECT account_id, display_name, verified FROM public_registry WHERE account_id IN `
	aliasesByAccount    = `SELECT account_id, alias FROM public_alias WHERE status = 'ACTIVE' AND account_id IN `
)

// read reads the documents of a query that begins with documentColumns.
func (l *loader) read(ctx context.Context, tx *sqldb.Tx, query string, args ...any) error {
	l.found, l.rows = l.found[:0], 0
	clear(l.changed)
	rows, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (d search.Document, err error) {
		var changed int64
		var shown bool
		var systems, architectures string
		err = row.Scan(&d.ID, &d.Account, &d.Name, &d.Updated, &d.Downloads, &changed, &shown, &d.Description, &systems, &architectures)
		if err != nil {
			return d, err
		}
		l.rows, l.last, l.changed[d.ID] = l.rows+1, d.ID, changed
		if !shown {
			d.Account = ""
			return d, nil
		}
		if d.OperatingSystems, err = names(systems); err == nil {
			d.Architectures, err = names(architectures)
		}
		return d, err
	}, query, args...)
	if err != nil {
		return err
	}
	if err := l.publishers(ctx, tx, rows); err != nil {
		return err
	}
	for _, d := range rows {
		if p := l.known[d.Account]; p.names != "" {
			d.Publisher, d.Verified = p.names, p.verified
			l.found = append(l.found, d)
		}
	}
	return nil
}

// names reads a list out of its column, which is "" where there is no row.
func names(column string) ([]string, error) {
	if column == "" || column == "[]" {
		return nil, nil
	}
	return catalog.ParseNames(column)
}

// publishers reads those of the documents that are not known yet.
func (l *loader) publishers(ctx context.Context, tx *sqldb.Tx, of []search.Document) error {
	var accounts []any
	for _, d := range of {
		if _, ok := l.known[d.Account]; !ok && d.Account != "" {
			l.known[d.Account] = publisher{}
			accounts = append(accounts, d.Account)
		}
	}
	if len(accounts) == 0 {
		return nil
	}
	display := map[string]string{}
	in := sqldb.In(1, len(accounts))
	_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
		var account, name string
		var verified bool
		err := row.Scan(&account, &name, &verified)
		display[account], l.known[account] = name, publisher{verified: verified}
		return struct{}{}, err
	}, registriesByAccount+in, slices.Clone(accounts)...)
	if err != nil {
		return l.unknown(accounts, err)
	}
	aliases := map[string][]string{}
	_, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
		var account, alias string
		err := row.Scan(&account, &alias)
		aliases[account] = append(aliases[account], alias)
		return struct{}{}, err
	}, aliasesByAccount+in, slices.Clone(accounts)...)
	if err != nil {
		return l.unknown(accounts, err)
	}
	for account, all := range aliases {
		p := l.known[account]
		p.names = strings.Join(append(all, display[account]), " ")
		l.known[account] = p
	}
	return nil
}

// unknown forgets publishers whose reading failed: the closure may run again.
func (l *loader) unknown(accounts []any, err error) error {
	for _, a := range accounts {
		delete(l.known, a.(string))
	}
	return err
}

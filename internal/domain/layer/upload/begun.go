package upload

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// saveAfter is how old the row of an upload without bytes becomes in memory
	// before it is written. Most uploads have bytes, or are over, long before. The
	// process's death takes with it what was begun this long and up to twice as long
	// ago.
	saveAfter = 100 * time.Millisecond
	// maxBegun bounds those rows.
	maxBegun = 256
	// saveLimit bounds their writing, and is the time until it is tried again.
	saveLimit = 10 * time.Second
)

// begun is the row of an upload without bytes that is not in the database yet.
type begun struct {
	row
	at time.Time
	// saving: a transaction has begun to insert it.
	saving bool
}

// begin remembers the row of a new upload, if there is room for it. first says that
// there was none before.
func (m *memory) begin(u row) (ok, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.begun) >= maxBegun {
		return false, false
	}
	m.begun[u.id] = &begun{row: u, at: time.Now()}
	return true, len(m.begun) == 1
}

// unsaved is the row of an upload that the database does not know yet.
func (m *memory) unsaved(id string) (u row, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.begun[id]; ok {
		return b.row, true
	}
	return row{}, false
}

// unwritten is how many there are.
func (m *memory) unwritten() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.begun)
}

// claim says that the database has no row of the upload and will get none but from
// the caller. If not, a transaction that changes it and begins now finds one.
func (m *memory) claim(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.begun[id]
	delete(m.begun, id)
	return ok && !b.saving
}

// toSave gives the rows that were begun before a time, to a transaction that inserts
// them.
func (m *memory) toSave(before time.Time) (rows []row) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.begun {
		if b.at.Before(before) {
			b.saving = true
			rows = append(rows, b.row)
		}
	}
	return rows
}

// saved says what became of the transaction that toSave was for, and whether there
// are more rows to save.
func (m *memory) saved(err error) (more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, b := range m.begun {
		if b.saving && err == nil {
			delete(m.begun, id)
		}
		b.saving = false
	}
	return len(m.begun) > 0
}

// begin opens an upload in memory. false: there are too many of them.
func (s *Service) begin(u row) bool {
	ok, first := s.memory.begin(u)
	if first {
		s.saveLater(saveAfter)
	}
	return ok
}

// settle writes the row of an upload that the database does not know yet, before
// more than its first bytes come: a row is there before its object is.
func (s *Service) settle(ctx context.Context, ses *session, bytes int64) error {
	if s.InlineBytes > 0 && bytes <= s.InlineBytes || !s.memory.claim(ses.id) {
		return nil
	}
	finished := s.memory.due()
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if err := insert(ctx, tx, ses.row); err != nil {
			return err
		}
		return deleteTogether(ctx, tx, finished)
	})
	s.memory.deleted(finished, err)
	if err != nil {
		s.begin(ses.row) // with room or without: the upload is as it was, or lost
	}
	return err
}

// saveLater has rows saved that have been in memory for saveAfter by then.
func (s *Service) saveLater(in time.Duration) {
	time.AfterFunc(in, func() {
		ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
		defer cancel()
		if err := s.save(ctx, time.Now().Add(-saveAfter)); err != nil {
			s.Log.WarnContext(ctx, "uploads that were begun are not in the database yet", "error", err)
		}
	})
}

// Save writes what is known of uploads in memory alone, for a process that ends.
func (s *Service) Save(ctx context.Context) error { return s.save(ctx, time.Now().Add(time.Hour)) }

// save inserts the rows of uploads that were begun before a time. The timer for
// those that are left goes on.
func (s *Service) save(ctx context.Context, before time.Time) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		for _, u := range s.memory.toSave(before) {
			if err := insert(ctx, tx, u); err != nil {
				return err
			}
		}
		return nil
	})
	switch more := s.memory.saved(err); {
	case more && err == nil:
		s.saveLater(saveAfter)
	case more:
		s.saveLater(saveLimit)
	}
	return err
}

// insert adds a row that is not leased.
func insert(ctx context.Context, tx *sqldb.Tx, u row) error {
	_, err := tx.Exec(ctx, `INSERT INTO upload (`+columns+`, wanted)
		VALUES ($1, $2, $3, $4, FALSE, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, '', 0, $15, $16, FALSE)`,
		u.id, u.repositoryID, string(u.region), u.objectKey, u.opened, u.received, u.parts, u.lastPart, u.partCut, u.smallPart,
		notNil(u.state), notNil(u.hashes), u.process, u.mixed, u.startedAt, u.expiresAt)
	return err
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
